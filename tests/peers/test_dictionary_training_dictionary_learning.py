"""Recipes of dictionary_learning train as its own trainers do."""

import contextlib
import importlib
import importlib.util
import io
import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.dictionaries import geometric_median, recipe
from interp_jax.dictionaries.resample import fresh_params
from interp_jax.testing.double import double
from tests.peers import dictionary_training as common
from tests.peers.dictionary_training import (
  BATCH,
  DEAD,
  FEATURES,
  SHAPE,
  STEPS,
  WIDTH,
  WINDOW,
  Outcome,
)
from tests.slow import slow_but

torch = pytest.importorskip('torch')
pytestmark = pytest.mark.peers
if importlib.util.find_spec('dictionary_learning') is None:
  pytest.skip('dictionary_learning is not installed', allow_module_level=True)


def their_module(name):
  """A module of its trainers; these need nothing of nnsight, which it imports."""
  before = sys.modules.get('nnsight')
  sys.modules['nnsight'] = types.ModuleType('nnsight')
  sys.modules['nnsight'].LanguageModel = object
  try:
    return importlib.import_module(f'dictionary_learning.trainers.{name}')
  finally:
    if before is None:
      del sys.modules['nnsight']
    else:
      sys.modules['nnsight'] = before


# Our name of a parameter, theirs, and whether it lies the other way round.
LINEAR = {
  'W_enc': ('encoder.weight', True),
  'W_dec': ('decoder.weight', True),
}
AUTOENCODER = LINEAR | {'b_enc': ('encoder.bias', False), 'b_dec': ('bias', False)}
TOPK = LINEAR | {'b_enc': ('encoder.bias', False), 'b_dec': ('b_dec', False)}
GATED = LINEAR | {
  'b_dec': ('decoder_bias', False),
  'b_gate': ('gate_bias', False),
  'b_mag': ('mag_bias', False),
  'r_mag': ('r_mag', False),
}
PLAIN = {name: (name, False) for name in ('W_enc', 'W_dec', 'b_enc', 'b_dec')}
SPARSITY = {'sparsity_warmup': 40}
THEIR_SPARSITY = {'sparsity_warmup_steps': 40}
# Below p = 1 the penalty's gradient has no bound at small codes. Runs that agree to
# 1e-16 while p is 1 are 1e-13 apart when it is 0.8, and part before it is 0.5.
ANNEAL = {
  'anneal_start': 60,
  'anneal_end': 160,
  'updates': 5,
  'last': 0.8,
  'penalty': 0.2,
} | SPARSITY
THEIR_ANNEAL = {
  'anneal_start': 60,
  'anneal_end': 160,
  'n_sparsity_updates': 5,
  'p_end': 0.8,
  'initial_sparsity_penalty': 0.2,
} | THEIR_SPARSITY

# Recipe: its options, module and class of the trainer, its options, its parameters.
CASES = {
  'standard': (
    {'l1': 0.3} | SPARSITY,
    ('standard', 'StandardTrainer'),
    {'l1_penalty': 0.3} | THEIR_SPARSITY,
    AUTOENCODER,
  ),
  'standard_april': (
    {'l1': 0.3} | SPARSITY,
    ('standard', 'StandardTrainerAprilUpdate'),
    {'l1_penalty': 0.3} | THEIR_SPARSITY,
    AUTOENCODER,
  ),
  'gated': (
    {'l1': 0.2} | SPARSITY,
    ('gdm', 'GatedSAETrainer'),
    {'l1_penalty': 0.2} | THEIR_SPARSITY,
    GATED,
  ),
  'p_anneal': (ANNEAL, ('p_anneal', 'PAnnealTrainer'), THEIR_ANNEAL, AUTOENCODER),
  'gated_anneal': (
    ANNEAL,
    ('gated_anneal', 'GatedAnnealTrainer'),
    THEIR_ANNEAL,
    GATED,
  ),
  'jumprelu': (
    {'target_l0': 4.0, 'bandwidth': 0.05} | SPARSITY,
    ('jumprelu', 'JumpReluTrainer'),
    {'target_l0': 4.0, 'bandwidth': 0.05} | THEIR_SPARSITY,
    PLAIN | {'threshold': ('threshold', False)},
  ),
  'topk': ({'k': 4}, ('top_k', 'TopKTrainer'), {'k': 4}, TOPK),
  'batchtopk': (
    {'k': 4, 'threshold_start': 50},
    ('batch_top_k', 'BatchTopKTrainer'),
    {'k': 4, 'threshold_start_step': 50},
    TOPK,
  ),
  'matryoshka': (
    {'k': 4, 'fractions': (0.2, 0.3, 0.5), 'threshold_start': 50},
    ('matryoshka_batch_top_k', 'MatryoshkaBatchTopKTrainer'),
    {'k': 4, 'group_fractions': [0.2, 0.3, 0.5], 'threshold_start_step': 50},
    PLAIN,
  ),
}
every_case = pytest.mark.parametrize('case', CASES)
# Of the learning rate, in both libraries.
SCHEDULE = {'warmup_steps': 20, 'decay_start': 150}


def ours(case, **changes):
  config, trainer = recipe(
    f'dictionary_learning/{case}', **SHAPE, **SCHEDULE, **CASES[case][0], **changes
  )
  # Dead is what has counted so much, this batch among it.
  return config, common.with_window(trainer, WINDOW * BATCH - BATCH - 1)


def their_trainer(case, lr=1e-2, **changes):
  _, (module, name), options, _ = CASES[case]
  trainer = getattr(their_module(module), name)(
    steps=STEPS,
    activation_dim=WIDTH,
    dict_size=FEATURES,
    layer=0,
    lm_name='none',
    device='cpu',
    seed=0,
    lr=lr,
    **SCHEDULE | options | changes,
  )
  trainer.dead_feature_threshold = WINDOW * BATCH
  return trainer


def params_of(case, ae, read=lambda p: p.detach()):
  named = dict(ae.named_parameters())
  return {
    name: (
      read(named[theirs]).numpy().T if flip else read(named[theirs]).numpy()
    ).copy()
    for name, (theirs, flip) in CASES[case][3].items()
  }


@every_case
def test_the_loss_and_the_gradients_are_the_librarys(case):
  config, trainer = ours(case)
  params = common.random_params(config, trainer)
  batch = common.rows(BATCH, seed=1)
  with double():
    their = their_trainer(case)
    their.ae.double()
    named = dict(their.ae.named_parameters())
    for name, (theirs, flip) in CASES[case][3].items():
      named[theirs].data = torch.tensor(params[name].T if flip else params[name])
    their.p = 0.8  # Where annealing ends.
    if hasattr(their, 'num_tokens_since_fired'):
      their.num_tokens_since_fired[torch.tensor(DEAD)] = 10**9
    loss = their.loss(torch.tensor(batch), step=STEPS)
    loss.backward()
  theirs = params_of(case, their.ae, lambda p: p.grad)
  common.assert_same_loss(
    common.loss_and_gradients(config, trainer, params, batch), (loss.item(), theirs)
  )


def their_median(case, their, points):
  if case == 'topk':
    return their_module('top_k').geometric_median(points)
  return their.geometric_median(points)


@pytest.mark.parametrize('case', slow_but(CASES, 'standard'))
def test_200_steps_stay_together(case):
  config, trainer = ours(case, learning_rate=1e-2)
  data, held_out = common.batches(), common.rows(1000, seed=2)
  with double():
    their = their_trainer(case)
    their.ae.double()
    params = params_of(case, their.ae)
    if trainer.center == 'geometric_median':
      params['b_dec'] = their_median(case, their, torch.tensor(data[0])).numpy()
      ours_too = geometric_median(data[0])
      np.testing.assert_allclose(ours_too, params['b_dec'], rtol=1e-3, atol=1e-4)
    for step, batch in enumerate(torch.tensor(data)):
      their.update(step, batch)
    with torch.no_grad():
      x = torch.tensor(held_out)
      if case in ('batchtopk', 'matryoshka'):
        codes = their.ae.encode(x, use_threshold=False)
        out = their.ae.decode(codes)
      else:
        out, codes = their.ae(x, output_features=True)
    l0 = (codes != 0).double().sum(-1).mean().item()
  state = common.train(config, trainer, params, data)
  theirs = Outcome(common.fvu(out.numpy(), held_out), l0)
  # Which features are selected is decided by the last bits now and then.
  rtol = 0.01 if 'k' in CASES[case][0] else 1e-6
  common.assert_stayed_together(common.outcome(config, state, held_out), theirs, rtol)
  if trainer.unit_norm:
    norms = np.linalg.norm(state.params['W_dec'], axis=1)
    np.testing.assert_allclose(norms, 1, rtol=1e-5)
  if case in ('batchtopk', 'matryoshka'):
    np.testing.assert_allclose(state.least, float(their.ae.threshold), rtol=0.01)
  if 'anneal' in case:
    strength = CASES[case][0]['penalty'] * float(state.terms['lp']['strength'])
    np.testing.assert_allclose(strength, their.sparsity_coeff, rtol=rtol)


def test_a_resampled_feature_starts_as_the_librarys_does(monkeypatch):
  schedule = {'warmup_steps': 20, 'decay_start': None, 'sparsity_warmup_steps': 40}
  their = their_trainer('standard', resample_steps=50, **schedule)
  data = common.batches().astype(np.float32)
  with contextlib.redirect_stdout(io.StringIO()):
    for step, batch in enumerate(torch.tensor(data[:5])):
      their.update(step, batch)
    before = params_of('standard', their.ae)
    chosen = np.arange(DEAD.sum()) * 2 % BATCH
    draw = lambda weights, num_samples, replacement: torch.tensor(chosen)
    monkeypatch.setattr(torch, 'multinomial', draw)
    their.resample_neurons(torch.tensor(DEAD), torch.tensor(data[5]))
  after = params_of('standard', their.ae)
  config, trainer = recipe('dictionary_learning/standard', **SHAPE, resample_steps=50)
  examples = np.zeros((FEATURES, WIDTH), np.float32)
  examples[DEAD] = data[5][chosen]
  fresh = fresh_params(
    trainer.resample,
    config,
    {name: jnp.asarray(p) for name, p in before.items()},
    jnp.asarray(~DEAD),
    jnp.asarray(examples),
    jnp.asarray(examples),
  )
  for name, axis in (('W_enc', -1), ('b_enc', -1), ('W_dec', 0)):
    of_dead = lambda array, axis=axis: np.compress(DEAD, array, axis)
    np.testing.assert_allclose(
      of_dead(fresh[name]), of_dead(after[name]), rtol=1e-5, atol=1e-7
    )
    assert np.abs(of_dead(after[name]) - of_dead(before[name])).max() > 1e-3
