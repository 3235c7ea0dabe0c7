"""Everything that is measured of trained models, as arrays that a file can hold."""

from collections.abc import Callable
from typing import Any

import numpy as np

from interp_jax import circuits, lenses, models
from interp_jax.findings.induction import measures
from interp_jax.lenses import RepeatedTokens

Arrays = dict[str, np.ndarray]

# Prefix matching from which on a head counts as an induction head: what no one-layer
# model may reach. Few heads lie between 0.2 and 0.3, but those copy as the others do,
# and with one of them left in, a model is better than chance.
LEAST_MATCHING = 0.2
# A head looks one back if it does so half as much as the one that does most: several
# share the work, each at some positions, and not all of them write it down for keys.
LEAST_PREVIOUS = 0.5


def each(examine: Callable[[Any], Arrays], params: Any) -> Arrays:
  """The arrays of each of several stacked models, stacked, `[W, ...]`."""
  found = [examine(own) for own in measures.unstack(params)]
  return {name: np.stack([one[name] for one in found]) for name in found[0]}


def signs(model: models.Transformer, params: Any, repeats: RepeatedTokens) -> Arrays:
  """`measures.watch` of stacked models, `[W, ...]`."""
  found = measures.watch(model, params, repeats)
  return {name: np.asarray(value) for name, value in found._asdict().items()}


def last(history: Arrays) -> Arrays:
  """The end of what was measured along a training run."""
  return {name: values[-1] for name, values in history.items()}


def circuit(model: models.Transformer, params: Any, repeats: RepeatedTokens) -> Arrays:
  """All of one attention-only model."""
  found = heads(model, params, repeats)
  return found | wiring(model, params, repeats, found)


def heads(model: models.Transformer, params: Any, repeats: RepeatedTokens) -> Arrays:
  """What the heads do, which of them do induction, and what comes of ablating these.

  Losses are of the first and the second copy, `[2]`, with zeros and with means in the
  place of heads: see `measures.Ablations`.
  """
  scores = lenses.score_heads(model, params, repeats)
  chosen = measures.heads_above(scores.prefix_matching, LEAST_MATCHING)
  zero = measures.ablations(model, params, repeats, chosen)
  mean = measures.ablations(model, params, repeats, chosen, mean=True)
  return {
    'prefix_matching': scores.prefix_matching,
    'previous_token': scores.previous_token,
    'copying': measures.copying_scores(model, params, repeats),
    'copying_with_bos': lenses.copying_scores(params, model.cfg),
    'chosen': circuits.head_mask(chosen, scores.prefix_matching.shape),
    **{f'zero_{name}': loss for name, loss in zero._asdict().items()},
    **{f'mean_{name}': loss for name, loss in mean._asdict().items()},
  }


def wiring(
  model: models.Transformer, params: Any, repeats: RepeatedTokens, found: Arrays
) -> Arrays:
  """How an attention-only model's heads work together, by weights and by paths.

  Args:
    model: The model.
    params: Its parameters.
    repeats: What to run it on.
    found: Of the model, from `heads`.
  """
  chosen = [(int(layer), int(head)) for layer, head in np.argwhere(found['chosen'])]
  # The first layer has nothing to read.
  layer, head = measures.best_head(found['prefix_matching'][1:])
  reader = (layer + 1, head)
  previous = found['previous_token'][: reader[0]]
  writers = measures.heads_above(previous, LEAST_PREVIOUS * previous.max())
  read = measures.composition(params, model.cfg, writers, reader)
  paths = measures.right_token_paths(model, params, repeats, chosen)
  errors = [
    measures.expansion_error(model, params, repeats.tokens, double)
    for double in (False, True)
  ]
  _, acts = measures.run(model, params, repeats.tokens[:1])
  pattern = np.asarray(acts['pattern'][:, 0])
  return {
    'writer': np.array(read.writer),
    'reader': np.array(reader),
    'composition': np.array(read.ratios),
    'deviations': np.array(read.deviations),
    'paths': np.array(paths),
    'errors': np.array(errors),
    'patterns': np.stack([pattern[read.writer], pattern[reader]]),
  }
