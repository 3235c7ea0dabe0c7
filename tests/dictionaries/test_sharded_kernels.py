"""TopK over features that are split over devices, on eight simulated ones."""

import re

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
import numpy as np
import pytest

from interp_jax.dictionaries import kernels
from interp_jax.dictionaries.kernels import sharded
from interp_jax.sharding import make_mesh

B, D, F, K = 16, 8, 48, 5
SPECS = {
  'x': P('data'),
  'center': P(),
  'W_enc': P(None, 'model'),
  'b': P('model'),
  'W_dec': P('model', None),
  'out': P('data'),
}
SHAPES = {
  'x': (B, D),
  'center': (D,),
  'W_enc': (D, F),
  'b': (F,),
  'W_dec': (F, D),
  'out': (B, D),
}


@pytest.fixture(scope='module')
def mesh():
  return make_mesh(data=4, model=2)


@pytest.fixture(scope='module')
def arrays():
  rng = np.random.default_rng(0)
  return {k: jnp.asarray(rng.normal(size=s), jnp.float32) for k, s in SHAPES.items()}


def place(mesh, arrays):
  return {
    k: jax.device_put(v, NamedSharding(mesh, SPECS[k])) for k, v in arrays.items()
  }


def step(impl, mesh):
  def loss(x, center, W_enc, b, W_dec, out):
    values, indices = kernels.encode_topk(x, center, W_enc, b, K, impl, mesh)
    decoded = kernels.decode_topk(values, indices, W_dec, impl, mesh)
    return jnp.sum(jnp.sin(decoded) * out) + jnp.sum(values**2)

  return jax.jit(jax.value_and_grad(loss, argnums=(1, 2, 3, 4)))


@pytest.fixture(scope='module', params=['sparse', 'dense'])
def compiled(request, mesh, arrays):
  placed = place(mesh, arrays)
  return step(request.param, mesh).lower(*placed.values()).compile(), placed


def test_a_split_dictionary_learns_as_on_one_device(compiled, arrays):
  function, placed = compiled
  expected = step('sparse', None)(*arrays.values())
  for got, one in zip(
    jax.tree.leaves(function(*placed.values())), jax.tree.leaves(expected), strict=True
  ):
    np.testing.assert_allclose(got, one, rtol=2e-5, atol=2e-5)


def gathered(text):
  """Sizes of the results of all all-gathers of a compiled program."""
  shapes = re.findall(r'= \(?\w+\[([\d,]*)\][^=]* all-gather(?:-start)?\(', text)
  return [int(np.prod([int(n) for n in s.split(',') if n])) for s in shapes]


def test_only_candidates_are_gathered_and_no_pre_activations(compiled):
  sizes = gathered(compiled[0].as_text())
  assert len(sizes) == 2  # Values and indices.
  assert max(sizes) == B // 4 * 2 * K


def test_without_shard_map_pre_activations_would_be_gathered(mesh, arrays):
  """So the test above can fail."""
  placed = place(mesh, arrays)
  text = step('dense', None).lower(*placed.values()).compile().as_text()
  assert max(gathered(text)) >= B // 4 * F


@pytest.mark.parametrize('values', ['different', 'ties'])
def test_the_batch_wide_choice_on_eight_devices_is_that_on_one(mesh, values):
  rng = np.random.default_rng(0)
  pre = rng.normal(size=(B, F)) if values == 'different' else rng.integers(0, 3, (B, F))
  pre = jnp.asarray(pre, jnp.float32)
  placed = jax.device_put(pre, NamedSharding(mesh, P('data', 'model')))
  choose = jax.jit(lambda pre: sharded.batch_topk_mask(pre, K * B, mesh))
  got = choose(placed)
  np.testing.assert_array_equal(got, kernels.batch_topk_mask(pre, K * B))
  assert int(got.sum()) == K * B
  assert max(gathered(choose.lower(placed).compile().as_text())) < B // 4 * F
