"""Writes the golden files, which compare with transformers where it is not installed.

    python -m tests.models.make_golden [CASE ...]

One for each case of `published.py`, or for those named. Needs the extra `peers`; takes
half a minute.
"""

from collections.abc import Mapping
import json
import pathlib
import re
import sys
import tempfile
from typing import Any

from interp_jax.models.tensor_files import stored_tensors
from interp_jax.testing.lens_peer import LensPeer
from interp_jax.testing.peer import Peer
from tests.models import golden_files, published


def layout(case: published.Case) -> tuple[dict[str, Any], dict[str, Any]]:
  """The config.json and the tensors of a case, as transformers writes them.

  Args:
    case: The case.

  Returns:
    The fields of the config.json, and name → the other arguments of `published.draw`.
  """
  import transformers

  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    (folder / 'config.json').write_text(json.dumps(dict(case.fields)))
    config = transformers.AutoConfig.from_pretrained(folder)
    given = case.architecture or next(iter(config.architectures or ()), '')
    if given:
      model = getattr(transformers, given)(config)
    else:
      model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    fields = json.loads((folder / 'config.json').read_text())
    shapes = {name: list(t.shape) for name, t in stored_tensors(folder).items()}
  fields.pop('transformers_version')
  extras = {name: [[*shape], *rest] for name, (shape, *rest) in case.extras.items()}
  tensors = {**_renamed(shapes, case.renames), **extras}
  return dict(case.fields) if case.verbatim else fields, tensors


def lens_layout(case: published.Case) -> tuple[dict[str, Any], dict[str, Any]]:
  """The same for a model of TransformerLens's own, without its buffers."""
  shapes = LensPeer.shapes(case.fields)
  return dict(case.fields), {name: [shape] for name, shape in shapes.items()}


def make_checkpoint(case: published.Case, folder: pathlib.Path) -> pathlib.Path:
  """Writes a case's folder, in the installed transformers' layout."""
  made = layout(case) if 'model_type' in case.fields else lens_layout(case)
  return published.write_checkpoint(folder, *made)


def _renamed(shapes: Mapping[str, Any], renames: Mapping[str, str]) -> dict[str, Any]:
  """With the names of the file; a tensor whose name becomes empty is left out."""
  out = {}
  for name, shape in shapes.items():
    for old, new in renames.items():
      name = re.sub(old, new, name)
    if name:
      out[name] = [shape]
  return out


def write_golden(case: published.Case) -> None:
  """Writes the file of a case."""
  fields, tensors = layout(case)
  with tempfile.TemporaryDirectory() as name:
    folder = published.write_checkpoint(pathlib.Path(name), fields, tensors)
    run = Peer(folder, in_double=True).run(published.tokens_of(case.name))
  # The last hidden state is normed already in some families.
  golden_files.write(
    case.name, fields, tensors, logits=run.logits, hidden=run.hidden[-2]
  )


def main(names: list[str]) -> None:
  """Writes the files of the cases named, or of all."""
  golden_files.FOLDER.mkdir(exist_ok=True)
  for name in names or published.CASES:
    write_golden(published.CASES[name])


if __name__ == '__main__':
  main(sys.argv[1:])
