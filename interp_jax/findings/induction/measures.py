"""What is measured of a model, whatever it is and however it came about.

All functions take `params` of one model, or of several stacked on a leading axis `W`
where they say so, and rows of repeated random tokens to run it on.
"""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped
import numpy as np

from interp_jax import circuits, lenses, models
from interp_jax.lenses import RepeatedTokens
from interp_jax.training import next_token_losses

Head = tuple[int, int]


class Watch(NamedTuple):
  """What is measured while models train.

  Attributes:
    repeated_loss: Loss (nats) of what follows the second copy's tokens, `[W]`.
    prefix_matching: Of each head, `[W, L, H]`.
    copying: Of each head, `[W, L, H]`; see `copying_scores`.
  """

  repeated_loss: Float[Array | np.ndarray, ' W']
  prefix_matching: Float[Array | np.ndarray, 'W L H']
  copying: Float[Array | np.ndarray, 'W L H']


def watch(model: models.Transformer, params: Any, repeats: RepeatedTokens) -> Watch:
  """The three signs of induction, for models stacked on a leading axis."""
  loss, matching = _watch(model, params, repeats.tokens, repeats.second_copy)
  copying = [copying_scores(model, own, repeats) for own in unstack(params)]
  return Watch(np.asarray(loss), np.asarray(matching), np.stack(copying))


def copying_scores(
  model: models.Transformer, params: Any, repeats: RepeatedTokens
) -> Float[np.ndarray, 'L H']:
  """How far each head copies the tokens that can come: all but BOS.

  Nothing is ever followed by BOS, so models learn to push it down, and heads that rest
  on it do. It is one token of 33 here, and can have the largest eigenvalue of all.
  """
  ids = np.arange(model.cfg.vocab_size)
  never = repeats.tokens[0, : repeats.bos]
  return lenses.copying_scores(params, model.cfg, np.setdiff1d(ids, never))


@functools.partial(jax.jit, static_argnums=0)
def _watch(model, params, tokens, second_copy):
  def one(params):
    logits, acts = model.apply({'params': params}, tokens)
    losses = next_token_losses(logits, tokens)
    loss = losses.mean(where=second_copy[:, :-1])
    return loss, lenses.prefix_matching_score(acts['pattern'], tokens, second_copy)

  return jax.lax.map(one, params)


def unstack(params: Any) -> list[Any]:
  """The models of a stack, one by one."""
  count = jax.tree.leaves(params)[0].shape[0]
  return [jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(count)]


def heads_above(scores: Float[np.ndarray, 'L H'], least: float) -> tuple[Head, ...]:
  """The heads whose score reaches `least`, best first; at least the best."""
  found = [(int(l), int(h)) for l, h in np.argwhere(scores >= least)]
  found.sort(key=lambda head: -scores[head])
  return tuple(found or [best_head(scores)])


def best_head(scores: Float[np.ndarray, 'L H']) -> Head:
  """The head with the highest score."""
  layer, head = np.unravel_index(np.argmax(scores), scores.shape)
  return int(layer), int(head)


class Ablations(NamedTuple):
  """Loss (nats) in the first and in the second copy, `[2]`, without some heads.

  Attributes:
    intact: With all heads.
    chosen: Without the chosen heads.
    others: Without all other heads of the same layers; NaN where there are none.
  """

  intact: np.ndarray
  chosen: np.ndarray
  others: np.ndarray


def ablations(
  model: models.Transformer,
  params: Any,
  repeats: RepeatedTokens,
  heads: Sequence[Head],
  mean: bool = False,
) -> Ablations:
  """Ablates heads, and all others of the same layers.

  Args:
    model: The model.
    params: Its parameters.
    repeats: What to run it on.
    heads: The chosen heads.
    mean: Whether to put a head's mean output in its place, instead of zero.
  """
  shape = (model.cfg.layers, model.cfg.heads)
  chosen = circuits.head_mask(heads, shape)
  others = chosen.any(1, keepdims=True) & ~chosen
  value = circuits.mean_z(model, params, repeats.tokens) if mean else 0.0
  copies = np.stack([repeats.first_copy, repeats.second_copy])[:, :, :-1]
  losses = circuits.run_worlds(
    model,
    params,
    repeats.tokens,
    circuits.AblateHeads(value),
    np.stack([np.zeros(shape, bool), chosen, others]),
    circuits.region_losses(repeats.tokens, copies),
    progress=False,
  )
  found = Ablations(*losses)
  return found if others.any() else found._replace(others=np.full(2, np.nan))


class Composition(NamedTuple):
  """How much one head reads of what another writes.

  Attributes:
    writer: The head that writes.
    ratios: Q-, K- and V-composition, each over the mean score of the same circuits
      turned at random.
    deviations: How many deviations of the random scores each lies above their mean.
  """

  writer: Head
  ratios: tuple[float, float, float]
  deviations: tuple[float, float, float]


def composition(
  params: Any, cfg: Any, writers: Sequence[Head], reader: Head
) -> Composition:
  """Composition of a head with the one of several earlier ones that its keys read most.

  Of as many random circuits as there are heads in a layer, the best lies two deviations
  above the mean or three: bounds must leave room for that.
  """
  qk, ov = lenses.qk_circuits(params, cfg), lenses.ov_circuits(params, cfg)
  random = lenses.random_composition(qk, ov, draws=64)
  tables = (lenses.composition_scores(qk, ov), random.mean, random.std)
  ends = (*np.transpose(writers), *reader)
  score, mean, std = (np.array(table)[:, *ends] for table in tables)
  deviations = (score - mean) / std
  most = deviations[1].argmax()
  ratios = score[:, most] / mean[:, most]
  return Composition(writers[most], tuple(ratios), tuple(deviations[:, most]))


def expansion_error(
  model: models.Transformer, params: Any, tokens: np.ndarray, double: bool
) -> float:
  """How far the sum over all paths is from the logits, over the largest logit."""
  dtype = 'float64' if double else 'float32'
  with jax.enable_x64(double):
    wide = dataclasses.replace(model.cfg, dtype=dtype, param_dtype=dtype)
    params = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), dtype), params)
    logits, acts = run(model.clone(cfg=wide), params, tokens)
    positions = np.arange(tokens.shape[1])
    total = lenses.path_expansion(params, wide, acts, positions).total
    return float(jnp.abs(total - logits).max() / jnp.abs(logits).max())


PATHS = (
  'past no induction head',
  'one induction head',
  'a head, then an induction head',
)


def right_token_paths(
  model: models.Transformer, params: Any, repeats: RepeatedTokens, heads: Sequence[Head]
) -> tuple[float, ...]:
  """What kinds of paths add to the logit of the right token, over that of all tokens.

  Means over the second copy, in the order of `PATHS`: of paths that end in none of the
  given heads, in one that they come to directly, and in one behind an earlier head.
  """
  _, acts = run(model, params, repeats.tokens)
  rows, places = np.nonzero(repeats.second_copy[:, :-1])
  right = repeats.tokens[rows, places + 1]
  expansion = lenses.path_expansion(
    params, model.cfg, acts, np.arange(repeats.tokens.shape[1])
  )
  over_all = expansion.logits - expansion.logits.mean(-1, keepdims=True)
  means = np.asarray(over_all[:, rows, places, right].mean(1))
  ends = [bool(path) and path[-1] in heads for path in expansion.paths]
  kinds = np.array(ends) * np.minimum([len(path) for path in expansion.paths], 2)
  return tuple(float(means[kinds == kind].sum()) for kind in range(len(PATHS)))


@functools.partial(jax.jit, static_argnums=0)
def run(model: models.Transformer, params: Any, tokens: Any) -> Any:
  """Logits and activations."""
  return model.apply({'params': params}, tokens)


class Transition(NamedTuple):
  """When and how fast a model learned to use repetition.

  Attributes:
    drop: Largest fall of the loss within the window, in nats.
    of_loss: Update at which the loss has done half of its fall.
    of_matching: Update at which prefix matching has done half of its rise.
    correlation: Pearson's, between the two curves.
  """

  drop: float
  of_loss: float
  of_matching: float
  correlation: float


def transition(
  steps: Shaped[np.ndarray, ' N'],
  loss: Float[np.ndarray, ' N'],
  matching: Float[np.ndarray, ' N'],
  window: int,
) -> Transition:
  """Whether loss and prefix matching change together, and abruptly.

  Args:
    steps: Updates made at each measurement, rising.
    loss: Loss on repeated tokens.
    matching: The best head's prefix matching.
    window: In updates.
  """
  ahead = steps[None] - steps[:, None]
  falls = loss[:, None] - loss[None]
  drop = falls[(ahead >= 0) & (ahead <= window)].max()
  half = lambda curve: float(steps[_first(curve >= (curve.min() + curve.max()) / 2)])
  return Transition(
    float(drop),
    half(-loss),
    half(matching),
    float(np.corrcoef(loss, matching)[0, 1]),
  )


def _first(condition: Bool[np.ndarray, ' N']) -> int:
  return int(np.argmax(condition))
