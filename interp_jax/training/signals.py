"""Turning SIGTERM and SIGINT into a request to stop after the current step."""

from collections.abc import Iterator
import contextlib
import signal
import threading
from types import FrameType

import jax
import numpy as np


class Interrupted:
  """Whether a signal asked this run to stop."""

  def __init__(self) -> None:
    self.requested = False

  def agreed(self, meeting_point: bool) -> bool:
    """Whether all processes stop now.

    A signal reaches the processes of a job at different steps, but all must save the
    same step. With several processes they therefore only stop where all of them meet.

    Args:
      meeting_point: whether every process asks at this step.
    """
    if jax.process_count() == 1:
      return self.requested
    if not meeting_point:
      return False
    from jax.experimental import multihost_utils

    votes = multihost_utils.process_allgather(np.array(self.requested))
    return bool(np.any(votes))


@contextlib.contextmanager
def catch_interrupts() -> Iterator[Interrupted]:
  """Within it, the first SIGTERM or SIGINT only sets a flag.

  The second one acts as it would outside. Signals can be handled by a process's main
  thread alone; in another thread nothing is caught.
  """
  interrupted = Interrupted()
  if threading.current_thread() is not threading.main_thread():
    yield interrupted
    return
  signals = (signal.SIGTERM, signal.SIGINT)
  previous = {number: signal.getsignal(number) for number in signals}

  def restore() -> None:
    for number, handler in previous.items():
      signal.signal(number, handler)

  def request(number: int, frame: FrameType | None) -> None:
    del number, frame
    interrupted.requested = True
    restore()

  for number in signals:
    signal.signal(number, request)
  try:
    yield interrupted
  finally:
    restore()
