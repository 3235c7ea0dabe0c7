"""Paths through heads sum to the logits, and each is what its heads' matrices say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import lenses
from interp_jax.testing import tiny_model

MODELS = {
  'layernorm, biases': {'positions': 'learned', 'unembed_bias': True},
  'rmsnorm, shortformer': {'positions': 'shortformer', 'norm': 'rmsnorm'},
  'grouped, sandwich': {
    'positions': 'rotary',
    'norm_placement': 'sandwich',
    'kv_heads': 2,
    'windows': 3,
  },
  'norms after': {'positions': 'alibi', 'norm': 'rmsnorm', 'norm_placement': 'post'},
  'no norm, tied': {
    'positions': 'none',
    'norm': 'none',
    'final_norm': False,
    'tied': True,
  },
}


def run_of(dtype, **options):
  wide = {'dtype': dtype, 'param_dtype': dtype}
  model, params = tiny_model(layers=2, attn_only=True, **wide, **options)
  tokens = np.random.default_rng(0).integers(0, 31, (2, 7))
  logits, acts = jax.jit(model.apply)({'params': params}, tokens)
  return model.cfg, params, logits, acts


@pytest.fixture(scope='module', params=MODELS)
def run(request, double):
  return run_of('float64', **MODELS[request.param])


def test_the_paths_sum_to_the_logits(run):
  cfg, params, logits, acts = run
  expansion = lenses.path_expansion(params, cfg, acts, range(7))
  assert len(expansion.paths) == len(expansion.logits) == 25
  np.testing.assert_allclose(expansion.total, logits, rtol=0, atol=1e-12)
  split = expansion.by_length.sum(0) + expansion.bias
  np.testing.assert_allclose(split, logits, rtol=0, atol=1e-12)


def test_one_answer_is_split_as_all_of_them_are(run):
  cfg, params, logits, acts = run
  correct, wrong = np.array([3, 4]), np.array([5, 3])
  some = lenses.path_expansion(params, cfg, acts, [-1, 2], correct, wrong)
  every = lenses.path_expansion(params, cfg, acts, [6, 2])
  pick = lambda x, of: jnp.stack([x[..., i, :, t] for i, t in enumerate(of)], -2)
  expected = pick(every.logits, correct) - pick(every.logits, wrong)
  np.testing.assert_allclose(some.logits, expected, atol=1e-12)
  np.testing.assert_allclose(
    some.total,
    pick(logits[:, [6, 2]], correct) - pick(logits[:, [6, 2]], wrong),
    atol=1e-12,
  )


def test_a_path_is_its_virtual_heads_circuit_moved_by_both_patterns(double):
  cfg, params, _, acts = run_of('float64', **MODELS['no norm, tied'])
  path = ((0, 1), (1, 2))
  moved = acts['pattern'][1, :, 2] @ acts['pattern'][0, :, 1]
  circuit = lenses.path_ov(lenses.ov_circuits(params, cfg), path)
  expected = moved @ acts['embed'] @ circuit.AB @ lenses.unembedding(params, cfg)
  found = lenses.path_expansion(params, cfg, acts, range(7)).path(*path)
  np.testing.assert_allclose(found, expected, atol=1e-12)


def test_the_direct_path_reads_the_token_alone(double):
  cfg, params, _, acts = run_of('float64', **MODELS['rmsnorm, shortformer'])
  direct = lenses.path_expansion(params, cfg, acts, range(7)).path()
  expected = acts['embed'] / acts['ln_final.scale'] @ lenses.unembedding(params, cfg)
  np.testing.assert_allclose(direct, expected, atol=1e-12)


def test_other_patterns_give_other_logits(double):
  cfg, params, logits, acts = run_of('float64', **MODELS['rmsnorm, shortformer'])
  other = acts | {'pattern': acts['pattern'][:, :, ::-1]}
  total = lenses.path_expansion(params, cfg, other, range(7)).total
  assert np.abs(total - logits).max() > 1e-3


def test_in_single_precision_it_is_exact_to_rounding():
  cfg, params, logits, acts = run_of('float32', **MODELS['layernorm, biases'])
  total = lenses.path_expansion(params, cfg, acts, range(7)).total
  np.testing.assert_allclose(total, logits, rtol=0, atol=1e-5)


def test_what_has_no_paths_is_refused():
  cfg, params, _, acts = run_of('float32', **MODELS['rmsnorm, shortformer'])
  with pytest.raises(ValueError, match='correct'):
    lenses.path_expansion(params, cfg, acts, [0], wrong=np.array([1, 2]))
  expansion = lenses.path_expansion(params, cfg, acts, [0])
  with pytest.raises(ValueError, match='no path through'):
    expansion.path((1, 0), (0, 0))
  with_mlp, params = tiny_model(layers=1)
  with pytest.raises(ValueError, match='MLPs'):
    lenses.path_expansion(params, with_mlp.cfg, acts, [0])
  residual, params = tiny_model(layers=1, attn_only=True, norm_placement='residual')
  with pytest.raises(ValueError, match='residual'):
    lenses.path_expansion(params, residual.cfg, acts, [0])
