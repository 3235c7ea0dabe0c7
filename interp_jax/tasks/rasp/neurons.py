"""Neurons: what MLPs compute, value by value.

A neuron is `relu(in · x + bias)` and writes `out` times that. At BOS every neuron is
off: those that read categories because none stands there, the others because they read
the mark of real positions.
"""

import dataclasses

from jaxtyping import Float
import numpy as np

from interp_jax.tasks.rasp.layout import BOS, REAL, Layout, Space
from interp_jax.tasks.rasp.program import (
  Expression,
  Map,
  SelectorWidth,
  Sequence,
  SequenceMap,
  Value,
)
from interp_jax.tasks.rasp.values import index


@dataclasses.dataclass
class Neurons:
  """Neurons as lists: what each reads, its bias, and what it writes."""

  width: int
  reads: list[np.ndarray] = dataclasses.field(default_factory=list)
  biases: list[float] = dataclasses.field(default_factory=list)
  writes: list[np.ndarray] = dataclasses.field(default_factory=list)

  def add(self, read: dict[int, float], bias: float, write: np.ndarray) -> None:
    """One more, unless it writes nothing."""
    if write.any():
      row = np.zeros(self.width)
      for dim, weight in read.items():
        row[dim] += weight
      self.reads.append(row)
      self.biases.append(bias)
      self.writes.append(write)

  def arrays(
    self, count: int
  ) -> tuple[
    Float[np.ndarray, 'D M'], Float[np.ndarray, ' M'], Float[np.ndarray, 'M D']
  ]:
    """`W_in`, `b_in` and `W_out`, padded with neurons that do nothing."""
    w_in = np.zeros((self.width, count))
    b_in = np.zeros(count)
    w_out = np.zeros((count, self.width))
    for i, row in enumerate(self.reads):
      w_in[:, i], b_in[i], w_out[i] = row, self.biases[i], self.writes[i]
    return w_in, b_in, w_out


def add_neurons(layout: Layout, expression: Expression, neurons: Neurons) -> None:
  """Adds the neurons of a map, a map of pairs, or the second half of a width.

  Args:
    layout: The plan.
    expression: What to compute.
    neurons: Where to add them.
  """
  match expression:
    case Map(function=function, of=of) if of.kind == 'categorical':
      for i, value in enumerate(layout.values[of]):
        dim = layout.spaces[of].start + i
        write = _write(layout, expression, function(value))
        neurons.add({dim: 1.0}, 0.0, write)
    case Map(function=function, of=of):
      numbers = np.array(layout.values[of], float)
      results = [function(number) for number in layout.values[of]]
      _staircase(layout, expression, layout.spaces[of], numbers, results, neurons)
    case SequenceMap(function=function, first=first, second=second):
      for i, a in enumerate(layout.values[first]):
        for j, b in enumerate(layout.values[second]):
          read = {layout.spaces[first].start + i: 1.0}
          other = layout.spaces[second].start + j
          read[other] = read.get(other, 0.0) + 1.0
          write = _write(layout, expression, function(a, b))
          neurons.add(read, -1.0, write)
    case SelectorWidth():
      # 1 / (n + 1), rising; 0, which is no width, comes first and has no result.
      longest = layout.values.max_length
      widths = list(range(longest, -1, -1))
      numbers = np.array([0.0] + [1 / (n + 1) for n in widths])
      space = layout.spaces[BOS, expression]
      _staircase(layout, expression, space, numbers, [None, *widths], neurons)


def _write(
  layout: Layout, sequence: Sequence, result: Value
) -> Float[np.ndarray, ' D']:
  """The vector that says that a sequence has a value."""
  out = np.zeros(layout.width)
  space = layout.spaces[sequence]
  if sequence.kind == 'numerical':
    out[space.start] = 0.0 if result is None else float(result)  # pyrefly: ignore
  elif result is not None:
    out[space.start + index(layout.values[sequence])[result]] = 1
  return out


def _staircase(
  layout: Layout,
  sequence: Sequence,
  source: Space,
  numbers: Float[np.ndarray, ' n'],
  results: list[Value],
  neurons: Neurons,
) -> None:
  """Any function of finitely many numbers: a step half-way between two of them.

  A step rises from 0 to 1 over the middle half of the gap, as the difference of two
  neurons, so that small errors of the number do no harm.
  """
  real = layout.spaces[REAL].start
  level = _write(layout, sequence, results[0])
  neurons.add({real: 1.0}, 0.0, level)
  for low, high, result in zip(numbers, numbers[1:], results[1:], strict=False):
    following = _write(layout, sequence, result)
    slope = 2 / (high - low)
    for shift, sign in ((0.5, 1.0), (1.5, -1.0)):
      # slope (x - low) - shift, and less than 0 where the mark is missing.
      off = slope * max(float(numbers[-1]), 1.0) + abs(slope * low) + shift
      bias = -slope * low - shift - off
      neurons.add({source.start: slope, real: off}, bias, sign * (following - level))
    level = following
