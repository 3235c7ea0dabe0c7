import inspect
import json

import jax
import numpy as np
import pytest

from interp_jax.dictionaries import (
  RECIPES,
  Plan,
  TrainerConfig,
  check,
  export,
  init_state,
  initial,
  make_step,
  recipe,
)

SHAPE = {'width': 8, 'features': 32, 'steps': 2000, 'batch_size': 16}
NEEDED = {
  'sae_lens/matryoshka_batchtopk': {'prefixes': (8, 16)},
  'dictionary_learning/matryoshka': {'fractions': (0.25, 0.75)},
  'dictionary_learning/p_anneal': {'anneal_start': 100},
  'dictionary_learning/gated_anneal': {'anneal_start': 100},
}


def build(name, **changes):
  few = {'k': 4} if 'k' in inspect.signature(RECIPES[name]).parameters else {}
  return recipe(name, **SHAPE, **few, **NEEDED.get(name, {}), **changes)


@pytest.mark.parametrize('name', RECIPES)
def test_every_recipe_makes_sense_is_documented_and_survives_json(name):
  config, trainer = build(name)
  check(config, trainer)
  assert RECIPES[name].__doc__
  assert TrainerConfig.from_dict(json.loads(json.dumps(trainer.to_dict()))) == trainer


def test_a_transcoder_of_sparsify_starts_at_zero_with_centred_pre_activations():
  config, trainer = build('sparsify/transcoder')
  rows = np.random.default_rng(0).normal(2.0, 1.0, (200, 8)).astype(np.float32)
  scale = initial.measure(rows, trainer.center, trainer.normalize, rows[::-1] + 1)
  params = init_state(config, trainer, scale).params
  assert not params['W_dec'].any()
  pre = rows @ params['W_enc'] + params['b_enc']
  np.testing.assert_allclose(pre.mean(0), 0, atol=1e-5)
  np.testing.assert_allclose(np.linalg.norm(params['W_enc'], axis=0), 3**-0.5, 1e-5)


def test_options_of_the_trainer_replace_the_librarys():
  _, trainer = recipe('sae_lens/topk', **SHAPE, k=4, learning_rate=0.5, seed=3)
  assert (trainer.learning_rate, trainer.seed, trainer.clip) == (0.5, 3, 1.0)


def test_signum_exports_an_steps_of_its_steps():
  config, trainer = build('sparsify/topk', learning_rate=0.1)
  rows = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
  state = init_state(config, trainer, initial.measure(rows, normalize='none'))
  step = jax.jit(make_step(config, trainer, Plan()))
  for _ in range(3):
    state, _ = step(state, rows)
  (steps,) = [part.z['b_dec'] for part in state.opt_state if hasattr(part, 'z')]
  exported = export(config, state).params['b_dec']
  # What trains lies between the steps and the steps themselves.
  mixed = 0.95 * exported + 0.05 * steps
  np.testing.assert_allclose(mixed, state.params['b_dec'], rtol=1e-4, atol=1e-6)
  assert np.abs(exported - state.params['b_dec']).max() > 1e-4


@pytest.mark.parametrize(
  ('name', 'options', 'message'),
  [
    ('sae_lens/topkk', {}, "Did you mean 'sae_lens/topk'"),
    ('sae_lens/topk', {'kk': 4}, "option of 'sae_lens/topk' 'kk'"),
    ('sae_lens/jumprelu', {'mode': 'tan'}, "Did you mean 'tanh'"),
    ('sae_lens/jumprelu', {'mode': 'quadratic'}, 'give target_l0'),
    ('sparsify/topk', {'optimizer': 'muon'}, 'Valid: adam, signum'),
  ],
)
def test_a_wrong_recipe_says_what_is_right(name, options, message):
  with pytest.raises(ValueError, match=message):
    recipe(name, **SHAPE, **options)
