"""A launch script as a job: its processes, its signals, its exit status.

    def main(argv):
      del argv
      return job.run(train)  # a function that says whether it finished

Only launch scripts import this module, because it defines their common flags:

    python launch/train_lm.py ...                       one process
    python launch/train_lm.py ... --distributed         on TPU pods, GKE, under Slurm
    python launch/train_lm.py ... --coordinator=10.0.0.1:1234 --processes=4 --process=0

Exit statuses: 0 for what is finished, 75 for what was stopped and goes on when it is
started again, 1 for an error.
"""

from collections.abc import Callable
import os
import signal
import sys
from types import FrameType
from typing import NamedTuple

from absl import app, flags, logging
import jax

from interp_jax.sharding import processes

DISTRIBUTED = flags.DEFINE_bool(
  'distributed', False, 'Join the processes of a TPU pod, GKE or Slurm job.'
)
COORDINATOR = flags.DEFINE_string(
  'coordinator', None, 'Address and port of the first process, elsewhere.'
)
PROCESSES = flags.DEFINE_integer('processes', None, 'How many processes there are.')
PROCESS = flags.DEFINE_integer('process', None, 'Which of them this is, from 0.')


class Place(NamedTuple):
  """Which process this is, of how many."""

  index: int
  count: int


def run(work: Callable[[Place], bool], *, apart: bool = False) -> int:
  """Does the work of a launch script as one of the processes that the flags ask for.

  Args:
    work: Is given the process's place; returns whether it finished. What it starts
      must go on from where it was when it is started again.
    apart: Whether processes that are only numbered, without a coordinator, may each
      work on their own.

  Returns:
    What to exit with.
  """
  _quiet()
  try:
    place = _start(apart)
  except ValueError as error:
    raise app.UsageError(str(error)) from error
  signal.signal(signal.SIGTERM, _stop)
  try:
    finished = work(place)
  except app.UsageError:
    raise
  except BaseException as error:
    if jax.process_count() == 1:
      raise
    return processes.end_after_error(error)
  status = processes.FINISHED if finished else processes.STOPPED
  return processes.end_processes(status)


def run_alone(work: Callable[[], bool]) -> int:
  """Does work that one process does, on all of its devices.

  Args:
    work: Returns whether it finished.

  Returns:
    What to exit with.

  Raises:
    UsageError: if the flags ask for several processes.
  """
  asked = (COORDINATOR.value, PROCESSES.value, PROCESS.value)
  if DISTRIBUTED.value or any(value is not None for value in asked):
    raise app.UsageError(
      f'{os.path.basename(sys.argv[0])} runs as one process, on all of its devices.'
      ' Start it once, on one host, without the flags for several processes.'
    )
  return run(lambda place: work())


def _start(apart: bool) -> Place:
  """Joins the others, if there are any."""
  index, count = PROCESS.value, PROCESSES.value
  detect = DISTRIBUTED.value
  if apart and not detect and COORDINATOR.value is None:
    if (index is None) != (count is None):
      raise ValueError('--process and --processes belong together.')
    if index is not None and count is not None:
      if not 0 <= index < count:
        raise ValueError(f'--process={index} must be in [0, {count}).')
      return Place(index, count)
  several = processes.start_processes(COORDINATOR.value, count, index, detect=detect)
  return Place(jax.process_index(), jax.process_count()) if several else Place(0, 1)


def _stop(number: int, frame: FrameType | None) -> None:
  """SIGTERM where nothing is under way that would have to be saved first."""
  del number, frame
  os.write(2, b'Stopped. Run again to go on.\n')
  os._exit(processes.STOPPED)


def _quiet() -> None:
  """Has libraries that tell much at INFO be silent, unless --verbosity is given."""
  if not flags.FLAGS['verbosity'].present:
    logging.set_verbosity(logging.WARNING)
