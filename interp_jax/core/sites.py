"""The table of sites: every activation that a model returns and accepts edits to.

This one table is what the models run by, what the documentation prints and what the
error messages list. Names are TransformerLens's short names.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

from interp_jax.core.errors import unknown

# The glossary of shapes: the letters of every einsum and every annotation.
AXES: Mapping[str, str] = {
  'B': 'batch',
  'T': 'position (of the query, where two are meant)',
  'S': 'position of the key',
  'L': 'layer',
  'D': 'width of the model (of the residual stream)',
  'H': 'head',
  'G': 'key/value head',
  'K': 'width of a head',
  'M': 'width of the MLP',
  'E': 'expert',
  'C': 'chosen expert of a token, the highest router score first',
  'V': 'vocabulary',
  'F': 'feature of a dictionary',
  'N': 'token in a store',
  'W': 'world: one element of a sweep',
  '1': 'kept axis of size 1',
}


def _always(cfg: Any) -> bool:
  del cfg
  return True


@dataclasses.dataclass(frozen=True)
class Site:
  """One row of the table.

  Attributes:
    name: The key in `acts` and `edits`.
    axes: The letters of its shape within one layer, e.g. `('B', 'T', 'D')`.
    layered: Whether `acts[name]` has a leading layer axis `L`.
    meaning: One line that says what it is.
    exists: Whether a model of a given config has it.
  """

  name: str
  axes: tuple[str, ...]
  layered: bool
  meaning: str
  exists: Callable[[Any], bool] = _always

  @property
  def full_axes(self) -> tuple[str, ...]:
    """The letters of `acts[name]`, with the layer axis where there is one."""
    return ('L', *self.axes) if self.layered else self.axes


def _normed(cfg: Any) -> bool:
  return cfg.norm != 'none'


def _has_mlp(cfg: Any) -> bool:
  return not cfg.attn_only


def _dense_mlp(cfg: Any) -> bool:
  return _has_mlp(cfg) and not cfg.experts


def _mixture(cfg: Any) -> bool:
  return bool(cfg.experts)


def _norm_before(cfg: Any) -> bool:
  """Also BERT's norms: before what follows, after the sum."""
  return _normed(cfg) and cfg.norm_placement != 'post'


def _norm_after(cfg: Any) -> bool:
  return _normed(cfg) and cfg.norm_placement in ('post', 'sandwich')


def _norm_sites(norm: str, layered: bool, of: str, exists: Callable) -> list[Site]:
  return [
    Site(f'{norm}.scale', ('B', 'T', '1'), layered, f'divisor of the {of}', exists),
    Site(
      f'{norm}.normalized',
      ('B', 'T', 'D'),
      layered,
      f'output of the {of}, with gain and bias',
      exists,
    ),
  ]


def _expert_site(name: str, axis: str, meaning: str) -> Site:
  return Site(name, ('B', 'T', 'C', axis), True, meaning, _mixture)


_ROWS = [
  Site('embed', ('B', 'T', 'D'), False, 'token embedding'),
  Site(
    'pos_embed',
    ('B', 'T', 'D'),
    False,
    'position embedding (shortformer: added to the inputs of queries and keys)',
    lambda cfg: cfg.positions in ('learned', 'shortformer'),
  ),
  Site(
    'token_type_embed',
    ('B', 'T', 'D'),
    False,
    "embedding of the token's type, BERT's segment",
    lambda cfg: cfg.token_types > 0,
  ),
  *_norm_sites(
    'ln_embed', False, 'norm of the embedding', lambda c: _normed(c) and c.embed_norm
  ),
  Site('resid_pre', ('B', 'T', 'D'), True, 'residual stream before the layer'),
  *_norm_sites('ln1', True, 'norm before attention (BERT: after it)', _norm_before),
  Site('q', ('B', 'T', 'H', 'K'), True, 'queries, before rotation and QK-norm'),
  Site('k', ('B', 'T', 'G', 'K'), True, 'keys, before rotation and QK-norm'),
  Site('v', ('B', 'T', 'G', 'K'), True, 'values'),
  Site(
    'rot_q',
    ('B', 'T', 'H', 'K'),
    True,
    'queries after rotary positions',
    lambda cfg: cfg.positions == 'rotary',
  ),
  Site(
    'rot_k',
    ('B', 'T', 'G', 'K'),
    True,
    'keys after rotary positions',
    lambda cfg: cfg.positions == 'rotary',
  ),
  Site(
    'attn_scores',
    ('B', 'H', 'T', 'S'),
    True,
    'scaled (and capped) scores before the softmax; -inf where masked, unless edited',
  ),
  Site('pattern', ('B', 'H', 'T', 'S'), True, 'attention pattern, after the softmax'),
  Site('z', ('B', 'T', 'H', 'K'), True, "each head's mixed values, before W_O"),
  *_norm_sites('ln1_post', True, 'norm after attention', _norm_after),
  Site('attn_out', ('B', 'T', 'D'), True, 'what attention adds to the residual stream'),
  Site(
    'resid_mid',
    ('B', 'T', 'D'),
    True,
    'residual stream between attention and MLP',
    lambda cfg: _has_mlp(cfg) and not cfg.parallel,
  ),
  *_norm_sites(
    'ln2',
    True,
    'norm before the MLP (BERT: after it)',
    lambda cfg: _norm_before(cfg) and _has_mlp(cfg) and not cfg.shared_norm,
  ),
  Site('pre', ('B', 'T', 'M'), True, 'MLP before its activation function', _dense_mlp),
  Site(
    'pre_linear',
    ('B', 'T', 'M'),
    True,
    'the linear factor of a gated MLP',
    lambda cfg: _dense_mlp(cfg) and cfg.gated,
  ),
  Site(
    'mid',
    ('B', 'T', 'M'),
    True,
    'SoLU before the norm that follows it',
    lambda cfg: _has_mlp(cfg) and cfg.act == 'solu_ln',
  ),
  Site('post', ('B', 'T', 'M'), True, 'neurons: what W_out reads', _dense_mlp),
  Site(
    'router_logits',
    ('B', 'T', 'E'),
    True,
    "the router's logits of the experts",
    _mixture,
  ),
  Site(
    'expert_choices',
    ('B', 'T', 'C'),
    True,
    'which experts the token passes (integers)',
    _mixture,
  ),
  Site('expert_weights', ('B', 'T', 'C'), True, 'weights of their outputs', _mixture),
  _expert_site('expert_pre', 'M', 'each before its activation function'),
  _expert_site('expert_pre_linear', 'M', 'the linear factor of each'),
  _expert_site('expert_post', 'M', 'neurons of each'),
  _expert_site('expert_out', 'D', 'output of each, before it is weighted'),
  *_norm_sites(
    'ln2_post',
    True,
    'norm after the MLP',
    lambda cfg: _norm_after(cfg) and _has_mlp(cfg),
  ),
  Site(
    'mlp_out',
    ('B', 'T', 'D'),
    True,
    'what the MLP adds to the residual stream',
    _has_mlp,
  ),
  Site('resid_post', ('B', 'T', 'D'), True, 'residual stream after the layer'),
  *_norm_sites(
    'ln_final',
    False,
    'norm before the unembedding',
    lambda cfg: _normed(cfg) and cfg.final_norm,
  ),
]

SITES: Mapping[str, Site] = {site.name: site for site in _ROWS}


def site_names(cfg: Any = None) -> tuple[str, ...]:
  """Names of the sites in forward order.

  Args:
    cfg: A `TransformerConfig`; None for the sites of all models.

  Returns:
    The names of the sites that a model of this config has.
  """
  if cfg is None:
    return tuple(SITES)
  names = [site.name for site in SITES.values() if site.exists(cfg)]
  if cfg.norm_placement == 'residual':  # Each norm follows the sum that it norms.
    for norm, after in (('ln1', 'resid_mid'), ('ln2', 'resid_post')):
      after = after if after in names else 'resid_post'
      moved = [name for name in names if name.startswith(f'{norm}.')]
      names = [name for name in names if name not in moved]
      place = names.index(after) + 1
      names[place:place] = moved
  return tuple(names)


def get_site(name: str, cfg: Any = None) -> Site:
  """The row of a site.

  Args:
    name: The site's name.
    cfg: A `TransformerConfig`, to accept only the sites of its models.

  Returns:
    The table's row.

  Raises:
    ValueError: if there is no such site (in a model of this config).
  """
  if name not in site_names(cfg):
    raise ValueError(unknown('site', name, site_names(cfg)))
  return SITES[name]


def site_shape(
  name: str, cfg: Any, batch: int, length: int, keys: int | None = None
) -> tuple[int, ...]:
  """The shape of `acts[name]`.

  Args:
    name: The site's name.
    cfg: A `TransformerConfig`.
    batch: The batch size `B`.
    length: The number of positions `T`.
    keys: The number of key positions `S`; None for `length` (no cache).

  Returns:
    The shape, layer axis included.

  Raises:
    ValueError: if a model of this config has no such site.
  """
  sizes = {
    'L': cfg.layers,
    'B': batch,
    'T': length,
    'S': length if keys is None else keys,
    'D': cfg.width,
    'H': cfg.heads,
    'G': cfg.kv_heads,
    'K': cfg.head_dim,
    'M': cfg.mlp_width,
    'E': cfg.experts,
    'C': cfg.experts_per_token,
    '1': 1,
  }
  return tuple(sizes[axis] for axis in get_site(name, cfg).full_axes)


def site_table(cfg: Any = None) -> str:
  """The table as Markdown: site, shape, meaning; of one config or of all models."""
  rows = ['| site | shape | meaning |', '|---|---|---|']
  for name in site_names(cfg):
    site = SITES[name]
    rows.append(f'| `{name}` | `[{", ".join(site.full_axes)}]` | {site.meaning} |')
  return '\n'.join(rows)
