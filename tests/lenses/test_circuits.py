"""QK and OV circuits are what the model computes; compositions are what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import lenses
from interp_jax.lenses import FactoredMatrix
from interp_jax.models.rotary import RotaryScaling
from interp_jax.testing import tiny_model

pytestmark = pytest.mark.usefixtures('double')

# No biases, which circuits leave out; everything else that changes a head is in one.
PLAIN = {'qkv_bias': False, 'attn_out_bias': False, 'layers': 2}
MODELS = {
  'layernorm': {'positions': 'none'},
  'grouped, sandwich': {
    'positions': 'rotary',
    'rotary_dim': 2,
    'norm': 'rmsnorm',
    'norm_placement': 'sandwich',
    'kv_heads': 2,
  },
  'norms after, of queries and keys': {
    'positions': 'rotary',
    'rotary_interleaved': True,
    'norm': 'rmsnorm',
    'norm_placement': 'post',
    'qk_norm': 'width',
    'kv_heads': 2,
  },
  'norm of each head, scaled': {
    'positions': 'rotary',
    'rotary_base': (100.0, 1e4),
    'rotary_scaling': RotaryScaling('linear', 4.0),
    'norm': 'rmsnorm',
    'qk_norm': 'head',
  },
  'yarn': {
    'positions': 'rotary',
    'norm': 'none',
    'rotary_scaling': RotaryScaling('yarn', 4.0, 4, attention_factor=1.3),
  },
}


@pytest.fixture(scope='module', params=MODELS)
def run(request, double):
  wide = {'dtype': 'float64', 'param_dtype': 'float64'}
  model, params = tiny_model(**PLAIN, **wide, **MODELS[request.param])
  for name in ('ln1', 'ln1_post'):
    if 'b' in params['blocks'].get(name, {}):  # Constants, as biases are.
      params['blocks'][name]['b'] *= 0
  tokens = np.random.default_rng(0).integers(0, 31, (2, 6))
  acts = jax.jit(model.apply)({'params': params}, tokens)[1]
  return model, params, acts


def divided(acts, name, x):
  return x / acts[f'{name}.scale'] if f'{name}.scale' in acts else x


def test_qk_circuits_are_the_scores_at_their_distance(run):
  model, params, acts = run
  cfg, (query, key) = model.cfg, (5, 2)
  rotary = cfg.positions == 'rotary'
  length = acts['pattern'].shape[-1]
  rotation = lenses.relative_rotation(model, params, 3, length) if rotary else None
  qk = lenses.qk_circuits(params, cfg, rotation)
  stream = divided(acts, 'ln1', acts['resid_pre'])
  scores = jnp.einsum(
    'lbd,lhde,lbe->lbh', stream[:, :, query], qk.AB, stream[:, :, key]
  )
  if cfg.qk_norm != 'none':
    axes = (-1,) if cfg.qk_norm == 'head' else (-2, -1)
    size = lambda x: jnp.sqrt((x * x).mean(axes, keepdims=True) + cfg.norm_eps)
    q, k = size(acts['q'])[:, :, query], size(acts['k'])[:, :, key]
    scores = scores / (q * k)[..., 0]
  expected = acts['attn_scores'][:, :, :, query, key] * cfg.head_dim**0.5
  np.testing.assert_allclose(scores, expected, atol=1e-10)


def test_ov_circuits_are_what_heads_write(run):
  model, params, acts = run
  ov = lenses.ov_circuits(params, model.cfg)
  stream = divided(acts, 'ln1', acts['resid_pre'])
  moved = jnp.einsum('lbhts,lbsd,lhde->lbte', acts['pattern'], stream, ov.AB)
  moved = divided(acts, 'ln1_post', moved)
  np.testing.assert_allclose(moved, acts['attn_out'], atol=1e-10)
  heads = lenses.head_results(params, model.cfg, acts, range(6))
  np.testing.assert_allclose(heads.sum(1), acts['attn_out'], atol=1e-10)


def test_a_rotation_back_is_the_transpose():
  model, params = tiny_model(positions='rotary', layers=1)
  there, back = (lenses.relative_rotation(model, params, d) for d in (3, -3))
  np.testing.assert_allclose(there, back.mT, atol=1e-6)
  zero = lenses.relative_rotation(model, params, 0)
  np.testing.assert_allclose(zero[0], np.eye(4), atol=1e-6)
  with pytest.raises(ValueError, match='no rotary positions'):
    lenses.relative_rotation(*tiny_model(layers=1), 1)
  with pytest.raises(ValueError, match='3 tokens has no distance of 3'):
    lenses.relative_rotation(model, params, 3, length=3)


@pytest.fixture
def grouped():
  options = MODELS['grouped, sandwich']
  return tiny_model(**PLAIN, **options, dtype='float64', param_dtype='float64')


def test_full_circuits_are_between_tokens(grouped):
  model, params = grouped
  cfg = model.cfg
  table = np.asarray(params['embed']['W_E'])
  ov, qk = lenses.ov_circuits(params, cfg), lenses.qk_circuits(params, cfg)
  full = lenses.full_ov_circuits(params, cfg)
  assert full.shape == (2, 4, 31, 31)
  assert full.rank == cfg.head_dim
  expected = table @ ov.AB @ lenses.unembedding(params, cfg)
  np.testing.assert_allclose(full.AB, expected, atol=1e-10)
  full = lenses.full_qk_circuits(params, cfg).AB
  np.testing.assert_allclose(full, table @ qk.AB @ table.T, atol=1e-10)


def test_paths_are_products_of_circuits(grouped):
  model, params = grouped
  qk, ov = lenses.qk_circuits(params, model.cfg), lenses.ov_circuits(params, model.cfg)
  virtual = lenses.path_ov(ov, [(0, 1), (1, 2)])
  assert virtual.rank == 4
  close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10)
  close(virtual.AB, ov[0, 1].AB @ ov[1, 2].AB)
  both = lenses.path_qk(qk, ov, (1, 3), queries=[(0, 0)], keys=[(0, 2)])
  close(both.AB, ov[0, 0].AB @ qk[1, 3].AB @ ov[0, 2].AB.T)
  with pytest.raises(ValueError, match='each in a later layer'):
    lenses.path_ov(ov, [(1, 0), (1, 1)])
  with pytest.raises(ValueError, match='not in an earlier layer'):
    lenses.path_qk(qk, ov, (1, 0), keys=[(1, 1)])


def random_circuits(layers=3, heads=2, width=24, rank=4):
  rng = np.random.default_rng(0)
  draw = lambda *shape: jnp.asarray(rng.normal(size=(layers, heads, *shape)))
  make = lambda: FactoredMatrix(draw(width, rank), draw(rank, width))
  return make(), make()


def test_composition_is_the_norm_of_the_product_of_whole_matrices():
  qk, ov = random_circuits()
  scores = lenses.composition_scores(qk, ov)
  size = lambda x: np.linalg.norm(np.asarray(x), axis=(-2, -1))
  for name, read in (('q', qk), ('k', qk.T), ('v', ov)):
    product = size(jnp.einsum('lhxy,mgyz->lhmgxz', ov.AB, read.AB))
    expected = product / size(ov.AB)[:, :, None, None] / size(read.AB)
    later = np.arange(3)[:, None] < np.arange(3)
    expected = np.where(later[:, None, :, None], expected, 0)
    np.testing.assert_allclose(getattr(scores, name), expected, atol=1e-12)


def test_composition_is_one_where_all_is_read_and_zero_where_nothing_is():
  eye = jnp.eye(8)
  ov = FactoredMatrix(
    jnp.stack([eye[:, :2]] * 2)[:, None], jnp.stack([eye[2:4]] * 2)[:, None]
  )
  reads = jnp.stack(
    [eye[:, 2:4], eye[:, 4:6]]
  )  # The second head reads what nobody wrote.
  for columns, expected in ((reads[0], 2**-0.5), (reads[1], 0.0)):
    qk = FactoredMatrix(
      jnp.stack([columns] * 2)[:, None], jnp.stack([eye[:2]] * 2)[:, None]
    )
    score = lenses.composition_scores(qk, ov).q[0, 0, 1, 0]
    assert score == pytest.approx(expected, abs=1e-12)


def test_random_circuits_score_what_is_expected_of_them():
  qk, ov = random_circuits()
  drawn = lenses.random_composition(qk, ov, draws=400)
  for mean, std in zip(drawn.mean, drawn.std, strict=True):
    square = (mean**2 + std**2)[0, :, 1]
    expected = lenses.expected_composition(24)
    np.testing.assert_allclose(np.sqrt(square), expected, rtol=0.03)
    assert (mean[1, :, :2] == 0).all()


def test_a_planted_composition_stands_out_of_the_random_ones():
  qk, ov = random_circuits()
  # Head 1 of layer 2 looks its keys up in what head 0 of layer 0 writes.
  planted = FactoredMatrix(qk.A, qk.B.at[2, 1].set(ov.B[0, 0]))
  scores, drawn = (
    f(planted, ov) for f in (lenses.composition_scores, lenses.random_composition)
  )
  z = (scores.k - drawn.mean.k) / jnp.where(drawn.std.k == 0, 1, drawn.std.k)
  assert np.unravel_index(z.argmax(), z.shape) == (0, 0, 2, 1)
  assert z.max() > 5
  assert abs((scores.q - drawn.mean.q)[0, 0, 2, 1]) < 4 * drawn.std.q[0, 0, 2, 1]
