"""What a model is given, checked before anything runs."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Int
import numpy as np

from interp_jax.edits import Prepared
from interp_jax.models.config import TransformerConfig
from interp_jax.models.restart import count_before
from interp_jax.models.taps import Tap


def token_positions(mask: Any, length: int) -> Int[Array, 'B T']:
  """Positions counted over tokens that are not padding; `[1, T]` without a mask."""
  if mask is None:
    return jnp.arange(length, dtype=jnp.int32)[None]
  return jnp.maximum(jnp.cumsum(jnp.asarray(mask), 1, jnp.int32) - 1, 0)


def layer_span(cfg: TransformerConfig, start: Any, stop: Any) -> tuple[Any, Any] | None:
  """The layers to run; None for all, which needs no conditional."""
  if start is None and stop is None:
    return None
  first, end = 0 if start is None else start, cfg.layers if stop is None else stop
  known = isinstance(first, int) and isinstance(end, int)
  if known and not 0 <= first <= end <= cfg.layers:
    raise ValueError(
      f'start={start}, stop={stop}: need 0 <= start <= stop <= {cfg.layers} layers.'
    )
  return first, end


def check_reached(prepared: Prepared, tap: Tap) -> None:
  """Refuses edits outside the layers that a run from a residual stream leaves out."""
  missed = sorted(prepared.top.keys() - tap.acts.keys())
  if missed:
    raise ValueError(
      f'A run from resid does not pass {", ".join(missed)}: leave out those edits, or '
      'run from tokens.'
    )


def check_blocks(query_block: int | None, prepared: Prepared) -> None:
  """Refuses edits of what is never whole when queries are taken in blocks."""
  if query_block is None:
    return
  if query_block < 1:
    raise ValueError(f'query_block={query_block} must be at least 1, or None.')
  for site in ('attn_scores', 'pattern'):
    if site in prepared.scanned:
      raise ValueError(
        f'{site!r} cannot be edited with query_block={query_block}: it is never whole. '
        'Use a model with query_block=None.'
      )


def check_input(
  cfg: TransformerConfig,
  tokens: Any,
  resid: Any,
  mask: Any,
  token_types: Any = None,
  before: Any = None,
) -> tuple[int, int, int]:
  """Of a fitting input, the batch size, the positions, and those before them."""
  if (tokens is None) == (resid is None):
    raise ValueError(
      'Give either tokens [B, T] or resid [B, T, D]; '
      f'got {"neither" if tokens is None else "both"}.'
    )
  given = jnp.asarray(tokens if resid is None else resid)
  rank = 2 if resid is None else 3
  if given.ndim != rank or (rank == 3 and given.shape[-1] != cfg.width):
    want = (
      'tokens must be [B, T]' if rank == 2 else f'resid must be [B, T, {cfg.width}]'
    )
    raise ValueError(f'{want}; got shape {given.shape}.')
  earlier = count_before(cfg, before, given.shape[0])
  total = (given.shape[0], earlier + given.shape[1])
  learned = cfg.positions in ('learned', 'shortformer')
  if learned and total[1] > cfg.context:
    raise ValueError(
      f'{total[1]} positions, but the model has embeddings for {cfg.context}. '
      'Give shorter sequences.'
    )
  if isinstance(tokens, np.ndarray) and tokens.size:
    # Where it costs nothing: out of range, an embedding's row is another's.
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= cfg.vocab_size:
      raise ValueError(
        f'tokens are {low}..{high}; the model has tokens 0..{cfg.vocab_size - 1}.'
      )
  if mask is not None and np.shape(mask) != total:
    raise ValueError(f'mask must be [B, T] = {total}; got shape {np.shape(mask)}.')
  _check_token_types(cfg, token_types, given.shape[:2])
  return given.shape[0], given.shape[1], earlier


def _check_token_types(
  cfg: TransformerConfig, token_types: Any, shape: tuple[int, ...]
) -> None:
  if token_types is None:
    return
  if not cfg.token_types:
    raise ValueError('token_types: this model has none; leave them out.')
  if np.shape(token_types) != shape:
    raise ValueError(f'token_types must be [B, T] = {shape}; got {token_types.shape}.')
