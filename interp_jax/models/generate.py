"""Generation with a key/value cache, under edits, with the generated tokens' acts."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from interp_jax import edits as edits_lib
from interp_jax.core import SITES
from interp_jax.models.cache import Cache, empty_cache
from interp_jax.models.transformer import Acts, Transformer


class Generated(NamedTuple):
  """What `generate` returns.

  Attributes:
    tokens: The generated tokens, `[B, N]`.
    logits: What each was drawn from, `[B, N, V]`.
    acts: Activations at the generated tokens: site → `[L, B, N, ...]`; keys of scores
      and patterns are the prompt's slots and then the generated ones.
  """

  tokens: Int[Array, 'B N']
  logits: Float[Array, 'B N V']
  acts: Acts


def generate(
  model: Transformer,
  params: dict[str, Any],
  tokens: Int[Array | np.ndarray, 'B T'],
  max_new_tokens: int,
  edits: edits_lib.Edits | None = None,
  *,
  mask: Bool[Array | np.ndarray, 'B T'] | None = None,
  temperature: float = 0.0,
  rng: jax.Array | None = None,
) -> Generated:
  """Continues sequences token by token.

  Jit-able (with `model`, `max_new_tokens` and `temperature` static); acts that are not
  returned from the jitted function are not kept.

  Args:
    model: The model.
    params: Its parameters.
    tokens: The prompts.
    max_new_tokens: Number of tokens to generate, `N`.
    edits: Addressed to the whole sequence: along `T` and `S` sizes are 1 or `T + N`.
      They hold while the prompt is read and while tokens are generated.
    mask: False at padding; put it on the left, so that the prompts end together.
    temperature: 0 for the most probable token, else that of the softmax.
    rng: Key of the draws; needed if the temperature is not 0.

  Returns:
    Tokens, logits and acts.

  Raises:
    ValueError: if arguments do not fit.
  """
  if temperature and rng is None:
    raise ValueError(
      f'generate: temperature={temperature} needs rng, a jax.random.key.'
    )
  if max_new_tokens < 1:
    raise ValueError(f'generate: max_new_tokens={max_new_tokens} must be at least 1.')
  tokens = jnp.asarray(tokens)
  batch, length = tokens.shape
  total = length + max_new_tokens
  cfg = model.cfg
  if cfg.positions in ('learned', 'shortformer') and total > cfg.context:
    raise ValueError(
      f'generate: {length} + {max_new_tokens} positions, but the model has embeddings '
      f'for {cfg.context}. Generate fewer, or shorten the prompt.'
    )
  traced = isinstance(mask, jax.core.Tracer)
  if mask is not None and not traced and not np.asarray(mask)[:, -1].all():
    raise ValueError('generate: the mask is False at a last token; pad on the left.')

  def run(tokens: jax.Array, cache: Cache, at: Any, mask: Any = None) -> Any:
    here = edits_lib.at_positions(edits, at, tokens.shape[1], total)
    return model.apply(
      {'params': params},
      tokens,
      cache,
      here,
      mask=mask,
      logit_positions=jnp.array([tokens.shape[1] - 1]),
      method='extend',
    )

  cache = empty_cache(model.cfg, batch, total)
  logits, _, cache = run(tokens, cache, 0, mask)
  keys = jax.random.split(jax.random.key(0) if rng is None else rng, max_new_tokens)

  def step(carry: Any, xs: Any) -> Any:
    logits, cache = carry
    index, key = xs
    token = _draw(logits[:, 0], temperature, key)
    new_logits, acts, cache = run(token[:, None], cache, length + index)
    return (new_logits, cache), (token, logits[:, 0], acts)

  steps = (jnp.arange(max_new_tokens), keys)
  _, (new, drawn_from, acts) = jax.lax.scan(step, (logits, cache), steps)
  acts = {site: _in_sequence(site, act) for site, act in acts.items()}
  return Generated(new.T, jnp.moveaxis(drawn_from, 0, 1), acts)


def _draw(logits: jax.Array, temperature: float, key: jax.Array) -> jax.Array:
  if temperature == 0:
    return logits.argmax(-1)
  return jax.random.categorical(key, logits / temperature)


def _in_sequence(site: str, act: jax.Array) -> jax.Array:
  """Puts the steps' axis `[N, ...]` where the site's position axis of size 1 is."""
  axis = SITES[site].full_axes.index('T')
  return jnp.moveaxis(act, 0, axis).squeeze(axis + 1)
