"""How the toy models are trained: settings, worlds, and their two losses.

A world is one model together with what it is asked: the density of its features, their
importance, and the slope of its activation (0 for a ReLU, 1 for the linear control).
All worlds of a size train in one program. What is asked is a part of the parameters
that gets no gradient, and so is never moved.

Up to eight features the loss is the expectation itself, by quadrature, so that a few
hundred steps of Adam do what takes thousands on draws. Hundreds of features are drawn.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from interp_jax import training
from interp_jax.findings.run import Run
from interp_jax.tasks import toy_features

# Initial weights are half of what Xavier's rule gives: from larger ones some instances
# end in worse shapes (85 % instead of 99 % pentagons).
INITIAL_SCALE = 0.5


@dataclasses.dataclass(frozen=True)
class Size:
  """A family of models, and how they are trained.

  Attributes:
    features: n.
    dimensions: m.
    nodes: of the quadrature; empty to draw `batch` rows at every step instead.
    steps: updates of Adam.
    learning_rate: at the beginning; it falls to 0 in a cosine.
    batch: rows of a draw.
  """

  features: int
  dimensions: int
  nodes: tuple[int, ...] = ()
  steps: int = 600
  learning_rate: float = 0.03
  batch: int = 0


def make_worlds(
  size: Size,
  densities: np.ndarray,
  importance: np.ndarray,
  seed: int,
  slope: np.ndarray | float = 0.0,
) -> dict[str, Any]:
  """Fresh parameters; biases begin at the features' means.

  Args:
    size: of the models.
    densities: `[W]`.
    importance: `[W, n]`, or `[n]` for all.
    seed: of the weights.
    slope: `[W]`, or one for all.
  """
  count, n, m = len(densities), size.features, size.dimensions
  scale = INITIAL_SCALE * np.sqrt(2 / (n + m))
  W = scale * np.random.default_rng(seed).standard_normal((count, m, n))
  mean, _ = toy_features.moments(densities)
  return jax.tree.map(
    lambda leaf: np.asarray(leaf, np.float32),
    {
      'W': W,
      'b': np.broadcast_to(mean[:, None], (count, n)),
      'world': {
        'density': densities,
        'importance': np.broadcast_to(importance, (count, n)),
        'slope': np.broadcast_to(slope, (count,)),
      },
    },
  )


def make_loss(size: Size) -> training.DrawnLossFn:
  """`(params, key) -> (loss, {})` of one world; the key is for those that draw."""
  rows = toy_features.quadrature(size.features, size.nodes) if size.nodes else None

  def loss(params: Any, key: jax.Array) -> tuple[Any, dict[str, Any]]:
    world = jax.lax.stop_gradient(params['world'])
    if rows is None:
      x = toy_features.sparse_features(key, size.batch, size.features, world['density'])
      weights = None
    else:
      x, weights = rows.x, rows.weights(world['density'])
    value = toy_features.reconstruction_loss(
      params['W'], params['b'], x, world['importance'], weights, world['slope']
    )
    return value, {}

  return loss


def make_optimizer(size: Size) -> optax.GradientTransformation:
  """Adam whose learning rate falls to 0 in half a cosine."""
  schedule = optax.cosine_decay_schedule(size.learning_rate, size.steps)
  return optax.adam(schedule)


def train(run: Run, name: str, size: Size, params: Any, seed: int) -> dict[str, Any]:
  """Trains worlds to their end.

  Args:
    run: where.
    name: of the stage.
    size: of the models.
    params: from `make_worlds`.
    seed: of the draws. All worlds see the same ones: the denser world's features are
      those of the sparser one, and more.

  Returns:
    `W` `[worlds, m, n]`, `b` `[worlds, n]` and the final `loss` `[worlds]`, where it is
    the expectation.
  """
  trained = run.train(
    name,
    make_loss(size),
    params,
    make_optimizer(size),
    size.steps,
    seed,
    settings=dataclasses.asdict(size),
    steps_per_call=20,
    shared_data=True,
    log_every=100,
    checkpoint_every=500,
  ).params
  found = {'W': trained['W'], 'b': trained['b']}
  if size.nodes:
    loss = jax.vmap(make_loss(size), in_axes=(0, None))
    found['loss'] = jax.jit(loss)(trained, jax.random.key(0))[0]
  return jax.device_get(found)


def best_of(found: dict[str, Any], restarts: int) -> dict[str, np.ndarray]:
  """The best of the restarts of every world, which are neighbours.

  Args:
    found: what `train` gave, its loss included.
    restarts: how many there are of each.
  """
  groups = {
    key: leaf.reshape(-1, restarts, *leaf.shape[1:]) for key, leaf in found.items()
  }
  best = groups['loss'].argmin(1)
  return {key: leaf[np.arange(len(best)), best] for key, leaf in groups.items()}


def monte_carlo(
  W: np.ndarray, b: np.ndarray, density: float, importance: np.ndarray, seed: int
) -> float:
  """The loss over 64 million draws, to hold the quadrature against.

  Args:
    W: `[m, n]`.
    b: `[n]`.
    density: of the features.
    importance: `[n]`.
    seed: of the draws.
  """

  def part(key: jax.Array) -> Any:
    x = toy_features.sparse_features(key, 500_000, W.shape[-1], density)
    return toy_features.reconstruction_loss(W, b, x, jnp.asarray(importance))

  parts = jax.lax.map(part, jax.random.split(jax.random.key(seed), 128))
  return float(parts.mean())
