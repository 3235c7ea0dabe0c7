"""The program that a harvest runs: the truncated model, and only the asked sites."""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from interp_jax.core import get_site
from interp_jax.models import Transformer, TransformerConfig, truncate
from interp_jax.store import ArraySpec

Sites = Mapping[str, Iterable[int] | None]
# Pairs of site and layer.
Asked = tuple[tuple[str, int | None], ...]
# Sites before the first layer. Other sites without a layer axis follow the last one.
_BEFORE_LAYERS = ('embed', 'pos_embed')


@dataclasses.dataclass(frozen=True)
class Forward:
  """What a harvest runs.

  Attributes:
    params: Parameters of the truncated model.
    run: `run(params, tokens, mask)` gives `[B, T, ...]` for each array by its name,
      in the dtype in which it is stored. It is compiled.
    arrays: The arrays.
  """

  params: Any
  run: Callable[..., dict[str, jax.Array]]
  arrays: tuple[ArraySpec, ...]


def make_forward(
  model: Transformer,
  params: dict[str, Any],
  sites: Sites,
  dtype: str,
  shape: tuple[int, int],
) -> Forward:
  """Truncates the model and prepares the program.

  Args:
    model: The model.
    params: Its parameters.
    sites: Site → layers; None for a site without a layer axis.
    dtype: In which to store, `'bfloat16'` or `'float32'`.
    shape: `(B, T)` of a batch of tokens.

  Returns:
    The program.

  Raises:
    ValueError: if the model has no such site or layer.
  """
  asked = _flatten(model.cfg, sites)
  model, params = truncate(model, params, _layers_needed(model.cfg, asked))
  run = functools.partial(_run, model, asked, dtype)
  tokens = jax.ShapeDtypeStruct(shape, jnp.int32)
  shapes = jax.eval_shape(run, params, tokens, None)
  specs = [ArraySpec(site, layer, (), dtype) for site, layer in asked]
  arrays = [dataclasses.replace(s, shape=shapes[s.name].shape[2:]) for s in specs]
  return Forward(params, run, tuple(arrays))


# At the top level, so that a second harvest of the same model compiles nothing.
@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _run(
  model: Transformer, asked: Asked, dtype: str, params: Any, tokens: Any, mask: Any
) -> dict[str, jax.Array]:
  _, acts = model.apply({'params': params}, tokens, mask=mask)
  return {
    ArraySpec(site, layer, ()).name: _pick(acts, site, layer).astype(dtype)
    for site, layer in asked
  }


def _flatten(cfg: TransformerConfig, sites: Sites) -> Asked:
  """Pairs of site and layer, checked, in the order in which they were given."""
  asked: list[tuple[str, int | None]] = []
  for name, layers in sites.items():
    site = get_site(name, cfg)
    if not site.layered:
      if layers is not None:
        raise ValueError(f'Site {name!r} has no layers: ask for {{{name!r}: None}}.')
      asked.append((name, None))
      continue
    chosen = tuple(layers or ())
    if not chosen:
      raise ValueError(f'Site {name!r} needs layers, e.g. {{{name!r}: (0,)}}.')
    for layer in chosen:
      if not 0 <= layer < cfg.layers:
        raise ValueError(f'{name!r} has no layer {layer}, only 0..{cfg.layers - 1}.')
      asked.append((name, int(layer)))
  if not asked:
    raise ValueError("No sites to harvest: give e.g. {'resid_post': (0,)}.")
  return tuple(asked)


def _layers_needed(cfg: TransformerConfig, asked: Asked) -> int:
  deepest = [0 if layer is None else layer for _, layer in asked]
  last = any(layer is None and site not in _BEFORE_LAYERS for site, layer in asked)
  return cfg.layers if last else 1 + max(deepest)


def _pick(acts: Any, site: str, layer: int | None) -> jax.Array:
  """One site of one layer as `[B, T, ...]`."""
  act = acts[site] if layer is None else acts[site][layer]
  return jnp.moveaxis(act, get_site(site).axes.index('T'), 1)
