import jax
from jax.sharding import PartitionSpec as P
import numpy as np
import optax
import pytest

from interp_jax.sharding import (
  TRANSFORMER_RULES,
  fit_rules,
  make_mesh,
  place,
  shardings,
  spec_tree,
)

L, D, H, G, K, M, V, T = 2, 8, 4, 2, 3, 16, 32, 5


def transformer_params():
  """Every parameter that a transformer of any config can have."""
  shapes = {
    'embed': {'W_E': (V, D)},
    'pos_embed': {'W_pos': (T, D)},
    'blocks': {
      'ln1': {'w': (L, D), 'b': (L, D)},
      'ln1_post': {'w': (L, D)},
      'attn': {
        'W_Q': (L, H, D, K),
        'b_Q': (L, H, K),
        'W_K': (L, G, D, K),
        'b_K': (L, G, K),
        'W_V': (L, G, D, K),
        'b_V': (L, G, K),
        'W_O': (L, H, K, D),
        'b_O': (L, D),
        'q_norm': {'w': (L, K)},
        'k_norm': {'w': (L, K)},
      },
      'ln2': {'w': (L, D), 'b': (L, D)},
      'mlp': {
        'W_in': (L, D, M),
        'b_in': (L, M),
        'W_gate': (L, D, M),
        'b_gate': (L, M),
        'ln': {'w': (L, M), 'b': (L, M)},
        'W_out': (L, M, D),
        'b_out': (L, D),
      },
    },
    'ln_final': {'w': (D,), 'b': (D,)},
    'unembed': {'W_U': (D, V), 'b_U': (V,)},
  }
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda shape: rng.standard_normal(shape, np.float32),
    shapes,
    is_leaf=lambda x: isinstance(x, tuple),
  )


def test_heads_neurons_and_vocabulary_lie_on_the_model_axis():
  specs = spec_tree(TRANSFORMER_RULES, transformer_params())
  attn, mlp = specs['blocks']['attn'], specs['blocks']['mlp']
  assert specs['embed']['W_E'] == P('model', None)
  assert specs['unembed'] == {'W_U': P(None, 'model'), 'b_U': P('model')}
  for name in ('W_Q', 'W_K', 'W_V', 'W_O', 'b_Q', 'b_K', 'b_V'):
    assert attn[name] == P(None, 'model'), name
  assert mlp['W_in'] == mlp['W_gate'] == P(None, None, 'model')
  assert mlp['W_out'] == mlp['b_in'] == mlp['b_gate'] == P(None, 'model')
  assert attn['b_O'] == mlp['b_out'] == specs['blocks']['ln1']['w'] == P()


def test_the_first_matching_rule_decides():
  tree = {'a': {'w': np.zeros(4)}, 'b': {'w': np.zeros(4)}}
  rules = (('a/w$', P('model')), ('w$', P('data')))
  assert spec_tree(rules, tree) == {'a': {'w': P('model')}, 'b': {'w': P('data')}}


def test_an_optimisers_moments_lie_where_their_parameters_lie():
  params = transformer_params()
  state = optax.adamw(1e-3).init(params)
  specs = spec_tree(TRANSFORMER_RULES, state)
  assert specs[0].mu == specs[0].nu == spec_tree(TRANSFORMER_RULES, params)
  assert specs[0].count == P()


def test_a_leaf_without_a_rule_is_an_error_that_names_it():
  tree = {'blocks': {'attn': {'W_X': np.zeros((2, 2))}}}
  with pytest.raises(ValueError, match=r"'blocks/attn/W_X' of shape \(2, 2\)"):
    spec_tree(TRANSFORMER_RULES, tree)


def test_a_last_rule_replicates_the_rest():
  rules = (*TRANSFORMER_RULES, ('.*', P()))
  assert spec_tree(rules, {'W_X': np.zeros((2, 2))}) == {'W_X': P()}


def test_a_spec_with_more_axes_than_the_leaf_is_an_error():
  with pytest.raises(ValueError, match=r"'w' the spec .* of 2 axes"):
    spec_tree((('w', P(None, 'model')),), {'w': np.zeros(4)})


def test_an_axis_that_does_not_divide_is_an_error_that_says_which():
  mesh = make_mesh(model=4)
  with pytest.raises(ValueError, match=r"attn/W_K'.*axis 1 has size 2.* 4 devices"):
    shardings(mesh, TRANSFORMER_RULES, transformer_params())


def test_few_key_value_heads_are_replicated_when_the_rules_are_fitted():
  params, mesh = transformer_params(), make_mesh(model=4)
  rules = fit_rules(mesh, TRANSFORMER_RULES, params)
  added = rules[: len(rules) - len(TRANSFORMER_RULES)]
  names = [f'blocks/attn/{name}' for name in ('W_K', 'W_V', 'b_K', 'b_V')]
  assert added == tuple((f'(^|/){name}$', P()) for name in names)
  attn = place(mesh, rules, params)['blocks']['attn']
  assert attn['W_K'].sharding.is_fully_replicated
  assert attn['W_Q'].addressable_shards[0].data.shape == (L, H // 4, D, K)


def test_rules_that_fit_stay_as_they_are():
  params = transformer_params()
  assert fit_rules(make_mesh(model=2), TRANSFORMER_RULES, params) == TRANSFORMER_RULES


def test_a_mesh_axis_that_does_not_exist_is_an_error_with_a_suggestion():
  with pytest.raises(ValueError, match=r"'w': Unknown mesh axis 'modell'.*'model'"):
    shardings(make_mesh(), (('w', P('modell')),), {'w': np.zeros(8)})


def test_abstract_and_concrete_trees_have_the_same_shardings():
  params = transformer_params()
  abstract = jax.eval_shape(lambda: params)
  mesh = make_mesh(model=2)
  assert shardings(mesh, TRANSFORMER_RULES, abstract) == shardings(
    mesh, TRANSFORMER_RULES, params
  )


def test_placing_keeps_every_value():
  params = transformer_params()
  placed = place(make_mesh(model=2), TRANSFORMER_RULES, params)
  jax.tree.map(np.testing.assert_array_equal, placed, params)


def test_a_sharded_forward_pass_equals_one_device():
  params = transformer_params()
  tokens = np.arange(24).reshape(4, 6) % V

  @jax.jit
  def forward(params, tokens):
    x = params['embed']['W_E'][tokens]
    h = jax.nn.relu(x @ params['blocks']['mlp']['W_in'][0])
    x = x + h @ params['blocks']['mlp']['W_out'][0]
    return x @ params['unembed']['W_U']

  one = forward(params, tokens)
  eight = forward(place(make_mesh(model=2), TRANSFORMER_RULES, params), tokens)
  np.testing.assert_allclose(eight, one, rtol=1e-5, atol=1e-5)
