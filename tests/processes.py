"""Real processes that are one job: started together, waited for, none left behind."""

from collections.abc import Callable, Sequence
import concurrent.futures
import os
import pathlib
import socket
import subprocess
import sys
from typing import NamedTuple

from interp_jax.sharding import simulated_env

ROOT = pathlib.Path(__file__).parents[1]

Arguments = Callable[[int, str], Sequence[object]]
"""A process's number and the first one's address -> what Python is started with."""


class Said(NamedTuple):
  """What a process wrote."""

  out: str
  err: str

  @property
  def last(self) -> str:
    """The last line of the output; gloo writes some before it."""
    return ['', *self.out.splitlines()][-1]


def free_address() -> str:
  with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    return f'127.0.0.1:{s.getsockname()[1]}'


def start(arguments: Arguments, count: int, devices: int = 1) -> list[subprocess.Popen]:
  """Starts Python so many times, each with so many simulated devices."""
  address = free_address()
  return [
    subprocess.Popen(
      [sys.executable, *map(str, arguments(index, address))],
      cwd=ROOT,
      env=os.environ | simulated_env(devices),
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in range(count)
  ]


def finish(
  processes: Sequence[subprocess.Popen], *statuses: int, timeout_s: float = 300
) -> list[Said]:
  """What the processes wrote until they ended: with 0, or each with its status."""
  wait = lambda process: Said(*process.communicate(timeout=timeout_s))
  try:
    with concurrent.futures.ThreadPoolExecutor(len(processes)) as threads:
      said = list(threads.map(wait, processes))
  finally:
    for process in processes:
      process.kill()
      process.wait()
  for process, one, status in zip(
    processes, said, statuses or [0] * len(said), strict=True
  ):
    assert process.returncode == status, one.out + one.err
  return said


def run(arguments: Arguments, count: int, devices: int = 1) -> list[Said]:
  """What so many processes write until they end, all with the status 0."""
  return finish(start(arguments, count, devices))


def launch(script: str, flags: Sequence[object], count: int) -> Arguments:
  """How to start a launch script as one of so many processes."""

  def arguments(index: int, address: str) -> list[object]:
    place = [f'--coordinator={address}', f'--processes={count}', f'--process={index}']
    return [ROOT / 'launch' / f'{script}.py', *flags, *(place if count > 1 else [])]

  return arguments
