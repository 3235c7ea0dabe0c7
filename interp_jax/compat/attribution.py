"""Heads, neurons and logits: the finer methods of ActivationCache.

What a head or a neuron adds to the stream passes through the norm after attention or
MLP where there is one (Gemma 2, OLMo 2); its linear part, the divisor held fixed, is
applied, so that the parts sum to the stream. (TransformerLens leaves that norm out.)
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from interp_jax.compat.residual import (
  Stack,
  apply_ln_to_stack,
  check_sum,
  decompose_resid,
  embeddings,
  empty,
  layer_before,
)
from interp_jax.compat.slices import SliceInput, take
from interp_jax.compat.writers import Reader, direction, stream, written


def stack_head_results(
  cache: Any,
  layer: int | None = None,
  return_labels: bool = False,
  incl_remainder: bool = False,
  pos_slice: SliceInput = None,
  apply_ln: bool = False,
) -> Stack:
  """What each head before a layer adds to the residual stream.

  Args:
    cache: The cache.
    layer: Heads of the layers before it are given; None (or -1) for all.
    return_labels: Whether to return labels such as 'L0H3' with the stack.
    incl_remainder: Whether to add a row for the rest of the stream.
    pos_slice: Positions to give.
    apply_ln: Whether to centre and divide as the norm at `layer` does.

  Returns:
    The stack `[L * H, B, T, D]`, with labels if asked for.
  """
  check_sum(cache.cfg)
  layer = layer_before(cache.cfg, layer)
  labels = [f'L{at}H{h}' for at in range(layer) for h in range(cache.cfg.heads)]
  rows = [_heads(cache, at, pos_slice) for at in range(layer)]
  stack = jnp.concatenate(rows) if rows else empty(cache, pos_slice)
  if incl_remainder:
    stack = _with_remainder(cache, stack, layer, pos_slice)
    labels.append('remainder')
  if apply_ln:
    stack = apply_ln_to_stack(cache, stack, layer, pos_slice=pos_slice)
  return (stack, labels) if return_labels else stack


def get_neuron_results(
  cache: Any,
  layer: int,
  neuron_slice: SliceInput = None,
  pos_slice: SliceInput = None,
  project_output_onto: jax.Array | None = None,
) -> jax.Array:
  """What each neuron of a layer adds to the residual stream.

  Args:
    cache: The cache.
    layer: The layer.
    neuron_slice: Neurons to give.
    pos_slice: Positions to give.
    project_output_onto: Directions `[D]` or `[D, X]` to read the results along; the
      results themselves are then never made.

  Returns:
    `[B, T, M, D]`, or `[B, T, M]` or `[B, T, M, X]` along directions.

  Raises:
    ValueError: if the model has no neurons of one MLP.
  """
  cfg = cache.cfg
  if cfg.attn_only or cfg.experts:
    raise ValueError(
      'This model has no MLP whose neurons write one vector each (attn_only, or a '
      "mixture of experts): take 'mlp_out', or expand_neurons=False."
    )
  writer, divisor, _ = written(cache, 'mlp', layer, pos_slice)
  acts = take(cache['post', layer], pos_slice, -2) / divisor
  acts, writer = take(acts, neuron_slice, -1), take(writer, neuron_slice, 0)
  if project_output_onto is not None:
    writer = writer @ jnp.asarray(project_output_onto)
    if writer.ndim < 2:
      return acts * writer
  return acts[..., None] * writer


def stack_neuron_results(
  cache: Any,
  layer: int | None,
  pos_slice: SliceInput = None,
  neuron_slice: SliceInput = None,
  return_labels: bool = False,
  incl_remainder: bool = False,
  apply_ln: bool = False,
  project_output_onto: jax.Array | None = None,
  mlp_input: bool = False,
) -> Stack:
  """What each neuron before a layer adds to the residual stream.

  Args:
    cache: The cache.
    layer: Neurons of the layers before it are given; None (or -1) for all.
    pos_slice: Positions to give.
    neuron_slice: Neurons of each layer to give.
    return_labels: Whether to return labels such as 'L0N17' with the stack.
    incl_remainder: Whether to add a row for the rest of the stream.
    apply_ln: Whether to centre and divide as the norm at `layer` does.
    project_output_onto: Directions `[D]` or `[D, X]` to read the rows along.
    mlp_input: Whether that norm is the one before the layer's MLP.

  Returns:
    The stack `[L * M, B, T, D]` (or along directions), with labels if asked for.
  """
  check_sum(cache.cfg)
  layer = layer_before(cache.cfg, layer)
  reader = Reader(cache, layer, mlp_input, pos_slice, apply_ln, project_output_onto)
  neurons = np.atleast_1d(take(np.arange(cache.cfg.mlp_width), neuron_slice, 0))
  rows = []
  for at in range(layer):
    results = get_neuron_results(cache, at, neurons, pos_slice, reader.directions)
    rows.append(reader.late(jnp.moveaxis(results, -2, 0)))
  stack = jnp.concatenate(rows) if rows else reader(empty(cache, pos_slice))
  labels = [f'L{at}N{n}' for at in range(layer) for n in neurons]
  if incl_remainder:
    rest = reader(stream(cache, layer, pos_slice)[None]) - stack.sum(0)
    stack = jnp.concatenate([stack, rest])
    labels.append('remainder')
  stack = reader.finish(stack)
  return (stack, labels) if return_labels else stack


def get_full_resid_decomposition(
  cache: Any,
  layer: int | None = None,
  mlp_input: bool = False,
  expand_neurons: bool = True,
  apply_ln: bool = False,
  pos_slice: SliceInput = None,
  return_labels: bool = False,
  project_output_onto: jax.Array | None = None,
) -> Stack:
  """The residual stream split into heads, neurons, embeddings and biases.

  The rows, in that order, sum to the stream (as the norm reads it, with `apply_ln`).

  Args:
    cache: The cache.
    layer: The layer whose input is split; None (or -1) for the end.
    mlp_input: Whether to split the input of the layer's MLP.
    expand_neurons: Whether to give neurons, or whole MLPs.
    apply_ln: Whether to centre and divide as the norm that reads the sum does.
    pos_slice: Positions to give.
    return_labels: Whether to return labels with the stack.
    project_output_onto: Directions `[D]` or `[D, X]` to read the rows along.

  Returns:
    The stack, with labels if asked for.
  """
  cfg = cache.cfg
  layer = layer_before(cfg, layer)
  reader = Reader(cache, layer, mlp_input, pos_slice, apply_ln, project_output_onto)
  heads, labels = stack_head_results(
    cache, layer + mlp_input, return_labels=True, pos_slice=pos_slice
  )
  stacks, neurons = [reader(heads)], expand_neurons and not cfg.attn_only
  if neurons and layer:
    stack, names = stack_neuron_results(
      cache, layer, pos_slice, None, True, False, apply_ln, reader.onto, mlp_input
    )
    stacks.append(stack)
    labels += names
  elif layer and not cfg.attn_only:
    stack, names = decompose_resid(
      cache,
      layer,
      mode='mlp',
      pos_slice=pos_slice,
      incl_embeds=False,
      return_labels=True,
    )
    stacks.append(reader(stack))
    labels += names
  rows = {name: take(row, pos_slice, -2) for name, row in embeddings(cache).items()}
  biases = _biases(cache, layer, mlp_input, neurons, pos_slice)
  rows['bias'] = jnp.broadcast_to(biases, rows['embed'].shape)
  stacks.append(reader(jnp.stack(list(rows.values()))))
  stack = reader.finish(jnp.concatenate(stacks))
  return (stack, labels + list(rows)) if return_labels else stack


def logit_attrs(
  cache: Any,
  residual_stack: jax.Array,
  tokens: Any,
  incorrect_tokens: Any = None,
  pos_slice: SliceInput = None,
  batch_slice: SliceInput = None,
  has_batch_dim: bool = True,
) -> jax.Array:
  """What each row of a stack adds to the logits of some tokens.

  The divisor of the final norm is held fixed and its gain is applied, so that the rows
  of a whole decomposition sum to the logit before a soft cap, less the biases of norm
  and unembedding. (TransformerLens leaves the gain to `fold_ln`.)

  Args:
    cache: The cache.
    residual_stack: Rows of the stream, `[components, B, T, D]`.
    tokens: One token, one for each row of the batch, or one for each position.
    incorrect_tokens: Tokens whose logits are subtracted.
    pos_slice: Positions that the rows have.
    batch_slice: Rows of the batch to give; tokens are those of these rows.
    has_batch_dim: Whether the stack has a batch axis.

  Returns:
    The attributions, `[components, B, T]`.

  Raises:
    ValueError: if the tokens do not fit the stack.
  """
  toward = direction(cache, tokens)
  if incorrect_tokens is not None:
    if np.shape(incorrect_tokens) != np.shape(tokens):
      raise ValueError(
        f'logit_attrs: tokens have shape {np.shape(tokens)}, incorrect_tokens '
        f'{np.shape(incorrect_tokens)}; give one of each for each.'
      )
    toward = toward - direction(cache, incorrect_tokens)
  read = apply_ln_to_stack(
    cache,
    residual_stack,
    pos_slice=pos_slice,
    batch_slice=batch_slice,
    has_batch_dim=has_batch_dim,
  )
  own, given = read.shape[1:-1], toward.shape[:-1]
  if own[: len(given)] != given:
    raise ValueError(
      f'logit_attrs: tokens of shape {given} for a stack over {own}; give one token, '
      'or one for each along the leading axes.'
    )
  ones = [1] * (len(own) - len(given))
  return (read * toward.reshape(*given, *ones, -1)).sum(-1)


def _heads(cache: Any, layer: int, pos_slice: SliceInput) -> jax.Array:
  writer, divisor, _ = written(cache, 'attn', layer, pos_slice)
  z = take(cache['z', layer], pos_slice, -3)
  return jnp.einsum('...hk,hkd->h...d', z, writer) / divisor


def _biases(
  cache: Any, layer: int, mlp_input: bool, neurons: bool, pos_slice: SliceInput
) -> jax.Array:
  """All that was written whatever the heads and neurons did, `[D]` or `[B, T, D]`."""
  total = jnp.zeros(cache.cfg.width)
  for at in range(layer + mlp_input):
    total = total + written(cache, 'attn', at, pos_slice)[2]
    if neurons and at < layer:
      total = total + written(cache, 'mlp', at, pos_slice)[2]
  return total


def _with_remainder(
  cache: Any, stack: jax.Array, layer: int, pos_slice: SliceInput
) -> jax.Array:
  rest = stream(cache, layer, pos_slice) - stack.sum(0)
  return jnp.concatenate([stack, rest[None]])
