"""A trained dictionary: parameters and a config, a pytree that can be called.

    dictionary = load('runs/topk/dictionary')
    codes = dictionary.encode(acts['resid_post'][2])          # [B, T, F]
    edits = {'resid_post': Splice(dictionary, layer=2)}       # splice it in

It reads raw activations: any normalisation of training is folded into its weights.
"""

from collections.abc import Mapping
import dataclasses
import json
import math
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from interp_jax.dictionaries import activation as activations
from interp_jax.dictionaries import codes as codes_lib
from interp_jax.dictionaries import kernels, wirings
from interp_jax.dictionaries.activation import Plan
from interp_jax.dictionaries.codes import Codes, SparseCodes
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.edits import register_callable

FORMAT = 'interp_jax.dictionary/1'
WEIGHTS = 'model.safetensors'
CONFIG = 'config.json'


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dictionary:
  """Parameters and config of a dictionary.

  Attributes:
    params: `W_enc [D, F]`, `W_dec [F, D]`, `b_dec [D]` and what the activation has
      (`b_enc [F]`, ...); of other wirings as their docstrings say.
    config: What to compute with them.
  """

  params: Any
  config: DictionaryConfig = dataclasses.field(metadata={'static': True})

  def encode(self, x: Float[Array | np.ndarray, '...']) -> Float[Array, '...']:
    """The codes of activations, dense.

    Args:
      x: Activations `[..., *in]`: `[..., D]`, or `[..., S, D]` and `[..., L, D]` for
        dictionaries that read several.

    Returns:
      Codes `[..., F]`, or `[..., L, F]` for a cross-layer transcoder.

    Raises:
      ValueError: if the shape is not the dictionary's.
    """
    codes = codes_lib.dense(self._encoded(x), self._count(x), self.config.features)
    return codes.reshape(*self._batch(x), *self.config.code_shape)

  def encode_sparse(
    self, x: Float[Array | np.ndarray, '...'], k: int | None = None
  ) -> tuple[Float[Array, '...'], Int[Array, '...']]:
    """The k largest codes, largest first, and which features they belong to.

    Args:
      x: Activations.
      k: How many. None for the activation's own k; one without needs it given, and
        then gets the k largest of possibly more.

    Returns:
      Values (zero where fewer than k are active) and indices.

    Raises:
      ValueError: if the shape is not the dictionary's, or k is missing or too large.
    """
    own = self.config.activation.sparse_k
    k = own if k is None else k
    limit = own or self.config.features
    if k is None or not 1 <= k <= limit:
      raise ValueError(
        f'encode_sparse: k={k} with activation {self.config.activation}. Give k '
        f'between 1 and {limit}.'
      )
    codes = self._encoded(x)
    if isinstance(codes, SparseCodes):
      values, order = jax.lax.top_k(codes.values, k)
      indices = jnp.take_along_axis(codes.indices, order, -1)
    else:
      codes = codes_lib.dense(codes, self._count(x), self.config.features)
      values, indices = jax.lax.top_k(codes, k)
    shape = (*self._batch(x), *self.config.code_shape[:-1], k)
    return values.reshape(shape), indices.reshape(shape)

  def decode(self, codes: Float[Array | np.ndarray, '...']) -> Float[Array, '...']:
    """The output of dense codes, without a skip connection: that reads the inputs."""
    shape = self.config.code_shape
    batch = codes.shape[: codes.ndim - len(shape)]
    flat = jnp.asarray(codes).reshape(-1, *shape)
    out = self.config.wiring.decode(self._arrays, flat, len(flat))
    return out.reshape(*batch, *self.config.out_shape)

  def decode_sparse(
    self,
    values: Float[Array | np.ndarray, '...'],
    indices: Int[Array | np.ndarray, '...'],
  ) -> Float[Array, '...']:
    """The output of sparse codes, as `encode_sparse` gives them."""
    lead, k = self.config.code_shape[:-1], values.shape[-1]
    batch = values.shape[: values.ndim - 1 - len(lead)]
    shape = (-1, *lead, k)
    codes = SparseCodes(
      jnp.asarray(values).reshape(shape), jnp.asarray(indices).reshape(shape)
    )
    out = self.config.wiring.decode(self._arrays, codes, len(codes.values), _plan())
    return out.reshape(*batch, *self.config.out_shape)

  def __call__(self, x: Float[Array | np.ndarray, '...']) -> Float[Array, '...']:
    """The output for activations: codes decoded, and what a skip connection adds."""
    params, wiring = self._arrays, self.config.wiring
    rows = self._rows(x)
    out = wiring.decode(params, self._encoded(x), len(rows), _plan())
    out = out + wiring.skip(params, rows)
    return out.astype(x.dtype).reshape(*self._batch(x), *self.config.out_shape)

  def norms(self) -> Float[Array, '*C']:
    """The norm of what each feature writes, which weighs it in L1: see the wiring."""
    return self.config.wiring.norms(self._arrays)

  def _encoded(self, x: Array | np.ndarray) -> Codes:
    """Codes `[B, *C]`, sparse where the activation fixes how many are active."""
    encoded = self.config.activation.encode(
      self.config.wiring, self._arrays, self._rows(x), _plan()
    )
    return encoded.codes

  def _count(self, x: Array | np.ndarray) -> int:
    """How many inputs there are."""
    return math.prod(self._batch(x))

  def _batch(self, x: Array | np.ndarray) -> tuple[int, ...]:
    """The axes of activations that are not of one input."""
    return tuple(x.shape[: x.ndim - len(self.config.in_shape)])

  @property
  def _arrays(self) -> dict[str, Any]:
    """The parameters as jax arrays; an edit read from a file holds numpy's."""
    return jax.tree.map(jnp.asarray, self.params)

  def _rows(self, x: Array | np.ndarray) -> Array:
    """The activations as `[B, *in]` in the parameters' dtype, checked."""
    shape = self.config.in_shape
    if tuple(x.shape[-len(shape) :]) != shape:
      raise ValueError(
        f'A dictionary that reads {list(shape)} was given activations of shape '
        f'{tuple(x.shape)}; the last axes must be {list(shape)}.'
      )
    dtype = jnp.promote_types(x.dtype, self.params['b_dec'].dtype)
    return jnp.asarray(x, dtype).reshape(-1, *shape)


def _plan() -> Plan:
  """How a dictionary is computed outside of training."""
  return Plan(kernels.resolve('auto'))


def save(
  path: str | os.PathLike[str],
  dictionary: Dictionary,
  metadata: Mapping[str, Any] | None = None,
) -> None:
  """Writes a dictionary as a folder of `model.safetensors` and `config.json`.

  Args:
    path: The folder; it is made if it is not there.
    dictionary: The dictionary.
    metadata: JSON to keep with it, e.g. how it was trained and what it scores.
  """
  from safetensors.numpy import save_file

  folder = pathlib.Path(path)
  folder.mkdir(parents=True, exist_ok=True)
  tensors = _flat(dictionary.params)
  content = {
    'format': FORMAT,
    'config': dictionary.config.to_dict(),
    'metadata': dict(metadata or {}),
  }
  partial = folder / (WEIGHTS + '.partial')
  save_file(tensors, partial)
  partial.replace(folder / WEIGHTS)
  (folder / CONFIG).write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')


def load(path: str | os.PathLike[str]) -> Dictionary:
  """Reads the dictionary that `save` wrote.

  Args:
    path: The folder.

  Returns:
    The dictionary.

  Raises:
    FileNotFoundError: if the folder holds no dictionary.
    ValueError: if the files do not fit each other or are of another format.
  """
  from safetensors.numpy import load_file

  folder = pathlib.Path(path)
  config = DictionaryConfig.from_dict(_read(folder)['config'])
  tensors = load_file(folder / WEIGHTS)
  is_shape = lambda x: isinstance(x, tuple)
  expected = _flat(config.shapes(), lambda shape: shape)
  found = {name: tuple(array.shape) for name, array in tensors.items()}
  if found != expected:
    raise ValueError(
      f'{folder / WEIGHTS} holds {found}; {CONFIG} asks for {expected}. They are not '
      'of one dictionary.'
    )
  tree = jax.tree.structure(config.shapes(), is_leaf=is_shape)
  leaves = [jnp.asarray(tensors[name]) for name in expected]
  return Dictionary(jax.tree.unflatten(tree, leaves), config)


def _flat(tree: Any, to: Any = np.ascontiguousarray) -> dict[str, Any]:
  """The leaves by path, as `W_enc` or `W_dec.0`, in the order of the tree."""
  is_leaf = lambda x: isinstance(x, tuple)
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_leaf)
  name = lambda path: jax.tree_util.keystr(path, simple=True, separator='.')
  return {name(path): to(leaf) for path, leaf in leaves}


def load_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
  """The metadata that `save` was given.

  Raises:
    FileNotFoundError: if the folder holds no dictionary.
    ValueError: if it is of another format.
  """
  return _read(pathlib.Path(path))['metadata']


def _read(folder: pathlib.Path) -> dict[str, Any]:
  for name in (CONFIG, WEIGHTS):
    if not (folder / name).exists():
      raise FileNotFoundError(
        f'{folder} holds no dictionary: there is no {name}. Give a folder written by '
        'dictionaries.save, e.g. WORKDIR/dictionary of launch/train_dictionary.py.'
      )
  content = json.loads((folder / CONFIG).read_text(encoding='utf-8'))
  if content.get('format') != FORMAT:
    raise ValueError(
      f'{folder / CONFIG}: format is {content.get("format")!r}, not {FORMAT!r}.'
    )
  return content


# So that edits that splice a dictionary can be written to a file.
for _cls in (
  Dictionary,
  DictionaryConfig,
  *activations.ACTIVATIONS.values(),
  *wirings.WIRINGS.values(),
):
  register_callable(_cls)
