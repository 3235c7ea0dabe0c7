"""What a sweep has done so far, in a folder, so that one that was killed goes on."""

from collections.abc import Mapping
import hashlib
import json
import os
import pathlib
import re
from typing import Any

import jax
import numpy as np

_IDENTITY = 'sweep.json'


class Journal:
  """The finished worlds of one sweep.

  Every file appears whole or not at all: it is written under another name and renamed,
  so that a process may die at any moment.
  """

  def __init__(self, folder: str | os.PathLike, identity: Mapping[str, Any]):
    """Opens a folder, or makes it.

    Args:
      folder: The folder.
      identity: What the sweep is, JSON-able: one with another identity does not go on
        from here.

    Raises:
      ValueError: if the folder holds another sweep.
    """
    self._folder = pathlib.Path(folder)
    self._folder.mkdir(parents=True, exist_ok=True)
    path = self._folder / _IDENTITY
    given = json.loads(json.dumps(dict(identity)))
    if not path.exists():
      self._put(path, lambda file: file.write(json.dumps(given, indent=2).encode()))
    found = json.loads(path.read_text())
    if found != given:
      other = sorted(k for k in given | found if given.get(k) != found.get(k))
      raise ValueError(
        f'{folder} holds another sweep: {", ".join(other)} differ. Give another '
        'folder, or delete this one.'
      )

  def read(self) -> dict[int, np.ndarray]:
    """World → metric, of all worlds that are done."""
    done = {}
    for path in sorted(self._folder.glob('worlds-*.npz')):
      with np.load(path, allow_pickle=False) as file:
        worlds, values = file['worlds'], file['values']
        done |= {int(w): np.asarray(v) for w, v in zip(worlds, values, strict=True)}
    return done

  def write(self, finished: Mapping[int, np.ndarray]) -> None:
    """Adds worlds."""
    worlds = np.array([*finished], int)
    values = np.stack([*finished.values()])
    path = self._folder / f'worlds-{worlds.min():08d}-{len(worlds)}.npz'
    self._put(path, lambda file: np.savez(file, worlds=worlds, values=values))

  def _put(self, path: pathlib.Path, write: Any) -> None:
    # Several processes may write the same file.
    part = path.with_suffix(f'.{os.uname().nodename}-{os.getpid()}.part')
    with part.open('wb') as file:
      write(file)
      file.flush()
      os.fsync(file.fileno())
    part.replace(path)


def named(thing: Any) -> str:
  """Its name without addresses in memory, which no two processes share."""
  return re.sub(r' at 0x[0-9a-f]+', '', str(thing))


def fingerprint(tree: Any) -> str:
  """A number by which to tell pytrees of arrays apart: any changed bit changes it.

  Reads every byte once: a second for a gigabyte of parameters. A function inside the
  tree is known by its name alone.

  Args:
    tree: The pytree.

  Returns:
    32 hexadecimal digits.
  """
  digest = hashlib.blake2b(digest_size=16)
  digest.update(named(jax.tree.structure(tree)).encode())
  for leaf in jax.tree.leaves(tree):
    array = np.asarray(leaf)
    digest.update(f'{array.shape} {array.dtype}'.encode())
    digest.update(np.ascontiguousarray(array).tobytes())
  return digest.hexdigest()
