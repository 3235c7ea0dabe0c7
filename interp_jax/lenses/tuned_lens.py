"""The tuned lens: a logit lens that first learns each layer's language.

Belrose et al. 2023, "Eliciting Latent Predictions from Transformers with the Tuned
Lens", arXiv:2303.08112. Before the model's own last steps, the stream before layer l
goes through an affine map of its own, `x + x @ W[l] + b[l]`, which starts as the
identity and is trained to bring the lens's prediction near to the model's last one. The
stream behind the last layer needs none.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import functools
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer
import numpy as np

from interp_jax.core import Model, Tokens
from interp_jax.lenses.logit_lens import Positions, logit_lens, unembed
from interp_jax.lenses.unembed import Params
from interp_jax.training.folders import read_folder, write_folder

FORMAT = 'interp_jax.tuned_lens'


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TunedLens:
  """Affine maps, one for the stream before each layer.

  Attributes:
    W_lens: What is added to the identity, `[L, D, D]`.
    b_lens: The constants, `[L, D]`.
  """

  W_lens: Any
  b_lens: Any

  def __call__(self, stream: Float[Array, 'L *b D']) -> Float[Array, 'L *b D']:
    """The streams before all layers, each in the language of the last."""
    return jax.vmap(translate)(stream, self.W_lens, self.b_lens)


def identity_lens(layers: int, width: int, dtype: Any = jnp.float32) -> TunedLens:
  """The lens before training: it is the logit lens.

  Args:
    layers: Number of layers L.
    width: Width of the stream D.
    dtype: Of the parameters.

  Returns:
    The lens.
  """
  maps = jnp.zeros((layers, width, width), dtype), jnp.zeros((layers, width), dtype)
  return TunedLens(*maps)


def translate(
  x: Float[Array, '*b D'], w: Float[Array, 'D D'], b: Float[Array, ' D']
) -> Float[Array, '*b D']:
  """One layer's map."""
  return x + (x @ w + b).astype(x.dtype)


def tuned_lens(
  model: Model,
  params: Params,
  lens: TunedLens,
  acts: Mapping[str, Any],
  logit_positions: Positions | None = None,
) -> Float[Array, 'depths B P V']:
  """The logits that each layer's residual stream gives through a tuned lens.

  Args:
    model: A model that takes `resid`, `start` and `logit_positions`.
    params: Its parameters.
    lens: The lens.
    acts: Activations of a run, with `resid_pre` and `resid_post`.
    logit_positions: Positions to unembed, `[P]` or `[B, P]`; None for all.

  Returns:
    The logits, one row for each layer's input and one for the end: the model's own.
  """
  translated = {**acts, 'resid_pre': lens(jnp.asarray(acts['resid_pre']))}
  return logit_lens(model, params, translated, logit_positions)


def divergences(
  model: Model, params: Params, lens: TunedLens, tokens: Tokens
) -> Float[Array, ' L']:
  """KL from the model's prediction to each layer's, in nats, the mean over positions.

  It is what a lens is trained by. Layers are taken one after the other, and computed
  again in the backward pass, so that the logits of only one are ever in memory.

  Args:
    model: The model.
    params: Its parameters.
    lens: The lens.
    tokens: What to run the model on.

  Returns:
    The divergences.
  """
  logits, acts = model.apply({'params': params}, tokens)
  probs, stream = jax.nn.softmax(logits), acts['resid_pre']
  entropy = jax.nn.logsumexp(logits, -1) - (probs * logits).sum(-1)

  @jax.checkpoint
  def one(xs):
    resid, w, b = xs
    early = unembed(model, params, translate(resid, w, b), len(stream))
    # Cross-entropy less entropy: the fewest exponentials, which are what takes time.
    cross = jax.nn.logsumexp(early, -1) - (probs * early).sum(-1)
    return (cross - entropy).mean()

  return jax.lax.map(one, (stream, lens.W_lens, lens.b_lens))


def _divergence(p, q):
  return (jnp.exp(p) * (p - q)).sum(-1)


class LensScores(NamedTuple):
  """How good a lens is at each depth, `[L + 1]` each; means over positions.

  Attributes:
    kl: Divergence from the model's prediction to the lens's, in nats.
    agreement: How often the lens's first choice is the model's.
    loss: Cross-entropy of the token that follows, in nats.
  """

  kl: Any
  agreement: Any
  loss: Any


def score_lens(
  model: Model,
  params: Params,
  rows: Integer[np.ndarray, 'rows T'],
  lens: TunedLens | None = None,
  batch_size: int = 8,
) -> LensScores:
  """Scores a lens on text.

  Args:
    model: The model.
    params: Its parameters.
    rows: Tokens.
    lens: The lens; None for the logit lens.
    batch_size: Rows to run at once.

  Returns:
    The scores.
  """
  parts = list(_parts(rows, batch_size))
  scores = [jax.device_get(_score(model, params, lens, part)) for part in parts]
  weights = [len(part) for part in parts]
  return LensScores(
    *(np.average(each, axis=0, weights=weights) for each in zip(*scores, strict=True))
  )


def _parts(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
  for first in range(0, len(rows), size):
    yield np.asarray(rows[first : first + size], np.int32)


@functools.partial(jax.jit, static_argnums=0)
def _score(model, params, lens, tokens):
  logits, acts = model.apply({'params': params}, tokens)
  final = jax.nn.log_softmax(logits)
  stream = acts['resid_pre'] if lens is None else lens(acts['resid_pre'])

  def one(resid):
    early = jax.nn.log_softmax(unembed(model, params, resid, len(stream)))
    following = jnp.take_along_axis(early[:, :-1], tokens[:, 1:, None], -1)
    return LensScores(
      _divergence(final, early).mean(),
      (early.argmax(-1) == final.argmax(-1)).mean(),
      -following.mean(),
    )

  return jax.lax.map(one, jnp.concatenate([stream, acts['resid_post'][-1:]]))


def save_lens(
  path: str | os.PathLike[str],
  lens: TunedLens,
  metadata: Mapping[str, Any] | None = None,
) -> None:
  """Writes a lens as a folder of `model.safetensors` and `config.json`.

  Args:
    path: The folder; it is made if it is not there.
    lens: The lens.
    metadata: JSON to keep with it: of which model it is, how it was trained.
  """
  write_folder(path, vars(lens), {'format': FORMAT, 'metadata': dict(metadata or {})})


def load_lens(path: str | os.PathLike[str]) -> tuple[TunedLens, dict[str, Any]]:
  """Reads the lens that `save_lens` wrote, with its metadata.

  Args:
    path: The folder.

  Returns:
    The lens and the metadata.

  Raises:
    FileNotFoundError: if a file is missing.
    ValueError: if the folder holds something else.
  """
  tensors, content = read_folder(path)
  names = [field.name for field in dataclasses.fields(TunedLens)]
  if content.get('format') != FORMAT or sorted(tensors) != sorted(names):
    raise ValueError(
      f'{path} holds no tuned lens: its format is {content.get("format")!r}, not '
      f'{FORMAT!r}, or its tensors {sorted(tensors)} are not {names}.'
    )
  lens = TunedLens(**{name: jnp.asarray(tensors[name]) for name in names})
  return lens, content['metadata']
