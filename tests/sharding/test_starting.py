"""How the processes of a job are told of each other."""

import pytest

from interp_jax.sharding import processes


def test_without_arguments_there_is_one_process():
  assert not processes.check_start()
  assert not processes.start_processes()
  assert processes.is_first()
  processes.wait()
  assert processes.end_processes(processes.STOPPED) == processes.STOPPED


def test_complete_arguments_ask_for_several():
  assert processes.check_start('10.0.0.1:1234', 4, 3)
  assert processes.check_start(detect=True)


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'processes': 4}, 'there is no coordinator and no process'),
    ({'coordinator': 'a:1', 'processes': 4}, 'there is no process'),
    ({'coordinator': 'a', 'processes': 2, 'process': 0}, 'not an address with a port'),
    ({'coordinator': 'a:1', 'processes': 2, 'process': 2}, 'less than 2'),
    ({'coordinator': 'a:1', 'processes': 2, 'process': -1}, 'at least 0'),
    ({'coordinator': 'a:1', 'detect': True}, 'coordinator cannot be given'),
  ],
)
def test_arguments_that_are_half_given_or_wrong_say_what_is_missing(arguments, message):
  with pytest.raises(ValueError, match=message):
    processes.start_processes(**arguments)


def test_work_of_the_first_is_done_once_by_a_single_process():
  done = []
  assert processes.after_first(lambda: done.append(1) or len(done)) == 1


def test_an_error_of_a_single_process_is_told_and_has_its_status(capsys):
  assert processes.end_after_error(ValueError('gloo is mine')) == processes.FAILED
  assert 'gloo is mine' in capsys.readouterr().err


def test_errors_of_lost_processes_are_told_from_others():
  lost = RuntimeError('Gloo all-reduce failed: Connection closed by peer')
  late = TimeoutError('ChainedFuture timed out')  # Of a checkpoint that waits for all.
  own = ValueError('k=0 of 8 features')
  own.__cause__ = KeyError('k')
  behind = ValueError('cannot save')
  behind.__cause__ = late
  assert all(map(processes._unreached, (lost, late, behind)))
  assert not processes._unreached(own)
