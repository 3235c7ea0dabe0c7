"""A model of ours beside TransformerLens's: built from it, and compared hook by hook.

TransformerLens and PyTorch are imported when these functions are called, not before.
"""

from collections.abc import Mapping
import importlib
from typing import Any
import warnings

from jaxtyping import Array, Bool, Int
import numpy as np

from interp_jax.compat.export import (
  config_fields,
  is_encoder,
  processing_steps,
  state_dict,
)
from interp_jax.compat.hooks import all_hooks
from interp_jax.compat.run import run_with_cache
from interp_jax.models import Transformer, TransformerConfig
from interp_jax.models.primitives import alibi_slopes


def hooked_transformer(
  model: Transformer, params: Mapping[str, Any], processed: bool = False
) -> Any:
  """The model as a HookedTransformer of TransformerLens (BERT: a HookedEncoder).

  It runs on the CPU, in the dtype of the model. In float64 TransformerLens still rounds
  two things to float32: the frequencies of Llama 3's rotary scaling, and the weights of
  a mixture's experts. Its ALiBi is right only for numbers of heads that are powers of
  two, and for texts no shorter than any before them.

  Args:
    model: The model.
    params: Its parameters, raw ones.
    processed: Whether TransformerLens is to process the weights, as its
      `from_pretrained` does.

  Returns:
    The TransformerLens model.

  Raises:
    ImportError: if transformer_lens is not installed.
    ValueError: if TransformerLens cannot compute (or process) such a model.
  """
  cfg = model.cfg
  fields = config_fields(cfg)
  torch, lens = _import('torch'), _import('transformer_lens')
  fields |= {'dtype': getattr(torch, cfg.dtype), 'device': 'cpu', 'init_weights': False}
  state = {
    name: torch.from_numpy(np.array(value, np.float64)).to(fields['dtype'])
    for name, value in state_dict(cfg, params).items()
  }
  if processed:
    _check_processing(cfg)
    state = _process(state, cfg, fields, lens)
    folded = processing_steps(cfg)['fold_ln']
    norm = fields['normalization_type']
    fields['normalization_type'] = f'{norm}Pre' if folded else norm
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # The classes are deprecated, and say so.
    kind = lens.HookedEncoder if is_encoder(cfg) else lens.HookedTransformer
    peer = kind(lens.HookedTransformerConfig(**fields), move_to_device=False)
  torch.nn.Module.to(peer, fields['dtype'])  # Experts are made in float32.
  _load(peer, state)
  _set_scales(peer, cfg)
  return peer.eval()


def compare_hooks(
  model: Transformer,
  params: Mapping[str, Any],
  peer: Any,
  tokens: Int[Array | np.ndarray, 'B T'],
  mask: Bool[Array | np.ndarray, 'B T'] | None = None,
) -> dict[str, float]:
  """How far each activation is from TransformerLens's.

  ALiBi's biases, which TransformerLens gets wrong, are set right in the peer.

  Args:
    model: The model.
    params: Its parameters, processed if those of the peer are.
    peer: A HookedTransformer or HookedEncoder.
    tokens: Tokens to run both on.
    mask: False at padding, which is not compared.

  Returns:
    Every hook that TransformerLens cached → the largest absolute difference; infinite
    where masked entries, shapes or the existence differ. The logits stand under
    'logits'.
  """
  expected, logits = _run_peer(peer, tokens, mask)
  own, cache = run_with_cache(model, params, tokens, mask=mask)
  errors = {'logits': _difference(own, logits, mask)}
  for name, value in expected.items():
    errors[name] = np.inf
    if name in all_hooks(model.cfg):
      errors[name] = _difference(np.asarray(cache[name]), value, mask)
  return errors


def _run_peer(
  peer: Any, tokens: Any, mask: Any
) -> tuple[dict[str, np.ndarray], np.ndarray]:
  torch = _import('torch')
  encoder = not hasattr(peer, 'set_use_attn_result')
  peer.cfg.use_hook_mlp_in = True
  peer.cfg.use_attn_result = not encoder
  if peer.cfg.positional_embedding_type == 'alibi':
    _set_alibi(peer, np.shape(tokens)[1])
  options = {}
  if mask is not None:
    name = 'one_zero_attention_mask' if encoder else 'attention_mask'
    options[name] = torch.tensor(np.asarray(mask).astype(np.int64))
  rows = torch.tensor(np.asarray(tokens).astype(np.int64))
  with torch.no_grad():
    logits, cache = peer.run_with_cache(rows, **options)
  return {name: value.numpy() for name, value in cache.items()}, logits.numpy()


def _difference(own: Any, expected: np.ndarray, mask: Any) -> float:
  own = np.asarray(own)
  if own.size != expected.size:
    return np.inf
  # TransformerLens drops the batch axis inside mixtures and norms of heads.
  own, expected = own.astype(np.float64), expected.reshape(own.shape)
  if mask is not None:
    own, expected = (_valid(x, np.asarray(mask)) for x in (own, expected))
  finite = np.isfinite(expected)
  if not np.array_equal(finite, np.isfinite(own)):
    return np.inf
  return float(np.abs(own[finite] - expected[finite]).max(initial=0.0))


def _valid(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
  """What stands at tokens; patterns have their queries on the last axis but one."""
  batch, length = mask.shape
  if x.ndim == 4 and x.shape[0] == batch and x.shape[2:] == (length, length):
    return np.moveaxis(x, 2, 1)[mask]
  return x[mask] if x.shape[:2] == (batch, length) else x[:0]


def _check_processing(cfg: TransformerConfig) -> None:
  if cfg.final_rms and cfg.norm == 'layernorm':
    raise ValueError(
      'TransformerLens cannot process a model with final_rms=True: it centres the '
      'unembedding, which reads the mean there, and the logits change.'
    )
  if cfg.act == 'solu' and not cfg.attn_only:
    raise ValueError(
      "TransformerLens cannot process a model with act='solu': it looks for a "
      "norm that only 'solu_ln' has."
    )


def _process(state: dict, cfg: Any, fields: dict, lens: Any) -> dict:
  """TransformerLens's steps one by one: all at once, they round float64 to float32."""
  steps, on = lens.weight_processing.ProcessWeights, processing_steps(cfg)
  lens_cfg = lens.HookedTransformerConfig(**fields)
  layernorm = cfg.norm == 'layernorm'
  if on['fold_ln']:
    state = steps.fold_layer_norm(
      state, lens_cfg, fold_biases=layernorm, center_weights=layernorm
    )
  if on['center_writing_weights']:
    state = steps.center_writing_weights(state, lens_cfg)
  if on['center_unembed']:
    state = steps.center_unembed(state, cfg=lens_cfg)
  return steps.fold_value_biases(state, lens_cfg) if on['fold_value_biases'] else state


def _load(peer: Any, state: Mapping[str, Any]) -> None:
  """Loads weights; folded norms have none, and constants are not among them."""
  report = peer.load_state_dict(state, strict=False)
  constants = ('mask', 'IGNORE', 'rotary_sin', 'rotary_cos')
  unused = ('pooler.', 'nsp_head.', 'pos_embed.')
  missing = [
    name
    for name in report.missing_keys
    if not name.endswith(constants) and not name.startswith(unused)
  ]
  beyond = [name for name in report.unexpected_keys if name.split('.')[-2][:2] != 'ln']
  if missing or beyond:
    raise ValueError(f'TransformerLens lacks {beyond} and wants {missing}.')


def _set_scales(peer: Any, cfg: Any) -> None:
  scales = (
    cfg.attn_scale
    if isinstance(cfg.attn_scale, tuple)
    else [cfg.attn_scale] * cfg.layers
  )
  for block, scale in zip(peer.blocks, scales, strict=True):
    if scale is not None:
      block.attn.attn_scale = 1 / scale


def _set_alibi(peer: Any, length: int) -> None:
  """ALiBi's biases for texts of a length, computed anew for each by its definition."""
  torch = _import('torch')
  at = np.arange(length)
  slopes = np.asarray(alibi_slopes(peer.cfg.n_heads))[:, None, None]
  table = torch.tensor(slopes * np.minimum(at - at[:, None], 0), dtype=peer.cfg.dtype)
  for block in peer.blocks:
    block.attn.alibi = table


def _import(name: str) -> Any:
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise ImportError(
      f'Comparing with TransformerLens needs {name}: pip install transformer-lens.'
    ) from error
