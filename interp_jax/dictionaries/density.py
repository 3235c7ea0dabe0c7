"""How often features are active: the histogram of log10 of their densities.

The density of a feature is the share of N rows in which its code is not zero. A healthy
dictionary has one broad hill of densities; a second hill far to the left is of features
that are dying ("ultra-low density", Bricken et al. 2023), a pile to the right of
features that are nearly always on. Features that were never active have no logarithm
and are counted apart. A density below `1 / N` cannot be seen: N is part of the result.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

from jaxtyping import Float, Int
import numpy as np

from interp_jax.dictionaries.metrics import DENSE_ABOVE, Metrics

# What SAELens adds to a density before it takes the logarithm.
FLOOR = 1e-10


@dataclasses.dataclass(frozen=True)
class DensityHistogram:
  """Counts of features by log10 of their density.

  Attributes:
    rows: N, over how many rows the densities were taken.
    edges: `[n + 1]`, log10 densities between the bins.
    counts: `[n]`, features in each bin: from its lower edge up to, and in the last bin
      with, its upper edge.
    dead: Features that were never active, in no bin.
    below: Features that were active, less often than the lowest edge says.
    dense: Features active on more than `DENSE_ABOVE` of the rows, in their bins too.
  """

  rows: int
  edges: Float[np.ndarray, ' n_plus_1']
  counts: Int[np.ndarray, ' n']
  dead: int
  below: int
  dense: int

  def to_dict(self) -> dict[str, Any]:
    """As plain data, for JSON."""
    fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    return fields | {'edges': self.edges.tolist(), 'counts': self.counts.tolist()}


def density_histogram(
  scores: Metrics, edges: Sequence[float] | Float[np.ndarray, ' n_plus_1'] | None = None
) -> DensityHistogram:
  """The histogram of log10 densities.

  Args:
    scores: From `evaluate`.
    edges: Rising log10 densities, at least two, the last not below 0; None for a
      quarter of a decade a bin from the first whole decade below `1 / N` up to 0.

  Returns:
    The histogram.

  Raises:
    ValueError: if the edges are not such.
  """
  if edges is None:
    # A whole decade lower where N is a power of ten, so that 1 / N is not on an edge.
    decades = int(np.floor(np.log10(scores.rows) + 1e-9)) + 1
    edges = np.linspace(-decades, 0, 4 * decades + 1)
  edges = np.asarray(edges, np.float64)
  if len(edges) < 2 or not (np.diff(edges) > 0).all() or edges[-1] < 0:
    raise ValueError(
      f'density_histogram: edges={edges.tolist()}. Give two or more rising log10 '
      'densities of which the last is 0 or more, so that no feature is above them all.'
    )
  density = scores.density.reshape(-1)
  logs = np.log10(density[density > 0])
  counts, _ = np.histogram(logs, edges)
  return DensityHistogram(
    rows=scores.rows,
    edges=edges,
    counts=counts,
    dead=int(np.sum(density == 0)),
    below=int(np.sum(logs < edges[0])),
    dense=int(np.sum(density > DENSE_ABOVE)),
  )


def log10_density(
  density: Float[np.ndarray, '... F'], floor: float = FLOOR
) -> Float[np.ndarray, '... F']:
  """`log10(density + floor)`: what SAELens keeps in `sparsity.safetensors`.

  Args:
    density: Densities.
    floor: What is added, so that a dead feature has a finite number.

  Returns:
    The logarithms.
  """
  return np.log10(density + floor)
