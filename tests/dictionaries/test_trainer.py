import json

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
import numpy as np
import pytest

from interp_jax import dictionaries, training
from interp_jax.dictionaries import (
  L1,
  ArrayBatches,
  Plan,
  ReLU,
  TrainerConfig,
  initial,
)
from interp_jax.dictionaries import step as step_lib
from interp_jax.dictionaries import trainer as trainer_lib
from interp_jax.sharding import make_mesh
from tests.dictionaries.architectures import ARCHITECTURES
from tests.dictionaries.planted import (
  ACTIVE,
  WIDTH,
  plant,
  small_config,
  small_trainer,
  write_store,
)
from tests.dictionaries.runs import StopsAt, assert_close, assert_same_bits


def run(planted, workdir, config=None, settings=None, **given):
  config, settings = config or small_config(), settings or small_trainer()
  batches = ArrayBatches(planted.rows, settings.batch_size, seed=3)
  sample = planted.rows[:1000]
  return dictionaries.train(
    config, settings, batches, sample, workdir, progress=False, **given
  )


def test_a_planted_dictionary_is_recovered(planted, tmp_path):
  settings = small_trainer(steps=300, batch_size=128, learning_rate=2e-2)
  held_out = plant(2000, seed=1).rows
  result = run(planted, tmp_path, settings=settings, held_out=held_out)
  rows = result.dictionary.params['W_dec']
  assert dictionaries.matched_cosine(planted.directions, rows) > 0.9
  assert dictionaries.max_cosine(planted.directions, rows) > 0.9
  assert result.metrics['fvu'] < 0.12
  assert result.metrics['l0'] <= ACTIVE
  assert result.metrics['dead_fraction'] < 0.15


def test_a_relu_dictionary_with_l1_learns_and_is_sparse(planted, tmp_path):
  settings = small_trainer(
    steps=300, batch_size=256, learning_rate=1e-2, terms=(L1(1.0, warmup=50),)
  )
  config = small_config(activation=ReLU())
  result = run(planted, tmp_path, config, settings, held_out=planted.rows[:500])
  assert result.metrics['fvu'] < 0.3
  assert result.metrics['l0'] < 12


def test_a_resumed_run_has_the_bits_of_one_never_stopped(planted, tmp_path):
  settings = small_trainer(checkpoint_every=5)
  whole = run(planted, tmp_path / 'whole', settings=settings)
  batches = StopsAt(ArrayBatches(planted.rows, settings.batch_size, seed=3), 8)
  with pytest.raises(KeyboardInterrupt):
    dictionaries.train(
      small_config(),
      settings,
      batches,
      planted.rows[:1000],
      tmp_path / 'parts',
      progress=False,
    )
  parts = run(planted, tmp_path / 'parts', settings=settings)
  assert_same_bits(whole.state, parts.state)
  logs = [
    [
      {k: v for k, v in record.items() if 'second' not in k and k != 'data_wait'}
      for record in training.read_metrics(tmp_path / name / 'metrics.jsonl')
    ][-1]
    for name in ('whole', 'parts')
  ]
  assert logs[0] == logs[1]
  assert logs[0]['step'] == settings.steps


# States of each kind: resampling, gates, a running threshold, draws, a term with a
# state, targets beside inputs, decoders by layer.
STATES = (
  'relu',
  'gated',
  'batchtopk',
  'matryoshka_sampled',
  'p_anneal',
  'skip_transcoder',
  'cross_layer',
)


@pytest.mark.slow
@pytest.mark.parametrize('name', STATES)
def test_every_kind_of_state_resumes_with_the_same_bits(name, tmp_path):
  architecture = ARCHITECTURES[name]
  settings = architecture.settings(checkpoint_every=3)

  def run_to_end(folder, batches):
    return dictionaries.train(
      architecture.config,
      settings,
      batches,
      architecture.rows(),
      folder,
      progress=False,
    )

  whole = run_to_end(tmp_path / 'whole', architecture.batches())
  with pytest.raises(KeyboardInterrupt):
    run_to_end(tmp_path / 'parts', StopsAt(architecture.batches(), 7))
  parts = run_to_end(tmp_path / 'parts', architecture.batches())
  assert_same_bits(whole.state, parts.state)


def test_an_autoencoder_is_not_trained_towards_other_activations(planted, tmp_path):
  sample = {'inputs': planted.rows[:100], 'targets': 3 * planted.rows[:100]}
  batches = ArrayBatches(planted.rows, 64)
  with pytest.raises(ValueError, match='use the wiring Transcoder'):
    dictionaries.train(small_config(), small_trainer(), batches, sample, tmp_path)


def test_another_runs_checkpoint_is_refused(planted, tmp_path):
  run(planted, tmp_path, settings=small_trainer(steps=2))
  with pytest.raises(ValueError, match='checkpoint'):
    run(planted, tmp_path, settings=small_trainer(steps=2, learning_rate=1e-4))


def test_eight_devices_equal_one(planted, tmp_path):
  one = run(planted, tmp_path / 'one')
  many = run(planted, tmp_path / 'many', mesh=make_mesh(data=4, model=2))
  assert many.state.params['W_enc'].sharding.spec == PartitionSpec(None, 'model')
  assert len(many.state.idle.sharding.device_set) == 8
  assert_close(one.state.params, many.state.params, rtol=2e-3, atol=2e-3)
  np.testing.assert_array_equal(one.state.idle, many.state.idle)


def test_decoder_rows_stay_at_norm_one_exactly_when_asked(planted, tmp_path):
  norms = [
    np.linalg.norm(
      run(
        planted, tmp_path / str(unit), settings=small_trainer(unit_norm=unit)
      ).state.params['W_dec'],
      axis=1,
    )
    for unit in (True, False)
  ]
  np.testing.assert_allclose(norms[0], 1, rtol=1e-5)
  assert abs(norms[1] - 1).max() > 1e-3


def test_idle_counts_examples_since_a_feature_was_active(planted):
  config, settings = small_config(), small_trainer()
  inputs = initial.measure(planted.rows[:1000])
  state = step_lib.init_state(config, settings, inputs)
  step = jax.jit(step_lib.make_step(config, settings, Plan('sparse')))
  expected = np.zeros(config.features, int)
  for start in range(0, 60, 10):
    batch = planted.rows[start : start + 10]
    codes = dictionaries.Dictionary(state.params, config).encode(
      batch * state.scale['inputs']
    )
    active = (np.asarray(codes) > 0).any(0)
    expected = np.where(active, 0, expected + 10)
    state, metrics = step(state, jnp.asarray(batch))
    np.testing.assert_array_equal(state.idle, expected)
  dead = (expected > step_lib.dead_after_of(settings)).mean()
  assert metrics['dead_fraction'] == pytest.approx(dead)


def test_idle_never_overflows():
  idle = jnp.full(2, np.iinfo(np.int32).max - 5, jnp.int32)
  counted = step_lib.count_idle(idle, jnp.array([False, True]), 64)
  assert counted[0] >= idle[0]
  assert counted[1] == 0


def test_training_on_a_store_equals_its_log_and_learns(planted, tmp_path, monkeypatch):
  score, scored = trainer_lib.score, []
  counted = lambda *args: scored.append(args) or score(*args)
  monkeypatch.setattr(trainer_lib, 'score', counted)
  reader = write_store(tmp_path / 'store', planted.rows[:2000])
  settings = small_trainer(steps=60, eval_every=30)

  def train():
    return dictionaries.train_on_store(
      small_config(),
      settings,
      reader,
      tmp_path / 'run',
      held_out=planted.rows[2000:2500],
      progress=False,
    )

  result = train()
  assert len(scored) == 2  # The last evaluation is the result's.
  assert train().metrics == result.metrics
  log = tmp_path / 'run' / 'metrics.jsonl'
  evaluations = training.read_metrics(log, 'eval')
  assert [record['step'] for record in evaluations] == [30, 60]
  assert evaluations[1]['fvu'] == pytest.approx(result.metrics['fvu'])
  assert evaluations[1]['fvu'] < evaluations[0]['fvu'] < 1
  last = training.read_metrics(log, 'train')[-1]
  assert {'loss', 'mse', 'auxk', 'fvu', 'l0', 'dead_fraction'} <= last.keys()


def test_stores_of_bfloat16_are_trained_on_in_float32(planted, tmp_path):
  rows = jnp.asarray(planted.rows[:500], jnp.bfloat16)
  narrow = planted._replace(rows=np.asarray(rows))
  settings = small_trainer(steps=2)
  batches = ArrayBatches(narrow.rows, settings.batch_size)
  sample = planted.rows[:500]
  result = dictionaries.train(
    small_config(), settings, batches, sample, tmp_path, progress=False
  )
  assert result.state.params['W_enc'].dtype == jnp.float32


def test_configs_survive_json():
  settings = small_trainer(terms=(L1(0.5), dictionaries.AuxK(k=3)))
  assert TrainerConfig.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_errors_say_what_to_change(planted, tmp_path):
  with pytest.raises(ValueError, match='needs \\[N, 25\\] with'):
    run(planted, tmp_path, small_config(width=WIDTH + 1))
  with pytest.raises(ValueError, match="Did you mean 'steps'"):
    TrainerConfig.from_dict({'step': 3})
