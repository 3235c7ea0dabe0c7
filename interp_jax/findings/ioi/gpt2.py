"""What the published circuit of GPT-2 small does, measured in a model of that shape.

For every template and order, the model and parts of it read the same prompts: the 26
heads, fewer of them, the model without a class of heads, and circuits of as many other
heads. `measure` returns arrays, `values` makes of them the numbers of the paper.
"""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Bool, Float
import numpy as np
import tqdm

from interp_jax import circuits
from interp_jax.core import Model
from interp_jax.findings.ioi.published import (
  CLASSES,
  HEADS,
  NAIVE,
  SHAPE,
  KeepHeads,
  knockouts,
  moved_mask,
  nodes_mask,
)
from interp_jax.tasks import IoiPrompts, ioi, ioi_prompts

# What is measured of each run: means over prompts.
MEASURES = ('logit_difference', 'io_above_subject', 'io_probability')
MENTIONS = ('io', 'other')
MOVED = 5


@dataclasses.dataclass(frozen=True)
class Gpt2Values:
  """The paper's numbers.

  Attributes:
    logit_difference: Logit of the indirect object less that of the subject.
    io_above_subject: Share of the prompts where it is positive.
    io_probability: Probability of the indirect object.
    circuit: The logit difference of the 26 heads alone.
    naive: Of the heads without negative and backup name movers.
    moved: Of circuits with the heads of each layer permuted, `[MOVED]`.
    incompleteness: `|F(C - K) - F(M - K)|` for each class K.
    without: Logit difference of the model without each class of heads.
    minimality: The most that each head changes the circuit, `[26]`.
    mention_io: Logit difference where the indirect object comes twice as well.
    mention_other: Where somebody else is mentioned, its control.
  """

  logit_difference: float
  io_above_subject: float
  io_probability: float
  circuit: float
  naive: float
  moved: np.ndarray
  incompleteness: dict[str, float]
  without: dict[str, float]
  minimality: np.ndarray
  mention_io: float
  mention_other: float

  @property
  def faithfulness(self) -> float:
    """The circuit's logit difference as a share of the model's."""
    return self.circuit / self.logit_difference


def check_shape(model: Any) -> None:
  """Refuses a model that the heads cannot be looked up in.

  Raises:
    ValueError: if it has other numbers of layers and heads than GPT-2 small.
  """
  shape = (model.cfg.layers, model.cfg.heads)
  if shape != SHAPE:
    raise ValueError(
      f'ioi: the model has {shape[0]} layers of {shape[1]} heads; the published '
      f'circuit is of GPT-2 small, {SHAPE[0]} layers of {SHAPE[1]}. Give its folder.'
    )


def measure(
  model: Model,
  params: Any,
  tokenizer: ioi.Tokenizer,
  count: int,
  seed: int,
  templates: Sequence[str] = ioi.TEMPLATES,
  progress: bool = True,
) -> dict[str, np.ndarray]:
  """Runs the model and its parts on prompts of every template and order.

  Args:
    model: A model of GPT-2 small's shape.
    params: Its parameters.
    tokenizer: Its tokenizer.
    count: Prompts of each template and order; as many make the means of ablation.
    seed: Of the draws.
    templates: The templates.
    progress: Whether to show a progress bar.

  Returns:
    `parts` `[template and order, part, measure]`, the parts in the order of
    `part_masks`, and `mentions` `[template and order, mention, measure]`.

  Raises:
    ValueError: if the model has another shape, or the tokenizer no names.
  """
  check_shape(model)
  parts, mentions = [], []
  cases = [(template, order) for template in templates for order in ioi.ORDERS]
  bar = tqdm.tqdm(cases, unit='template', disable=not progress)
  for i, (template, order) in enumerate(bar):
    draw = functools.partial(ioi_prompts, tokenizer, template, order, count, seed + i)
    parts.append(run_parts(model, params, draw(), seed + i))
    mentions.append([_run_whole(model, params, draw(who)) for who in MENTIONS])
  return {'parts': np.stack(parts), 'mentions': np.array(mentions)}


def run_parts(
  model: Model, params: Any, prompts: IoiPrompts, seed: int
) -> Float[np.ndarray, 'parts measures']:
  """What each part of the model answers to some prompts, means over them.

  What is ablated has its mean at each position over `prompts.abc`, of this template
  and about other names.

  Args:
    model: The model.
    params: Its parameters.
    prompts: The prompts.
    seed: Of the circuits with permuted heads.

  Returns:
    The measures of each part.
  """
  means = circuits.mean_acts(model, params, prompts.abc, ('z',), by_position=True)
  return circuits.run_worlds(
    model,
    params,
    prompts.tokens,
    KeepHeads(means['z']),
    part_masks(prompts, seed),
    _metric(prompts),
    logit_positions=jnp.array([-1]),
    progress=False,
  )


def part_masks(prompts: IoiPrompts, seed: int) -> Bool[np.ndarray, 'parts L T H']:
  """What each part keeps.

  The model; the circuit; the naive one; circuit and model without each class; the
  circuit without each head; without the others of its class; circuits moved.
  """
  rng = np.random.default_rng(seed)
  circuit = nodes_mask(prompts)
  by_class = knockouts(prompts, list(CLASSES.values()))
  each = knockouts(prompts, [[head] for head in HEADS])[0]
  mates = knockouts(prompts, [_mates(head) for head in HEADS])[0]
  moved = [moved_mask(prompts, rng) for _ in range(MOVED)]
  whole = np.ones_like(circuit)
  first = np.stack([whole, circuit, nodes_mask(prompts, NAIVE)])
  return np.concatenate([first, *by_class, each, mates, np.stack(moved)])


def values(arrays: dict[str, np.ndarray]) -> Gpt2Values:
  """The paper's numbers from what `measure` returned."""
  means = arrays['parts'].mean(0)
  ends = np.cumsum([3, len(CLASSES), len(CLASSES), len(HEADS), len(HEADS)])
  first, less_circuit, less_model, each, mates, moved = np.split(means[:, 0], ends)
  of_class = {h: i for i, heads in enumerate(CLASSES.values()) for h in heads}
  # Without a head alone, and without it when the others of its class are gone.
  alone = np.abs(each - first[1])
  with_mates = np.abs(less_circuit[[of_class[head] for head in HEADS]] - mates)
  gaps = np.abs(less_circuit - less_model)
  mention = arrays['mentions'].mean(0)[:, 0]
  return Gpt2Values(
    logit_difference=float(first[0]),
    io_above_subject=float(means[0, 1]),
    io_probability=float(means[0, 2]),
    circuit=float(first[1]),
    naive=float(first[2]),
    moved=moved,
    incompleteness=dict(zip(CLASSES, gaps.tolist(), strict=True)),
    without=dict(zip(CLASSES, less_model.tolist(), strict=True)),
    minimality=np.maximum(alone, with_mates),
    mention_io=float(mention[0]),
    mention_other=float(mention[1]),
  )


def _mates(head: tuple[int, int]) -> list[tuple[int, int]]:
  """The other heads of its class."""
  (heads,) = (heads for heads in CLASSES.values() if head in heads)
  return [other for other in heads if other != head]


def _run_whole(model: Model, params: Any, prompts: IoiPrompts) -> np.ndarray:
  value, _ = circuits.reference_run(
    model, params, prompts.tokens, _metric(prompts), logit_positions=jnp.array([-1])
  )
  return np.asarray(value)


def _metric(prompts: IoiPrompts) -> Partial:
  return Partial(_measures, jnp.asarray(prompts.io), jnp.asarray(prompts.subject))


def _measures(io, subject, logits, acts):
  """`MEASURES`, means over the prompts."""
  del acts
  last = logits[:, -1].astype(jnp.float32)
  pick = lambda names: jnp.take_along_axis(last, names[:, None], axis=1)[:, 0]
  difference = pick(io) - pick(subject)
  probability = jnp.exp(pick(io) - jax.nn.logsumexp(last, axis=-1))
  each = jnp.stack([difference, difference > 0, probability])
  return each.mean(1)
