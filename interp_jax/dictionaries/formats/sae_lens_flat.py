"""SAELens's configs of before version 6, in which all fields lie side by side."""

from collections.abc import Mapping
from typing import Any

from interp_jax.core import Fields


def is_flat(raw: Mapping[str, Any]) -> bool:
  """Whether a config is of before version 6, as SAELens tells them apart."""
  about = raw.get('metadata') or {}
  version = raw.get('sae_lens_version') or about.get('sae_lens_version')
  return not version or int(str(version).split('.')[0]) < 6


def from_flat(old: Fields) -> Fields:
  """The config of today for one in which everything lies side by side.

  It is that of a whole training run. SAELens passes over what is not of the dictionary,
  and so does this.
  """
  get = lambda name, *older: next(
    (old.values[n] for n in (name, *older) if old.values.get(n) is not None), None
  )
  activation = get('activation_fn', 'activation_fn_str') or 'relu'
  kwargs = get('activation_fn_kwargs') or {}
  architecture = get('architecture') or 'standard'
  if activation == 'topk':
    architecture = 'topk'
  elif activation != 'relu':
    raise ValueError(f'{old.where}: activation_fn={activation!r} is not supported.')
  if get('finetuning_scaling_factor'):
    raise ValueError(
      f'{old.where}: finetuning_scaling_factor is not supported. Fold it in with the '
      'SAELens that wrote the file.'
    )
  normalize = get('normalize_activations')
  if isinstance(normalize, bool):
    normalize = 'expected_average_only_in' if normalize else 'none'
  hook = get('hook_name', 'hook_point')
  subtract = get('apply_b_dec_to_input')
  about = {
    'hook_name': hook,
    'hook_head_index': get('hook_head_index', 'hook_point_head_index'),
    'model_name': get('model_name'),
    'context_size': get('context_size'),
  }
  new: dict[str, Any] = {
    'architecture': architecture,
    'd_in': get('d_in'),
    'd_sae': get('d_sae'),
    'apply_b_dec_to_input': True if subtract is None else subtract,
    'normalize_activations': normalize or 'none',
    'reshape_activations': get('reshape_activations')
    or ('hook_z' if 'hook_z' in (hook or '') else 'none'),
    'metadata': about,
  }
  if architecture == 'topk':
    new['k'] = kwargs.get('k', get('k'))
  if 'd_out' in old.values:
    new['d_out'] = old.values['d_out']
    about['hook_name_out'] = get('hook_name_out')
  return Fields(new, old.where)
