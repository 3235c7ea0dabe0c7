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
