"""Launch scripts as jobs: places, statuses, and flags that do not fit."""

import signal
from types import SimpleNamespace

from absl import app
import pytest

from interp_jax.training import job


@pytest.fixture
def asked(monkeypatch):
  """Sets the flags, and undoes what a job does to SIGTERM."""
  handler = signal.getsignal(signal.SIGTERM)

  def ask(distributed=False, coordinator=None, processes=None, process=None):
    values = {
      'DISTRIBUTED': distributed,
      'COORDINATOR': coordinator,
      'PROCESSES': processes,
      'PROCESS': process,
    }
    for name, value in values.items():
      monkeypatch.setattr(job, name, SimpleNamespace(value=value))

  ask()
  yield ask
  signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize(('finished', 'status'), [(True, 0), (False, 75)])
def test_the_status_says_whether_there_is_more_to_do(asked, finished, status):
  assert job.run(lambda place: finished) == status
  assert job.run_alone(lambda: finished) == status


def test_processes_may_be_numbered_where_they_work_apart(asked):
  places = []
  asked(processes=4, process=2)
  assert job.run(lambda place: places.append(place) or True, apart=True) == 0
  assert places == [(2, 4)]
  with pytest.raises(app.UsageError, match='there is no coordinator'):
    job.run(lambda place: True)


@pytest.mark.parametrize('flags', [{'processes': 4}, {'processes': 2, 'process': 2}])
def test_numbers_that_are_half_given_or_too_large_are_refused(asked, flags):
  asked(**flags)
  with pytest.raises(app.UsageError, match='--process'):
    job.run(lambda place: True, apart=True)


def test_what_is_for_one_process_refuses_several(asked):
  asked(distributed=True)
  with pytest.raises(app.UsageError, match='runs as one process'):
    job.run_alone(lambda: True)


def test_an_error_of_a_single_process_is_raised_as_it_is(asked):
  def fail(place):
    raise ValueError('mine')

  with pytest.raises(ValueError, match='mine'):
    job.run(fail)
