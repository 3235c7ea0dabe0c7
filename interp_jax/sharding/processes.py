"""Jobs of several processes: how they find each other, wait, and end together.

A job is one program, started once on every host. Started so, it is one of several:

    start_processes(detect=True)  # on TPU pods, under Slurm and on GKE
    start_processes('10.0.0.1:1234', processes=4, process=0)  # anywhere else

From then on `jax.devices()` are those of all processes. What is done once is done by
the first (`is_first`), and the others `wait` for it. `end_processes` is the last call.

When a process is lost, jax notices within `SILENCE_S` and aborts the others, because
they would wait for it for ever. They say so and exit with the status `STOPPED`, which
asks a scheduler to start the job again.
"""

import ctypes
import itertools
import os
import re
import signal
import sys
import time
import traceback
from typing import Any

import jax

FINISHED, FAILED = 0, 1
"""Exit statuses: all is done; there is an error, which running again would repeat."""

STOPPED = 75
"""The exit status of what was stopped: started again, it goes on. It is EX_TEMPFAIL of
BSD's sysexits.h, which no shell, signal or scheduler uses for anything else."""

# Seconds without a sign of life after which a process is lost. Threads of their own
# give the signs, so that a long computation is not taken for a death.
SILENCE_S = 30
# A first process that writes the results of a job may take its time.
_PATIENCE_S = 24 * 3600

# What jax says when it cannot reach another process.
_UNREACHED = re.compile(
  'gloo|nccl|coordination|heartbeat|connection (closed|reset)|unavailable'
  '|deadline_exceeded|barrier',
  re.IGNORECASE,
)
_AGAIN = (
  'Start all processes again with the same command: they go on from what is saved.'
)
# Kept, because libc does not keep it.
_handlers: list[Any] = []
_waits = itertools.count()


def check_start(
  coordinator: str | None = None,
  processes: int | None = None,
  process: int | None = None,
  *,
  detect: bool = False,
) -> bool:
  """Whether the arguments of `start_processes` ask for several processes.

  Raises:
    ValueError: as `start_processes`, before anything is started.
  """
  given = {'coordinator': coordinator, 'processes': processes, 'process': process}
  missing = [name for name, value in given.items() if value is None]
  if detect:
    if len(missing) < len(given):
      raise ValueError(
        f'{", ".join(sorted(given.keys() - set(missing)))} cannot be given where the'
        ' processes are to find each other by themselves. Give one or the other.'
      )
    return True
  if len(missing) == len(given):
    return False
  if coordinator is None or processes is None or process is None:
    raise ValueError(
      'coordinator, processes and process belong together, and there is no'
      f' {" and no ".join(missing)}. Give, say, coordinator=10.0.0.1:1234, the address'
      ' of the first process and a free port of it, processes=4, and process=0 to'
      ' process=3.'
    )
  if not re.fullmatch(r'.+:\d+', coordinator):
    raise ValueError(
      f'coordinator={coordinator!r} is not an address with a port, such as'
      ' 10.0.0.1:1234.'
    )
  if not 0 <= process < processes:
    raise ValueError(
      f'process={process} of processes={processes}: it must be at least 0 and less than'
      f' {processes}.'
    )
  return True


def start_processes(
  coordinator: str | None = None,
  processes: int | None = None,
  process: int | None = None,
  *,
  detect: bool = False,
) -> bool:
  """Joins the other processes of a job; does nothing where there are none.

  It comes before the first array: jax's backend must not have started.

  Args:
    coordinator: Address and port of the first process; with `processes` and `process`.
    processes: How many there are.
    process: Which one this is.
    detect: Whether jax finds all of that by itself: on TPU pods, on GKE, under Slurm
      and Open MPI.

  Returns:
    Whether this is a process of several, or of a job that could have several.

  Raises:
    ValueError: if only some of the three are given, they make no sense, or no cluster
      is detected.
  """
  if not check_start(coordinator, processes, process, detect=detect):
    return False
  if 'jax_enable_preemption_service' in jax.config.values:
    # It would swallow SIGTERM, which the training loop handles itself.
    jax.config.update('jax_enable_preemption_service', False)
  try:
    jax.distributed.initialize(
      coordinator, processes, process, heartbeat_timeout_seconds=SILENCE_S
    )
  except ValueError as error:
    raise ValueError(
      f'The processes do not find each other by themselves here ({error}). Give'
      ' coordinator, processes and process.'
    ) from error
  _exit_when_aborted()
  return True


def is_first() -> bool:
  """Whether this is the process that prints, and writes what is written once."""
  return jax.process_index() == 0


def say(text: Any) -> None:
  """Prints, in the first process only."""
  if is_first():
    print(text, flush=True)


def wait(timeout_s: float = _PATIENCE_S) -> None:
  """Waits until all processes are here. All call it, as often as each other.

  No device is needed for it, and the first process may be late by hours.

  Args:
    timeout_s: How long to wait at most.

  Raises:
    RuntimeError: if a process does not come in time.
  """
  client = _client()
  if client is not None:
    client.wait_at_barrier(f'interp_jax/{next(_waits)}', int(1000 * timeout_s))


def after_first(work: Any) -> Any:
  """What `work()` gives, done by the first process before the others do it.

  For work that leaves a file behind which it finds when it is done again.

  Args:
    work: A function without arguments.
  """
  result = work() if is_first() else None
  wait()
  return result if is_first() else work()


def end_processes(status: int) -> int:
  """Waits for the others and leaves the job: the last call of a process.

  Args:
    status: What the process will exit with. A process that was stopped does not wait
      long for others that were not: they would go on without it for nothing.

  Returns:
    The status.
  """
  if _client() is None:
    return status
  try:
    wait(_PATIENCE_S if status == FINISHED else SILENCE_S)
    jax.distributed.shutdown()
  except RuntimeError as error:
    _leave(status, f'ends without the others ({str(error).splitlines()[0]}).')
  return status


def end_after_error(error: BaseException) -> int:
  """Tells of an error and ends this process, so that the others do not wait for it.

  Where it is no error of its own, but another process cannot be reached any more, the
  coordination service is given the time to find out which one.

  Args:
    error: What was raised.

  Returns:
    The exit status, where this is the only process. It does not return otherwise.
  """
  traceback.print_exception(error)
  if _client() is None:
    return FAILED
  if isinstance(error, Exception) and _unreached(error):
    sys.stderr.write('Another process does not answer. Waiting to learn which one.\n')
    time.sleep(2 * SILENCE_S)
  _leave(FAILED, 'failed, so the job ends. Mend what the error above says.')
  return FAILED


def _unreached(error: BaseException | None) -> bool:
  """Whether an error, or one behind it, is that another process does not answer."""
  if error is None:
    return False
  # Checkpoints wait for all processes with a limit of their own.
  if isinstance(error, TimeoutError) or _UNREACHED.search(str(error)):
    return True
  return _unreached(error.__cause__ or error.__context__)


def _client() -> Any:
  """Jax's connection to the coordination service; None for a single process.

  It is not part of jax's public interface, whose only barrier is a collective of the
  devices, which some backends end after half a minute.
  """
  from jax._src import distributed

  return distributed.global_state.client


def _leave(status: int, text: str) -> None:
  """Ends this process at once, without waiting for others at an exit handler."""
  here = f'Process {jax.process_index()} of {jax.process_count()} {text}\n'
  sys.stdout.flush()
  sys.stderr.write(here)
  sys.stderr.flush()
  os._exit(status)


def _exit_when_aborted() -> None:
  """Gives jax's abort, when another process is lost, our words and exit status.

  jax's client calls abort() from a thread of C++, after it has logged which process it
  was. Python's own signal handlers do not run then; a C handler does.
  """
  here = f'Process {jax.process_index()} of {jax.process_count()}'
  text = (
    f'\n{here} stops, because another process of the job is lost: the lines above,'
    ' by jax, have its number ("leader" is process 0), and its own output may say why.'
    f' {_AGAIN}\n'
  ).encode()

  def exit_now(number: int) -> None:
    del number
    os.write(2, text)
    os._exit(STOPPED)

  handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(exit_now)
  _handlers.append(handler)
  libc = ctypes.CDLL(None)
  libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
  libc.signal.restype = ctypes.c_void_p
  libc.signal(signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p))
