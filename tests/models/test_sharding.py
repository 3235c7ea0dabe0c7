"""Models whose parameters are split over devices: where they lie, what is exchanged."""

import re

import jax
from jax.sharding import PartitionSpec as P
import numpy as np
import optax
import pytest

from interp_jax import models
from interp_jax.models.published import open_published
from interp_jax.sharding import (
  TRANSFORMER_RULES,
  fit_rules,
  make_mesh,
  over_data,
  place,
  shard_batch,
  spec_tree,
)
from interp_jax.testing import tiny_model
from tests.models import golden_files, published
from tests.slow import slow_but

# One of each family, the last of its list.
QUICK = [cases[-1].name for cases in published.FAMILIES.values()]
# Matrices that do not grow with heads, neurons or the vocabulary.
SMALL = 'W_pos|W_type|W_router'

SHAPES = {
  'layers': 2,
  'width': 24,
  'heads': 8,
  'head_dim': 6,
  'mlp_width': 32,
  'vocab_size': 64,
  'context': 16,
}
ROTARY = {'positions': 'rotary', 'gated': True, 'norm': 'rmsnorm'}
# What is summed over `model`, besides what each layer's heads and MLP write.
KINDS = {
  'untied': ({}, ['embed']),
  'grouped heads, tied': (ROTARY | {'kv_heads': 2, 'tied': True}, ['embed']),
  'one key/value head': (ROTARY | {'kv_heads': 1}, ['embed']),
  'odd vocabulary': ({'vocab_size': 61, 'tied': True}, []),
  'norms of all heads': (ROTARY | {'qk_norm': 'width'}, ['embed', 'k_norm', 'q_norm']),
}


@pytest.mark.parametrize('name', slow_but(published.CASES, *QUICK))
def test_every_parameter_of_every_family_has_a_rule_and_no_large_one_is_whole(
  name, tmp_path
):
  cfg = open_published(golden_files.make_checkpoint(name, tmp_path)).cfg
  params = jax.eval_shape(lambda: models.init_params(models.Transformer(cfg)))
  state = jax.eval_shape(optax.adamw(1e-3).init, params)
  specs = spec_tree(TRANSFORMER_RULES, params)
  assert spec_tree(TRANSFORMER_RULES, state)[0].mu == specs
  for path, spec in jax.tree_util.tree_leaves_with_path(specs):
    path = jax.tree_util.keystr(path, simple=True, separator='/')
    split = '/W_' in path and not re.search(SMALL, path)
    assert ('model' in spec) == (split or bool(re.search('/b_[QKVUig]', path))), path


def test_fitting_rules_replicates_what_does_not_divide_and_nothing_else():
  _, params = tiny_model(**SHAPES | ROTARY | {'kv_heads': 2, 'vocab_size': 61})
  mesh = make_mesh(2, 4)
  rules = fit_rules(mesh, TRANSFORMER_RULES, params)
  added = rules[: len(rules) - len(TRANSFORMER_RULES)]
  names = [f'blocks/attn/{name}' for name in ('W_K', 'W_V', 'b_K', 'b_V')]
  names += ['embed/W_E', 'unembed/W_U']
  assert added == tuple((f'(^|/){name}$', P()) for name in names)
  assert fit_rules(mesh, rules, params) == rules
  mu = spec_tree(rules, optax.adam(1e-3).init(params))[0].mu
  assert mu['blocks']['attn']['W_K'] == mu['embed']['W_E'] == P()
  assert mu['blocks']['attn']['W_Q'] == P(None, 'model')


def collectives(program):
  """The operations of a compiled program between devices: kind and shape of each."""
  kinds = 'all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter'
  found = re.findall(rf'= (.*?) ({kinds})(?:-start)?\(', program)
  return [
    (kind, shape)
    for result, kind in found
    for shape in re.findall(r'\w+\[[\d,]*\]', result)
  ]


@pytest.mark.parametrize(('data', 'model_axis'), [(4, 2), (2, 4)])
@pytest.mark.parametrize(
  'kind', slow_but(KINDS, 'grouped heads, tied', 'odd vocabulary')
)
def test_split_models_equal_whole_ones_and_exchange_nothing_but_sums_of_vectors(
  kind, data, model_axis
):
  options, sums = KINDS[kind]
  model, params = tiny_model(**SHAPES | options)
  tokens = np.random.default_rng(0).integers(0, model.cfg.vocab_size, (8, 7))
  mesh = make_mesh(data, model_axis)
  rules = fit_rules(mesh, TRANSFORMER_RULES, params)
  run = jax.jit(lambda params, tokens: model.apply({'params': params}, tokens)[0])
  inputs = place(mesh, rules, params), shard_batch(mesh, tokens.astype(np.int32))
  program = run.lower(*inputs).compile()
  np.testing.assert_allclose(
    program(*inputs), run(params, tokens), rtol=1e-4, atol=1e-4
  )
  # A vector for each token; of a norm, one number.
  width = {'k_norm': '', 'q_norm': ''}
  want = [
    ('all-reduce', f'f32[{8 // data},7{width.get(name, f",{model.cfg.width}")}]')
    for name in ('heads', 'mlp', *sums)
  ]
  assert sorted(collectives(program.as_text())) == sorted(want)


@pytest.mark.parametrize('sizes', slow_but([(8, 1), (4, 2), (2, 4)], (2, 4)))
def test_copies_of_a_mixture_of_experts_exchange_no_rows(sizes):
  data, model_axis = sizes
  experts = {'experts': 8, 'experts_per_token': 2, 'gated': True, 'mlp_bias': False}
  model, params = tiny_model(**SHAPES | experts)
  tokens = np.random.default_rng(0).integers(0, 64, (8, 7)).astype(np.int32)
  mesh = make_mesh(data, model_axis)
  run = lambda params, tokens: model.apply({'params': params}, tokens)[0]
  inputs = place(mesh, TRANSFORMER_RULES, params), shard_batch(mesh, tokens)
  program = jax.jit(over_data(mesh, run)).lower(*inputs).compile()
  np.testing.assert_allclose(
    program(*inputs), jax.jit(run)(params, tokens), rtol=1e-4, atol=1e-4
  )
  rows, width = 8 // data, model.cfg.width
  sums = [f'f32[{rows},7,{width}]'] * 2 + [f'f32[{rows * 7 * 2},{width}]']
  want = [('all-reduce', shape) for shape in sums] if model_axis > 1 else []
  assert sorted(collectives(program.as_text())) == sorted(want)
