"""Weights rewritten so that they are easier to read, the model's function kept.

TransformerLens's four steps (Nanda and Bloom 2022, "Further comments"), each a pure
function of a model and its parameters that returns both, as the config may gain biases
or untie its unembedding. `process` is all four, by TransformerLens's defaults.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax.numpy as jnp

from interp_jax.models.config import TransformerConfig
from interp_jax.models.folding import fold, fold_blocks
from interp_jax.models.primitives import wide
from interp_jax.models.transformer import Transformer

Params = dict[str, Any]


def fold_ln(model: Transformer, params: Params) -> tuple[Transformer, Params]:
  """Folds the norms' gains and biases into the weights that read what they give.

  Afterwards those gains are one and those biases zero. What reads a LayerNorm is also
  centred, since the norm's output has no mean to read. A LayerNorm's bias needs a bias
  that takes it: biases that the model lacks are made. The unembedding is untied.

  A norm is left as it is where not everything that reads it is a weight of its own:

  - norms after attention and MLP ('post', 'sandwich') and on the stream ('residual',
    `embed_norm`) write to the stream;
  - `ln1` of a shortformer, whose queries and keys also read position embeddings;
  - a LayerNorm before a mixture of experts, which has no biases;
  - `ln_final` of a model without an unembedding, or whose pooler reads it.

  Args:
    model: The model.
    params: Its parameters.

  Returns:
    The model and parameters, with the same logits.
  """
  cfg = model.cfg
  blocks, cfg = fold_blocks(dict(params['blocks']), cfg)
  params = {**params, 'blocks': blocks}
  # A pooler, where there is no head of its own, reads what ln_final gives.
  fits_end = cfg.head == 'mlm' or (cfg.head == 'linear' and not cfg.pooler)
  if cfg.norm != 'none' and cfg.final_norm and fits_end:
    params, cfg = _untie(params, cfg)
    kind = 'rmsnorm' if cfg.final_rms else cfg.norm
    norm, unembed = fold(kind, params['ln_final'], params['unembed'], ('U',))
    params = {**params, 'ln_final': norm, 'unembed': unembed}
    cfg = dataclasses.replace(cfg, unembed_bias='b_U' in unembed)
  return model.clone(cfg=cfg), params


def center_writing_weights(
  model: Transformer, params: Params
) -> tuple[Transformer, Params]:
  """Takes the mean off everything that is written to the residual stream.

  Whatever reads the stream through a LayerNorm does not see its mean. The unembedding
  is untied. A norm on the embedding (BLOOM) still writes a mean.

  Args:
    model: The model.
    params: Its parameters.

  Returns:
    The model and parameters, with the same logits.

  Raises:
    ValueError: if something reads the stream otherwise than through a LayerNorm.
  """
  _refuse('center_writing_weights', _reads_mean(model.cfg))
  params, cfg = _untie(params, model.cfg)
  params, blocks = dict(params), dict(params['blocks'])
  params['embed'] = _centered(params['embed'], 'W_E')
  # A shortformer's positions are not written to the stream.
  if cfg.positions == 'learned':
    params['pos_embed'] = _centered(params['pos_embed'], 'W_pos')
  if cfg.token_types:
    params['token_type_embed'] = _centered(params['token_type_embed'], 'W_type')
  for part, names in (('attn', ('W_O', 'b_O')), *_writing_mlp(cfg)):
    blocks[part] = _centered(blocks[part], *names)
  return model.clone(cfg=cfg), {**params, 'blocks': blocks}


def center_unembed(model: Transformer, params: Params) -> tuple[Transformer, Params]:
  """Takes the mean over the vocabulary off the unembedding and its bias.

  Logits lose their mean, log-probabilities stay. The unembedding is untied.

  Args:
    model: The model.
    params: Its parameters.

  Returns:
    The model and parameters, with the same log-probabilities.

  Raises:
    ValueError: if logits are soft-capped, which is not linear, or there is no
      unembedding.
  """
  _refuse('center_unembed', _needs_mean(model.cfg))
  params, cfg = _untie(params, model.cfg)
  unembed = _centered(params['unembed'], 'W_U', 'b_U')
  return model.clone(cfg=cfg), {**params, 'unembed': unembed}


def fold_value_biases(model: Transformer, params: Params) -> tuple[Transformer, Params]:
  """Folds the values' biases into attention's output bias.

  A pattern sums to one, so that a value's bias adds the same at every position. (A
  query that may attend to nothing, at a left padding, has a pattern of zeros; what it
  writes changes, and nothing reads it.) Without value biases nothing is done.

  Args:
    model: The model.
    params: Its parameters.

  Returns:
    The model and parameters, with the same logits.
  """
  cfg = model.cfg
  if not cfg.qkv_bias:
    return model, params
  attn = dict(params['blocks']['attn'])
  writers, values = attn['W_O'], attn['b_V']
  dtype = wide(writers.dtype)
  spread = jnp.repeat(values.astype(dtype), cfg.heads // cfg.kv_heads, axis=1)
  constant = (spread[..., None] * writers.astype(dtype)).sum((1, 2))
  if cfg.attn_out_bias:
    constant = constant + attn['b_O']
  attn['b_O'] = constant.astype(writers.dtype)
  attn['b_V'] = jnp.zeros_like(values)
  cfg = dataclasses.replace(cfg, attn_out_bias=True)
  params = {**params, 'blocks': {**params['blocks'], 'attn': attn}}
  return model.clone(cfg=cfg), params


def process(
  model: Transformer,
  params: Params,
  *,
  fold_ln: bool = True,
  center_writing_weights: bool = True,
  center_unembed: bool = True,
  fold_value_biases: bool = True,
) -> tuple[Transformer, Params]:
  """The processed model, as TransformerLens's `from_pretrained` makes it.

  Steps that would change what the model computes are skipped: centring what is written
  where the norms are RMSNorms or stand elsewhere than before what reads, centring the
  unembedding under a soft cap. Where TransformerLens skips a whole step and part of it
  is sound, that part is done: `ln_final` is folded for norms after the layers (OLMo 2,
  BERT), and a shortformer is folded but for `ln1`.

  Args:
    model: The model.
    params: Its parameters.
    fold_ln: Whether to fold the norms.
    center_writing_weights: Whether to centre what is written to the stream.
    center_unembed: Whether to centre the unembedding; logits lose their mean.
    fold_value_biases: Whether to fold the values' biases.

  Returns:
    The model and parameters, with the same log-probabilities.
  """
  wanted = (fold_ln, center_writing_weights, center_unembed, fold_value_biases)
  for (step, why_not), on in zip(_STEPS, wanted, strict=True):
    if on and not why_not(model.cfg):
      model, params = step(model, params)
  return model, params


def _writing_mlp(cfg: TransformerConfig) -> tuple[tuple[str, tuple[str, ...]], ...]:
  if cfg.attn_only:
    return ()
  return ((('experts' if cfg.experts else 'mlp'), ('W_out', 'b_out')),)


def _centered(part: Params, *names: str) -> Params:
  """The part with the mean of its last axis taken off those of its arrays."""
  out = dict(part)
  for name in names:
    if name in part:
      value = part[name].astype(wide(part[name].dtype))
      out[name] = (value - value.mean(-1, keepdims=True)).astype(part[name].dtype)
  return out


def _untie(params: Params, cfg: TransformerConfig) -> tuple[Params, Any]:
  if not cfg.tied:
    return params, cfg
  table = {'W_U': params['embed']['W_E'].T, **params.get('unembed', {})}
  return {**params, 'unembed': table}, dataclasses.replace(cfg, tied=False)


def _reads_mean(cfg: TransformerConfig) -> str:
  """What sees the mean of the residual stream, or ''."""
  if cfg.norm != 'layernorm':
    return f'norm is {cfg.norm!r}; only a LayerNorm takes the mean off what it reads.'
  if cfg.final_rms:
    return 'the final norm is an RMSNorm, which reads the mean.'
  if cfg.norm_placement != 'pre':
    return (
      f'norm_placement is {cfg.norm_placement!r}: what is written is the output of a '
      'norm, or is read without one.'
    )
  if cfg.head == 'mlm' or not cfg.final_norm:
    return 'the end of the model reads the stream without a norm.'
  return ''


def _needs_mean(cfg: TransformerConfig) -> str:
  """Why the mean over the vocabulary cannot be taken off, or ''."""
  if cfg.logit_softcap is not None:
    return 'logits are soft-capped, so that log-probabilities would change.'
  return 'there is no unembedding.' if cfg.head == 'none' else ''


def _refuse(step: str, reason: str) -> None:
  if reason:
    raise ValueError(f'{step}: {reason} Leave this step out; `process` does.')


_Step = Callable[[Transformer, Params], tuple[Transformer, Params]]
_STEPS: tuple[tuple[_Step, Callable[[TransformerConfig], str]], ...] = (
  (fold_ln, lambda cfg: ''),
  (center_writing_weights, _reads_mean),
  (center_unembed, _needs_mean),
  (fold_value_biases, lambda cfg: ''),
)
