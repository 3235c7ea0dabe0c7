"""The metric log over resumptions, and the window of metrics on the device."""

import jax.numpy as jnp
import pytest

from interp_jax.training import DivergedError, MetricLog, MetricWindow, read_metrics


def write_steps(path, steps, resumed_step=0):
  log = MetricLog(path, resumed_step)
  for step in steps:
    log.write(step, 'train', {'loss': step / 10})
  return log


def test_resuming_drops_what_happened_after_the_resumed_step(tmp_path):
  path = tmp_path / 'deep' / 'log.jsonl'
  write_steps(path, [1, 2, 3, 4])
  log = write_steps(path, [3, 5], resumed_step=2)
  assert log.last == {'step': 2, 'kind': 'train', 'loss': 0.2}
  assert [record['step'] for record in read_metrics(path)] == [1, 2, 3, 5]


def test_a_new_run_starts_a_new_log(tmp_path):
  path = tmp_path / 'log.jsonl'
  write_steps(path, [1, 2])
  assert write_steps(path, [1]).last == {}
  assert len(read_metrics(path)) == 1


def test_a_line_cut_off_by_a_kill_is_left_out(tmp_path):
  path = tmp_path / 'log.jsonl'
  write_steps(path, [1, 2])
  with path.open('a') as file:
    file.write('{"step": 3, "ki')
  assert [record['step'] for record in read_metrics(path)] == [1, 2]
  write_steps(path, [3], resumed_step=2)
  assert [record['step'] for record in read_metrics(path, 'train')] == [1, 2, 3]


def test_numbers_that_json_does_not_have_are_null(tmp_path):
  path = tmp_path / 'log.jsonl'
  MetricLog(path).write(1, 'eval', {'a': float('nan'), 'b': jnp.float32(2), 'c': 'd'})
  assert read_metrics(path) == [
    {'step': 1, 'kind': 'eval', 'a': None, 'b': 2.0, 'c': 'd'}
  ]
  assert read_metrics(path, 'train') == []


def test_the_window_gives_means_and_begins_anew():
  window = MetricWindow()
  for value in (1.0, 2.0, 6.0):
    window.add({'x': jnp.float32(value)})
  assert len(window) == 3
  assert window.means(3) == {'x': 3.0}
  assert len(window) == 0


def test_the_window_names_the_step_that_was_not_finite():
  window = MetricWindow()
  for value in (1.0, jnp.inf, 2.0):
    window.add({'x': jnp.float32(value)})
  with pytest.raises(DivergedError, match=r"Step 11 gave \{'x': inf\}"):
    window.check(12)
