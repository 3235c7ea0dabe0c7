"""What a model does on prompts of two clauses, and where its heads attend and write.

Functions of a model, its parameters and prompts alone: they know nothing of training,
so that a broken model can be measured as well.
"""

from collections.abc import Iterable
import dataclasses
from typing import Any

import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Bool, Float
import numpy as np

from interp_jax import circuits, lenses
from interp_jax.models import Transformer
from interp_jax.tasks import ClausePrompts

Head = tuple[int, int]
HeadValues = Float[np.ndarray, 'L H']
_LAST = np.array([-1])


@dataclasses.dataclass(frozen=True)
class Behaviour:
  """How well a model does the task.

  Attributes:
    accuracy: Share of the prompts where the answer has the highest logit of all tokens.
    logit_difference: Logit of the answer less that of the subject, mean.
    corrupted: The same on the corrupted prompts, which have no answer.
  """

  accuracy: float
  logit_difference: float
  corrupted: float


def behaviour(model: Transformer, params: Any, prompts: ClausePrompts) -> Behaviour:
  """How well a model does the task on some prompts."""
  metric = Partial(
    _behaviour, jnp.asarray(prompts.answer), jnp.asarray(prompts.subject)
  )
  (accuracy, difference), (_, corrupted) = (
    circuits.reference_run(model, params, tokens, metric, logit_positions=_LAST)[0]
    for tokens in (prompts.tokens, prompts.corrupted)
  )
  return Behaviour(float(accuracy), float(difference), float(corrupted))


def ask(model: Transformer, params: Any, prompts: ClausePrompts) -> circuits.Discovery:
  """The question of the finding: which edges tell the answer from the subject?

  The metric is the logit difference at the last token; an ablated edge carries what its
  sender writes on the corrupted prompt.
  """
  return circuits.make_discovery(
    model,
    params,
    prompts.tokens,
    prompts.corrupted,
    metric=circuits.logit_difference(prompts.answer, prompts.subject),
    logit_positions=[-1],
  )


@dataclasses.dataclass(frozen=True)
class HeadMeasures:
  """What each head attends to and writes, `[L, H]` each.

  Attributes:
    previous: Attention of all tokens to the one before.
    clause: Attention of a clause's last name to its first.
    duplicate: Attention of the second subject to the first.
    induction: Attention of the second subject to the token behind the first.
    partner: Attention of the second subject to its partner, the answer.
    others: Attention of the second subject to each name of the other clause, mean.
    reads_subject: Attention of the last token to the second subject.
    reads_answer: Attention of the last token to the answer.
    direct: Direct effect on the logit difference of what the head writes at the last
      token, corrupted prompts subtracted.
    total: Change of the logit difference when the head writes what it does on the
      corrupted prompts.
    copying: Eigenvalue score of its OV circuit, from -1 to 1.
  """

  previous: HeadValues
  clause: HeadValues
  duplicate: HeadValues
  induction: HeadValues
  partner: HeadValues
  others: HeadValues
  reads_subject: HeadValues
  reads_answer: HeadValues
  direct: HeadValues
  total: HeadValues
  copying: HeadValues


def measure_heads(
  model: Transformer, params: Any, prompts: ClausePrompts, question: circuits.Discovery
) -> HeadMeasures:
  """Measures every head on some prompts, and in the weights."""
  _, acts = circuits.reference_run(
    model, params, prompts.tokens, question.metric, ('pattern',)
  )
  attention = {
    name: np.asarray(lenses.attention_to(acts['pattern'], targets, None))
    for name, targets in attention_targets(prompts).items()
  }
  attention['others'] = attention['others'] / 2  # There are two.
  clean, corrupted = (
    direct_effects(model, params, tokens, prompts)
    for tokens in (prompts.tokens, prompts.corrupted)
  )
  return HeadMeasures(
    **attention,
    direct=clean - corrupted,
    total=total_effects(question),
    copying=lenses.copying_scores(params, model.cfg),
  )


def attention_targets(
  prompts: ClausePrompts,
) -> dict[str, Bool[np.ndarray, 'B T S']]:
  """From where to where each kind of head attends."""
  count, length = prompts.tokens.shape
  second, last = np.full(count, length - 3), np.full(count, length - 1)
  clause = np.sort(np.stack([prompts.subject_at, prompts.answer_at], 1), axis=1)
  other = prompts.others_at
  return {
    'previous': np.asarray(lenses.previous_token_targets(prompts.tokens)),
    'clause': _from_to(length, [*clause.T[::-1]], [*other.T[::-1]]),
    'duplicate': _from_to(length, [second, prompts.subject_at]),
    'induction': _from_to(length, [second, prompts.subject_at + 1]),
    'partner': _from_to(length, [second, prompts.answer_at]),
    'others': _from_to(length, *([second, at] for at in other.T)),
    'reads_subject': _from_to(length, [last, second]),
    'reads_answer': _from_to(length, [last, prompts.answer_at]),
  }


def direct_effects(
  model: Transformer,
  params: Any,
  tokens: Any,
  prompts: ClausePrompts,
  edits: Any = None,
  scale: Any = None,
) -> HeadValues:
  """What each head adds to the logit difference at the last token, by itself.

  Args:
    model: The model.
    params: Its parameters.
    tokens: The clean or the corrupted tokens, `[B, T]`.
    prompts: Whose answers and subjects are compared.
    edits: Edits to run under.
    scale: Divisors of the final norm, `[B, T, 1]`; None for those of this run.

  Returns:
    The direct logit attribution of every head, mean over the prompts.
  """
  acts = run_sites(model, params, tokens, edits)
  if scale is not None:
    acts = {**acts, 'ln_final.scale': scale}
  parts = lenses.direct_logit_attribution(
    params, model.cfg, acts, [-1], prompts.answer, prompts.subject
  )
  return np.asarray(parts.heads[..., 0].mean(-1))


def run_sites(
  model: Transformer, params: Any, tokens: Any, edits: Any = None
) -> dict[str, Any]:
  """The activations of a run that direct effects and knockouts need."""
  sites = ('resid_pre', 'z', 'attn_out', 'ln_final.scale')
  return circuits.reference_run(model, params, tokens, _nothing, sites, edits=edits)[1]


def total_effects(question: circuits.Discovery) -> HeadValues:
  """What corrupting all that one head writes does to the logit difference."""
  graph = question.graph
  heads = [name for name in graph.senders if name.startswith('a')]
  kept = [graph.edges & ~circuits.edges_from(graph, {name}) for name in heads]
  values = question.run(np.stack([graph.edges, *kept]))
  return (values[1:] - values[0]).reshape(graph.layers, graph.heads)


def _from_to(length: int, *pairs: Iterable[np.ndarray]) -> Bool[np.ndarray, 'B T S']:
  """Targets from one position of each prompt to another, for some pairs of them."""
  out = None
  for queries, keys in pairs:
    here = np.eye(length, dtype=bool)[queries][:, :, None]
    there = np.eye(length, dtype=bool)[keys][:, None]
    out = here & there if out is None else out | (here & there)
  assert out is not None
  return out


# At the top level, so that every call finds the program of the first.
def _nothing(logits, acts):
  del logits, acts
  return jnp.zeros(())


def _behaviour(answer, subject, logits, acts):
  """Accuracy and logit difference."""
  difference = circuits.logit_difference(answer, subject)(logits, acts)
  return jnp.stack([(logits[:, -1].argmax(-1) == answer).mean(), difference])
