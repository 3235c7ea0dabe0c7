"""Stages of a long job: each done once, continued after a kill, timed over all runs.

A job of several stages (harvest, train, evaluate, ...) asks for its stages in order:

    stages = Stages(workdir)
    found = stages.result('harvest', settings, lambda: harvest(...))

A finished stage leaves `workdir/stages/NAME.json` with its result and the settings it
belongs to, and is not repeated. How a stage continues that was stopped in its middle is
the matter of what it calls.
"""

from collections.abc import Callable, Iterator
import contextlib
import hashlib
import json
import os
import pathlib
import threading
import time
from typing import Any

Json = dict[str, Any]


def write_json(path: pathlib.Path, content: Any) -> None:
  """Writes a JSON file whole or not at all, its folder too if there is none."""
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(path.name + '.partial')
  partial.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')
  partial.replace(path)


class Clock:
  """Seconds of work by stage, kept on disk while the work goes on.

  They add up over runs. A run that is killed loses the last second of its count.

  Attributes:
    seconds: by stage.
  """

  def __init__(self, path: pathlib.Path):
    """Goes on with the counts in the file, if it is there."""
    self._path = path
    self._lock = threading.Lock()  # One file, and every stage under way writes it.
    self.seconds: dict[str, float] = {}
    if path.exists():
      self.seconds = json.loads(path.read_text(encoding='utf-8'))

  @contextlib.contextmanager
  def count(self, stage: str) -> Iterator[None]:
    """Adds the time spent within, and writes it every second."""
    before, started = self.seconds.get(stage, 0.0), time.monotonic()
    done = threading.Event()

    def write() -> None:
      with self._lock:
        self.seconds[stage] = round(before + time.monotonic() - started, 3)
        write_json(self._path, self.seconds)

    def beat() -> None:
      while not done.wait(1.0):
        write()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
      yield
    finally:
      done.set()
      thread.join()
      write()


class Stages:
  """The finished stages of a working folder, which are asked for in order.

  Attributes:
    clock: seconds of each stage.
  """

  def __init__(self, workdir: str | os.PathLike[str]):
    """Opens the folder; `stages/` in it is made when there is something to write."""
    self._folder = pathlib.Path(workdir) / 'stages'
    self._earlier = ''
    self.clock = Clock(self._folder / 'clock.json')

  def result(self, name: str, settings: Json, work: Callable[[], Json]) -> Json:
    """What the stage left, or leaves now.

    Args:
      name: the stage's name, also of its file.
      settings: what its result depends on, as JSON types. The settings of the stages
        that were asked for before it are added.
      work: does it, and returns its result as JSON types.

    Raises:
      ValueError: if it was finished with other settings.
    """
    path = self._folder / f'{name}.json'
    # What a stage leaves depends on the stages before it as well.
    settings = json.loads(json.dumps(settings | {'earlier_stages': self._earlier}))
    self._earlier = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
    if path.exists():
      saved = json.loads(path.read_text(encoding='utf-8'))
      _check_settings(path, saved['settings'], settings)
      return saved['result']
    with self.clock.count(name):
      result = work()
    write_json(path, {'settings': settings, 'result': result})
    return result

  def finished(self, name: str) -> bool:
    """Whether a stage is done."""
    return (self._folder / f'{name}.json').exists()

  def forget(self, name: str) -> None:
    """Has a stage done again."""
    (self._folder / f'{name}.json').unlink(missing_ok=True)


def _check_settings(path: pathlib.Path, saved: Json, asked: Json) -> None:
  names = sorted(saved.keys() | asked.keys())
  differing = [name for name in names if saved.get(name) != asked.get(name)]
  if differing:
    was = {name: saved.get(name) for name in differing}
    now = {name: asked.get(name) for name in differing}
    raise ValueError(
      f'{path} is of a run with other settings: it has {was}, this run has {now}. '
      'Give another folder, or the settings of that run, or delete the folder.'
    )
