"""Edits as a pytree addressed like `acts`: checked, split by layer, composed.

`edits` maps a site's name to an edit or to a tuple of edits, applied in order.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.core import get_site, site_shape
from interp_jax.edits.ops import Edit, Splice

Edits = Mapping[str, Edit | Sequence[Edit]]


@dataclasses.dataclass(frozen=True)
class Prepared:
  """Checked edits, split by how the scan over layers takes them.

  Attributes:
    top: Edits of sites outside the layers.
    scanned: The fields with a layer axis (others None); sliced by the scan.
    shared: The fields without one (others None); the same for every layer.
  """

  top: dict[str, tuple[Edit, ...]]
  scanned: dict[str, tuple[Edit, ...]]
  shared: dict[str, tuple[Edit, ...]]


def as_tuples(edits: Edits | None) -> dict[str, tuple[Edit, ...]]:
  """Edits with every site's entry a tuple.

  Raises:
    TypeError: if something is not an edit.
  """
  out = {}
  for site, entry in (edits or {}).items():
    sequence = (entry,) if isinstance(entry, Edit) else tuple(entry)
    for edit in sequence:
      if not isinstance(edit, Edit):
        raise TypeError(
          f'Edits of site {site!r}: {type(edit).__name__} is not an edit. Give an '
          'edit or a sequence of edits, e.g. edits.Replace(value, mask).'
        )
    out[site] = sequence
  return out


def compose(*edits: Edits | None) -> dict[str, tuple[Edit, ...]]:
  """One set of edits that applies the given ones in order at each site."""
  out: dict[str, tuple[Edit, ...]] = {}
  for one in edits:
    for site, sequence in as_tuples(one).items():
      out[site] = out.get(site, ()) + sequence
  return out


def prepare(
  edits: Edits | None, cfg: Any, batch: int, length: int, keys: int | None = None
) -> Prepared:
  """Checks edits against a model and splits them by layer.

  Args:
    edits: Site → edit or edits.
    cfg: A `TransformerConfig`.
    batch: The batch size `B`.
    length: The number of positions `T`.
    keys: The number of key positions `S`; None for `length`.

  Returns:
    The split edits.

  Raises:
    ValueError: if a site does not exist in this model or a field does not broadcast.
    TypeError: if something is not an edit.
  """
  top, scanned, shared = {}, {}, {}
  for site, sequence in as_tuples(edits).items():
    row = get_site(site, cfg)
    shape = site_shape(site, cfg, batch, length, keys)
    for edit in sequence:
      _check(site, edit, shape)
      _check_mask(site, edit)
      _check_layer(site, edit, cfg.layers)
    if not row.layered:
      top[site] = sequence
      continue
    pairs = [_split(edit, len(shape)) for edit in sequence]
    scanned[site] = tuple(pair[0] for pair in pairs)
    shared[site] = tuple(pair[1] for pair in pairs)
  return Prepared(top, scanned, shared)


def join(scanned: dict, shared: dict) -> dict[str, tuple[Edit, ...]]:
  """The edits of one layer, from its slice of `scanned` and from `shared`."""
  return {
    site: tuple(
      _join(one, other) for one, other in zip(scanned[site], shared[site], strict=True)
    )
    for site in scanned
  }


def apply_all(
  edits: Mapping[str, tuple[Edit, ...]],
  site: str,
  act: jax.Array,
  layer: jax.Array | None = None,
) -> jax.Array:
  """The activation after the site's edits, in order."""
  for edit in edits.get(site, ()):
    act = edit.apply(act, layer)
  return act


def at_positions(edits: Edits | None, start: Any, length: int, total: int) -> dict:
  """The edits as seen by a run over positions `start .. start + length`.

  Args:
    edits: Edits addressed to a sequence of `total` positions.
    start: The first position of the run; may be traced.
    length: The number of positions of the run.
    total: The number of positions that the edits are addressed to.

  Returns:
    Edits whose fields are cut along the position axis `T` where they have one.
  """
  out = {}
  for site, sequence in as_tuples(edits).items():
    axes = get_site(site).full_axes
    if 'T' not in axes:
      out[site] = sequence
      continue
    from_right = len(axes) - axes.index('T')
    out[site] = tuple(_cut(e, from_right, start, length, total) for e in sequence)
  return out


def _addressed_fields(edit: Edit) -> list[tuple[str, Any, int]]:
  """Name, value and extra rank of each addressed field that is given."""
  return [
    (f.name, value, f.metadata['extra_rank'])
    for f in dataclasses.fields(edit)
    if 'extra_rank' in f.metadata and (value := getattr(edit, f.name)) is not None
  ]


def _check(site: str, edit: Edit, shape: tuple[int, ...]) -> None:
  for name, value, extra in _addressed_fields(edit):
    given = np.shape(value)
    # ProjectOut's basis [..., R, X] is addressed by all axes but R.
    own = given[: -1 - extra] + given[-1:] if extra else given
    if len(given) < 2 * extra or not _broadcasts(own, shape):
      kind = type(edit).__name__
      raise ValueError(
        f'{kind}.{name} at site {site!r} has shape {tuple(given)}, which does not '
        f'broadcast to the activation {shape} '
        f'[{", ".join(get_site(site).full_axes)}]'
        f'{" (basis: [..., R, X])" if extra else ""}.'
      )


def _check_mask(site: str, edit: Edit) -> None:
  mask = getattr(edit, 'mask', None)
  if mask is not None and jnp.issubdtype(dtype := jnp.result_type(mask), jnp.inexact):
    raise ValueError(
      f'{type(edit).__name__}.mask at site {site!r} is {dtype}, not bool: a mask '
      'selects. For a share between two values take edits.Interpolate.'
    )


def _check_layer(site: str, edit: Edit, layers: int) -> None:
  layer = edit.layer if isinstance(edit, Splice) else None
  if isinstance(layer, int | np.integer) and not 0 <= layer < layers:
    raise ValueError(
      f'Splice.layer at site {site!r} is {layer}; the model has layers 0..{layers - 1}.'
    )


def _broadcasts(given: tuple[int, ...], shape: tuple[int, ...]) -> bool:
  if len(given) > len(shape):
    return False
  tail = shape[len(shape) - len(given) :]
  return all(g in (1, s) for g, s in zip(given, tail, strict=True))


def _split(edit: Edit, rank: int) -> tuple[Edit, Edit]:
  """The edit with only its layered fields, and with all the others."""
  layered, flat = {}, {}
  for name, value, extra in _addressed_fields(edit):
    if np.ndim(value) == rank + extra:
      if np.shape(value)[0] == 1:
        flat[name] = value[0]
      else:
        layered[name] = value
        flat[name] = None
  blank = {f.name: None for f in dataclasses.fields(edit) if not _static(f)}
  return (
    dataclasses.replace(edit, **(blank | layered)),
    dataclasses.replace(edit, **flat),
  )


def _join(scanned: Edit, shared: Edit) -> Edit:
  own = {name: value for name, value, _ in _addressed_fields(scanned)}
  return dataclasses.replace(shared, **own)


def _static(field: dataclasses.Field) -> bool:
  return bool(field.metadata.get('static'))


def _cut(edit: Edit, from_right: int, start: Any, length: int, total: int) -> Edit:
  cut = {}
  for name, value, extra in _addressed_fields(edit):
    axis = np.ndim(value) - from_right - extra
    if axis < 0 or np.shape(value)[axis] == 1:
      continue
    if np.shape(value)[axis] != total:
      raise ValueError(
        f'{type(edit).__name__}.{name} has {np.shape(value)[axis]} positions (shape '
        f'{np.shape(value)}); the edited sequence has {total}. Give 1 or {total}.'
      )
    cut[name] = jax.lax.dynamic_slice_in_dim(value, start, length, axis)
  return dataclasses.replace(edit, **cut)
