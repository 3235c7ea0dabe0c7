"""Models in the layouts of other libraries, read and written by a family's rows."""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import json
import pathlib
import re
import shutil
from typing import Any

import jax
import numpy as np

from interp_jax.models.config import TransformerConfig
from interp_jax.models.conversion import Place, Plan, make_plan, places
from interp_jax.models.families import FAMILIES, Family, Fields, find_family
from interp_jax.models.families.transformer_lens import TRANSFORMER_LENS
from interp_jax.models.tensor_files import (
  Stored,
  stored_tensors,
  write_tensors,
)
from interp_jax.models.transformer import Transformer, init_params

_WEIGHTS = re.compile(
  r'.*\.(safetensors(\.index\.json)?|bin|pt|pth|h5|msgpack|onnx|gguf)'
)


@dataclasses.dataclass(frozen=True)
class Published:
  """A folder in a family's layout, understood but not yet read.

  Attributes:
    folder: The folder.
    family: The family.
    cfg: The model's config.
    stored: The tensors, by the names that the family's rows have.
    names: Those names → the names in the files.
    plan: Which parameter lies where.
  """

  folder: pathlib.Path
  family: Family
  cfg: TransformerConfig
  stored: Mapping[str, Stored]
  names: Mapping[str, str]
  plan: Plan


def open_published(
  folder: pathlib.Path, ignore_fields: Iterable[str] = (), **options: Any
) -> Published:
  """Reads what a folder's config.json and headers say.

  Args:
    folder: It holds config.json and safetensors.
    ignore_fields: Fields of the config.json that the user knows to change nothing.
    **options: Fields of the `TransformerConfig` to set, e.g. `dtype`.

  Returns:
    The model, to be read.

  Raises:
    ValueError: if the family, a field or a tensor is not known, or one is missing.
  """
  text = json.loads((folder / 'config.json').read_text())
  family = _family(folder, text)
  stored = stored_tensors(folder)
  names = {family.canonical(name): name for name in stored}
  fields = Fields(_text_part(text))
  _refuse_quantized(fields)
  cfg_fields = family.config(fields, names.keys())
  fields.finish(ignore_fields)
  stored = {family.canonical(name): tensor for name, tensor in stored.items()}
  cfg = TransformerConfig(**{**cfg_fields, **options})
  plan = make_plan(family.rows(cfg), parameter_shapes(cfg), cfg)
  if cfg.tied and not _is_copy(plan, stored, family.head):
    cfg = dataclasses.replace(cfg, tied=False)
    plan = make_plan(family.rows(cfg), parameter_shapes(cfg), cfg)
  _check_tensors(folder, family, cfg, plan, stored)
  return Published(folder, family, cfg, stored, names, plan)


def read_config(text: Mapping[str, Any], **options: Any) -> TransformerConfig:
  """The config of a published model, from its config.json alone.

  Args:
    text: What the config.json says.
    **options: Fields of the `TransformerConfig` to set, e.g. `dtype`.

  Returns:
    The config. What only the weights tell, such as an unembedding of its own, is as the
    config.json has it.

  Raises:
    ValueError: if the family or a field is not known.
  """
  fields = Fields(_text_part(text))
  family = find_family(_text_part(text)['model_type'])
  values = family.config(fields, set())
  fields.finish(())
  return TransformerConfig(**{**values, **options})


def save_published(
  path: pathlib.Path,
  model: Transformer,
  params: Mapping[str, Any],
  like: pathlib.Path,
  dtype: str | None = None,
  ignore_fields: Iterable[str] = (),
) -> None:
  """Writes a model in the layout of the folder that it was loaded from.

  Args:
    path: Where to; made if it does not exist.
    model: The model; but for dtypes, that of `like`.
    params: Its parameters, edited as you please.
    like: The folder that it was loaded from. Its config.json and tokenizer are copied.
    dtype: Of the weights; None for what they are in `like`.
    ignore_fields: As in `open_published`.

  Raises:
    ValueError: if the model is not that of `like`, as after `process`, which adds
      parameters that the layout has no place for.
  """
  published = open_published(like, ignore_fields)
  _check_same_model(model.cfg, published)
  leaves = by_path(params)
  found, tensors = {}, {}
  for name, there in places(published.plan, model.cfg).items():
    if name not in published.names:
      _check_left_out(name, there, leaves)
      continue
    original, stored = published.names[name], published.stored[name]
    found[original] = there
    tensors[original] = (stored.shape, np.dtype(dtype) if dtype else stored.dtype)
  path.mkdir(parents=True, exist_ok=True)
  write_tensors(path, tensors, lambda name: _compose(found[name], leaves))
  _copy_texts(like, path, dtype)


def parameter_shapes(cfg: TransformerConfig) -> dict[str, tuple[int, ...]]:
  """Path, keys joined by `/`, → shape of every parameter of a model."""
  shapes = jax.eval_shape(lambda: init_params(Transformer(cfg)))
  return {path: leaf.shape for path, leaf in by_path(shapes).items()}


def by_path(params: Any) -> dict[str, Any]:
  """The leaves of a pytree by their paths, keys joined by `/`."""
  leaves = jax.tree_util.tree_leaves_with_path(params)
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in leaves
  }


def _family(folder: pathlib.Path, text: Mapping[str, Any]) -> Family:
  if 'model_type' in text:
    return find_family(_text_part(text)['model_type'])
  if 'd_model' in text and 'n_ctx' in text:
    return TRANSFORMER_LENS
  known = ', '.join(family.name for family in FAMILIES)
  raise ValueError(
    f'{folder}/config.json has no model_type. Readable are folders that '
    f"interp_jax.models.save wrote, TransformerLens's checkpoints, and Hugging Face's "
    f'of these families: {known}.'
  )


def _is_copy(plan: Plan, stored: Mapping[str, Stored], head: str) -> bool:
  """Whether a tied model's unembedding, if the file has one, is the embedding.

  If it is not, the model is not tied, whatever its config.json says; transformers reads
  it so since version 5.
  """
  embedding = plan.parts['embed/W_E'].row.source
  if head not in stored or embedding not in stored:
    return True
  return np.array_equal(stored[head].read(), stored[embedding].read())


def _text_part(text: Mapping[str, Any]) -> Mapping[str, Any]:
  """The config of the language model inside one that also sees (Gemma 3)."""
  if text.get('model_type') == 'gemma3':
    return {'tie_word_embeddings': True, **text['text_config']}
  return text


def _refuse_quantized(fields: Fields) -> None:
  why = 'Write the weights out in 16 or 32 bits first (`model.dequantize()`).'
  fields.require('quantization_config', None, why=why)


def _check_tensors(
  folder: pathlib.Path,
  family: Family,
  cfg: TransformerConfig,
  plan: Plan,
  stored: Mapping[str, Stored],
) -> None:
  """Every tensor that is needed is there, of its shape, and none besides."""
  found = places(plan, cfg)
  wanted = {name: there[0].shape for name, there in found.items()}
  optional = {n for n, there in found.items() if there[0].part.row.default is not None}
  missing = sorted(wanted.keys() - stored.keys() - optional)
  beyond = [n for n in stored if n not in wanted and not family.is_unused(n)]
  if missing or beyond:
    raise ValueError(
      f'{folder} is not a {family.name} model as its config.json describes it: it '
      f'lacks {_some(missing)}; it has {_some(sorted(beyond))} beyond.'
    )
  for name, shape in wanted.items():
    if name in stored and stored[name].shape != shape:
      raise ValueError(
        f'{folder}: {name} has shape {stored[name].shape}; by config.json it should '
        f'have {shape}.'
      )


def _some(names: list[str]) -> str:
  shown = ', '.join(names[:6]) or 'nothing'
  return f'{shown} and {len(names) - 6} more' if len(names) > 6 else shown


def _check_same_model(cfg: TransformerConfig, published: Published) -> None:
  dtypes = ('dtype', 'param_dtype')
  ours, theirs = cfg.to_dict(), published.cfg.to_dict()
  differ = [k for k in ours if k not in dtypes and ours[k] != theirs[k]]
  if differ:
    shown = ', '.join(f'{k}: {theirs[k]!r} there, {ours[k]!r} here' for k in differ)
    raise ValueError(
      f'The model is not that of {published.folder}: {shown}. Edit the raw model, not '
      'a processed one, or save it with interp_jax.models.save.'
    )


def _check_left_out(
  name: str, found: Sequence[Place], leaves: Mapping[str, Any]
) -> None:
  """A parameter that the file leaves out is still what that means."""
  for path, part, at in found:
    if not np.all(np.asarray(leaves[path][at]) == part.row.default):
      raise ValueError(
        f'{path} is no longer {part.row.default} throughout, and the files that the '
        f'model was loaded from have no tensor {name} for it. Save it with '
        'interp_jax.models.save.'
      )


def _compose(found: Sequence[Place], leaves: Mapping[str, Any]) -> np.ndarray:
  """A tensor of the file, from the parameters in it."""
  tensor = np.zeros(found[0].shape, leaves[found[0].path].dtype)
  for path, part, at in found:
    value = np.asarray(leaves[path][at])
    plus = np.asarray(part.row.plus, value.dtype)
    part.put(value - plus if part.row.plus else value, tensor)
  return tensor


def _copy_texts(like: pathlib.Path, path: pathlib.Path, dtype: str | None) -> None:
  """The config and the tokenizer: all files but weights."""
  for file in like.iterdir():
    small = file.is_file() and not _WEIGHTS.fullmatch(file.name)
    if small and file.resolve() != (path / file.name).resolve():
      shutil.copyfile(file, path / file.name)
  if dtype:
    fields = json.loads((path / 'config.json').read_text())
    fields['torch_dtype' if 'torch_dtype' in fields else 'dtype'] = dtype
    (path / 'config.json').write_text(json.dumps(fields, indent=2) + '\n')
