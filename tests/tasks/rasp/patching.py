"""Exact edge patching in plain numpy: what the true edges are checked against.

It knows nothing of programs or layouts: only of the weights of a transformer without
norms. Each receiver's input is the sum of what the nodes before it write, and one of
the terms of that sum is exchanged.
"""

from typing import Any

import numpy as np


class Runner:
  """A transformer without norms, in float64."""

  def __init__(self, model: Any, params: Any):
    self.cfg = model.cfg
    as_double = lambda tree: (
      {k: as_double(v) for k, v in tree.items()}
      if isinstance(tree, dict)
      else np.asarray(tree, np.float64)
    )
    self.params = as_double(params)

  def run(self, tokens, swapped=None, exchange=None):
    """Logits, and node → what it writes; `exchange[sender]` goes to one receiver."""
    swapped = swapped or (None, None)
    writes = {'input': self._embed(tokens)}

    def read(receiver):
      total = 0
      for node, out in writes.items():
        total = total + (exchange[node] if (node, receiver) == swapped else out)
      return total

    for layer in range(self.cfg.layers):
      heads = {
        f'a{layer}.h{head}': self._head(layer, head, read)
        for head in range(self.cfg.heads)
      }
      writes |= heads
      if not self.cfg.attn_only:
        writes[f'm{layer}'] = self._mlp(layer, read(f'm{layer}'))
    return read('logits') @ self.params['unembed']['W_U'], writes

  def edges(self):
    """Every pair of a node and a receiver after it."""
    senders, found = ['input'], []
    for layer in range(self.cfg.layers):
      heads = [f'a{layer}.h{head}' for head in range(self.cfg.heads)]
      for head in heads:
        found += [(s, f'{head}<{part}>') for s in senders for part in 'qkv']
      senders += heads
      if not self.cfg.attn_only:
        found += [(s, f'm{layer}') for s in senders]
        senders.append(f'm{layer}')
    return found + [(s, 'logits') for s in senders]

  def _embed(self, tokens):
    out = self.params['embed']['W_E'][tokens]
    if 'pos_embed' in self.params:
      out = out + self.params['pos_embed']['W_pos'][: tokens.shape[1]]
    return out

  def _head(self, layer, head, read):
    w = {k: v[layer, head] for k, v in self.params['blocks']['attn'].items()}
    q, k, v = (
      read(f'a{layer}.h{head}<{p.lower()}>') @ w[f'W_{p}'] + w[f'b_{p}'] for p in 'QKV'
    )
    scores = q @ k.swapaxes(1, 2) * self.cfg.attn_scale
    if self.cfg.causal:
      later = np.triu(np.ones(scores.shape[1:], bool), 1)
      scores = np.where(later, -np.inf, scores)
    pattern = np.exp(scores - scores.max(-1, keepdims=True))
    return pattern / pattern.sum(-1, keepdims=True) @ v @ w['W_O']

  def _mlp(self, layer, x):
    w = {k: v[layer] for k, v in self.params['blocks']['mlp'].items()}
    return np.maximum(x @ w['W_in'] + w['b_in'], 0) @ w['W_out'] + w['b_out']


def edges_that_matter(task, ablation, seed=0, tolerance=1e-6):
  """The edges whose patching changes an output, for any of the task's inputs."""
  runner = Runner(task.model, task.params)
  tokens = task.compiled.encode(task.inputs())
  order = np.random.default_rng(seed).permutation(len(tokens))
  base, writes = runner.run(tokens)
  exchange = {
    'zero': lambda out: np.zeros_like(out),
    'resample': lambda out: out[order],
    'mean': lambda out: np.broadcast_to(out.mean(0), out.shape),
  }[ablation]
  patches = {node: exchange(out) for node, out in writes.items()}
  found = set()
  for sender, receiver in runner.edges():
    logits, _ = runner.run(tokens, (sender, receiver), patches)
    if np.abs(logits - base)[:, 1:].max() > tolerance:
      found.add(f'{sender}->{receiver}')
  return found
