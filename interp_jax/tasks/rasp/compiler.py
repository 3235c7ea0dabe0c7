"""From a program to the weights of a transformer that computes it."""

import dataclasses
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int
import numpy as np

from interp_jax.models import Transformer, TransformerConfig
from interp_jax.tasks.rasp.heads import Head, make_head
from interp_jax.tasks.rasp.interpreter import Mixture, evaluate
from interp_jax.tasks.rasp.layout import BOS, REAL, Layout, plan
from interp_jax.tasks.rasp.neurons import Neurons, add_neurons
from interp_jax.tasks.rasp.program import (
  Constant,
  Indices,
  Sequence,
  Tokens,
  Value,
  walk,
)
from interp_jax.tasks.rasp.values import Values, index


@dataclasses.dataclass(frozen=True, eq=False)
class CompiledProgram:
  """A transformer that computes a program.

  Token ids are the places of tokens in the vocabulary; BOS follows them and stands at
  position 0. The logits of a categorical program are `confidence` times the one-hot
  code of its value (of a mixture, its weights), those of a numerical one are its number
  at logit 0. What the model says at BOS means nothing.

  Attributes:
    program: The program.
    model: The transformer: no norms, ReLU MLPs (none if the program maps nothing).
    params: Its parameters.
    layout: Which node computes what, and which dimensions hold it.
    vocabulary: The tokens.
    outputs: What the logits stand for: the tokens, if the program's values are among
      them, else its values; () for a numerical program.
    max_length: The longest input, BOS not counted.
    confidence: The largest logit of a categorical program.
  """

  program: Sequence
  model: Transformer
  params: dict[str, Any]
  layout: Layout
  vocabulary: tuple[Value, ...]
  outputs: tuple[Value, ...]
  max_length: int
  confidence: float

  @property
  def bos_id(self) -> int:
    """The id of the token that every input begins with."""
    return len(self.vocabulary)

  def encode(self, inputs: list[tuple[Value, ...]]) -> Int[np.ndarray, 'B T']:
    """Token ids of inputs of one length, behind a BOS.

    Raises:
      ValueError: if lengths differ, an input is too long or a token is unknown.
    """
    lengths = {len(tokens) for tokens in inputs}
    if len(lengths) != 1 or not 1 <= max(lengths) <= self.max_length:
      raise ValueError(
        f'Inputs of lengths {sorted(lengths)}; give inputs of one length, of 1 to '
        f'{self.max_length} tokens.'
      )
    ids = index(self.vocabulary)
    unknown = {token for tokens in inputs for token in tokens if token not in ids}
    if unknown:
      raise ValueError(f'Unknown tokens {unknown}. Valid: {self.vocabulary}.')
    return np.array(
      [[self.bos_id, *(ids[token] for token in tokens)] for tokens in inputs], np.int32
    )

  def decode(self, logits: Float[Any, 'B T V']) -> list[list[Any]]:
    """The values that logits stand for, BOS left out; None for no value."""
    logits = np.asarray(logits)[:, 1:]
    if not self.outputs:
      return logits[..., 0].tolist()
    best, top = logits.argmax(-1), logits.max(-1)
    return [
      [self.outputs[i] if x > 0 else None for i, x in zip(row, at, strict=True)]
      for row, at in zip(best, top, strict=True)
    ]

  def expected_logits(self, tokens: tuple[Value, ...]) -> Float[np.ndarray, 'T V']:
    """What the interpreter says that the logits must be, BOS left out."""
    causal = self.model.cfg.causal
    out = np.zeros((len(tokens), self.model.cfg.vocab_size))
    for row, value in zip(out, evaluate(self.program, tokens, causal), strict=True):
      if not self.outputs:
        row[0] = value
        continue
      mixed = value if isinstance(value, Mixture) else Mixture({value: Fraction(1)})
      for category, weight in mixed.weights.items():
        if category is not None:
          row[index(self.outputs)[category]] = self.confidence * weight
    return out


def compile_program(
  program: Sequence,
  vocabulary: tuple[Value, ...],
  max_length: int,
  *,
  causal: bool = False,
  sharpness: float = 40.0,
  confidence: float = 10.0,
) -> CompiledProgram:
  """Compiles a program, as tracr does (Lindner et al. 2023, arXiv:2301.05062).

  The residual stream holds a subspace for each sequence; an `Aggregate` becomes a head,
  a map an MLP, a `SelectorWidth` both; each goes into the first layer in which all that
  it reads is known.

  Args:
    program: The program.
    vocabulary: The tokens it may be given.
    max_length: The longest input.
    causal: Whether a position sees only itself and earlier ones.
    sharpness: Score of a selected position above one that is not. A position that is
      not selected gets at most `exp(-sharpness / 2)` of the attention: 2e-9 by default.
    confidence: The logit of a category.

  Returns:
    The model, its parameters and how to speak to it.

  Raises:
    ValueError: if the vocabulary is empty or repeats a token, or the program maps a
      number that could have too many values.
  """
  if not vocabulary or len(set(vocabulary)) != len(vocabulary) or max_length < 1:
    raise ValueError(
      f'compile_program: a vocabulary of {len(vocabulary)} tokens '
      f'({len(set(vocabulary))} different) and inputs of up to {max_length}. Give '
      'different tokens, and room for at least one.'
    )
  layout = plan(program, Values(program, vocabulary, max_length))
  heads = {at: make_head(layout, e, sharpness) for e, at in layout.heads.items()}
  mlps = [Neurons(layout.width) for _ in range(layout.layers)]
  for expression, layer in layout.mlps.items():
    add_neurons(layout, expression, mlps[layer])
  outputs = _outputs(layout, vocabulary)
  cfg = _config(layout, heads, mlps, len(outputs), causal)
  blocks = {'attn': _attention(cfg, heads)}
  if not cfg.attn_only:
    blocks['mlp'] = _mlps(cfg, mlps)
  params = {
    **_embeddings(layout, cfg),
    'blocks': blocks,
    'unembed': {'W_U': _unembedding(layout, outputs, cfg, confidence)},
  }
  params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
  return CompiledProgram(
    program,
    Transformer(cfg),
    params,
    layout,
    vocabulary,
    outputs,
    max_length,
    confidence,
  )


def _outputs(layout: Layout, vocabulary: tuple[Value, ...]) -> tuple[Value, ...]:
  if layout.program.kind == 'numerical':
    return ()
  values = layout.values[layout.program]
  return vocabulary if set(values) <= set(vocabulary) else values


def _config(
  layout: Layout,
  heads: dict[tuple[int, int], Head],
  mlps: list[Neurons],
  outputs: int,
  causal: bool,
) -> TransformerConfig:
  widths = [max(h.query.shape[1], h.value.shape[1]) for h in heads.values()]
  neurons = max(len(mlp.reads) for mlp in mlps)
  tokens = len(layout.values.vocabulary) + 1
  indexed = any(isinstance(e, Indices) for e in walk(layout.program))
  return TransformerConfig(
    vocab_size=max(tokens, outputs),
    width=layout.width,
    layers=layout.layers,
    heads=1 + max((head for _, head in heads), default=0),
    head_dim=max(widths, default=1),
    mlp_width=neurons,
    context=layout.values.max_length + 1,
    norm='none',
    final_norm=False,
    positions='learned' if indexed else 'none',
    causal=causal,
    attn_scale=1.0,
    attn_only=neurons == 0,
    act='relu',
    attn_out_bias=False,
  )


def _embeddings(layout: Layout, cfg: TransformerConfig) -> dict[str, Any]:
  """The tokens' vectors hold what is the same at all positions, too."""
  count = len(layout.values.vocabulary)
  tokens = np.zeros((cfg.vocab_size, cfg.width))
  positions = np.zeros((cfg.context, cfg.width))
  tokens[:count, layout.spaces[REAL].start] = 1
  tokens[count, layout.spaces[BOS].start] = 1
  for expression in walk(layout.program):
    match expression:
      case Tokens():
        tokens[:count, layout.spaces[expression].dims] = np.eye(count)
      case Indices():
        positions[1:, layout.spaces[expression].dims] = np.eye(cfg.context - 1)
      case Constant(value=value):
        given = 1.0 if expression.kind == 'categorical' else float(value)
        tokens[:count, layout.spaces[expression].dims] = given
  out = {'embed': {'W_E': tokens}}
  if cfg.positions == 'learned':
    out['pos_embed'] = {'W_pos': positions}
  return out


def _attention(
  cfg: TransformerConfig, heads: dict[tuple[int, int], Head]
) -> dict[str, np.ndarray]:
  shape = (cfg.layers, cfg.heads)
  weights = {f'W_{name}': np.zeros((*shape, cfg.width, cfg.head_dim)) for name in 'QKV'}
  weights |= {f'b_{name}': np.zeros((*shape, cfg.head_dim)) for name in 'QKV'}
  weights['W_O'] = np.zeros((*shape, cfg.head_dim, cfg.width))
  for at, head in heads.items():
    rank, size = head.query.shape[1], head.value.shape[1]
    weights['W_Q'][at][:, :rank] = head.query
    weights['b_Q'][at][:rank] = head.query_bias
    weights['W_K'][at][:, :rank] = head.key
    weights['W_V'][at][:, :size] = head.value
    weights['W_O'][at][:size] = head.out
  return weights


def _mlps(cfg: TransformerConfig, mlps: list[Neurons]) -> dict[str, np.ndarray]:
  arrays = [mlp.arrays(cfg.mlp_width) for mlp in mlps]
  w_in, b_in, w_out = (np.stack(part) for part in zip(*arrays, strict=True))
  b_out = np.zeros((cfg.layers, cfg.width))
  return {'W_in': w_in, 'b_in': b_in, 'W_out': w_out, 'b_out': b_out}


def _unembedding(
  layout: Layout, outputs: tuple[Value, ...], cfg: TransformerConfig, confidence: float
) -> Float[np.ndarray, 'D V']:
  weights = np.zeros((cfg.width, cfg.vocab_size))
  space = layout.spaces[layout.program]
  if not outputs:
    weights[space.start, 0] = 1
    return weights
  for i, value in enumerate(layout.values[layout.program]):
    weights[space.start + i, index(outputs)[value]] = confidence
  return weights
