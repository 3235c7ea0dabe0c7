"""Trained probes: what they say of activations, and the directions they read."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

Params = dict[str, Any]
"""One layer's weights: `W_out [D or H, Q, C]`, `b_out [Q, C]`; with a hidden layer also
`W_in [D, H]`, `b_in [H]`."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Probes:
  """One probe for each layer, each answering Q questions with one of C classes.

  Attributes:
    params: Weights, stacked over layers: `W_out [L, D, Q, C]`, `b_out [L, Q, C]`. A
      probe with a hidden layer has `W_in [L, D, H]`, `b_in [L, H]`, and
      `W_out [L, H, Q, C]`.
    mean: What is subtracted from activations first, `[L, D]`.
    scale: What they are divided by then, `[L, D]`.
  """

  params: Any
  mean: Any
  scale: Any

  @property
  def kind(self) -> str:
    """`'linear'` or `'mlp'`."""
    return 'mlp' if 'W_in' in self.params else 'linear'

  @property
  def layers(self) -> int:
    """Number of layers L."""
    return len(self.mean)

  @property
  def questions(self) -> int:
    """Number of questions Q."""
    return self.params['b_out'].shape[1]

  @property
  def classes(self) -> int:
    """Number of classes C."""
    return self.params['b_out'].shape[2]

  def __call__(
    self, features: Float[Array | np.ndarray, 'L *b D']
  ) -> Float[Array, 'L *b Q C']:
    """The logits of all probes on activations as they come, not standardized.

    Args:
      features: Activations, one layer for each probe: `acts['resid_post']`, say.

    Returns:
      The logits.

    Raises:
      ValueError: if layers or widths are others than the probes'.
    """
    given = np.shape(features)
    if (given[0], given[-1]) != np.shape(self.mean):
      raise ValueError(
        f'features of shape {given} are not what these probes read: [L, ..., D] with '
        f'L, D = {np.shape(self.mean)}.'
      )
    return jax.vmap(_logits)(self.params, self.mean, self.scale, jnp.asarray(features))

  def predict(
    self, features: Float[Array | np.ndarray, 'L *b D']
  ) -> Int[Array, 'L *b Q']:
    """The class with the highest logit."""
    return self(features).argmax(-1)

  def contrast(
    self, question: int, positive: int, negative: int | None = None
  ) -> tuple[Float[Array, 'L D'], Float[Array, ' L']]:
    """A difference of logits as a function of activations, `x @ w + b`.

    Args:
      question: Which question.
      positive: The class whose logit counts as positive.
      negative: The class whose logit is subtracted; None for the mean of all others.

    Returns:
      `w` and `b` for each layer, in the coordinates of raw activations: that the probe
      reads standardized ones is accounted for.

    Raises:
      ValueError: if there is no such question or class, or the probes are not linear.
    """
    signs = self._signs(question, positive, negative)
    w = self.params['W_out'][:, :, question] @ signs / self.scale
    b = self.params['b_out'][:, question] @ signs - jnp.einsum('ld,ld->l', self.mean, w)
    return w, b

  def directions(
    self, question: int, positive: int, negative: int | None = None
  ) -> Float[Array, 'L D']:
    """The unit direction of each layer along which a contrast grows fastest.

    A multiple of it is the smallest change of an activation that changes the reading by
    a given amount. As an edit of all layers and positions:
    `edits.steer(5.0 * directions[:, None, None])`.

    Args:
      question: As in `contrast`.
      positive: As in `contrast`.
      negative: As in `contrast`.

    Returns:
      The directions, in the coordinates of raw activations.

    Raises:
      ValueError: as `contrast`.
    """
    w, _ = self.contrast(question, positive, negative)
    return w / jnp.linalg.norm(w, axis=-1, keepdims=True)

  def _signs(self, question: int, positive: int, negative: int | None) -> Array:
    """What each class's logit counts in a contrast, `[C]`."""
    if self.kind != 'linear':
      raise ValueError(
        'A probe with a hidden layer reads no one direction. Train linear probes, or '
        'differentiate this one at an activation.'
      )
    _check_index('question', question, self.questions)
    _check_index('positive class', positive, self.classes)
    signs = np.zeros(self.classes)
    if negative is None:
      signs[:] = -1 / (self.classes - 1)
    else:
      _check_index('negative class', negative, self.classes)
      signs[negative] = -1
    if negative == positive:
      raise ValueError(f'The contrast of class {positive} with itself is 0.')
    signs[positive] = 1
    return jnp.asarray(signs, jnp.result_type(self.params['W_out']))


def _logits(params: Params, mean: Any, scale: Any, x: Any) -> Any:
  """One layer's logits `[..., Q, C]` of raw activations `[..., D]`."""
  return apply(params, (x - mean) / scale)


def apply(params: Params, x: Float[Array, '*b D']) -> Float[Array, '*b Q C']:
  """One layer's logits of activations that are standardized already."""
  if 'W_in' in params:
    x = jax.nn.relu(x @ params['W_in'] + params['b_in'])
  return jnp.einsum('...d,dqc->...qc', x, params['W_out']) + params['b_out']


def _check_index(name: str, index: int, count: int) -> None:
  if not 0 <= index < count:
    raise ValueError(f'{name} {index} is not there; valid are 0 to {count - 1}.')
