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


@pytest.mark.parametrize('kind', ['kl', 'ce'])
def test_the_term_is_the_loss_of_the_spliced_model(tiny, kind):
  model, params = tiny
  source = objective.ModelSource(model, ('resid_post', 1), ('resid_post', 1), FIRST)
  batch = {'tokens': jnp.asarray(TOKENS), 'params': params}
  inputs, targets, context = source(batch)
  np.testing.assert_array_equal(inputs, targets)
  assert inputs.shape == (16 * (8 - FIRST), 12)
  outputs = 0.9 * inputs + 0.1
  config = DictionaryConfig(12, 24, TopK(4), site='resid_post', layer=1)
  forward = objective.Forward(
    config, {}, inputs, targets, None, outputs, None, 0,
    scale={'outputs': jnp.ones(1)}, context=context,
  )  # fmt: skip
  got = EndToEnd(0.5, kind)(forward)

  where = np.arange(8)[None, :, None] >= FIRST
  splice = edits.Splice(lambda x: 0.9 * x + 0.1, layer=1, mask=where)
  clean = jax.nn.log_softmax(model.apply({'params': params}, TOKENS)[0])
  logits, _ = model.apply({'params': params}, TOKENS, {'resid_post': splice})
  spliced = jax.nn.log_softmax(logits)
  if kind == 'kl':
    losses = (jnp.exp(clean) * (clean - spliced)).sum(-1)[:, FIRST:-1]
  else:
    following = TOKENS[:, FIRST + 1 :, None]
    losses = -jnp.take_along_axis(spliced[:, FIRST:-1], following, -1)
  np.testing.assert_allclose(got, 0.5 * losses.mean(), rtol=3e-4)


def test_training_lowers_what_the_model_loses(tiny, tmp_path):
  config = DictionaryConfig(12, 24, TopK(4), site='resid_post', layer=1)
  train(tiny, config, settings(steps=40), tmp_path)
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


def test_metrics_go_to_the_sinks_that_are_given(tiny, tmp_path):
  seen = []

  class Sink:
    def write(self, step, kind, values):
      seen.append((step, kind, 'end_to_end' in values))

    def close(self):
      pass

  config = DictionaryConfig(12, 24, TopK(4), site='resid_post', layer=1)
  train(tiny, config, settings(), tmp_path, sinks=[Sink()])
  assert seen == [(step, 'train', True) for step in (1, 2, 3, 4)]


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
