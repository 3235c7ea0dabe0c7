"""Recipes of SAELens train as its own trainer does."""

import dataclasses

import numpy as np
import pytest

from interp_jax.dictionaries import recipe
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
sae_lens = pytest.importorskip('sae_lens')
pytestmark = pytest.mark.peers

# Recipe, options of it, and the same in SAELens's names.
CASES = {
  'standard': ('standard', {'l1': 0.3}, {'l1_coefficient': 0.3}),
  'standard, warm-up': (
    'standard',
    {'l1': 0.3, 'l1_warmup': 50},
    {'l1_coefficient': 0.3, 'l1_warm_up_steps': 50},
  ),
  'gated': ('gated', {'l1': 0.2}, {'l1_coefficient': 0.2}),
  'step': (
    'jumprelu',
    {'l0': 0.05, 'bandwidth': 0.2, 'init_threshold': 0.1, 'pre_act': 0.01},
    {
      'l0_coefficient': 0.05,
      'jumprelu_bandwidth': 0.2,
      'jumprelu_init_threshold': 0.1,
      'pre_act_loss_coefficient': 0.01,
    },
  ),
  'tanh': (
    'jumprelu',
    {'l0': 0.1, 'mode': 'tanh', 'bandwidth': 0.3, 'to_input': True, 'pre_act': 0.01},
    {
      'l0_coefficient': 0.1,
      'jumprelu_sparsity_loss_mode': 'tanh',
      'jumprelu_bandwidth': 0.3,
      'jumprelu_ste_to_input': True,
      'pre_act_loss_coefficient': 0.01,
    },
  ),
  'quadratic': (
    'jumprelu',
    {'l0': 0.02, 'mode': 'quadratic', 'target_l0': 6.0, 'bandwidth': 0.2},
    {
      'l0_coefficient': 0.02,
      'jumprelu_sparsity_loss_mode': 'quadratic',
      'target_l0': 6.0,
      'jumprelu_bandwidth': 0.2,
    },
  ),
  'topk': ('topk', {'k': 4}, {'k': 4}),
  'abstopk': ('abstopk', {'k': 4}, {'k': 4}),
  'batchtopk': ('batchtopk', {'k': 3.5}, {'k': 3.5}),
  'matryoshka_batchtopk': (
    'matryoshka_batchtopk',
    {'k': 4, 'prefixes': (10, 30)},
    {'k': 4, 'matryoshka_widths': [10, 30, FEATURES]},
  ),
}
every_case = pytest.mark.parametrize('case', CASES)


def ours(case, **changes):
  name, options, _ = CASES[case]
  config, trainer = recipe(f'sae_lens/{name}', **SHAPE, **options, **changes)
  return config, common.with_window(trainer, WINDOW * BATCH)


def their_sae(case):
  name, _, options = CASES[case]
  _, config_class = sae_lens.registry.get_sae_training_class(name)
  config = config_class(d_in=WIDTH, d_sae=FEATURES, dtype='float64', **options)
  torch.manual_seed(0)
  return sae_lens.registry.get_sae_training_class(name)[0](config).double()


def params_of(sae):
  return {name: p.detach().numpy().copy() for name, p in sae.named_parameters()}


def forward(sae, batch, dead):
  from sae_lens.saes.sae import TrainStepInput

  given = sae.get_coefficients()
  step_input = TrainStepInput(
    sae_in=batch,
    coefficients={name: one.value for name, one in given.items()},
    dead_neuron_mask=dead,
    n_training_steps=STEPS,
    is_logging_step=False,
  )
  return sae.training_forward_pass(step_input)


@every_case
def test_the_loss_and_the_gradients_are_the_librarys(case):
  config, trainer = ours(case)
  params = common.random_params(config, trainer)
  batch = common.rows(BATCH, seed=1)
  with double():
    sae = their_sae(case)
    assert {name: p.shape for name, p in sae.named_parameters()} == config.shapes()
    with torch.no_grad():
      for name, p in sae.named_parameters():
        p.data = torch.tensor(params[name])
    loss = forward(sae, torch.tensor(batch), torch.tensor(DEAD)).loss
    loss.backward()
  theirs = {name: p.grad.numpy() for name, p in sae.named_parameters()}
  common.assert_same_loss(
    common.loss_and_gradients(config, trainer, params, batch), (loss.item(), theirs)
  )


@pytest.mark.parametrize('case', slow_but(CASES, 'topk'))
def test_200_steps_stay_together(case):
  from sae_lens import SAETrainer
  from sae_lens.config import SAETrainerConfig

  config, trainer = ours(case, learning_rate=1e-2, decay=0.2)
  data, held_out = common.batches(), common.rows(1000, seed=2)
  settings = SAETrainerConfig(
    total_training_samples=STEPS * BATCH,
    train_batch_size_samples=BATCH,
    lr=1e-2,
    lr_end=1e-2,
    lr_decay_steps=STEPS // 5,
    dead_feature_window=WINDOW,
  )
  with double():
    sae = their_sae(case)
  with common.float64_by_default():
    params = params_of(sae)
    their_trainer = SAETrainer(settings, sae, iter(()))
    for batch in torch.tensor(data):
      their_trainer.step(batch)
      their_trainer.n_training_steps += 1
    with torch.no_grad():
      out = forward(sae, torch.tensor(held_out), None)
  state = common.train(config, trainer, params, data)
  l0 = out.feature_acts.bool().float().sum(-1).mean().item()
  theirs = Outcome(common.fvu(out.sae_out.numpy(), held_out), l0)
  common.assert_stayed_together(common.outcome(config, state, held_out), theirs)
  counted = their_trainer.n_forward_passes_since_fired.numpy() * BATCH
  assert (counted == np.asarray(state.idle)).mean() > 0.9
  if hasattr(sae, 'topk_threshold'):
    np.testing.assert_allclose(state.least, sae.topk_threshold, rtol=0.01)


def test_the_defaults_are_the_librarys():
  from sae_lens.config import SAETrainerConfig

  trainer = SAETrainerConfig(total_training_samples=1, train_batch_size_samples=1)
  options = {'matryoshka_batchtopk': {'prefixes': (16,)}}
  for name in ('standard', 'gated', 'jumprelu', 'topk', 'abstopk', 'batchtopk'):
    sae = sae_lens.registry.get_sae_training_class(name)[1](d_in=WIDTH, d_sae=FEATURES)
    shape = {'width': WIDTH, 'features': 128, 'steps': 10}
    config, ours = recipe(f'sae_lens/{name}', **shape, **options.get(name, {}))
    assert (ours.learning_rate, ours.b1, ours.b2) == (
      trainer.lr,
      trainer.adam_beta1,
      trainer.adam_beta2,
    )
    assert ours.init.norm == sae.decoder_init_norm
    terms = {term.name: term for term in ours.terms}
    activation = dataclasses.asdict(config.activation)
    for term, key in (('l1', 'l1_coefficient'), ('l0', 'l0_coefficient')):
      if hasattr(sae, key):
        assert terms[term].coefficient == getattr(sae, key)
    for field, key in (
      ('k', 'k'),
      ('by_norm', 'rescale_acts_by_decoder_norm'),
      ('rate', 'topk_threshold_lr'),
      ('bandwidth', 'jumprelu_bandwidth'),
      ('init_threshold', 'jumprelu_init_threshold'),
      ('to_input', 'jumprelu_ste_to_input'),
    ):
      if hasattr(sae, key):
        assert activation[field] == getattr(sae, key)
    if 'auxk' in terms:
      assert terms['auxk'].coefficient == sae.aux_loss_coefficient
      assert terms['auxk'].dead_after == trainer.dead_feature_window * 4096
