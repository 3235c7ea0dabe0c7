"""A trained dictionary: parameters and a config, a pytree that can be called.

    dictionary = load('runs/topk/dictionary')
    codes = dictionary.encode(acts['resid_post'][2])          # [B, T, F]
    edits = {'resid_post': Splice(dictionary, layer=2)}       # splice it in

It reads raw activations: any normalisation of training is folded into its weights.
"""

from collections.abc import Mapping
import dataclasses
import json
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from interp_jax.dictionaries import activation as activations
from interp_jax.dictionaries import kernels
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.wiring import SparseCodes
from interp_jax.edits import register_callable

FORMAT = 'interp_jax.dictionary/1'
WEIGHTS = 'model.safetensors'
CONFIG = 'config.json'


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dictionary:
  """Parameters and config of a dictionary.

  Attributes:
    params: `W_enc [D, F]`, `b_enc [F]`, `W_dec [F, D]`, `b_dec [D]`.
    config: What to compute with them.
  """

  params: Any
  config: DictionaryConfig = dataclasses.field(metadata={'static': True})

  def encode(
    self, x: Float[Array | np.ndarray, '*batch D']
  ) -> Float[Array, '*batch F']:
    """The codes of activations, dense.

    Raises:
      ValueError: if the width is not the dictionary's.
    """
    rows = self._rows(x)
    pre = self.config.wires.pre_activations(self._arrays, rows)
    return self.config.activation.dense(pre).reshape(*x.shape[:-1], -1)

  def encode_sparse(
    self, x: Float[Array | np.ndarray, '*batch D'], k: int | None = None
  ) -> tuple[Float[Array, '*batch k'], Int[Array, '*batch k']]:
    """The k largest codes, largest first, and which features they belong to.

    Args:
      x: Activations.
      k: How many. None for the activation's own k; one without needs it given, and
        then gets the k largest of possibly more.

    Returns:
      Values (zero where fewer than k are active) and indices.

    Raises:
      ValueError: if the width is not the dictionary's, or k is missing or too large.
    """
    own = self.config.activation.sparse_k
    k = own if k is None else k
    limit = own or self.config.features
    if k is None or not 1 <= k <= limit:
      raise ValueError(
        f'encode_sparse: k={k} with activation {self.config.activation}. Give k '
        f'between 1 and {limit}.'
      )
    pre = self.config.wires.pre_activations(self._arrays, self._rows(x))
    codes = self.config.activation.dense(pre) if own is None else pre
    values, indices = kernels.select(codes, k)
    shape = (*x.shape[:-1], k)
    return jax.nn.relu(values).reshape(shape), indices.reshape(shape)

  def decode(
    self, codes: Float[Array | np.ndarray, '*batch F']
  ) -> Float[Array, '*batch D']:
    """The output of dense codes."""
    flat = jnp.asarray(codes).reshape(-1, self.config.features)
    out = self.config.wires.decode(self._arrays, flat)
    return out.reshape(*codes.shape[:-1], -1)

  def decode_sparse(
    self,
    values: Float[Array | np.ndarray, '*batch k'],
    indices: Int[Array | np.ndarray, '*batch k'],
  ) -> Float[Array, '*batch D']:
    """The output of sparse codes, as `encode_sparse` gives them."""
    k = values.shape[-1]
    codes = SparseCodes(
      jnp.asarray(values).reshape(-1, k), jnp.asarray(indices).reshape(-1, k)
    )
    out = self.config.wires.decode(self._arrays, codes)
    return out.reshape(*values.shape[:-1], -1)

  def __call__(
    self, x: Float[Array | np.ndarray, '*batch D']
  ) -> Float[Array, '*batch D']:
    """`decode(encode(x))`, through sparse codes where there are such."""
    wires = self.config.wires
    codes = wires.encode(self._arrays, self._rows(x), self.config.activation)
    return wires.decode(self._arrays, codes).astype(x.dtype).reshape(x.shape)

  @property
  def _arrays(self) -> dict[str, Array]:
    """The parameters as jax arrays; an edit read from a file holds numpy's."""
    return {name: jnp.asarray(value) for name, value in self.params.items()}

  def _rows(self, x: Array | np.ndarray) -> Array:
    """The activations as `[B, D]` in the parameters' dtype, checked."""
    if x.shape[-1] != self.config.width:
      raise ValueError(
        f'A dictionary of width {self.config.width} was given activations of shape '
        f'{tuple(x.shape)}; the last axis must be {self.config.width}.'
      )
    dtype = jnp.promote_types(x.dtype, self.params['W_enc'].dtype)
    return jnp.asarray(x, dtype).reshape(-1, self.config.width)


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
  tensors = {k: np.ascontiguousarray(v) for k, v in dictionary.params.items()}
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
  params = load_file(folder / WEIGHTS)
  expected = config.wires.shapes(config.width, config.features)
  found = {name: tuple(array.shape) for name, array in params.items()}
  if found != expected:
    raise ValueError(
      f'{folder / WEIGHTS} holds {found}; {CONFIG} asks for {expected}. They are not '
      'of one dictionary.'
    )
  return Dictionary({k: jnp.asarray(v) for k, v in params.items()}, config)


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
for _cls in (Dictionary, DictionaryConfig, *activations.ACTIVATIONS.values()):
  register_callable(_cls)
