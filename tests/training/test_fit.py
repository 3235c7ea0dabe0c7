"""What the training loop promises: exact resumption, clean stops, no lost state."""

import json
import math
import os
import signal
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from interp_jax import training
from interp_jax.training import loop

ROWS = np.random.default_rng(0).integers(0, 50, (64, 9)).astype(np.uint16)
STEPS = 12


def logits_fn(params, tokens):
  return jnp.tanh(params['E'][tokens] @ params['W']) @ params['U']


def make_state(optimizer):
  keys = jax.random.split(jax.random.key(0), 3)
  shapes = {'E': (50, 64), 'W': (64, 64), 'U': (64, 50)}
  draws = zip(shapes.items(), keys, strict=True)
  params = {name: jax.random.normal(key, shape) / 8 for (name, shape), key in draws}
  return training.create_state(params, optimizer)


def make_optimizer():
  return optax.adamw(training.warmup_cosine(1e-2, STEPS, 3))


def run(workdir, *, steps=STEPS, evaluate=None, loss_fn=None, place=None, **loop):
  optimizer = make_optimizer()
  loss_fn = training.make_loss(logits_fn) if loss_fn is None else loss_fn
  return training.fit(
    make_state(optimizer),
    training.make_train_step(loss_fn, optimizer),
    training.batches(ROWS, 8, seed=1),
    training.LoopConfig(
      steps, **{'log_every': 2, 'eval_every': 1, 'checkpoint_every': 4} | loop
    ),
    workdir,
    evaluate=evaluate,
    place=training.place_batch if place is None else place,
    notes={'width': 64},
    progress=False,
  )


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """An unbroken run: its folder and its result."""
  folder = tmp_path_factory.mktemp('whole')
  return folder, run(folder)


def assert_same_bits(a, b):
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def send_signal_at(step, number):
  def evaluate(state):
    if int(state.step) == step:
      os.kill(os.getpid(), number)
    return {}

  return evaluate


def test_a_stopped_and_resumed_run_equals_an_unbroken_one_bit_for_bit(whole, tmp_path):
  half = run(tmp_path, evaluate=send_signal_at(5, signal.SIGTERM))
  assert not half.finished
  assert half.step < STEPS
  resumed = run(tmp_path)
  assert resumed.finished
  assert_same_bits(whole[1].state, resumed.state)


def test_a_run_that_died_between_checkpoints_is_repeated_bit_for_bit(whole, tmp_path):
  def die(batch):
    die.count += 1
    if die.count == 7:
      raise OSError('power cut')
    return training.place_batch(batch)

  die.count = 0
  with pytest.raises(OSError, match='power cut'):
    run(tmp_path, place=die)
  records = training.read_metrics(tmp_path / 'metrics.jsonl', 'train')
  assert [record['step'] for record in records] == [2, 4, 6]
  assert_same_bits(whole[1].state, run(tmp_path).state)
  logs = [
    [(r['step'], r['loss']) for r in training.read_metrics(path / 'metrics.jsonl')]
    for path in (whole[0], tmp_path)
  ]
  assert logs[0] == logs[1]


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_behind_a_checkpoint_of_that_step(tmp_path, number):
  before = signal.getsignal(number)
  result = run(tmp_path, evaluate=send_signal_at(3, number), checkpoint_every=0)
  assert not result.finished
  assert signal.getsignal(number) is before
  with training.Checkpoints(tmp_path / 'checkpoints') as checkpoints:
    assert checkpoints.latest_step() == result.step == 4
    restored = checkpoints.restore(result.state)
  assert_same_bits(restored.state, result.state)
  assert restored.data_state == {'next_index': 4}


def diverging(step):
  """A loss that is not a number once `step` updates were made."""
  inner = training.make_loss(logits_fn)

  def loss_fn(params, tokens):
    loss, metrics = inner(params, tokens[:, 1:])
    return jnp.where(tokens[0, 0] >= step, jnp.nan, loss), metrics

  def place(batch):
    place.made += 1
    return np.concatenate([np.full((8, 1), place.made - 1), batch], axis=1)

  place.made = 0
  return {'loss_fn': loss_fn, 'place': place}


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(
  tmp_path,
):
  with pytest.raises(training.DivergedError, match=r'Step 7 .* of step 4, is in'):
    run(tmp_path, **diverging(6), log_every=0)
  with training.Checkpoints(tmp_path / 'checkpoints') as checkpoints:
    state = checkpoints.restore(make_state(make_optimizer())).state
  assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(state))


def test_a_loss_that_is_not_finite_before_any_checkpoint_says_so(tmp_path):
  with pytest.raises(training.DivergedError, match='no checkpoint yet'):
    run(tmp_path, **diverging(0))


def test_a_finished_run_is_not_trained_further(whole):
  folder, first = whole
  again = run(folder)
  assert again.finished
  assert again.step == STEPS
  assert_same_bits(first.state, again.state)


def test_a_checkpoint_of_other_settings_is_refused_and_named(tmp_path):
  run(tmp_path, steps=2)
  with training.Checkpoints(tmp_path / 'checkpoints') as checkpoints:
    assert checkpoints.notes() == {'width': 64}
  optimizer = optax.sgd(0.1)
  with pytest.raises(ValueError, match=r'width \(64 there, 32 here\)'):
    training.fit(
      make_state(optimizer),
      lambda state, batch: (state, {}),
      training.batches(ROWS, 8, seed=1),
      training.LoopConfig(4),
      tmp_path,
      notes={'width': 32, 'new': 1},
      progress=False,
    )


def test_the_log_has_the_mean_of_the_steps_and_a_clock_that_goes_on(whole, tmp_path):
  run(tmp_path, log_every=1, evaluate=send_signal_at(5, signal.SIGTERM))
  fine = training.read_metrics(tmp_path / 'metrics.jsonl', 'train')
  run(tmp_path, log_every=1)
  records = training.read_metrics(tmp_path / 'metrics.jsonl', 'train')
  seconds = [record['seconds'] for record in records]
  assert seconds == sorted(seconds)
  assert [r['step'] for r in records] == list(range(1, STEPS + 1))
  assert records[: len(fine)] == fine
  coarse = training.read_metrics(whole[0] / 'metrics.jsonl', 'train')
  means = [
    math.fsum(r['loss'] for r in records[i : i + 2]) / 2 for i in range(0, 12, 2)
  ]
  np.testing.assert_allclose([r['loss'] for r in coarse], means, rtol=1e-12)


def test_evaluations_come_at_their_interval_and_at_the_end(tmp_path):
  evaluate = lambda state: {'x': int(state.step)}
  result = run(tmp_path, steps=5, eval_every=2, evaluate=evaluate)
  assert result.evaluation == {'x': 5}
  records = training.read_metrics(tmp_path / 'metrics.jsonl', 'eval')
  assert [(r['step'], r['x']) for r in records] == [(2, 2), (4, 4), (5, 5)]
  again = run(tmp_path, steps=5, eval_every=2, evaluate=evaluate)
  assert again.evaluation is None  # The run was at its end.


def test_every_line_of_the_log_is_one_json_object(whole):
  timing = {'steps_per_second', 'data_wait', 'seconds'}
  for line in (whole[0] / 'metrics.jsonl').read_text().splitlines():
    assert set(json.loads(line)) == {'step', 'kind', 'loss', 'grad_norm', *timing}


@pytest.mark.parametrize(('busy', 'waited'), [(False, 7 * 3), (True, 0)])
def test_the_share_of_the_time_that_devices_wait_for_data_is_logged(
  tmp_path, monkeypatch, busy, waited
):
  clock = [0.0]
  fake = SimpleNamespace(monotonic=lambda: clock[0])
  monkeypatch.setattr(loop, 'time', fake)
  ready = property(lambda self: len(self) > 0 and not busy)
  monkeypatch.setattr(training.MetricWindow, 'idle', ready)

  class Batches:
    def __next__(self):
      clock[0] += 3

    def get_state(self):
      return 0

    def set_state(self, state):
      del state

  def step(state, batch):
    clock[0] += 1
    return state, {'loss': np.zeros(())}

  state = {'x': jnp.zeros(2)}
  config = training.LoopConfig(8, log_every=8)
  training.fit(state, step, Batches(), config, tmp_path, progress=False)
  (record,) = training.read_metrics(tmp_path / 'metrics.jsonl', 'train')
  assert record['data_wait'] == waited / (8 * 4)


def test_a_window_is_idle_when_its_last_step_is_computed():
  window = training.MetricWindow()
  assert not window.idle
  window.add({'loss': jax.block_until_ready(jnp.zeros(()))})
  assert window.idle
