"""Do heads read what earlier heads write? Q-, K- and V-composition.

Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits". The score of a
pair of heads is how much of what the first can write the second reads,
`norm(OV @ W) / (norm(OV) * norm(W))` in Frobenius norms, where W is the second's QK
(Q-composition), QK transposed (K) or OV (V). No matrix is ever `[D, D]`: by a QR of the
outer factors, done once for each head, all norms are of `[K, K]` matrices.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from interp_jax.lenses.factored import FactoredMatrix, triangle


class Composition(NamedTuple):
  """Scores of all pairs, `[L, H, L, H]`: writing layer and head, then reading ones.

  They are 0 where the reading head is not in a later layer.
  """

  q: Float[Array, 'L H L H']
  k: Float[Array, 'L H L H']
  v: Float[Array, 'L H L H']


class RandomComposition(NamedTuple):
  """What the same circuits score when the writing ones are turned at random.

  Attributes:
    mean: Mean score of each pair, 0 as in `Composition`.
    std: Its deviation over the draws.
  """

  mean: Composition
  std: Composition


def composition_scores(qk: FactoredMatrix, ov: FactoredMatrix) -> Composition:
  """Q-, K- and V-composition of all pairs of heads, in one program.

  A score means little by itself: two random circuits score about `D ** -0.5`. See
  `random_composition`. Norms should be folded in, as `qk_circuits` and `ov_circuits`
  do; under rotary positions Q- and K-composition are those at the distance that `qk` is
  for.

  Args:
    qk: The QK circuits, `[L, H, D, D]`.
    ov: The OV circuits, `[L, H, D, D]`.

  Returns:
    The scores.
  """
  return _scores(_written(ov), _read(qk, ov))


def expected_composition(width: int) -> float:
  """Root of the mean squared score of circuits that know nothing of each other.

  If one of the two is turned by a random rotation of the stream, the mean of
  `norm(OV @ W) ** 2` is `norm(OV) ** 2 * norm(W) ** 2 / D`, whatever their spectra.

  Args:
    width: Width of the stream D.

  Returns:
    `D ** -0.5`.
  """
  return width**-0.5


def random_composition(
  qk: FactoredMatrix, ov: FactoredMatrix, draws: int = 16, seed: int = 0
) -> RandomComposition:
  """The scores to compare with: every circuit as it is, but turned at random.

  In each draw what each head writes is put into a random subspace of the same size, its
  singular values kept. A pair composes if its score lies many `std` above `mean`.

  Args:
    qk: The QK circuits, `[L, H, D, D]`.
    ov: The OV circuits, `[L, H, D, D]`.
    draws: How many rotations to draw.
    seed: Of the draws.

  Returns:
    Mean and deviation of each pair's score.
  """
  return _random(qk, ov, draws, jax.random.key(seed))


@functools.partial(jax.jit, static_argnums=2)
def _random(qk, ov, draws, key):
  spectra = ov.singular_values()
  read = _read(qk, ov)

  def draw(sums, key):
    gaussian = jax.random.normal(key, ov.B.shape, spectra.dtype)
    frames = jnp.linalg.qr(jnp.matrix_transpose(gaussian))[0]
    written = spectra[..., None] * jnp.matrix_transpose(frames)
    scores = _scores(written, read)
    return jax.tree.map(lambda s, x: s + jnp.stack([x, x * x]), sums, scores), None

  pairs = (*ov.shape[:2], *ov.shape[:2])
  nothing = Composition(*[jnp.zeros((2, *pairs), spectra.dtype)] * 3)
  sums, _ = jax.lax.scan(draw, nothing, jax.random.split(key, draws))
  mean, second = (jax.tree.map(lambda s, i=i: s[i] / draws, sums) for i in range(2))
  std = jax.tree.map(lambda m, s: jnp.sqrt(jnp.maximum(s - m * m, 0)), mean, second)
  return RandomComposition(mean, std)


def _written(ov: FactoredMatrix) -> Float[Array, 'L H K D']:
  """`norm(written @ x) == norm(ov @ x)` for all x."""
  return triangle(ov.A) @ ov.B


def _read(qk: FactoredMatrix, ov: FactoredMatrix) -> tuple[jax.Array, ...]:
  """Of each kind `[L, H, D, K]`, with `norm(x @ read) == norm(x @ circuit)`."""
  return tuple(_written(c.T).mT for c in (qk, qk.T, ov))


@jax.jit
def _scores(written, reads):
  size = lambda x: jnp.sqrt(jnp.square(x).sum((-2, -1)))
  layers = jnp.arange(len(written))

  def one(read):
    def from_layer(xs):
      layer, own = xs
      products = size(jnp.einsum('hkd,mgdj->hmgkj', own, read))
      products = products / size(own)[:, None, None] / size(read)
      return jnp.where((layers > layer)[:, None], products, 0)

    return jax.lax.map(from_layer, (layers, written))

  return Composition(*map(one, reads))
