"""Fourier analysis of what a network computes on all pairs `(a, b)` of numbers mod P.

Functions of one number are sums of waves: a constant, and `cos(2πka/P)` and
`sin(2πka/P)` for the frequencies k from 1 to `(P - 1) / 2`. Functions of two numbers
are sums of products of such waves. All arrays here are over the whole grid, so every
decomposition is exact.
"""

from collections.abc import Sequence

from jaxtyping import Float, Int
import numpy as np

# What is left of a constant after its mean is taken away in float32, relative to it.
_ROUNDING = 1e-10


def basis(modulus: int) -> Float[np.ndarray, 'P P']:
  """Orthonormal waves by row: the constant, then cosine and sine of each frequency.

  Args:
    modulus: The number `P`, odd. Frequency k has the rows `2k - 1` and `2k`.
  """
  numbers, half = np.arange(modulus), modulus // 2
  angles = 2 * np.pi / modulus * np.outer(np.arange(1, half + 1), numbers)
  waves = np.stack([np.cos(angles), np.sin(angles)], 1).reshape(2 * half, modulus)
  constant = np.full((1, modulus), modulus**-0.5)
  return np.concatenate([constant, waves * np.sqrt(2 / modulus)])


def rows_of(frequencies: Sequence[int] | Int[np.ndarray, ' F']) -> np.ndarray:
  """The rows of `basis` that belong to some frequencies."""
  k = np.asarray(frequencies, int)
  return np.stack([2 * k - 1, 2 * k], 1).ravel()


def transform(values: Float[np.ndarray, 'P P *x']) -> Float[np.ndarray, 'P P *x']:
  """Coefficients of the products of waves in `a` (first axis) and in `b` (second)."""
  waves = basis(len(values)).astype(values.dtype)
  along_a = np.tensordot(waves, values, 1)
  return np.moveaxis(np.tensordot(waves, along_a, (1, 1)), 0, 1)


def energy_by_frequency(
  values: Float[np.ndarray, 'P P M'],
) -> Float[np.ndarray, 'K K M']:
  """Sum of squares at each pair of frequencies, of `a` and of `b`; 0 is the constant.

  Args:
    values: One function of `(a, b)` for each neuron.
  """
  squares = transform(values).astype(np.float64) ** 2
  starts = [0, *range(1, len(values), 2)]
  return np.add.reduceat(np.add.reduceat(squares, starts, 0), starts, 1)


def one_frequency_share(
  values: Float[np.ndarray, 'P P M'],
) -> Float[np.ndarray, 'F M']:
  """How much of each neuron's variance the waves of one frequency explain.

  The waves of frequency k are the eight products of `1, cos, sin` of k in `a` with the
  same in `b`, the constant left out (Nanda et al. 2023, section 4.2).

  Args:
    values: The neurons' activations.

  Returns:
    The share for each frequency from 1 on, `[F, M]`; 0 for neurons that do not vary.
  """
  energy = energy_by_frequency(values)
  total = energy.sum((0, 1))
  variance = total - energy[0, 0]
  k = np.arange(1, len(energy))
  explained = energy[k, k] + energy[0, k] + energy[k, 0]
  varies = variance > _ROUNDING * total
  return np.where(varies, explained / np.where(varies, variance, 1), 0)


def by_sum(values: Float[np.ndarray, 'P P *x']) -> Float[np.ndarray, 'P *x']:
  """The mean over all pairs of the same sum modulo P, for each sum.

  What it leaves out is what depends on more than the sum.
  """
  numbers = np.arange(len(values))
  others = (numbers[:, None] - numbers) % len(values)  # b, for each sum and a.
  return values[numbers, others].mean(1, dtype=np.float64)


def waves_of_sum(
  values: Float[np.ndarray, 'P P *x'], frequencies: Sequence[int]
) -> Float[np.ndarray, 'P *x']:
  """The part of a function of `(a, b)` in `cos` and `sin` of `2πk(a + b)/P`.

  Args:
    values: Over the grid.
    frequencies: The k to keep.

  Returns:
    The part, a function of the sum alone, `[a + b, ...]`.
  """
  kept = basis(len(values))[rows_of(frequencies)]
  return np.tensordot(kept.T, np.tensordot(kept, by_sum(values), 1), 1)


def gini(values: Float[np.ndarray, ' n']) -> float:
  """The Gini coefficient: 0 if all are equal, near 1 if a few of many have all.

  Args:
    values: Numbers that are not negative, and not all 0.
  """
  ordered, count = np.sort(values), len(values)
  weights = 2 * np.arange(1, count + 1) - count - 1
  return float(weights @ ordered / (count * ordered.sum()))
