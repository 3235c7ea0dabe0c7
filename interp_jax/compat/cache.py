"""A view of a run's activations under TransformerLens's names, with its methods."""

from collections.abc import Iterator, Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from interp_jax.compat import attribution, residual
from interp_jax.compat.derived import derive
from interp_jax.compat.hooks import all_hooks
from interp_jax.compat.names import act_name, get_hook
from interp_jax.compat.slices import SliceInput, take
from interp_jax.core import SITES
from interp_jax.models import TransformerConfig

Key = str | tuple


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ActivationCache(Mapping):
  """Activations by TransformerLens's names: `cache['blocks.3.attn.hook_z']`.

  Short names work too: `cache['z', 3]`, `cache['normalized', 2, 'ln1']`, `cache['k6']`,
  `cache['scale']` for the final norm's. An activation is that of one layer,
  `[B, T, ...]`. What TransformerLens keeps and we do not (`hook_result`,
  `hook_mlp_in`, ...) is computed when it is asked for. Iteration lists what
  TransformerLens caches by default.

  The cache is immutable and a pytree: it can be made inside `jit`, and what is not
  read is not kept.

  Attributes:
    cfg: The model's config.
    params: The model's parameters, that decompositions read weights from.
    acts: Site → activation, as `model.apply` returns them.
    kept: Activations by full name, that are read in place of `acts`; then the only
      ones listed.
    has_batch_dim: Whether activations have a batch axis.
  """

  cfg: TransformerConfig = dataclasses.field(metadata={'static': True})
  params: Any
  acts: Mapping[str, Any]
  kept: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  has_batch_dim: bool = dataclasses.field(default=True, metadata={'static': True})

  def __getitem__(self, key: Key) -> jax.Array:
    """The activation under a name, or under (name, layer, part of the layer)."""
    name = act_name(key) if isinstance(key, str) else act_name(*key)
    hook = get_hook(name, self.cfg)
    if hook.name in self.kept:
      return self.kept[hook.name]
    return derive(hook, self.cfg, self.params, self._read)

  def __contains__(self, key: object) -> bool:
    try:
      self[key]  # pyrefly: ignore[bad-index]
    except (KeyError, ValueError, TypeError):
      return False
    return True

  def __iter__(self) -> Iterator[str]:
    if self.kept:
      return iter(self.kept)
    return (h.name for h in all_hooks(self.cfg).values() if h.listed)

  def __len__(self) -> int:
    return sum(1 for _ in self)

  def __repr__(self) -> str:
    return f'ActivationCache with keys {list(self)}'

  def stack_activation(
    self, activation_name: str, layer: int | None = None, sublayer_type: str = ''
  ) -> jax.Array:
    """One activation of all layers before `layer` (None: of all), `[L, ...]`."""
    layers = range(residual.layer_before(self.cfg, layer))
    names = [(activation_name, at, sublayer_type or None) for at in layers]
    return jnp.stack([self[name] for name in names])

  def apply_slice_to_batch_dim(self, batch_slice: SliceInput) -> 'ActivationCache':
    """The cache of some rows of the batch; of one row, without the batch axis.

    Args:
      batch_slice: An index, a tuple `(start, stop)`, a list of indices, or None.

    Returns:
      The cache.

    Raises:
      ValueError: if there is no batch axis.
    """
    if not self.has_batch_dim:
      raise ValueError('apply_slice_to_batch_dim: the cache has no batch axis.')
    acts = {
      site: take(act, batch_slice, axis=int(SITES[site].layered))
      for site, act in self.acts.items()
    }
    kept = {name: take(act, batch_slice, axis=0) for name, act in self.kept.items()}
    batched = not isinstance(batch_slice, int)
    return dataclasses.replace(self, acts=acts, kept=kept, has_batch_dim=batched)

  def remove_batch_dim(self) -> 'ActivationCache':
    """The cache of a run on one sequence, without the batch axis.

    Raises:
      ValueError: if there are several sequences, or no batch axis.
    """
    acts = [(site, act.shape[SITES[site].layered]) for site, act in self.acts.items()]
    sizes = [size for _, size in acts] + [v.shape[0] for v in self.kept.values()]
    if self.has_batch_dim and sizes and sizes[0] != 1:
      raise ValueError(f'remove_batch_dim: there are {sizes[0]} rows; choose one.')
    return self.apply_slice_to_batch_dim(0)

  def _read(self, site: str, layer: int | None) -> jax.Array:
    if site not in self.acts:
      raise KeyError(
        f'The cache holds no {site!r}: it was filtered out. Name it in names_filter or '
        'leave the filter out; under jit, what is not read is not kept anyway.'
      )
    act = self.acts[site]
    return act if layer is None else act[layer]

  accumulated_resid = residual.accumulated_resid
  decompose_resid = residual.decompose_resid
  apply_ln_to_stack = residual.apply_ln_to_stack
  stack_head_results = attribution.stack_head_results
  get_neuron_results = attribution.get_neuron_results
  stack_neuron_results = attribution.stack_neuron_results
  get_full_resid_decomposition = attribution.get_full_resid_decomposition
  logit_attrs = attribution.logit_attrs
