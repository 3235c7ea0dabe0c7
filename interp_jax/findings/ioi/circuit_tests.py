"""Is a circuit faithful, complete and minimal? And would any other circuit be?

Wang et al. 2023 (arXiv:2211.00593), section 4, on prompts that the circuit was not
found on. All scores are shares of the model's logit difference.
"""

import dataclasses

from jaxtyping import Float
import numpy as np

from interp_jax import circuits
from interp_jax.findings.ioi.methods import random_circuits


@dataclasses.dataclass(frozen=True)
class CircuitTests:
  """What a circuit passes, and what its controls do.

  Attributes:
    faithfulness: Of the circuit: 1 does as the model, 0 as nothing.
    random: Faithfulness of circuits of as many random edges, `[draws]`.
    random_subsets: `|F(C - K) - F(M - K)|` for random sets K of its nodes, `[draws]`.
    greedy: The largest that a greedy search for K finds.
    greedy_set: This K.
    nodes: The nodes of the circuit.
    minimality: What each of them changes at most, in the order of `nodes`.
  """

  faithfulness: float
  random: Float[np.ndarray, ' draws']
  random_subsets: Float[np.ndarray, ' draws']
  greedy: float
  greedy_set: tuple[str, ...]
  nodes: tuple[str, ...]
  minimality: Float[np.ndarray, ' nodes']


def check_circuit(
  question: circuits.Discovery,
  circuit: circuits.Circuit,
  *,
  draws: int = 20,
  greedy_size: int = 4,
  seed: int = 0,
) -> CircuitTests:
  """Tests a circuit.

  Args:
    question: The model on prompts that the circuit was not found on.
    circuit: The circuit.
    draws: Random circuits, and random sets of nodes.
    greedy_size: Nodes of the largest set that the greedy search tries.
    seed: Of the draws.

  Returns:
    What came of it.

  Raises:
    ValueError: if the circuit has no heads.
  """
  if not circuits.inner_nodes(circuit):
    raise ValueError(
      'check_circuit: the circuit has no heads, so there is nothing to knock out. '
      'Choose it by a lower threshold.'
    )
  others = random_circuits(circuit, draws, seed)
  values = circuits.faithfulness(question, [circuit, *others])
  edges = np.array(question.graph.edges)
  ends = question.run(np.stack([edges, np.zeros_like(edges)]))
  whole = abs(float(ends[0] - ends[1]))
  sets = circuits.random_subsets(circuit, draws, seed)
  at_random = circuits.completeness(question, circuit, sets)
  greedy = circuits.completeness(
    question, circuit, circuits.greedy_subsets(question, circuit, greedy_size)
  )
  worst = int(greedy.incompleteness.argmax())
  minimal = circuits.minimality(question, circuit, size=1)
  return CircuitTests(
    faithfulness=float(values[0]),
    random=values[1:],
    random_subsets=at_random.incompleteness / whole,
    greedy=float(greedy.incompleteness[worst] / whole),
    greedy_set=tuple(sorted(greedy.subsets[worst])),
    nodes=minimal.nodes,
    minimality=minimal.scores / whole,
  )
