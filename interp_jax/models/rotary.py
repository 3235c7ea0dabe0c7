"""Rotary positions and the ways in which their wavelengths are stretched.

Su et al. 2021, arXiv:2104.09864. Frequencies are constants of the program: they are
computed by numpy in float64 and rounded once.
"""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from interp_jax.core import known, unknown

SCALINGS = ('linear', 'dynamic', 'llama3', 'yarn', 'longrope')


@dataclasses.dataclass(frozen=True)
class RotaryScaling:
  """How rotary wavelengths are stretched, so that a model reads longer contexts.

  Attributes:
    kind: 'linear' (Chen et al. 2023, arXiv:2306.15595), 'dynamic' (NTK-aware, by the
      number of positions of the run), 'llama3' (Llama 3.1), 'yarn' (Peng et al. 2023,
      arXiv:2309.00071) or 'longrope' (Ding et al. 2024, arXiv:2402.13753).
    factor: How many times longer the context is to be.
    original_context: Context of the pretraining; 'dynamic' and 'longrope' scale runs of
      more positions only, 'llama3' and 'yarn' judge wavelengths by it.
    attention_factor: Factor on rotated queries and keys ('yarn', 'longrope').
    low_freq_factor: 'llama3': wavelengths above `original_context / low_freq_factor`
      are stretched in full,
    high_freq_factor: and those below `original_context / high_freq_factor` not at all.
    beta_fast: 'yarn': pairs that turn more often than this over the original context
      are not stretched,
    beta_slow: and those that turn less often than this are stretched in full.
    truncate: 'yarn': whether the two bounds are rounded to whole pairs.
    short_factor: 'longrope': stretch of each pair in runs within the original context,
    long_factor: and in longer ones.
  """

  kind: str
  factor: float = 1.0
  original_context: int = 0
  attention_factor: float = 1.0
  low_freq_factor: float = 1.0
  high_freq_factor: float = 4.0
  beta_fast: float = 32.0
  beta_slow: float = 1.0
  truncate: bool = True
  short_factor: tuple[float, ...] = ()
  long_factor: tuple[float, ...] = ()

  def __post_init__(self):
    """Refuses what makes no sense."""
    if self.kind not in SCALINGS:
      raise ValueError(unknown('rotary scaling', self.kind, SCALINGS))
    if self.kind != 'linear' and self.original_context < 1:
      raise ValueError(
        f'RotaryScaling: {self.kind!r} needs original_context, the context of the '
        f'pretraining; got {self.original_context}.'
      )
    if self.factor <= 0:
      raise ValueError(f'RotaryScaling: factor={self.factor} must be positive.')

  @classmethod
  def from_dict(
    cls, fields: 'Mapping[str, Any] | RotaryScaling | None'
  ) -> 'RotaryScaling | None':
    """From JSON's dict; a scaling, or None for none, is returned as it is."""
    if not isinstance(fields, Mapping):
      return fields
    given = known(cls, fields, 'field of RotaryScaling')
    for name in ('short_factor', 'long_factor'):
      given[name] = tuple(given.get(name, ()))
    return cls(**given)


def rotary_frequencies(
  dim: int,
  base: float,
  scaling: RotaryScaling | None,
  length: int | Int[Array, ' B'],
) -> Any:
  """Angle per position of each rotated pair: `base ** (-2 i / dim)`, scaled.

  Args:
    dim: Number of rotated entries of a head.
    base: Base of the wavelengths.
    scaling: How they are stretched, if they are.
    length: Number of tokens of the run, or of each row; 'dynamic' and 'longrope' depend
      on it.

  Returns:
    The frequencies of the `dim / 2` pairs, float64 by numpy; those of each row,
    `[B, dim / 2]` by jax, if they depend on its length.
  """
  exponents = np.arange(0, dim, 2) / dim
  if scaling is not None and scaling.kind == 'dynamic':
    return _by_row(_dynamic_base(base, dim, scaling, length)) ** -exponents
  frequencies = base**-exponents
  if scaling is None:
    return frequencies
  if scaling.kind == 'linear':
    return frequencies / scaling.factor
  if scaling.kind == 'longrope':
    long, short = np.array(scaling.long_factor), np.array(scaling.short_factor)
    if isinstance(length, int):
      return frequencies / (long if length > scaling.original_context else short)
    is_long = _by_row(length > scaling.original_context)
    return jnp.where(is_long, frequencies / long, frequencies / short)
  if scaling.kind == 'llama3':
    kept = _llama3_kept(frequencies, scaling)
  else:
    kept = _yarn_kept(dim, base, scaling)
  return frequencies * kept + frequencies / scaling.factor * (1 - kept)


def _by_row(value: Any) -> Any:
  return value if isinstance(value, float) else value[:, None]


def _dynamic_base(base: float, dim: int, scaling: RotaryScaling, length: Any) -> Any:
  """A base so large that the longest wavelength grows with the run."""
  larger = max if isinstance(length, int) else jnp.maximum
  stretch = larger(length / scaling.original_context, 1.0)
  grown = scaling.factor * stretch - (scaling.factor - 1)
  return base * grown ** (dim / (dim - 2))


def _llama3_kept(frequencies: np.ndarray, scaling: RotaryScaling) -> np.ndarray:
  """How much of each frequency is kept as it is, by its turns in the old context."""
  turns = scaling.original_context * frequencies / (2 * math.pi)
  low, high = scaling.low_freq_factor, scaling.high_freq_factor
  return np.clip((turns - low) / (high - low), 0, 1)


def _yarn_kept(dim: int, base: float, scaling: RotaryScaling) -> np.ndarray:
  """The same by a ramp over the pairs, between two numbers of turns."""

  def pair(turns: float) -> float:
    wavelength = scaling.original_context / (turns * 2 * math.pi)
    return dim * math.log(wavelength) / (2 * math.log(base))

  low, high = pair(scaling.beta_fast), pair(scaling.beta_slow)
  if scaling.truncate:
    low, high = math.floor(low), math.ceil(high)
  low, high = max(low, 0), min(high, dim - 1)
  ramp = (np.arange(dim // 2) - low) / max(high - low, 0.001)
  return 1 - np.clip(ramp, 0, 1)


def rotate(
  x: Float[Array, 'B T H K'],
  positions: Int[Array, '#B T'],
  frequencies: Float[Array, '*row half'],
  interleaved: bool,
  factor: Any = 1.0,
) -> Float[Array, 'B T H K']:
  """Rotates queries or keys by their positions.

  Args:
    x: Queries or keys.
    positions: Their positions; a batch axis of 1 serves all rows.
    frequencies: Angle per position of each pair, of all rows or of each; twice as many
      leading entries of the head are rotated, the others left as they are.
    interleaved: Whether pairs are neighbours or halves apart.
    factor: On the rotated entries.

  Returns:
    The rotated queries or keys.
  """
  half = frequencies.shape[-1]
  angle = positions[:, :, None, None] * frequencies[..., None, None, :]
  cos, sin = jnp.cos(angle) * factor, jnp.sin(angle) * factor
  turned, rest = x[..., : 2 * half].astype(angle.dtype), x[..., 2 * half :]
  if interleaved:
    one, two = turned[..., 0::2], turned[..., 1::2]
  else:
    one, two = turned[..., :half], turned[..., half:]
  parts: list[jax.Array] = [one * cos - two * sin, two * cos + one * sin]
  if interleaved:
    turned = jnp.stack(parts, -1).reshape(turned.shape)
  else:
    turned = jnp.concatenate(parts, -1)
  return jnp.concatenate([turned.astype(x.dtype), rest], -1)
