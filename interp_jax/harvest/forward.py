"""The program that a harvest runs: the truncated model, and only the asked sites."""

from collections.abc import Iterable, Mapping
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from interp_jax import sharding
from interp_jax.core import get_site
from interp_jax.models import Transformer, TransformerConfig, truncate
from interp_jax.store import ArraySpec

Sites = Mapping[str, Iterable[int] | None]
# Sites before the first layer. Other sites without a layer axis follow the last one.
_BEFORE_LAYERS = ('embed', 'pos_embed')
_HEAD_AXES = ('H', 'G')
# Sites that a model that attends in blocks does not have, and the length of sequences
# from which it is worth while.
_WHOLE_ATTENTION = ('attn_scores', 'pattern')
_QUERY_BLOCK = 128
# Axes of an activation that are those of the batch and not of a row.
_BATCH_AXES = ('B', 'T')


@dataclasses.dataclass(frozen=True)
class Asked:
  """One array that is asked for.

  Attributes:
    site: The site.
    layer: Its layer; None for a site without a layer axis.
    heads: Which heads, in this order; None for all, or for a site without heads.
    flat: Whether a row is one vector.
  """

  site: str
  layer: int | None
  heads: tuple[int, ...] | None
  flat: bool

  @property
  def name(self) -> str:
    """The array's name in the dataset."""
    return ArraySpec(self.site, self.layer, ()).name

  def pick(self, acts: Mapping[str, Any]) -> jax.Array:
    """Its rows `[B, T, ...]` among the activations of a model."""
    act = acts[self.site] if self.layer is None else acts[self.site][self.layer]
    axes = get_site(self.site).axes
    act = jnp.moveaxis(act, axes.index('T'), 1)
    rows = [axis for axis in axes if axis not in _BATCH_AXES]
    if self.heads is not None:
      axis = next(i for i, name in enumerate(rows, 2) if name in _HEAD_AXES)
      act = jnp.take(act, jnp.array(self.heads), axis)
    return act.reshape(*act.shape[:2], -1) if self.flat else act


@dataclasses.dataclass(frozen=True)
class Program:
  """A function of parameters and tokens; hashable, so that it is compiled once.

  Attributes:
    model: The truncated model.
    asked: The arrays that it gives.
    dtype: In which it gives them.
    mesh: Where each copy of the model runs its own rows; None for one device.
  """

  model: Transformer
  asked: tuple[Asked, ...]
  dtype: str
  mesh: Mesh | None = None

  def __call__(self, params: Any, tokens: Any, mask: Any) -> dict[str, jax.Array]:
    """`[B, T, ...]` for each array by its name."""
    if self.mesh is None:
      return self._run(params, tokens, mask)
    return sharding.over_data(self.mesh, self._run)(params, tokens, mask)

  def _run(self, params: Any, tokens: Any, mask: Any) -> dict[str, jax.Array]:
    _, acts = self.model.apply({'params': params}, tokens, mask=mask)
    return {a.name: a.pick(acts).astype(self.dtype) for a in self.asked}


@dataclasses.dataclass(frozen=True)
class Forward:
  """What a harvest runs.

  Attributes:
    program: What is computed with them.
    params: Parameters of the truncated model.
    specs: The arrays as a dataset describes them.
  """

  program: Program
  params: Any
  specs: tuple[ArraySpec, ...]

  def on(self, mesh: Mesh | None) -> 'Forward':
    """The same on a mesh; parameters that do not lie there yet are replicated."""
    if mesh is None:
      return self
    params = sharding.keep_or_replicate(mesh, self.params)
    program = dataclasses.replace(self.program, mesh=mesh)
    return Forward(program, params, self.specs)

  def run(self, params: Any, tokens: Any, mask: Any) -> dict[str, jax.Array]:
    """`[B, T, ...]` for each array by its name. It is compiled.

    Args:
      params: Those of the truncated model.
      tokens: `[B, T]`.
      mask: False at padding, `[B, T]`; None if there is none.
    """
    return _run(self.program, params, tokens, mask)

  def lower(self, params: Any, tokens: Any, mask: Any) -> jax.stages.Lowered:
    """`run`, to be compiled for the devices that the shapes' shardings name.

    Args:
      params: Shapes of the parameters.
      tokens: That of the tokens.
      mask: That of the mask, or None.
    """
    return _run.lower(self.program, params, tokens, mask)


def forward_of_shapes(
  model: Transformer, params: Any, *args: Any, **kwargs: Any
) -> Forward:
  """`make_forward` for parameters that are shapes.

  Args:
    model: The model.
    params: Shapes of its parameters.
    *args: As of `make_forward`.
    **kwargs: As of `make_forward`.
  """
  made = []

  def make(params: Any) -> Any:
    made.append(make_forward(model, params, *args, **kwargs))
    return made[0].params

  shapes = jax.eval_shape(make, params)
  return dataclasses.replace(made[0], params=shapes)


def make_forward(
  model: Transformer,
  params: dict[str, Any],
  sites: Sites,
  dtype: str,
  shape: tuple[int, int],
  *,
  heads: Mapping[str, Iterable[int]] | None = None,
  flat: bool = False,
  compute_dtype: str | None = None,
) -> Forward:
  """Truncates the model and prepares the program.

  Args:
    model: The model.
    params: Its parameters.
    sites: Site → layers; None for a site without a layer axis.
    dtype: In which to store, e.g. `'bfloat16'`.
    shape: `(B, T)` of a batch of tokens.
    heads: Site → which of its heads; sites that are not named have all.
    flat: Whether rows of several axes, as `[H, K]`, become vectors `[H * K]`.
    compute_dtype: Dtype of the parameters and of the matrix products; None for that
      of the model.

  Returns:
    The program.

  Raises:
    ValueError: if the model has no such site, layer or head.
  """
  asked = _asked(model.cfg, sites, heads or {}, flat)
  model, params = truncate(model, params, _layers_needed(model.cfg, asked))
  if compute_dtype is not None:
    kinds = {'dtype': compute_dtype, 'param_dtype': compute_dtype}
    model = model.clone(cfg=dataclasses.replace(model.cfg, **kinds))
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, compute_dtype), params)
  if shape[1] > _QUERY_BLOCK and not any(a.site in _WHOLE_ATTENTION for a in asked):
    model = model.clone(query_block=_QUERY_BLOCK)
  # int8 arrays are scaled on the host, where their rows are gathered into shards.
  program = Program(model, asked, 'float32' if dtype == 'int8' else dtype)
  tokens = jax.ShapeDtypeStruct(shape, jnp.int32)
  shapes = jax.eval_shape(program, params, tokens, None)
  specs = (ArraySpec(a.site, a.layer, shapes[a.name].shape[2:], dtype) for a in asked)
  return Forward(program, params, tuple(specs))


# At the top level, so that a second harvest of the same model compiles nothing.
@functools.partial(jax.jit, static_argnums=0)
def _run(program: Program, params: Any, tokens: Any, mask: Any) -> dict[str, jax.Array]:
  return program(params, tokens, mask)


def _asked(
  cfg: TransformerConfig,
  sites: Sites,
  heads: Mapping[str, Iterable[int]],
  flat: bool,
) -> tuple[Asked, ...]:
  """The arrays, checked, in the order in which they were given."""
  for name in heads:
    if name not in sites:
      raise ValueError(f'heads are given for {name!r}, which is not among the sites.')
  asked = [
    Asked(name, layer, _heads(cfg, name, heads.get(name)), flat)
    for name, layers in sites.items()
    for layer in _layers(cfg, name, layers)
  ]
  if not asked:
    raise ValueError("No sites to harvest: give e.g. {'resid_post': (0,)}.")
  return tuple(asked)


def _layers(
  cfg: TransformerConfig, name: str, layers: Iterable[int] | None
) -> tuple[int | None, ...]:
  if not get_site(name, cfg).layered:
    if layers is not None:
      raise ValueError(f'Site {name!r} has no layers: ask for {{{name!r}: None}}.')
    return (None,)
  chosen = tuple(int(layer) for layer in layers or ())
  if not chosen:
    raise ValueError(f'Site {name!r} needs layers, e.g. {{{name!r}: (0,)}}.')
  for layer in chosen:
    if not 0 <= layer < cfg.layers:
      raise ValueError(f'{name!r} has no layer {layer}, only 0..{cfg.layers - 1}.')
  return chosen


def _heads(
  cfg: TransformerConfig, name: str, heads: Iterable[int] | None
) -> tuple[int, ...] | None:
  if heads is None:
    return None
  axes = [axis for axis in get_site(name, cfg).axes if axis in _HEAD_AXES]
  if not axes:
    raise ValueError(f'Site {name!r} has no heads to choose from.')
  count = cfg.heads if axes[0] == 'H' else cfg.kv_heads
  chosen = tuple(int(head) for head in heads)
  for head in chosen:
    if not 0 <= head < count:
      raise ValueError(f'{name!r} has no head {head}, only 0..{count - 1}.')
  if not chosen or len(set(chosen)) < len(chosen):
    raise ValueError(f'heads of {name!r} are {chosen}: give each that is wanted once.')
  return chosen


def _layers_needed(cfg: TransformerConfig, asked: tuple[Asked, ...]) -> int:
  deepest = [0 if a.layer is None else a.layer for a in asked]
  last = any(a.layer is None and a.site not in _BEFORE_LAYERS for a in asked)
  return cfg.layers if last else 1 + max(deepest)
