"""The quantities of the finding: what each must be, and how it follows from the arrays.

`BOUNDS` is the only place where the bounds stand; what was measured (the range over
the seeds of one run or two) is beside each.
"""

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np

from interp_jax.findings.finding import Quantity
from interp_jax.findings.induction import measures

Arrays = Mapping[str, np.ndarray]
Values = dict[str, Sequence[float] | np.ndarray]

# Updates within which the loss must fall, and loss and prefix matching change.
WINDOW = 300


@dataclasses.dataclass(frozen=True)
class Evidence:
  """What was measured, of all kinds of models; losses are in nats.

  Attributes:
    chance: Loss of knowing nothing: ln V.
    steps: Updates at each measurement of the two-layer models, `[N]`.
    watched: `measures.Watch` of these, each `[N, W, ...]`.
    two_layers: From `examine.heads` and `examine.wiring`, `[W, ...]`.
    one_layer: `measures.Watch` of the one-layer models at the end, `[W, ...]`.
    absolute: The same of the models with absolute positions.
    absolute_seen: The same, but on rows of the periods of training.
    constant: The same of the models that were trained on one period.
    constant_seen: The same, but on rows of that period.
    embedded: From `examine.heads`, of `stdlib-4l`, `[1, ...]`.
  """

  chance: float
  steps: np.ndarray
  watched: Arrays
  two_layers: Arrays
  one_layer: Arrays
  absolute: Arrays
  absolute_seen: Arrays
  constant: Arrays
  constant_seen: Arrays
  embedded: Arrays


@dataclasses.dataclass(frozen=True)
class Bound:
  """What a quantity must be, and what it is."""

  meaning: str
  at_least: float | None = None
  at_most: float | None = None
  control: bool = False
  paper: str = ''
  headline: bool = False


BOUNDS: Mapping[str, Bound] = {
  'prefix_matching': Bound(  # .71 to .84
    'attention of the best head to the token after the earlier occurrence, 0 to 1',
    at_least=0.5,
    headline=True,
  ),
  'copying': Bound(  # .98 to 1.00
    'copying score of that head: how far its OV eigenvalues are positive, -1 to 1',
    at_least=0.8,
    headline=True,
  ),
  'copying_with_bos': Bound(
    'the same with BOS among the tokens, which is never to be copied',
  ),
  'repeated_loss': Bound(  # .23 to .46
    'loss in the second copy, nats',
    at_most=2.0,
  ),
  'ablated_above_chance': Bound(  # .47 to .91
    'loss in the second copy without the induction heads, less ln V, nats',
    at_least=0.0,
    headline=True,
  ),
  'others_cost': Bound(  # -.31 to -.03
    'loss that ablating all other heads of the same layer costs, nats',
    at_most=0.5,
    control=True,
    headline=True,
  ),
  'others_cost_per_head': Bound(  # -.08 to -.02
    'that cost per head, over the cost per head of ablating the induction heads',
    at_most=0.25,
    control=True,
  ),
  'transition_drop': Bound(  # 2.2 to 2.5
    f'largest fall of the loss in the second copy within {WINDOW} updates, nats',
    at_least=1.5,
  ),
  'transition_lag': Bound(  # 0 to 50
    'updates between half the fall of the loss and half the rise of the best prefix '
    'matching',
    at_most=100.0,
  ),
  'transition_correlation': Bound(  # -1.00 to -.98
    'correlation of loss and best prefix matching over training',
    at_most=-0.9,
  ),
  'k_composition': Bound(  # 1.68 to 1.77
    'K-composition of a previous-token and the best induction head, over its random '
    'baseline',
    at_least=1.1,
  ),
  'k_composition_deviations': Bound(  # 8.9 to 11.9
    'the same in deviations of the random baseline above its mean',
    at_least=4.0,
  ),
  'q_composition': Bound('Q-composition of the same pair, over its random baseline'),
  'v_composition': Bound('V-composition of the same pair, over its random baseline'),
  'right_token_share': Bound(  # .93 to .98
    'share of the right token\'s logit that paths ending in induction heads write',
    at_least=0.5,
  ),
  'path_expansion_single': Bound(  # 4e-7 to 5e-7
    'largest error of the sum over all paths, over the largest logit, float32',
    at_most=1e-5,
  ),
  'path_expansion_double': Bound(  # 9e-16 to 1e-15
    'the same in float64',
    at_most=1e-12,
  ),
  'one_layer_matching': Bound(  # .04 to .06
    'best prefix matching of the one-layer models',
    at_most=0.2,
    control=True,
    headline=True,
  ),
  'one_layer_loss': Bound(  # 4.5 to 4.8
    'loss of the one-layer models in the second copy, nats',
    at_least=2.5,
    control=True,
  ),
  'absolute_seen_loss': Bound(  # .12 to .33
    'loss of the models with absolute positions, second copy, periods of training, '
    'nats',
    at_most=2.5,
    control=True,
    headline=True,
  ),
  'absolute_seen_matching': Bound(  # .16 to .25
    'their best prefix matching on the same rows',
    at_most=0.3,
    control=True,
    headline=True,
  ),
  'absolute_loss': Bound(
    'their loss in the second copy at other periods, nats',
    control=True,
  ),
  'constant_seen_matching': Bound(  # .76
    'best prefix matching of one-layer models trained on one period, at that period',
    at_least=0.5,
    control=True,
  ),
  'constant_matching': Bound(  # .03 to .04
    'the same models at other periods',
    at_most=0.2,
    control=True,
    headline=True,
  ),
  'stdlib_matching': Bound(  # .66 to .67
    'best prefix matching in stdlib-4l',
    at_least=0.5,
  ),
  'stdlib_cost': Bound(  # 4.7 to 4.9
    'loss that ablating its induction heads costs in the second copy, nats',
    at_least=2.0,
    headline=True,
  ),
  'stdlib_others_cost': Bound(  # -.06
    'loss that ablating the other heads of the same layers costs, nats',
    at_most=0.5,
    control=True,
  ),
}  # fmt: skip


def quantities(evidence: Evidence) -> tuple[Quantity, ...]:
  """All quantities with their bounds."""
  found = values(evidence)
  return tuple(
    Quantity(name, values=found[name], **dataclasses.asdict(bound))
    for name, bound in BOUNDS.items()
  )


def values(evidence: Evidence) -> Values:
  """The numbers, one for each seed."""
  return {
    **_of_circuit(evidence.two_layers, evidence.chance),
    **_of_transition(evidence),
    **_of_wiring(evidence.two_layers),
    **_of_controls(evidence),
    **_of_embedded(evidence.embedded),
  }


def best(scores: np.ndarray) -> np.ndarray:
  """The best head's score of each model, `[W]`, of scores `[W, L, H]`."""
  return scores.reshape(len(scores), -1).max(1)


def of_best(scores: np.ndarray, by: np.ndarray) -> np.ndarray:
  """A score `[W, L, H]` of the head that is best by another score, `[W]`."""
  chosen = by.reshape(len(by), -1).argmax(1)
  return scores.reshape(len(scores), -1)[np.arange(len(scores)), chosen]


def _of_circuit(found: Arrays, chance: float) -> Values:
  matching, chosen = found['prefix_matching'], found['chosen']
  intact, ablated, others = (
    found[f'zero_{name}'][:, 1] for name in ('intact', 'chosen', 'others')
  )
  of_layers = chosen.any(2).sum(1) * chosen.shape[2]
  counts = chosen.sum((1, 2))
  per_head = (others - intact) / np.maximum(of_layers - counts, 1)
  return {
    'prefix_matching': best(matching),
    'copying': of_best(found['copying'], matching),
    'copying_with_bos': of_best(found['copying_with_bos'], matching),
    'repeated_loss': intact,
    'ablated_above_chance': ablated - chance,
    'others_cost': others - intact,
    'others_cost_per_head': per_head / ((ablated - intact) / counts),
  }


def _of_transition(evidence: Evidence) -> Values:
  loss = evidence.watched['repeated_loss']
  matching = best_by_then(evidence.watched['prefix_matching'])
  each = [
    measures.transition(evidence.steps, loss[:, world], matching[:, world], WINDOW)
    for world in range(loss.shape[1])
  ]
  return {
    'transition_drop': [one.drop for one in each],
    'transition_lag': [abs(one.of_loss - one.of_matching) for one in each],
    'transition_correlation': [one.correlation for one in each],
  }


def best_by_then(scores: np.ndarray) -> np.ndarray:
  """At every time the score of the head that was best then, `[N, W]`.

  The first induction head need not be the one that is best at the end.
  """
  return np.stack([best(now) for now in scores])


def of_best_by_then(scores: np.ndarray, by: np.ndarray) -> np.ndarray:
  """The same head's other score, `[N, W]`."""
  return np.stack([of_best(*now) for now in zip(scores, by, strict=True)])


def _of_wiring(found: Arrays) -> Values:
  ratios, deviations = found['composition'], found['deviations']
  paths = found['paths']
  return {
    'q_composition': ratios[:, 0],
    'k_composition': ratios[:, 1],
    'v_composition': ratios[:, 2],
    'k_composition_deviations': deviations[:, 1],
    # Over the sum of sizes, since paths may push the right token down.
    'right_token_share': paths[:, 1:].sum(1) / np.abs(paths).sum(1),
    'path_expansion_single': found['errors'][:, 0],
    'path_expansion_double': found['errors'][:, 1],
  }


def _of_controls(evidence: Evidence) -> Values:
  return {
    'one_layer_matching': best(evidence.one_layer['prefix_matching']),
    'one_layer_loss': evidence.one_layer['repeated_loss'],
    'absolute_seen_loss': evidence.absolute_seen['repeated_loss'],
    'absolute_seen_matching': best(evidence.absolute_seen['prefix_matching']),
    'absolute_loss': evidence.absolute['repeated_loss'],
    'constant_seen_matching': best(evidence.constant_seen['prefix_matching']),
    'constant_matching': best(evidence.constant['prefix_matching']),
  }


def _of_embedded(found: Arrays) -> Values:
  return {
    'stdlib_matching': best(found['prefix_matching']),
    'stdlib_cost': (found['mean_chosen'] - found['mean_intact'])[:, 1],
    'stdlib_others_cost': (found['mean_others'] - found['mean_intact'])[:, 1],
  }
