"""What the rooms that analyse a model ask of it: the one pure function, no more."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Float, Int
import numpy as np

Tokens = Int[Array | np.ndarray, 'B T']
Acts = Mapping[str, Any]


@runtime_checkable
class Model(Protocol):
  """Anything with `apply({'params': params}, tokens, edits) -> (logits, acts)`.

  The model is a static argument of compiled functions: it must be hashable, and equal
  models must be the same function of their parameters (Flax modules are).

  Keyword arguments are passed only where they are asked for, and only to models whose
  `__call__` (or `apply`) names them: `mask` `[B, T]` (padding); `logit_positions`
  `[B, P]` (unembed only these) and `logit_tokens` `[B, C]` (for these tokens: logits
  are then `[B, P, C]`). For restarts at a layer, `start` (the first layer to compute,
  traced) with `resid` `[B, T, D]` (the residual stream before it) in the place of
  tokens. For restarts at a position, `before`: site → activations `[L, B, earlier,
  ...]` of the positions before the first one of this run, for each site that the
  model's attribute `restart_sites` names. Then `T` in edits, acts and logit positions
  counts the positions that are run, while the mask and `S` are of all.
  """

  def apply(
    self,
    variables: Mapping[str, Any],
    tokens: Tokens | None,
    edits: Mapping[str, Any] | None = None,
    **kwargs: Any,
  ) -> tuple[Float[Array, 'B P V'], Acts]: ...


@runtime_checkable
class Parts(Protocol):
  """A model taken apart, for one batch of tokens (see `Decomposable`); a pytree.

  Attributes:
    stream: What is written to the residual stream before the first layer, `[B, T, D]`.
    layers: A pytree with a leading layer axis; the methods take one layer's slice of
      it, which a scan over it gives.
  """

  @property
  def stream(self) -> Any: ...

  @property
  def layers(self) -> Any: ...

  def heads(
    self, layer: Any, reads: Float[Array, 'B T R D']
  ) -> tuple[Float[Array, 'B T H D'], Float[Array, 'B T D']]:
    """What each head writes, and what attention writes: their sum and a constant.

    `reads` is the stream as the queries, keys and values of each query head read it
    (`R = 3H`, in this order), or as all of them do (`R = 1`).
    """
    ...

  def probed_heads(
    self,
    layer: Any,
    stream: Float[Array, 'B T D'],
    probe: Float[Array, 'R S'],
    gap: Float[Array, 'S b T D'],
  ) -> tuple[Float[Array, 'B T H D'], Float[Array, 'B T D']]:
    """`heads` of the reads `stream + probe @ gap`, for a probe of zeros.

    It is there for its gradient with respect to the probe, which a model may know a
    cheaper way to than through all reads. `B` may be several times `b`: rows of several
    runs, one run after the other, which share the gap.
    """
    ...

  def mlp(self, layer: Any, read: Float[Array, 'B T D']) -> Float[Array, 'B T D']:
    """What the MLP writes."""
    ...

  def layer(self, layer: Any, stream: Float[Array, 'B T D']) -> Float[Array, 'B T D']:
    """The stream after the whole layer, where everything reads the stream."""
    ...

  def logits(
    self, read: Float[Array, 'B T D'], positions: Int[Array, '*b P'] | None = None
  ) -> Float[Array, 'B P V']:
    """The logits of a stream."""
    ...


@runtime_checkable
class Decomposable(Model, Protocol):
  """A model whose residual stream is a sum of what heads and MLPs write.

  Attributes:
    cfg: It has `layers`, `heads`, `width`, `parallel` (the MLP reads the stream before
      attention) and `attn_only`.
  """

  cfg: Any

  def decompose(
    self, variables: Mapping[str, Any], tokens: Tokens, *args: Any, **kwargs: Any
  ) -> Parts:
    """The model taken apart.

    Keyword arguments are passed only where they are asked for: `mask` `[B, T]`
    (padding), and `frozen`, activations to hold fixed (site → `[L, ...]`): the norms'
    `scale`s and `pattern`.
    """
    ...
