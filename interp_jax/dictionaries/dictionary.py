"""A trained dictionary: parameters and a config, a pytree that can be called.

    dictionary = load('runs/topk/dictionary')
    codes = dictionary.encode(acts['resid_post'][2])          # [B, T, F]
    edits = {'resid_post': Splice(dictionary, layer=2)}       # splice it in

It reads raw activations: any normalisation of training is folded into its weights, but
for what other libraries compute of each input anew (`DictionaryConfig.normalize`).
"""

from collections.abc import Callable, Mapping
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
from interp_jax.dictionaries.normalize import normalized
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
        dictionaries that read several, or `[..., H, K]` for ones that join heads.

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

  def decode(
    self,
    codes: Float[Array | np.ndarray, '...'],
    like: Float[Array | np.ndarray, '...'] | None = None,
  ) -> Float[Array, '...']:
    """The output of dense codes, without a skip connection: that reads the inputs.

    Args:
      codes: Codes, as `encode` gives them.
      like: The activations that they are codes of. A dictionary that normalizes its
        inputs needs them: their mean and norm are not in the codes.

    Returns:
      The output `[..., *out]`.

    Raises:
      ValueError: if the dictionary normalizes and `like` is missing.
    """
    shape = self.config.code_shape
    batch = codes.shape[: codes.ndim - len(shape)]
    flat = jnp.asarray(codes).reshape(-1, *shape)
    out = self._decoded(flat, len(flat), Plan(), like)
    return out.reshape(*batch, *self.config.out_shape)

  def decode_sparse(
    self,
    values: Float[Array | np.ndarray, '...'],
    indices: Int[Array | np.ndarray, '...'],
    like: Float[Array | np.ndarray, '...'] | None = None,
  ) -> Float[Array, '...']:
    """The output of sparse codes, as `encode_sparse` gives them; see `decode`."""
    lead, k = self.config.code_shape[:-1], values.shape[-1]
    batch = values.shape[: values.ndim - 1 - len(lead)]
    shape = (-1, *lead, k)
    codes = SparseCodes(
      jnp.asarray(values).reshape(shape), jnp.asarray(indices).reshape(shape)
    )
    out = self._decoded(codes, len(codes.values), _plan(), like)
    return out.reshape(*batch, *self.config.out_shape)

  def __call__(self, x: Float[Array | np.ndarray, '...']) -> Float[Array, '...']:
    """The output for activations: codes decoded, and what a skip connection adds."""
    params, wiring = self._arrays, self.config.wiring
    out = self._decoded(self._encoded(x), self._count(x), _plan(), x)
    out = out + wiring.skip(params, self._rows(x))
    shape = (*self._batch(x), *self.config.out_shape)
    return out.astype(x.dtype).reshape(x.shape if self._has_heads(x) else shape)

  def norms(self) -> Float[Array, '*C']:
    """The norm of what each feature writes, which weighs it in L1: see the wiring."""
    return self.config.wiring.norms(self._arrays)

  def _encoded(self, x: Array | np.ndarray) -> Codes:
    """Codes `[B, *C]`, sparse where the activation fixes how many are active."""
    rows = normalized(self.config.normalize, self._rows(x)).rows
    encoded = self.config.activation.encode(
      self.config.wiring, self._arrays, rows, _plan()
    )
    return encoded.codes

  def _decoded(
    self, codes: Codes, count: int, plan: Plan, like: Array | np.ndarray | None
  ) -> Array:
    """The output `[B, *out]` of codes, in the units of the activations."""
    out = self.config.wiring.decode(self._arrays, codes, count, plan)
    if self.config.normalize == 'none':
      return out
    if like is None:
      raise ValueError(
        f'decode: the dictionary normalizes its inputs ({self.config.normalize}), and '
        'the output is in their units. Pass them: decode(codes, like=x).'
      )
    return normalized(self.config.normalize, self._rows(like)).restore(out)

  def _has_heads(self, x: Array | np.ndarray) -> bool:
    """Whether activations are `[..., H, K]`, to be read as one axis."""
    return self.config.joins_heads and x.shape[-1] != self.config.width

  def _count(self, x: Array | np.ndarray) -> int:
    """How many inputs there are."""
    return math.prod(self._batch(x))

  def _batch(self, x: Array | np.ndarray) -> tuple[int, ...]:
    """The axes of activations that are not of one input."""
    own = 2 if self._has_heads(x) else len(self.config.in_shape)
    return tuple(x.shape[: x.ndim - own])

  @property
  def _arrays(self) -> dict[str, Any]:
    """The parameters as jax arrays; an edit read from a file holds numpy's."""
    return jax.tree.map(jnp.asarray, self.params)

  def _rows(self, x: Array | np.ndarray) -> Array:
    """The activations as `[B, *in]` in the parameters' dtype, checked."""
    shape = self.config.in_shape
    if self._has_heads(x):
      fits = x.ndim > 1 and math.prod(x.shape[-2:]) == self.config.width
    else:
      fits = tuple(x.shape[-len(shape) :]) == shape
    if not fits:
      heads = ', or heads [H, K] of that size' if self.config.joins_heads else ''
      raise ValueError(
        f'A dictionary that reads {list(shape)}{heads} was given activations of shape '
        f'{tuple(x.shape)}; the last axes must be {list(shape)}{heads}.'
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
  tensors = flat(dictionary.params, np.ascontiguousarray)
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
  expected = flat(config.shapes(), lambda shape: shape)
  found = {name: tuple(array.shape) for name, array in tensors.items()}
  if found != expected:
    raise ValueError(
      f'{folder / WEIGHTS} holds {found}; {CONFIG} asks for {expected}. They are not '
      'of one dictionary.'
    )
  leaves = {name: jnp.asarray(array) for name, array in tensors.items()}
  return Dictionary(unflat(config, leaves), config)


def flat(tree: Any, to: Callable[[Any], Any] = np.asarray) -> dict[str, Any]:
  """The leaves of parameters or of shapes by path, as `W_enc` or `W_dec.0`."""
  is_leaf = lambda x: isinstance(x, tuple)
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_leaf)
  name = lambda path: jax.tree_util.keystr(path, simple=True, separator='.')
  return {name(path): to(leaf) for path, leaf in leaves}


def unflat(config: DictionaryConfig, leaves: Mapping[str, Any]) -> dict[str, Any]:
  """The parameters of a config as a tree, from leaves by path."""
  shapes = config.shapes()
  tree = jax.tree.structure(shapes, is_leaf=lambda x: isinstance(x, tuple))
  return jax.tree.unflatten(tree, [leaves[n] for n in flat(shapes, lambda s: s)])


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
