"""The forward pass once more, in plain numpy and float64, one sequence at a time.

Written from the papers' formulas and sharing nothing with the package but the names of
parameters and options. It knows no batch and no padding: a padded row is compared
with the run of its tokens alone.
"""

import math

import numpy as np


def forward(cfg, params, tokens, types=None):
  """Logits `[T, V]` and acts without a batch axis: `[L, T, ...]` or `[T, ...]`."""
  acts = {}
  x, vectors = _enter(cfg, params, tokens, types, acts)
  layers = []
  for index in range(cfg.layers):
    layers.append({})
    x = _layer(cfg, _of_layer(params['blocks'], index), index, x, vectors, layers[-1])
  for site in layers[0]:
    acts[site] = np.stack([layer[site] for layer in layers])
  return _leave(cfg, params, x, acts), acts


def _enter(cfg, params, tokens, types, acts):
  w_embed = params['embed']['W_E']
  x = acts['embed'] = np.stack([w_embed[t] * cfg.embed_scale for t in tokens])
  vectors = None
  if cfg.positions in ('learned', 'shortformer'):
    vectors = acts['pos_embed'] = params['pos_embed']['W_pos'][: len(tokens)]
  if cfg.positions == 'learned':
    x = x + vectors
  if cfg.token_types:
    types = [0] * len(tokens) if types is None else types
    acts['token_type_embed'] = params['token_type_embed']['W_type'][types]
    x = x + acts['token_type_embed']
  if cfg.embed_norm:
    x = _norm(cfg, params.get('ln_embed'), x, 'ln_embed', acts)
  return x, vectors


def _leave(cfg, params, x, acts):
  if cfg.head == 'mlm':
    x = _activation(cfg.act, x @ params['mlm_dense']['W'] + params['mlm_dense']['b'])
  if cfg.final_norm:
    kind = 'rmsnorm' if cfg.final_rms else cfg.norm
    x = _norm(cfg, params.get('ln_final'), x, 'ln_final', acts, kind)
  if cfg.head == 'none':
    return x
  logits = x @ (params['embed']['W_E'].T if cfg.tied else params['unembed']['W_U'])
  if cfg.unembed_bias:
    logits = logits + params['unembed']['b_U']
  return _cap(logits, cfg.logit_softcap)


def _of_layer(tree, index):
  if isinstance(tree, dict):
    return {name: _of_layer(branch, index) for name, branch in tree.items()}
  return tree[index]


def _layer(cfg, p, index, x, vectors, acts):
  before = cfg.norm_placement in ('pre', 'sandwich')
  after = cfg.norm_placement in ('post', 'sandwich')
  between = cfg.norm_placement == 'residual'

  def norm(name, value, here):
    return _norm(cfg, p.get(name), value, name, acts) if here else value

  acts['resid_pre'] = x
  read = norm('ln1', x, before)
  heads = _attention(cfg, p['attn'], index, read, vectors, acts)
  heads = acts['attn_out'] = norm('ln1_post', heads, after)
  if cfg.attn_only:
    acts['resid_post'] = x + heads
    return norm('ln1', x + heads, between)
  if not cfg.parallel:
    x = acts['resid_mid'] = x + heads
  x = norm('ln1', x, between)
  if not cfg.shared_norm:
    read = norm('ln2', x, before)
  neurons = _experts if cfg.experts else _mlp
  neurons = neurons(cfg, p['experts' if cfg.experts else 'mlp'], read, acts)
  neurons = acts['mlp_out'] = norm('ln2_post', neurons, after)
  x = acts['resid_post'] = x + neurons + (heads if cfg.parallel else 0)
  return norm('ln2', x, between)


def _norm(cfg, p, x, name, acts, kind=None):
  kind = kind or cfg.norm
  if kind == 'none':
    return x
  centred = kind == 'layernorm'
  rows, divisors = [], []
  for row in x:
    if centred:
      row = row - sum(row) / len(row)
    divisor = math.sqrt(sum(row**2) / len(row) + cfg.norm_eps)
    rows.append(p['w'] * row / divisor + (p['b'] if centred else 0))
    divisors.append([divisor])
  acts[f'{name}.scale'] = np.array(divisors)
  acts[f'{name}.normalized'] = np.array(rows)
  return acts[f'{name}.normalized']


def _attention(cfg, p, index, x, vectors, acts):
  located = x + vectors if cfg.positions == 'shortformer' else x
  q = acts['q'] = _heads(cfg, p, 'Q', located)
  k = acts['k'] = _heads(cfg, p, 'K', located)
  v = acts['v'] = _heads(cfg, p, 'V', x)
  if cfg.qk_norm == 'head':
    q = _rms(q, cfg.norm_eps) * p['q_norm']['w']
    k = _rms(k, cfg.norm_eps) * p['k_norm']['w']
  if cfg.qk_norm == 'width':
    q = _rms(q.reshape(len(x), -1), cfg.norm_eps).reshape(q.shape) * p['q_norm']['w']
    k = _rms(k.reshape(len(x), -1), cfg.norm_eps).reshape(k.shape) * p['k_norm']['w']
  if cfg.positions == 'rotary':
    q = acts['rot_q'] = _rotate(cfg, index, q)
    k = acts['rot_k'] = _rotate(cfg, index, k)
  length = len(x)
  scores = np.full((cfg.heads, length, length), -np.inf)
  pattern = np.zeros((cfg.heads, length, length))
  z = np.zeros((length, cfg.heads, cfg.head_dim))
  out = np.zeros((length, cfg.width))
  for h in range(cfg.heads):
    group = h // (cfg.heads // cfg.kv_heads)
    for t in range(length):
      seen = [s for s in range(length) if _sees(cfg, index, t, s)]
      for s in seen:
        scores[h, t, s] = _score(cfg, index, h, t, s, q[t, h] @ k[s, group])
      weights = np.exp(scores[h, t, seen] - max(scores[h, t, seen]))
      pattern[h, t, seen] = weights / sum(weights)
      z[t, h] = pattern[h, t, seen] @ v[seen, group]
      out[t] += z[t, h] @ p['W_O'][h]
  acts |= {'attn_scores': scores, 'pattern': pattern, 'z': z}
  return out + (p['b_O'] if cfg.attn_out_bias else 0)


def _heads(cfg, p, kind, x):
  out = np.stack([x @ w for w in p[f'W_{kind}']], 1)
  return out + (p[f'b_{kind}'] if cfg.qkv_bias else 0)


def _sees(cfg, index, t, s):
  windows = cfg.windows if isinstance(cfg.windows, tuple) else [cfg.windows] * 99
  near = windows[index] is None or abs(t - s) < windows[index]
  return near and (s <= t or not cfg.causal)


def _score(cfg, index, h, t, s, product):
  scale = cfg.attn_scale[index] if isinstance(cfg.attn_scale, tuple) else cfg.attn_scale
  scale = 1 / math.sqrt(cfg.head_dim) if scale is None else scale
  score = _cap(product * scale, cfg.attn_softcap)
  return score - (_slopes(cfg.heads)[h] * abs(t - s) if cfg.positions == 'alibi' else 0)


def _slopes(n):
  """As in the ALiBi paper's published code, by recursion."""
  if math.log2(n).is_integer():
    first = 2 ** (-(2 ** -(math.log2(n) - 3)))
    return [first * first**i for i in range(n)]
  closest = 2 ** math.floor(math.log2(n))
  return _slopes(closest) + _slopes(2 * closest)[0::2][: n - closest]


def _rotate(cfg, index, x):
  """Rotary positions as a multiplication of complex numbers."""
  bases = cfg.rotary_base
  base = bases[index] if isinstance(bases, tuple) else bases
  half = cfg.rotary_dim // 2
  out = x.copy()
  for i in range(half):
    one, two = (2 * i, 2 * i + 1) if cfg.rotary_interleaved else (i, i + half)
    for t in range(len(x)):
      angle = t * base ** (-2 * i / cfg.rotary_dim)
      turned = (x[t, :, one] + 1j * x[t, :, two]) * np.exp(1j * angle)
      out[t, :, one], out[t, :, two] = turned.real, turned.imag
  return out


def _rms(x, eps):
  return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps)


def _cap(x, cap):
  return x if cap is None else cap * np.tanh(x / cap)


def _mlp(cfg, p, x, acts):
  bias = cfg.mlp_bias
  read = x @ p['W_in'] + (p['b_in'] if bias else 0)
  if cfg.gated:
    pre = acts['pre'] = x @ p['W_gate'] + (p['b_gate'] if bias else 0)
    acts['pre_linear'] = read
    post = _activation(cfg.act, pre) * read
  else:
    acts['pre'] = read
    post = _activation(cfg.act, read)
  if cfg.act == 'solu_ln':
    acts['mid'] = post
    post = post - post.mean(-1, keepdims=True)
    post = post / np.sqrt((post**2).mean(-1, keepdims=True) + cfg.norm_eps)
    post = post * p['ln']['w'] + p['ln']['b']
  acts['post'] = post
  return post @ p['W_out'] + (p['b_out'] if bias else 0)


def _experts(cfg, p, x, acts):
  """Token by token, choice by choice."""
  length, chosen = len(x), cfg.experts_per_token
  acts['router_logits'] = x @ p['W_router']
  scores = np.exp(acts['router_logits'])
  scores = scores / scores.sum(-1, keepdims=True)
  choices = acts['expert_choices'] = np.argsort(-scores, -1)[:, :chosen]
  weights = acts['expert_weights'] = np.zeros((length, chosen))
  for site in ('expert_pre', 'expert_pre_linear', 'expert_post'):
    acts[site] = np.zeros((length, chosen, cfg.mlp_width))
  acts['expert_out'] = np.zeros((length, chosen, cfg.width))
  out = np.zeros((length, cfg.width))
  for t in range(length):
    weights[t] = scores[t, choices[t]]
    if cfg.renormalize_experts:
      weights[t] /= sum(weights[t])
    for c, e in enumerate(choices[t]):
      pre = acts['expert_pre'][t, c] = x[t] @ p['W_gate'][e]
      linear = acts['expert_pre_linear'][t, c] = x[t] @ p['W_in'][e]
      post = acts['expert_post'][t, c] = _activation(cfg.act, pre) * linear
      acts['expert_out'][t, c] = post @ p['W_out'][e]
      out[t] += weights[t, c] * acts['expert_out'][t, c]
  return out


def _activation(name, x):
  if name in ('solu', 'solu_ln'):
    e = np.exp(x - x.max(-1, keepdims=True))
    return x * e / e.sum(-1, keepdims=True)
  erf = np.vectorize(math.erf)
  cube = 0.044715 * x**3
  return {
    'relu': np.where(x > 0, x, 0),
    'relu2': np.where(x > 0, x, 0) ** 2,
    'gelu': x * (1 + erf(x / math.sqrt(2))) / 2,
    'gelu_tanh': x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + cube))) / 2,
    'gelu_quick': x / (1 + np.exp(-1.702 * x)),
    'silu': x / (1 + np.exp(-x)),
  }[name]
