"""Checkpoints of a run: the state, the position in the data, and notes as JSON.

A thin layer over Orbax. Saving is asynchronous: the arrays are copied, training goes
on, and a thread writes. Orbax writes into a temporary folder and renames it when
everything is there, so that a half-written checkpoint is never seen.
"""

import os
import pathlib
from typing import Any, NamedTuple

import jax
from orbax.checkpoint import v1 as ocp

from interp_jax.training.state import abstract_state

Json = dict[str, Any]


class Restored(NamedTuple):
  """What a checkpoint holds: step, state, the data iterator's state, and notes."""

  step: int
  state: Any
  data_state: Any
  notes: Json


class Checkpoints:
  """The checkpoints of one run, of which the last few are kept.

  Use it as a context manager, or call `close`: that waits for the last write.
  """

  def __init__(self, directory: str | os.PathLike[str], keep: int = 2):
    """Opens a folder of checkpoints and removes what an interrupted write left.

    Args:
      directory: the folder. It is made if it is not there.
      keep: how many checkpoints to keep.
    """
    directory = pathlib.Path(directory).absolute()
    directory.mkdir(parents=True, exist_ok=True)
    # Orbax's own policies do not fit its Protocols to the letter.
    when: Any = ocp.training.save_decision_policies
    which: Any = ocp.training.preservation_policies
    self.directory = directory
    self._checkpointer = ocp.training.Checkpointer(
      str(directory),
      save_decision_policy=when.FixedIntervalPolicy(1),
      preservation_policy=which.LatestN(keep),
      cleanup_tmp_directories=True,
    )

  def latest_step(self) -> int | None:
    """The step of the newest complete checkpoint, or None if there is none."""
    latest = self._checkpointer.latest
    return None if latest is None else latest.step

  def save(self, step: int, state: Any, data_state: Any, notes: Json) -> None:
    """Starts to save; waits only for an earlier save that is not yet done.

    A step that is there already is left as it is: runs are deterministic.

    Args:
      step: number of updates made.
      state: pytree of arrays.
      data_state: the data iterator's state, as JSON types.
      notes: anything else, as JSON types; for example the run's configuration.
    """
    if step in [checkpoint.step for checkpoint in self._checkpointer.checkpoints]:
      return
    extra = {'data_state': data_state, 'notes': notes}
    self._checkpointer.save_async(step, state, custom_metadata=extra)

  def notes(self, step: int | None = None) -> Json:
    """The notes of one checkpoint (by default the newest), without its arrays."""
    self.wait()
    return self._extra(step)['notes']

  def restore(self, like: Any, step: int | None = None) -> Restored:
    """Reads a checkpoint onto the shapes, dtypes and shardings of `like`.

    Args:
      like: a state of arrays, or of `jax.ShapeDtypeStruct`s with shardings.
      step: which checkpoint. By default the newest.

    Raises:
      FileNotFoundError: if there is no such checkpoint.
      ValueError: if it holds a state of another structure or other shapes.
    """
    self.wait()  # One that is listed may still be under way.
    steps = [checkpoint.step for checkpoint in self._checkpointer.checkpoints]
    chosen = self.latest_step() if step is None else step
    if chosen not in steps:
      raise FileNotFoundError(
        f'{self.directory} has no checkpoint'
        f'{"" if step is None else f" of step {step}"}; it has those of {steps}.'
      )
    another = (
      f'The checkpoint of step {chosen} in {self.directory} holds another state than'
      ' the one it should be read onto: '
    )
    # Before anything is read: Orbax would find out in the middle of other reads.
    found = _other_shapes(self._checkpointer.metadata(chosen).metadata, like)
    if found:
      raise ValueError(another + '; '.join(found)[:800])
    try:
      state = self._checkpointer.load(chosen, abstract_state(like))
    except (KeyError, ValueError) as error:
      raise ValueError(another + str(error.__cause__ or error)[:800]) from error
    extra = self._extra(chosen)
    return Restored(chosen, state, extra['data_state'], extra['notes'])

  def _extra(self, step: int | None) -> Any:
    return self._checkpointer.metadata(step).custom_metadata

  def wait(self) -> None:
    """Waits until the last save is complete."""
    self._checkpointer.wait()

  def close(self) -> None:
    """Waits for the last save and stops the threads."""
    self._checkpointer.close()

  def __enter__(self) -> 'Checkpoints':
    return self

  def __exit__(self, *error: object) -> None:
    self.close()


def _other_shapes(saved: Any, like: Any) -> list[str]:
  """Where arrays of the same path have other shapes, in words."""
  there, here = _shapes(saved), _shapes(like)
  return [
    f'{path} ({there[path]} there, {shape} here)'
    for path, shape in here.items()
    if there.get(path, shape) != shape
  ]


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
  """The shapes of the arrays of a tree, or of what describes them, by path."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  name = lambda path: jax.tree_util.keystr(path, simple=True, separator='/')
  return {name(path): x.shape for path, x in leaves if hasattr(x, 'shape')}


def differences(saved: Any, given: Any, name: str = '') -> list[str]:
  """Where two notes have the same entry with different values, in words.

  What only one has is no difference, so that a setting can be added, with a default
  that keeps the old behaviour, between a run and its resumption.

  Args:
    saved: notes of a checkpoint.
    given: notes of the run that would go on from it.
    name: where in the notes they stand; used for nested entries.
  """
  if isinstance(saved, dict) and isinstance(given, dict):
    pairs = [(saved[key], given[key], f'{name}.{key}') for key in saved if key in given]
    return [text for pair in pairs for text in differences(*pair)]
  if saved == given:
    return []
  return [f'{name.removeprefix(".")} ({saved!r} there, {given!r} here)']
