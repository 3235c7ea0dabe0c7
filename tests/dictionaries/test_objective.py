import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.dictionaries import L1, AuxK, ReLU, SquaredError, TopK, objective
from tests.dictionaries.planted import random_dictionary


@pytest.fixture
def x():
  return jnp.asarray(np.random.default_rng(1).normal(size=(6, 8)), jnp.float32)


def forward_of(dictionary, x, idle=None, step=0):
  idle = jnp.zeros(dictionary.config.features, jnp.int32) if idle is None else idle
  step = jnp.asarray(step, jnp.int32)
  return objective.run(dictionary.config, dictionary.params, x, idle, step)


def plain_auxk(dictionary, x, dead, k):
  """The paper's formula, in numpy."""
  p = {name: np.asarray(value, np.float64) for name, value in dictionary.params.items()}
  pre = (np.asarray(x, np.float64) - p['b_dec']) @ p['W_enc'] + p['b_enc']
  codes = np.where(dead, np.maximum(pre, 0), 0)
  kth = np.sort(codes, -1)[:, -k, None]
  codes = np.where(codes >= kth, codes, 0)
  error = np.asarray(x - dictionary(x), np.float64)
  return np.mean(np.sum((error - codes @ p['W_dec']) ** 2, -1))


def test_squared_error_is_summed_over_the_width_and_a_mean_over_the_batch(
  dictionary, x
):
  _, parts = objective.total_loss(forward_of(dictionary, x), (SquaredError(),))
  np.testing.assert_allclose(
    parts['mse'], jnp.mean(jnp.sum((x - dictionary(x)) ** 2, -1)), rtol=1e-5
  )


@pytest.mark.parametrize(('k', 'pool'), [(6, None), (3, 8)])
def test_auxk_is_the_papers_formula_where_the_pool_holds_all_the_dead(
  dictionary, x, k, pool
):
  dead = np.arange(20) % 4 == 1  # Five of them.
  idle = jnp.where(dead, 1000, 3).astype(jnp.int32)
  term = AuxK(k=k, coefficient=0.5, dead_after=100, pool=pool)
  expected = 0.5 * plain_auxk(dictionary, x, dead, k)
  np.testing.assert_allclose(term(forward_of(dictionary, x, idle)), expected, rtol=1e-4)


def test_auxk_is_zero_while_nothing_is_dead(dictionary, x):
  assert AuxK(dead_after=100)(forward_of(dictionary, x)) == 0


def test_only_dead_features_get_the_gradient_of_auxk(dictionary, x):
  dead = np.arange(20) % 4 == 1
  idle = jnp.where(dead, 1000, 3).astype(jnp.int32)

  def term(params):
    step = jnp.asarray(0, jnp.int32)
    forward = objective.run(dictionary.config, params, x, idle, step)
    return AuxK(dead_after=100, pool=20)(forward)

  grads = jax.grad(term)(dictionary.params)
  assert not grads['b_dec'].any()
  for name, axis in (('W_enc', 0), ('b_enc', ()), ('W_dec', 1)):
    touched = np.abs(np.asarray(grads[name])).sum(axis) > 0
    assert not touched[~dead].any()
    assert touched[dead].any()


@pytest.mark.parametrize('activation', [ReLU(), TopK(4)])
def test_l1_weighs_codes_by_decoder_norms_and_rises_over_the_warmup(activation, x):
  dictionary = random_dictionary(activation)
  norms = np.linalg.norm(dictionary.params['W_dec'], axis=1)
  full = np.mean(np.asarray(dictionary.encode(x)) @ norms)
  got = [L1(2.0, warmup=4)(forward_of(dictionary, x, step=s)) for s in (0, 1, 50)]
  np.testing.assert_allclose(got, np.array([0, 0.25, 1]) * 2 * full, rtol=1e-5)


def test_terms_survive_json():
  terms = (AuxK(k=7), L1(0.5, 10))
  data = objective.terms_to_dict(terms)
  assert objective.terms_from_dict(data) == terms


def test_unknown_terms_list_the_known_ones():
  with pytest.raises(ValueError, match='Valid: mse, matryoshka, multi_topk'):
    objective.terms_from_dict({'l2': {}})
  with pytest.raises(ValueError, match="Did you mean 'coefficient'"):
    objective.terms_from_dict({'l1': {'coeficient': 1}})
