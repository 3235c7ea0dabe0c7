"""Training through a model: the term is the loss of the model with a splice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import dictionaries, edits, testing, training
from interp_jax.dictionaries import (
  ArrayBatches,
  DictionaryConfig,
  EndToEnd,
  SquaredError,
  TopK,
  TrainerConfig,
  Transcoder,
  objective,
)
from interp_jax.sharding import make_mesh

FIRST = 2
TOKENS = np.random.default_rng(0).integers(0, 31, (16, 8)).astype(np.int32)


@pytest.fixture(scope='module')
def tiny():
  return testing.tiny_model()


def settings(**changes):
  given = {
    'steps': 4,
    'batch_size': 4 * (8 - FIRST),
    'learning_rate': 1e-2,
    'terms': (EndToEnd(), SquaredError(0.0)),
    'log_every': 1,
    'eval_every': 0,
    'checkpoint_every': 0,
  }
  return TrainerConfig(**(given | changes))


def train(tiny, config, trainer, folder, **given):
  model, params = tiny
  batches = ArrayBatches(TOKENS, 4)
  return dictionaries.train_end_to_end(
    config,
    trainer,
    model,
    params,
    batches,
    TOKENS,
    folder,
    first=FIRST,
    progress=False,
    **given,
  )


def test_the_term_is_the_loss_of_the_spliced_model(tiny):
  model, params = tiny
  source = objective.ModelSource(model, ('resid_post', 1), ('resid_post', 1), FIRST)
  batch = {'tokens': jnp.asarray(TOKENS), 'params': params}
  inputs, targets, context = jax.jit(source)(batch)
  np.testing.assert_array_equal(inputs, targets)
  assert inputs.shape == (16 * (8 - FIRST), 12)
  outputs = 0.9 * inputs + 0.1
  config = DictionaryConfig(12, 24, TopK(4), site='resid_post', layer=1)
  forward = objective.Forward(
    config, {}, inputs, targets, None, outputs, None, 0,
    scale={'outputs': jnp.ones(1)}, context=context,
  )  # fmt: skip
  terms = lambda forward: [EndToEnd(0.5, kind)(forward) for kind in ('kl', 'ce')]
  kl, ce = jax.jit(terms)(forward)

  where = np.arange(8)[None, :, None] >= FIRST
  splice = edits.Splice(lambda x: 0.9 * x + 0.1, layer=1, mask=where)
  run = lambda edit: model.apply({'params': params}, TOKENS, edit)[0]
  logits = jax.jit(lambda: (run(None), run({'resid_post': splice})))()
  clean, spliced = (np.asarray(jax.nn.log_softmax(one)) for one in logits)
  losses = (np.exp(clean) * (clean - spliced)).sum(-1)[:, FIRST:-1]
  np.testing.assert_allclose(kl, 0.5 * losses.mean(), rtol=3e-4)
  following = TOKENS[:, FIRST + 1 :, None]
  losses = -np.take_along_axis(spliced[:, FIRST:-1], following, -1)
  np.testing.assert_allclose(ce, 0.5 * losses.mean(), rtol=3e-4)


def test_training_lowers_what_the_model_loses_and_tells_its_sinks(tiny, tmp_path):
  seen = []

  class Sink:
    def write(self, step, kind, values):
      seen.append((step, kind, 'end_to_end' in values))

    def close(self):
      pass

  config = DictionaryConfig(12, 24, TopK(4), site='resid_post', layer=1)
  train(tiny, config, settings(steps=40), tmp_path, sinks=[Sink()])
  assert seen == [(step, 'train', True) for step in range(1, 41)]
  log = training.read_metrics(tmp_path / 'metrics.jsonl', 'train')
  losses = [record['end_to_end'] for record in log]
  assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_a_transcoder_trains_in_the_place_of_an_mlp(tiny, tmp_path):
  config = DictionaryConfig(
    12,
    24,
    TopK(4),
    Transcoder(),
    site='ln2.normalized',
    layer=1,
    out_site='mlp_out',
  )
  assert config.writes == ('mlp_out', 1)
  result = train(tiny, config, settings(terms=(EndToEnd(),)), tmp_path)
  assert np.isfinite(jax.tree.leaves(result.state.params)[0]).all()


@pytest.mark.slow
def test_eight_devices_train_as_one(tiny, tmp_path):
  config = DictionaryConfig(12, 24, TopK(4), site='resid_post', layer=1)
  one = train(tiny, config, settings(), tmp_path / 'one')
  mesh = make_mesh(data=4, model=2)
  many = train(tiny, config, settings(), tmp_path / 'many', mesh=mesh)
  for name, value in one.state.params.items():
    np.testing.assert_allclose(value, many.state.params[name], rtol=1e-3, atol=1e-4)


def test_errors_say_what_is_needed(tiny, tmp_path):
  with pytest.raises(ValueError, match='give site and layer'):
    train(tiny, DictionaryConfig(12, 24, TopK(4)), settings(), tmp_path)
  config = DictionaryConfig(12, 24, TopK(4), site='resid_post', layer=1)
  with pytest.raises(ValueError, match='microbatches=1'):
    train(tiny, config, settings(microbatches=2), tmp_path)
  with pytest.raises(ValueError, match='kind of the end_to_end term'):
    train(tiny, config, settings(terms=(EndToEnd(kind='k'),)), tmp_path)
