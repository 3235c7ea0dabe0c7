"""One frozen config for the family of decoders (and encoders) of the field."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from interp_jax.core import known, unknown
from interp_jax.models.rotary import RotaryScaling

NORMS = ('layernorm', 'rmsnorm', 'none')
NORM_PLACEMENTS = ('pre', 'sandwich', 'post', 'residual')
POSITIONS = ('learned', 'shortformer', 'rotary', 'alibi', 'none')
QK_NORMS = ('none', 'head', 'width')
HEADS = ('linear', 'mlm', 'none')
# May be given once, or once per layer.
PER_LAYER = ('windows', 'rotary_base', 'rotary_scaling', 'attn_scale')
ACTIVATIONS = (
  'relu',
  'relu2',
  'gelu',
  'gelu_tanh',
  'gelu_quick',
  'silu',
  'solu',
  'solu_ln',
)
DTYPES = ('float32', 'bfloat16', 'float16', 'float64')
_COUNTS = ('vocab_size', 'width', 'layers', 'heads', 'head_dim', 'kv_heads', 'context')


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
  """Shape and options of a transformer.

  Attributes:
    vocab_size: Number of tokens `V`.
    width: Width of the residual stream `D`.
    layers: Number of layers `L`.
    heads: Number of query heads `H`.
    head_dim: Width of a head `K`; `heads * head_dim` need not be `width`.
    kv_heads: Number of key/value heads `G`, a divisor of `heads`; 0 for `heads`. Filled
      in when the config is made: to `dataclasses.replace` heads, give it again.
    mlp_width: Width of the MLP `M`; unused if `attn_only`.
    context: Longest sequence; binds learned positions only.
    norm: 'layernorm', 'rmsnorm' or 'none'.
    norm_placement: Where norms stand: 'pre', before attention and MLP; 'post', after
      them, on what they add (OLMo 2); 'sandwich', both (Gemma 2); 'residual', on the
      stream after each has been added (the first transformers, BERT).
    norm_eps: Added to the variance.
    positions: 'learned', 'shortformer' (learned, added to the inputs of queries and
      keys only), 'rotary', 'alibi' or 'none'.
    rotary_dim: Rotated part of each head; 0 for all of it.
    rotary_base: Base of the rotary wavelengths; one, or one per layer.
    rotary_scaling: How the wavelengths are stretched for longer contexts; one, or one
      per layer.
    rotary_interleaved: Rotate neighbouring pairs (GPT-J) instead of halves (NeoX).
    causal: Whether a position sees only itself and earlier ones.
    attn_scale: Factor on the scores; one, or one per layer; None for
      `head_dim ** -0.5`.
    attn_softcap: `c` in `c tanh(score / c)`; None for none.
    logit_softcap: The same for the logits.
    windows: Sliding window, in positions, the query's own included; one, or one per
      layer; None for all positions.
    qk_norm: Whether queries and keys are normed (RMS) before rotation: 'none', 'head'
      (each head by itself, Qwen 3) or 'width' (all heads as one vector, OLMo 2).
    attn_only: Whether there are no MLPs.
    parallel: Whether attention and MLP both read `resid_pre` (GPT-J, NeoX).
    shared_norm: Whether attention and MLP of a parallel layer read one norm (Falcon 7B,
      GPT-J), so that there is no `ln2`.
    act: Activation function of the MLP, see `ACTIVATIONS`.
    gated: Whether the MLP is `W_out (act(x W_gate) * x W_in)`.
    experts: Number of experts of a mixture `E`, each an MLP of width `mlp_width`; 0 for
      one MLP that every token passes.
    experts_per_token: How many experts a token passes, `C`.
    renormalize_experts: Whether the weights of a token's experts sum to one (Mixtral),
      or are what the softmax over all experts gives.
    qkv_bias: Whether queries, keys and values have biases.
    attn_out_bias: Whether the attention output has a bias.
    mlp_bias: Whether the MLP has biases.
    unembed_bias: Whether the unembedding has a bias.
    tied: Whether the unembedding is the embedding's transpose.
    embed_scale: Factor on the token embedding (Gemma: `width ** 0.5`).
    embed_norm: Whether the embedding is normed (BLOOM, BERT).
    token_types: Number of token types (BERT's segments) with an embedding; 0 for none.
    final_norm: Whether a norm stands before the unembedding.
    final_rms: Whether that norm is an RMSNorm whatever the others are (some of
      TransformerLens's toy models).
    head: What makes the logits: 'linear', the unembedding; 'mlm', a dense layer and the
      activation function before the final norm (BERT); 'none', nothing: the residual
      stream is returned in place of logits.
    pooler: Whether there is a dense layer for the first token's vector (BERT's pooler).
    dtype: Of activations and of matrix products. Norms, scores and logits are kept in
      float32 at least.
    param_dtype: Of the parameters when they are made.
  """

  vocab_size: int
  width: int
  layers: int
  heads: int
  head_dim: int
  kv_heads: int = 0
  mlp_width: int = 0
  context: int = 1024
  norm: str = 'layernorm'
  norm_placement: str = 'pre'
  norm_eps: float = 1e-5
  positions: str = 'learned'
  rotary_dim: int = 0
  rotary_base: float | Sequence[float] = 10_000.0
  rotary_scaling: RotaryScaling | Sequence[RotaryScaling | None] | None = None
  rotary_interleaved: bool = False
  causal: bool = True
  attn_scale: float | Sequence[float] | None = None
  attn_softcap: float | None = None
  logit_softcap: float | None = None
  windows: int | Sequence[int | None] | None = None
  qk_norm: str = 'none'
  attn_only: bool = False
  parallel: bool = False
  shared_norm: bool = False
  act: str = 'gelu'
  gated: bool = False
  experts: int = 0
  experts_per_token: int = 0
  renormalize_experts: bool = True
  qkv_bias: bool = True
  attn_out_bias: bool = True
  mlp_bias: bool = True
  unembed_bias: bool = False
  tied: bool = False
  embed_scale: float = 1.0
  embed_norm: bool = False
  token_types: int = 0
  final_norm: bool = True
  final_rms: bool = False
  head: str = 'linear'
  pooler: bool = False
  dtype: str = 'float32'
  param_dtype: str = 'float32'

  def __post_init__(self):
    """Fills in what is derived and refuses what makes no sense."""
    set_ = object.__setattr__
    set_(self, 'kv_heads', self.kv_heads or self.heads)
    set_(self, 'rotary_dim', self.rotary_dim or self.head_dim)
    for name in PER_LAYER:  # Lists, if they come from JSON.
      if isinstance(getattr(self, name), Sequence):
        set_(self, name, tuple(getattr(self, name)))
    problems = _choice_problems(self) + _number_problems(self) + _clashes(self)
    if problems:
      raise ValueError('TransformerConfig: ' + ' '.join(problems))

  def to_dict(self) -> dict[str, Any]:
    """The fields as JSON-able values."""
    return dataclasses.asdict(self)

  @classmethod
  def from_dict(cls, fields: Mapping[str, Any]) -> 'TransformerConfig':
    """A config from the dict that `to_dict` makes.

    Args:
      fields: Field → value; fields left out take their defaults.

    Returns:
      The config.

    Raises:
      ValueError: if a field is unknown or its value makes no sense.
    """
    given = known(cls, fields, 'field of TransformerConfig')
    scaling = given.get('rotary_scaling')
    if isinstance(scaling, Sequence):
      given['rotary_scaling'] = tuple(map(RotaryScaling.from_dict, scaling))
    else:
      given['rotary_scaling'] = RotaryScaling.from_dict(scaling)
    return cls(**given)


def _choice_problems(cfg: TransformerConfig) -> list[str]:
  choices = {
    'norm': NORMS,
    'norm_placement': NORM_PLACEMENTS,
    'positions': POSITIONS,
    'qk_norm': QK_NORMS,
    'head': HEADS,
    'act': ACTIVATIONS,
    'dtype': DTYPES,
    'param_dtype': DTYPES,
  }
  return [
    unknown(name, getattr(cfg, name), allowed)
    for name, allowed in choices.items()
    if getattr(cfg, name) not in allowed
  ]


def _entries(value: Any) -> tuple:
  return value if isinstance(value, tuple) else (value,)


def _number_problems(cfg: TransformerConfig) -> list[str]:
  problems = [
    f'{name}={getattr(cfg, name)} must be at least 1.'
    for name in _COUNTS
    if getattr(cfg, name) < 1
  ]
  problems += [
    f'{name}={getattr(cfg, name)}: give positive numbers, or None for none.'
    for name in ('attn_softcap', 'logit_softcap', 'windows', 'attn_scale')
    if any(value is not None and value <= 0 for value in _entries(getattr(cfg, name)))
  ]
  if not cfg.attn_only and cfg.mlp_width < 1:
    problems.append(
      f'mlp_width={cfg.mlp_width}: give the width of the MLP, or attn_only=True.'
    )
  if cfg.heads % cfg.kv_heads:
    problems.append(f'kv_heads={cfg.kv_heads} must divide heads={cfg.heads}.')
  if not 0 <= cfg.experts_per_token <= cfg.experts or (
    cfg.experts and not cfg.experts_per_token
  ):
    problems.append(
      f'experts_per_token={cfg.experts_per_token} of experts={cfg.experts}: a token '
      'passes at least one, and at most all of them.'
    )
  fits = cfg.rotary_dim % 2 == 0 and cfg.rotary_dim <= cfg.head_dim
  if cfg.positions == 'rotary' and not fits:
    problems.append(
      f'rotary_dim={cfg.rotary_dim} must be even and at most head_dim={cfg.head_dim}.'
    )
  for name in PER_LAYER:
    value = getattr(cfg, name)
    if isinstance(value, tuple) and len(value) != cfg.layers:
      problems.append(
        f'{name} has {len(value)} entries for {cfg.layers} layers; give one, or one '
        'per layer.'
      )
  return problems


def _clashes(cfg: TransformerConfig) -> list[str]:
  """Options that exclude each other."""
  clashes = {
    "parallel layers have their norms before them: norm_placement is 'pre' or "
    "'sandwich'.": cfg.parallel and cfg.norm_placement in ('post', 'residual'),
    'shared_norm is an option of parallel layers with an MLP.': cfg.shared_norm
    and (not cfg.parallel or cfg.attn_only),
    'experts are gated MLPs without biases: set gated=True, mlp_bias=False and leave '
    'attn_only out.': bool(cfg.experts)
    and (cfg.attn_only or cfg.mlp_bias or not cfg.gated or cfg.act == 'solu_ln'),
    "head='none' has nothing to tie or to add a bias to: set tied=False and "
    'unembed_bias=False.': cfg.head == 'none' and (cfg.tied or cfg.unembed_bias),
  }
  return [message for message, clash in clashes.items() if clash]
