"""Before the first step: the data's centre and scale, and the first parameters."""

import dataclasses
import math

import jax
from jaxtyping import Float
import numpy as np

from interp_jax.core import unknown
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.wiring import Params

CENTERS = ('mean', 'geometric_median', 'zero')
NORMALIZATIONS = ('centered', 'raw', 'none')


@dataclasses.dataclass(frozen=True)
class InputScale:
  """What training does to its inputs and where it starts.

  Attributes:
    scale: Training sees `scale * x`.
    center: `[D]`, of the raw inputs; `scale * center` is the initial `b_dec`.
    variance: Mean squared distance of a raw input from the mean: the divisor of FVU.
  """

  scale: float
  center: np.ndarray
  variance: float


def measure(
  rows: Float[np.ndarray, 'N D'],
  center: str = 'geometric_median',
  normalize: str = 'centered',
) -> InputScale:
  """The centre and the scale of a sample of the data.

  Args:
    rows: Some thousands of inputs.
    center: What `b_dec` starts at. The geometric median (Bricken et al. 2023) is not
      moved by the few positions of huge norm that transformers have.
    normalize: `'raw'` makes the mean of `||x||^2` equal to D; `'centered'` does so for
      `||x - mean||^2`, so that a mean that is large against the spread does not
      shrink what is to be learned; `'none'` leaves the inputs as they are.

  Returns:
    The scale and centre.

  Raises:
    ValueError: if an option is unknown, or the rows do not vary or are not finite.
  """
  for kind, given, allowed in (
    ('center', center, CENTERS),
    ('normalisation', normalize, NORMALIZATIONS),
  ):
    if given not in allowed:
      raise ValueError(unknown(kind, given, allowed))
  wide = np.asarray(rows, np.float64)
  mean = wide.mean(0)
  variance = float(np.mean(np.sum((wide - mean) ** 2, -1)))
  if not (math.isfinite(variance) and variance > 0):
    raise ValueError(
      f'The {len(rows)} sample rows have variance {variance}: a dictionary needs '
      'finite rows that differ.'
    )
  squares = {'centered': variance, 'raw': float(np.mean(np.sum(wide**2, -1)))}
  scale = 1.0
  if normalize != 'none':
    scale = math.sqrt(wide.shape[1] / squares[normalize])
  points = {
    'mean': lambda: mean,
    'geometric_median': lambda: geometric_median(wide),
    'zero': lambda: np.zeros_like(mean),
  }
  return InputScale(scale, points[center](), variance)


def geometric_median(
  rows: Float[np.ndarray, 'N D'], iterations: int = 50, tolerance: float = 1e-6
) -> Float[np.ndarray, ' D']:
  """The point with the least sum of distances to the rows, by Weiszfeld's iteration.

  Args:
    rows: The points.
    iterations: The most iterations.
    tolerance: Stop when a step is shorter than this share of the mean distance.

  Returns:
    The point, float64.
  """
  rows = np.asarray(rows, np.float64)
  point = rows.mean(0)
  for _ in range(iterations):
    distances = np.linalg.norm(rows - point, axis=1)
    # A row that is the point itself would have infinite weight.
    weights = 1 / np.maximum(distances, 1e-12 + 1e-6 * distances.mean())
    moved = weights @ rows / weights.sum()
    step = np.linalg.norm(moved - point)
    point = moved
    if step <= tolerance * distances.mean():
      break
  return point


def init_params(config: DictionaryConfig, inputs: InputScale, seed: int) -> Params:
  """The first parameters, for inputs times `inputs.scale`.

  Args:
    config: The dictionary's.
    inputs: Centre and scale of the data.
    seed: Of the random directions.

  Returns:
    Parameters by name.
  """
  center = np.asarray(inputs.scale * inputs.center, np.float32)
  key = jax.random.key(seed)
  return config.wires.init(
    key, config.width, config.features, jax.numpy.asarray(center)
  )
