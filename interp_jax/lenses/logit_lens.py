"""What the residual stream says before the end: the logit lens (nostalgebraist 2020).

The stream of every layer is unembedded as if it were the last.
"""

from collections.abc import Mapping, Sequence
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from interp_jax.core import Model
from interp_jax.lenses.unembed import Params

Positions = Sequence[int] | Int[Array | np.ndarray, '*b P']


def logit_lens(
  model: Model,
  params: Params,
  acts: Mapping[str, Any],
  logit_positions: Positions | None = None,
) -> Float[Array, 'depths B P V']:
  """The logits that each layer's residual stream would give if it were the last.

  The model's own last steps (final norm, unembedding, soft cap) are applied to the
  stream before each layer and, last, after all of them: the final logits.

  Args:
    model: A model that takes `resid`, `start` and `logit_positions`.
    params: Its parameters.
    acts: Activations of a run, with `resid_pre` and `resid_post`.
    logit_positions: Positions to unembed, `[P]` or `[B, P]`; None for all.

  Returns:
    The logits, one row for each layer's input and one for the end.
  """
  stream = jnp.concatenate([acts['resid_pre'], acts['resid_post'][-1:]])
  at = None if logit_positions is None else jnp.asarray(logit_positions)
  return _leave(model, params, stream, at)


@functools.partial(jax.jit, static_argnums=0)
def _leave(model, params, stream, logit_positions):
  last = len(stream) - 1
  return jax.lax.map(
    lambda resid: unembed(model, params, resid, last, logit_positions), stream
  )


def unembed(
  model: Model,
  params: Params,
  resid: Float[Array, 'B T D'],
  layers: int,
  logit_positions: Any = None,
) -> Float[Array, 'B P V']:
  """The model's own last steps, from the stream behind its last layer.

  Args:
    model: A model that takes `resid`, `start` and `logit_positions`.
    params: Its parameters.
    resid: The stream.
    layers: How many layers the model has.
    logit_positions: Positions to unembed; None for all.

  Returns:
    The logits.
  """
  end = {'resid': resid, 'start': layers}
  if logit_positions is not None:
    end['logit_positions'] = logit_positions
  return model.apply({'params': params}, None, None, **end)[0]
