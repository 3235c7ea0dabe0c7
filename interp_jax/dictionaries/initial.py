"""Before the first step: the data's centre and scale, and the first parameters."""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float
import numpy as np

from interp_jax.core import unknown
from interp_jax.dictionaries.activation import Plan
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.constraint import unit_rows

CENTERS = ('mean', 'geometric_median', 'zero')
NORMALIZATIONS = ('centered', 'raw', 'mean_norm', 'unit', 'none')
DECODERS = ('random', 'data', 'zero')
ENCODERS = ('transpose', 'random')
BIASES = ('b_enc', 'b_gate', 'b_mag')


@dataclasses.dataclass(frozen=True)
class InputScale:
  """What training does to its data and where it starts.

  Attributes:
    inputs: Training sees `inputs * x`: one factor for each source, `[1]`, `[S, 1]` or
      `[L, 1]`.
    outputs: The same for targets.
    center: `[*out]`, of the raw targets; `outputs * center` is the initial `b_dec`.
    input_center: `[*in]`, of the raw inputs.
    variance: Mean squared distance of a raw target from the mean: the divisor of FVU.
  """

  inputs: np.ndarray
  outputs: np.ndarray
  center: np.ndarray
  input_center: np.ndarray
  variance: float


def measure(
  inputs: Float[np.ndarray, 'N *in'],
  center: str = 'geometric_median',
  normalize: str = 'centered',
  targets: Float[np.ndarray, 'N *out'] | None = None,
) -> InputScale:
  """The centre and the scale of a sample of the data.

  Args:
    inputs: Some thousands of inputs.
    center: What `b_dec` starts at. The geometric median (Bricken et al. 2023) is not
      moved by the few positions of huge norm that transformers have. Of several
      sources, each has its own.
    normalize: `'raw'` makes the mean of `||x||^2` equal to D, of every source;
      `'centered'` does so for `||x - mean||^2`, so that a mean that is large against
      the spread does not shrink what is to be learned; `'mean_norm'` makes the mean of
      `||x||` equal to the root of D (SAELens's `expected_average_only_in`); `'unit'`
      makes the mean of `||x||^2` equal to 1 (dictionary_learning); `'none'` leaves the
      data as they are.
    targets: What is to be predicted; None for the inputs.

  Returns:
    The scale and centre.

  Raises:
    ValueError: if an option is unknown, or the rows do not vary or are not finite.
  """
  for kind, given, allowed in (
    ('centre', center, CENTERS),
    ('normalisation', normalize, NORMALIZATIONS),
  ):
    if given not in allowed:
      raise ValueError(unknown(kind, given, allowed))
  same = targets is None
  x, y = (np.asarray(a, np.float64) for a in (inputs, inputs if same else targets))
  variance = float(np.sum(y.var(0)))
  if not (math.isfinite(variance) and variance > 0):
    raise ValueError(
      f'The {len(y)} sample rows have variance {variance}: a dictionary needs '
      'finite rows that differ.'
    )
  scales = [_scale(x, normalize), _scale(y, normalize)]
  centers = [_center(x, center), _center(y, center)]
  return InputScale(scales[0], scales[1], centers[1], centers[0], variance)


def _scale(rows: np.ndarray, normalize: str) -> np.ndarray:
  """The factor of each source."""
  width = rows.shape[-1]
  spread = {
    'none': lambda: np.full(rows.shape[1:-1], float(width)),
    'raw': lambda: np.mean(np.sum(rows**2, -1), 0),
    'centered': lambda: np.sum(rows.var(0), -1),
    'mean_norm': lambda: np.mean(np.linalg.norm(rows, axis=-1), 0) ** 2,
    'unit': lambda: width * np.mean(np.sum(rows**2, -1), 0),
  }[normalize]()
  if not np.all(spread > 0):
    raise ValueError(
      'A source of the sample does not vary, so that it cannot be scaled. Leave it '
      "out, or train with normalize='none'."
    )
  return np.sqrt(width / spread)[..., None].astype(np.float32)


def _center(rows: np.ndarray, center: str) -> np.ndarray:
  if center == 'zero':
    return np.zeros(rows.shape[1:])
  if center == 'mean':
    return rows.mean(0)
  sources = rows.reshape(len(rows), -1, rows.shape[-1]).swapaxes(0, 1)
  return np.stack([geometric_median(one) for one in sources]).reshape(rows.shape[1:])


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


@dataclasses.dataclass(frozen=True)
class Init:
  """How the first weights are drawn.

  Attributes:
    decoder: `'random'` directions; `'data'`, directions of random rows of the sample
      from its centre; or `'zero'` (sparsify's transcoders).
    norm: The norm of the decoder's rows; 1 under the unit-norm constraint, 0.1 in
      Anthropic's April 2024 update and in SAELens.
    encoder: `'transpose'` of the decoder, or `'random'` directions of its own.
    encoder_norm: The norm of the encoder's columns; None for that of the decoder's
      rows.
    centered: Whether the encoder's biases start so that pre-activations are 0 at the
      data's centre, as they are anyway where the encoder subtracts `b_dec`.
  """

  decoder: str = 'random'
  norm: float = 1.0
  encoder: str = 'transpose'
  encoder_norm: float | None = None
  centered: bool = False

  def __post_init__(self) -> None:
    for kind, given, allowed in (
      ('initial decoder', self.decoder, DECODERS),
      ('initial encoder', self.encoder, ENCODERS),
    ):
      if given not in allowed:
        raise ValueError(unknown(kind, given, allowed))


def init_params(
  config: DictionaryConfig,
  scale: InputScale,
  seed: Any,
  init: Init = Init(),
  sample: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
  """The first parameters, for data times `scale`.

  Args:
    config: The dictionary's.
    scale: Centre and scale of the data.
    seed: Of the random draws.
    init: How the weights are drawn.
    sample: Raw `inputs` and `targets`, for `init.decoder='data'`.

  Returns:
    Parameters by name, float32.

  Raises:
    ValueError: if the decoder should be of data and there are fewer rows than features.
  """
  keys = jax.random.split(jax.random.key(seed), 3)
  shapes = config.wiring.shapes(config.width, config.features)
  W_dec = _decoder(config, scale, keys[0], init, sample, shapes['W_dec'])
  params = config.activation.init(config.code_shape) | {
    'W_dec': W_dec,
    'b_dec': jnp.asarray(scale.outputs * scale.center, jnp.float32),
  }
  if 'W_enc' in shapes:
    params['W_enc'] = _encoder(config, keys[1], init, W_dec)
  if 'W_skip' in shapes:
    params['W_skip'] = jnp.zeros(shapes['W_skip'])
  if init.centered:
    center = jnp.asarray(scale.inputs * scale.input_center, jnp.float32)
    none = jnp.zeros(config.code_shape)
    bias = -config.wiring.project(params, center[None], none, Plan())[0]
    params |= {name: bias for name in BIASES if name in params}
  return params


def _decoder(
  config: DictionaryConfig,
  scale: InputScale,
  key: Any,
  init: Init,
  sample: Mapping[str, np.ndarray] | None,
  shapes: Any,
) -> Any:
  """Random or measured directions, each leaf of `W_dec` with rows of the norm."""
  if init.decoder == 'zero':
    return jax.tree.map(jnp.zeros, shapes, is_leaf=_is_shape)
  if init.decoder == 'data':
    return _data_rows(config, scale, key, init, sample, shapes)
  leaves, tree = jax.tree.flatten(shapes, is_leaf=_is_shape)
  keys = jax.random.split(key, len(leaves))
  draw = lambda key, shape: init.norm * unit_rows(jax.random.normal(key, shape))
  return jax.tree.unflatten(tree, [draw(*p) for p in zip(keys, leaves, strict=True)])


def _is_shape(x: Any) -> bool:
  return isinstance(x, tuple)


def _data_rows(
  config: DictionaryConfig,
  scale: InputScale,
  key: Any,
  init: Init,
  sample: Mapping[str, np.ndarray] | None,
  shapes: Any,
) -> Any:
  rows = () if sample is None else sample['targets']
  if len(rows) < config.features or not _is_shape(shapes):
    raise ValueError(
      f"init.decoder='data' needs a sample of at least {config.features} rows (given: "
      f'{len(rows)}) and a wiring with one decoder. Give more rows, or draw at random.'
    )
  chosen = jax.random.choice(key, len(rows), (config.features,), replace=False)
  away = jnp.asarray((rows - scale.center) * scale.outputs, jnp.float32)[chosen]
  return init.norm * unit_rows(away)


def _encoder(config: DictionaryConfig, key: Any, init: Init, W_dec: Any) -> Any:
  """The transpose of what the decoder writes where the encoder reads, or random."""
  norm = init.norm if init.encoder_norm is None else init.encoder_norm
  layered = config.wiring.name == 'cross_layer'
  rows = W_dec
  if layered:  # A feature's own layer is the first that it writes to.
    rows = jnp.stack([W_dec[name][:, 0] for name in sorted(W_dec, key=int)])
  lead = config.code_shape[:-1]
  shape = (*config.code_shape, *config.in_shape[len(lead) :])
  drawn = init.encoder == 'random' or init.decoder == 'zero' or rows.shape != shape
  if drawn:
    rows = jax.random.normal(key, shape)
  if drawn or init.encoder_norm is not None:
    rows = norm * (jax.vmap(unit_rows) if layered else unit_rows)(rows)
  return jnp.moveaxis(rows, len(lead), -1)
