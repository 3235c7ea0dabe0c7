"""Four methods that score edges, against measuring every edge, and against chance.

Each method scores all edges of the residual graph. How it agrees with exact patching
edge by edge is one question; how well circuits of its best edges do what the model does
is another (CMD of MIB, Mueller et al. 2025, arXiv:2504.13151).
"""

from collections.abc import Mapping
import dataclasses
import functools

from jaxtyping import Int
import numpy as np

from interp_jax import circuits

EXACT, EAP, EAP_IG, ACDC = 'exact', 'eap', 'eap-ig-inputs', 'acdc'
METHODS = (EXACT, EAP_IG, EAP, ACDC)
# ACDC's thresholds, as shares of the loss with every edge ablated. Above the first it
# keeps nearly nothing, below the last nearly everything.
THRESHOLDS = (0.1, 0.01, 0.001)
# Decisions that ACDC bets on at once. Many edges stay here, so that long bets are lost.
BETS = 8
# Midpoints on the way from the corrupted to the clean embedding.
STEPS = 10
# Edges that are compared by rank.
TOP = 20


@dataclasses.dataclass(frozen=True)
class Compared:
  """A method, compared.

  Attributes:
    agreement: With exact patching, edge by edge.
    curve: The faithfulness of circuits of its best edges, at MIB's sizes.
  """

  agreement: circuits.Agreement
  curve: circuits.FaithfulnessCurve


def score_edges(
  question: circuits.Discovery, few: circuits.Discovery
) -> dict[str, circuits.EdgeScores]:
  """Scores all edges by every method, in the order of `METHODS`.

  Args:
    question: The model and prompts.
    few: The same with fewer prompts, for ACDC, which runs the model most often.

  Returns:
    Method → scores.
  """
  score = functools.partial(circuits.discover_edges, progress=False)
  (nothing,) = circuits.make_thresholds(few, 1)
  thresholds = nothing * np.array(THRESHOLDS)
  return {
    EXACT: score(question, EXACT),
    EAP_IG: score(question, EAP_IG, steps=STEPS),
    EAP: score(question, EAP),
    ACDC: score(few, ACDC, thresholds=thresholds, bets=BETS),
  }


def compare(
  question: circuits.Discovery,
  scores: Mapping[str, circuits.EdgeScores],
  exact: circuits.EdgeScores,
) -> dict[str, Compared]:
  """Compares scores with exact ones, and circuits made of them with the model.

  Args:
    question: The model and prompts that circuits are tested on: better not those that
      the scores are from.
    scores: Name → scores.
    exact: The scores of exact patching.

  Returns:
    Name → what came of it.
  """
  return {
    name: Compared(
      circuits.agreement(some, exact, TOP),
      circuits.faithfulness_curve(question, some, progress=False),
    )
    for name, some in scores.items()
  }


def shuffled(
  scores: circuits.EdgeScores, draws: int, seed: int
) -> list[circuits.EdgeScores]:
  """The same scores, dealt out to other edges at random: the control of all methods."""
  rng = np.random.default_rng(seed)
  found = []
  for _ in range(draws):
    values = np.zeros(scores.graph.shape)
    values[scores.graph.edges] = rng.permutation(scores.flat)
    found.append(circuits.EdgeScores(scores.graph, values))
  return found


def random_circuits(
  circuit: circuits.Circuit, draws: int, seed: int
) -> list[circuits.Circuit]:
  """Circuits of as many random edges."""
  rng = np.random.default_rng(seed)
  places = np.argwhere(circuit.graph.edges)
  found = []
  for _ in range(draws):
    edges = np.zeros(circuit.graph.shape, bool)
    chosen = places[rng.choice(len(places), len(circuit), replace=False)]
    edges[tuple(chosen.T)] = True
    found.append(circuits.Circuit(circuit.graph, edges))
  return found


def choose_circuit(
  scores: circuits.EdgeScores, whole: float, share: float
) -> circuits.Circuit:
  """The edges that alone change the metric by a share of it or more, connected.

  Args:
    scores: The scores, in units of the metric.
    whole: The metric of the model less that of the corrupted run.
    share: The share.

  Returns:
    The circuit, without edges that lead nowhere.
  """
  return scores.above(share * abs(whole)).pruned()


def derangement(count: int, rng: np.random.Generator) -> Int[np.ndarray, ' n']:
  """A permutation that leaves nothing in its place."""
  while True:
    order = rng.permutation(count)
    if (order != np.arange(count)).all():
      return order
