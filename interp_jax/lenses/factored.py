"""Matrices of low rank, kept as two factors and never multiplied out unasked.

A head's QK and OV circuits are `[D, D]`, and `[V, V]` between tokens, but of rank K.
Products, norms, singular values and eigenvalues all follow from the factors at a cost
that is quadratic in K, not in D.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from interp_jax.core import unknown

_NORMS = ('frobenius', 'spectral', 'nuclear')


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class FactoredMatrix:
  """A matrix `A @ B` `[..., X, Y]`, or a stack of them, as a pytree.

  Leading axes of the two factors broadcast, and are kept apart: a factor that all
  matrices of a stack share is there once. Rows stand on the left, as everywhere here:
  `x @ circuit`.

  Attributes:
    A: Left factor, `[..., X, R]`.
    B: Right factor, `[..., R, Y]`.
  """

  A: Any
  B: Any

  # numpy asks this class before it tries to make an array of it.
  __array_ufunc__ = None

  def __post_init__(self):
    """Refuses factors that do not fit; in a `tree.map` leaves may be anything."""
    a, b = (getattr(factor, 'shape', ()) for factor in (self.A, self.B))
    if len(a) > 1 and len(b) > 1 and a[-1] != b[-2]:
      raise ValueError(
        f'FactoredMatrix: A is {a} and B {b}; give [..., X, R] and [..., R, Y].'
      )

  @property
  def shape(self) -> tuple[int, ...]:
    """Of the product."""
    leading = np.broadcast_shapes(self.A.shape[:-2], self.B.shape[:-2])
    return (*leading, self.A.shape[-2], self.B.shape[-1])

  @property
  def ndim(self) -> int:
    """Number of axes of the product."""
    return len(self.shape)

  @property
  def rank(self) -> int:
    """Most that the rank can be: the length of the axis between the factors."""
    return self.A.shape[-1]

  def __repr__(self) -> str:
    return f'FactoredMatrix(shape={self.shape}, rank={self.rank})'

  # What is read off the factors.

  @property
  def AB(self) -> Float[Array, '*b X Y']:
    """The product: the whole matrix, which may be large."""
    return jnp.asarray(self.A) @ self.B

  @property
  def BA(self) -> Float[Array, '*b R R']:
    """The factors the other way round: small, with the same eigenvalues but zeros."""
    self._check_square('BA')
    return jnp.asarray(self.B) @ self.A

  @property
  def T(self) -> 'FactoredMatrix':
    """The transpose."""
    return FactoredMatrix(jnp.matrix_transpose(self.B), jnp.matrix_transpose(self.A))

  def diagonal(self) -> Float[Array, '*b X']:
    """The diagonal of a square matrix."""
    self._check_square('diagonal')
    return jnp.einsum('...xr,...rx->...x', self.A, self.B)

  def trace(self) -> Float[Array, '*b']:
    """The sum of the diagonal, which is that of the eigenvalues."""
    return self.diagonal().sum(-1)

  def reduced(self) -> Float[Array, '*b R R']:
    """A small matrix with the same singular values, by QR of both factors."""
    right = jnp.matrix_transpose(triangle(jnp.matrix_transpose(self.B)))
    return triangle(self.A) @ right

  def singular_values(self) -> Float[Array, '*b R']:
    """The singular values that can differ from zero, largest first."""
    return jnp.linalg.svd(self.reduced(), compute_uv=False)

  def svd(
    self,
  ) -> tuple[Float[Array, '*b X R'], Float[Array, '*b R'], Float[Array, '*b R Y']]:
    """`U, S, Vh` with `(U * S[..., None, :]) @ Vh` the matrix, as numpy's.

    Columns that belong to a singular value of zero are orthonormal, but otherwise any.
    """
    left, small = jnp.linalg.qr(jnp.asarray(self.A))
    right, other = jnp.linalg.qr(jnp.matrix_transpose(self.B))
    u, s, vh = jnp.linalg.svd(small @ jnp.matrix_transpose(other), full_matrices=False)
    return left @ u, s, vh @ jnp.matrix_transpose(right)

  def norm(self, kind: str = 'frobenius') -> Float[Array, '*b']:
    """A norm of the matrix.

    Args:
      kind: 'frobenius', 'spectral' (the largest singular value) or 'nuclear' (their
        sum).

    Raises:
      ValueError: if there is no such norm.
    """
    if kind == 'frobenius':
      return jnp.sqrt(jnp.square(self.reduced()).sum((-2, -1)))
    if kind not in _NORMS:
      raise ValueError(unknown('norm', kind, _NORMS))
    values = self.singular_values()
    return values[..., 0] if kind == 'spectral' else values.sum(-1)

  def eigenvalues(self) -> np.ndarray:
    """The eigenvalues that can differ from zero, `[..., R]`, complex128.

    Those of `B A`. They are computed by numpy in double precision, and outside of
    `jit`: XLA has no such decomposition on TPUs.
    """
    return np.linalg.eigvals(np.asarray(self.BA, np.float64))

  # What gives another factored matrix.

  def __getitem__(self, index: Any) -> 'FactoredMatrix':
    """Indexes the leading axes, as numpy would: `circuits[layer, head]`."""
    leading, given = self.shape[:-2], index if isinstance(index, tuple) else (index,)
    if sum(i is not None and i is not Ellipsis for i in given) > len(leading):
      raise ValueError(
        f'FactoredMatrix: index {index!r} reaches beyond the leading axes of '
        f'{self.shape}; use `rows` and `columns` for the last two.'
      )
    return FactoredMatrix(*(_spread(f, leading)[index] for f in (self.A, self.B)))

  def rows(self, index: Int[Array | np.ndarray, ' N'] | slice) -> 'FactoredMatrix':
    """Some rows of the matrix, e.g. those of some tokens."""
    return FactoredMatrix(self.A[..., index, :], self.B)

  def columns(self, index: Int[Array | np.ndarray, ' N'] | slice) -> 'FactoredMatrix':
    """Some columns of the matrix."""
    return FactoredMatrix(self.A, self.B[..., index])

  def __mul__(self, factor: Any) -> 'FactoredMatrix':
    """Scales by a number, or each matrix of a stack by its own."""
    return FactoredMatrix(self.A * jnp.asarray(factor)[..., None, None], self.B)

  __rmul__ = __mul__

  def __matmul__(self, other: Any) -> Any:
    """The product with a vector (an array), a matrix or a factored matrix.

    Products of matrices stay factored, the axis between the factors the shortest that
    there is.
    """
    if isinstance(other, FactoredMatrix):
      middle = jnp.asarray(self.B) @ other.A
      if self.rank <= other.rank:
        return FactoredMatrix(self.A, middle @ other.B)
      return FactoredMatrix(self.A @ middle, other.B)
    other = jnp.asarray(other)
    if other.ndim == 1:
      return jnp.einsum('...xr,...r->...x', self.A, self.B @ other)
    return FactoredMatrix(self.A, self.B @ other)

  def __rmatmul__(self, other: Any) -> Any:
    """The product from the left: `vector @ self`, `matrix @ self`."""
    other = jnp.asarray(other)
    if other.ndim == 1:
      return jnp.einsum('...r,...ry->...y', other @ self.A, self.B)
    return FactoredMatrix(other @ self.A, self.B)

  def _check_square(self, what: str) -> None:
    if self.shape[-2] != self.shape[-1]:
      raise ValueError(f'{what}: the matrix must be square; its shape is {self.shape}.')


def triangle(matrix: Float[Array | np.ndarray, '*b X R']) -> Float[Array, '*b Q R']:
  """`R` of the QR decomposition: `norm(matrix @ x) == norm(R @ x)` for all x."""
  return jnp.linalg.qr(jnp.asarray(matrix), mode='r')


def _spread(factor: Any, leading: tuple[int, ...]) -> Any:
  return jnp.broadcast_to(factor, (*leading, *factor.shape[-2:]))
