"""EAP and EAP-IG against their formulas on TransformerLens's hooks.

The reference is written here: what every head, MLP and the embedding write in both runs
is cached, gradients are taken at the split inputs of queries, keys and values, at the
MLPs' inputs and at the last stream, and each pair is multiplied.
"""

import numpy as np
import pytest

pytest.importorskip('transformer_lens')
import torch

from interp_jax import circuits, compat
from interp_jax.testing import tiny_model
from tests.circuits.graphs import DOUBLE, FAMILIES, SMALL

pytestmark = [
  pytest.mark.peers,
  pytest.mark.filterwarnings('ignore::DeprecationWarning'),
  pytest.mark.filterwarnings('ignore::FutureWarning'),
  pytest.mark.filterwarnings('ignore::UserWarning'),
  pytest.mark.usefixtures('float64'),
]


class Reference:
  """Senders and gradients of a HookedTransformer, by name of the graph."""

  def __init__(self, peer):
    self.peer = peer
    peer.cfg.use_split_qkv_input = True
    peer.cfg.use_attn_result = True
    peer.cfg.use_hook_mlp_in = True
    peer.cfg.ungroup_grouped_query_attention = True

  def senders(self, tokens):
    """Name → what it writes, `[B, T, D]`; heads after the norm that follows them."""
    with torch.no_grad():
      _, cache = self.peer.run_with_cache(tokens)
    out = {'input': cache['blocks.0.hook_resid_pre']}
    for layer, block in enumerate(self.peer.blocks):
      result = cache[f'blocks.{layer}.attn.hook_result']
      if self.peer.cfg.use_normalization_before_and_after:
        scale = cache[f'blocks.{layer}.ln1_post.hook_scale']
        result = result / scale[:, :, None] * block.ln1_post.w
      for head in range(result.shape[2]):
        out[f'a{layer}.h{head}'] = result[:, :, head]
      out[f'm{layer}'] = cache[f'blocks.{layer}.hook_mlp_out']
    return out

  def gradients(self, tokens, stream, metric):
    """Name of receiver → the metric's gradient there, in a run from a stream."""
    found = {}

    def keep(name, split):
      def hook(grad, hook):
        del hook
        parts = grad.unbind(2) if split else [grad]
        for i, part in enumerate(parts):
          found[name.format(i)] = part.detach()

      return hook

    hooks = [(f'blocks.{self.peer.cfg.n_layers - 1}.hook_resid_post', 'logits', False)]
    for layer in range(self.peer.cfg.n_layers):
      for kind in 'qkv':
        name = f'a{layer}.h{{}}<{kind}>'
        hooks.append((f'blocks.{layer}.hook_{kind}_input', name, True))
      hooks.append((f'blocks.{layer}.hook_mlp_in', f'm{layer}', False))
    backward = [(at, keep(name, split)) for at, name, split in hooks]
    start = stream.clone().requires_grad_()
    forward = [('blocks.0.hook_resid_pre', lambda act, hook: start)]
    with self.peer.hooks(fwd_hooks=forward, bwd_hooks=backward):
      metric(self.peer(tokens)).backward()
    return found

  def scores(self, graph, clean, corrupt, metric, points):
    """EAP-IG's scores, its gradient taken at points between corrupted and clean."""
    own, other = self.senders(clean), self.senders(corrupt)
    values = np.zeros(graph.shape)
    for point in points:
      stream = other['input'] + point * (own['input'] - other['input'])
      grads = self.gradients(clean, stream, metric)
      for r, s in np.argwhere(graph.edges):
        sender = graph.senders[s]
        product = (other[sender] - own[sender]) * grads[graph.receivers[r]]
        values[r, s] += float(product.sum()) / len(points)
    return values


@pytest.mark.parametrize('name', ['gpt2', 'llama', 'gemma2'])
def test_scores_are_those_of_the_formula_on_hooks(name):
  options = {**SMALL, **FAMILIES[name], 'heads': 4, 'head_dim': 2}
  options |= {'kv_heads': 2} if 'kv_heads' in options else {}
  model, params = tiny_model(**options, **DOUBLE)
  rng = np.random.default_rng(0)
  clean, corrupt = rng.integers(0, 31, (2, 2, 6))
  right, wrong = rng.integers(0, 31, (2, 2))
  reference = Reference(compat.hooked_transformer(model, params))
  rows = torch.arange(2)

  def difference(logits):
    last = logits[:, -1]
    return (last[rows, torch.tensor(right)] - last[rows, torch.tensor(wrong)]).mean()

  graph = circuits.make_graph(model.cfg)
  metric = circuits.logit_difference(right, wrong)
  for method, steps, points in (
    ('eap', 1, [1]),
    ('eap-ig-inputs', 3, [1 / 3, 2 / 3, 1]),
  ):
    expected = reference.scores(
      graph, *map(torch.tensor, (clean, corrupt)), difference, points
    )
    values = circuits.edge_attribution(
      model, params, clean, corrupt, metric, method=method, steps=steps
    ).values
    np.testing.assert_allclose(values, expected, atol=1e-9)
    assert np.abs(expected).max() > 0.01
