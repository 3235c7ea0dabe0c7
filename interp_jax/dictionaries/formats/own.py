"""Our own format, which has a place for every option."""

from collections.abc import Mapping
import json
import pathlib
from typing import Any

from interp_jax.dictionaries import dictionary as own
from interp_jax.dictionaries.formats.files import folders_with
from interp_jax.dictionaries.formats.format import Facts, Format, Found


def find(path: pathlib.Path) -> list[pathlib.Path]:
  """The folders whose config names a format, ours or of a later version."""
  return [p for p in folders_with(path, own.CONFIG, own.WEIGHTS) if _is_own(p)]


def _is_own(folder: pathlib.Path) -> bool:
  try:
    content = json.loads((folder / own.CONFIG).read_text(encoding='utf-8'))
  except ValueError:
    return False
  return isinstance(content, dict) and 'format' in content


def read(path: pathlib.Path, facts: Facts) -> Found:
  """A dictionary that `dictionaries.save` wrote."""
  del facts  # It says all about itself.
  return Found(own.load_metadata(path), lambda: own.load(path))


def write(path: pathlib.Path, dictionary: Any, metadata: Mapping[str, Any]) -> None:
  """As `dictionaries.save`."""
  if not isinstance(dictionary, own.Dictionary):
    raise ValueError(
      f'interp_jax: a {type(dictionary).__name__} is not written in our own format, '
      "but in SAELens's: format='sae_lens'."
    )
  own.save(path, dictionary, metadata)


INTERP_JAX = Format('interp_jax', find, read, write, facts=())
