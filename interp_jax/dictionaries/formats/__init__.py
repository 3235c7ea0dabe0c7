"""Dictionaries on disk, ours and other libraries', a page for each format.

`format.py` says what a page is. A path is recognised by its files; `load` and `save_as`
are what the rest of the world uses.
"""

from collections.abc import Iterable, Mapping
import os
import pathlib
from typing import Any

from interp_jax.core import unknown
from interp_jax.dictionaries.formats.circuit_tracer import CIRCUIT_TRACER
from interp_jax.dictionaries.formats.dictionary_learning import DICTIONARY_LEARNING
from interp_jax.dictionaries.formats.format import Facts, Format, Found
from interp_jax.dictionaries.formats.gemma_scope import GEMMA_SCOPE
from interp_jax.dictionaries.formats.llamascopium import LLAMASCOPIUM
from interp_jax.dictionaries.formats.openai import OPENAI
from interp_jax.dictionaries.formats.own import INTERP_JAX
from interp_jax.dictionaries.formats.qwen_scope import CROSSCODER, QWEN_SCOPE
from interp_jax.dictionaries.formats.sae_lens import SAE_LENS
from interp_jax.dictionaries.formats.sparsify import SPARSIFY

FORMATS: Mapping[str, Format] = {
  page.name: page
  for page in (
    INTERP_JAX,
    SAE_LENS,
    SPARSIFY,
    DICTIONARY_LEARNING,
    GEMMA_SCOPE,
    CIRCUIT_TRACER,
    LLAMASCOPIUM,
    QWEN_SCOPE,
    CROSSCODER,
    OPENAI,
  )
}


def load(
  path: str | os.PathLike[str],
  format: str | None = None,
  *,
  ignore_fields: Iterable[str] = (),
  **facts: Any,
) -> Any:
  """Reads a dictionary: one that `save` wrote, or another library's.

  Args:
    path: The folder, or the file where a folder holds several.
    format: One of `FORMATS`; None to tell it from the files.
    ignore_fields: Fields of the config that are not known here and that you know to
      change nothing.
    **facts: What some formats' files do not say: `site`, `layer`, `k` (how many
      features are active), `input_scale` (what inputs were multiplied by in training).

  Returns:
    A `Dictionary`; a `MatchingPursuit` or a `TemporalAutoencoder` for SAELens's
    architectures of these names.

  Raises:
    FileNotFoundError: if there is no dictionary.
    ValueError: if there are several, or its config, a field of that or one of its
      tensors is not known or does not fit, or a pickle does more than hold tensors.
  """
  return _one(path, format, Facts.of(facts, tuple(ignore_fields))).build()


def load_all(
  path: str | os.PathLike[str],
  format: str | None = None,
  *,
  ignore_fields: Iterable[str] = (),
  **facts: Any,
) -> dict[str, Any]:
  """Reads all dictionaries in a folder, e.g. a transcoder of each layer.

  Args:
    path: The folder.
    format: As in `load`.
    ignore_fields: As in `load`.
    **facts: As in `load`.

  Returns:
    Path within the folder → dictionary, in the order of layers.
  """
  folder = pathlib.Path(path)
  given = Facts.of(facts, tuple(ignore_fields))
  page, members = _members(folder, format)
  page.check(given)
  return {
    member.relative_to(folder).as_posix(): page.read(member, given).build()
    for member in members
  }


def load_metadata(
  path: str | os.PathLike[str],
  format: str | None = None,
  *,
  ignore_fields: Iterable[str] = (),
  **facts: Any,
) -> dict[str, Any]:
  """The metadata of a dictionary: what `save` was given, or what another library wrote.

  Args:
    path: As in `load`.
    format: As in `load`.
    ignore_fields: As in `load`.
    **facts: As in `load`.

  Returns:
    Of another library's: `format`; `model` and `context`, the length of contexts, where
    known; and `foreign`, its config as it stands.
  """
  return _one(path, format, Facts.of(facts, tuple(ignore_fields))).metadata


def save_as(
  path: str | os.PathLike[str],
  dictionary: Any,
  format: str,
  metadata: Mapping[str, Any] | None = None,
) -> None:
  """Writes a dictionary for another library.

  Args:
    path: The folder; made if it is not there.
    dictionary: What `load` gives.
    format: One of `FORMATS`.
    metadata: `model` and `context` go where the format has a place for them.

  Raises:
    ValueError: if the format has no place for what the dictionary computes.
  """
  page = _page(format)
  if page.write is None:
    able = [name for name, other in FORMATS.items() if other.write]
    raise ValueError(f'{format} is read, not written. Written are {", ".join(able)}.')
  page.write(pathlib.Path(path), dictionary, dict(metadata or {}))


def _page(name: str) -> Format:
  if name not in FORMATS:
    raise ValueError(unknown('format of dictionaries', name, FORMATS))
  return FORMATS[name]


def _one(path: str | os.PathLike[str], name: str | None, facts: Facts) -> Found:
  """The one dictionary at a path."""
  page, members = _members(pathlib.Path(path), name)
  page.check(facts)
  if len(members) > 1:
    shown = ', '.join(str(member) for member in members[:4])
    more = f' and {len(members) - 4} more' if len(members) > 4 else ''
    raise ValueError(
      f'{path} holds {len(members)} dictionaries: {shown}{more}. Load one of these, or '
      'all with load_all.'
    )
  return page.read(members[0], facts)


def _members(path: pathlib.Path, name: str | None) -> tuple[Format, list[pathlib.Path]]:
  """The dictionaries at a path, and their format."""
  pages = list(FORMATS.values()) if name is None else [_page(name)]
  for page in pages:
    if members := page.find(path):
      return page, members
  if name is not None and path.is_file():
    return pages[0], [path]  # Whatever it is called, the user says what it is.
  raise FileNotFoundError(
    f'{path} holds no dictionary{f" of the format {name}" if name else ""}. Give a '
    'folder written by dictionaries.save, e.g. WORKDIR/dictionary of '
    f'launch/train_dictionary.py, or one of another library: {", ".join(FORMATS)}. '
    'Where files have other names, say which it is: format=...'
  )


__all__ = [
  'FORMATS',
  'Facts',
  'Format',
  'Found',
  'load',
  'load_all',
  'load_metadata',
  'save_as',
]
