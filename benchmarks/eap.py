"""What EAP-IG costs, in forward-and-backward passes of the model.

The model has the shape of GPT-2 small (12 layers, width 768, vocabulary 50257) and
random weights; 8 prompts of 15 tokens; the metric reads the last position. A pass is
the metric and its gradient with respect to the token embeddings: no gradient of
weights, which would make it dearer and the ratio smaller. All are compiled before they
are timed, and timed in turn; shown are medians. In float32, on all cores.

    python benchmarks/eap.py --json=benchmarks/results/eap.json

takes a minute and 2 GB of memory.
"""

import json
import os
import pathlib
import statistics
import time

from absl import app, flags
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax import circuits, edits
from interp_jax.models import Transformer, TransformerConfig, init_params

_JSON = flags.DEFINE_string('json', '', 'Where to write the results.')
_REPEATS = flags.DEFINE_integer('repeats', 5, 'Timed runs of each.')
_STEPS = flags.DEFINE_integer('steps', 5, 'Steps of EAP-IG.')
_LAYERS = flags.DEFINE_integer('layers', 12, 'Layers of the model.')

PROMPTS, LENGTH, VOCABULARY = 8, 15, 50257


def make_model(layers):
  cfg = TransformerConfig(
    vocab_size=VOCABULARY,
    width=768,
    layers=layers,
    heads=12,
    head_dim=64,
    mlp_width=3072,
    act='gelu_tanh',
    tied=True,
  )
  model = Transformer(cfg)
  return model, init_params(model)


def make_pass(model, params, tokens, metric):
  """One forward-and-backward pass, nothing but activations differentiated."""

  @jax.jit
  def both(params, tokens):
    def measure(delta):
      added = {'embed': edits.Add(delta)}
      run = model.apply({'params': params}, tokens, added, logit_positions=LAST)
      return metric(*run)

    return jax.value_and_grad(measure)(jnp.zeros((*tokens.shape, model.cfg.width)))

  return lambda: jax.block_until_ready(both(params, tokens))


LAST = jnp.array([LENGTH - 1])


def make_runs(model, params, steps):
  rng = np.random.default_rng(0)
  clean = rng.integers(0, VOCABULARY, (PROMPTS, LENGTH))
  corrupt = clean.copy()
  corrupt[:, 4] = rng.integers(0, VOCABULARY, PROMPTS)
  metric = circuits.logit_difference(*rng.integers(0, VOCABULARY, (2, PROMPTS)))

  def attribute(method, **options):
    return lambda: circuits.edge_attribution(
      model, params, clean, corrupt, metric, method=method, logit_positions=LAST,
      **options,
    )  # fmt: skip

  return {
    'pass': make_pass(model, params, jnp.asarray(clean), metric),
    'eap': attribute('eap'),
    'eap_ig': attribute('eap-ig-inputs', steps=steps),
    'clean_corrupted': attribute('clean-corrupted'),
  }


def measure(runs, repeats):
  """Median seconds of each, timed in turn."""
  for run in runs.values():
    run()
  times = {name: [] for name in runs}
  for _ in range(repeats):
    for name, run in runs.items():
      start = time.perf_counter()
      run()
      times[name].append(time.perf_counter() - start)
  return {name: statistics.median(values) for name, values in times.items()}


def main(argv):
  del argv
  model, params = make_model(_LAYERS.value)
  seconds = measure(make_runs(model, params, _STEPS.value), _REPEATS.value)
  graph = circuits.make_graph(model.cfg)
  results = {
    'eap_ig_passes': seconds['eap_ig'] / seconds['pass'],
    'eap_passes': seconds['eap'] / seconds['pass'],
    'clean_corrupted_passes': seconds['clean_corrupted'] / seconds['pass'],
    'steps': _STEPS.value,
    'edges': int(graph.edges.sum()),
    'seconds': seconds,
    'cores': os.cpu_count(),
    'jax': jax.__version__,
  }
  print(f'A forward-and-backward pass takes {seconds["pass"]:.3f} s.')
  for name in ('eap', 'eap_ig', 'clean_corrupted'):
    print(f'{name}: {seconds[name]:.2f} s, {results[f"{name}_passes"]:.1f} passes, '
          f'for {results["edges"]} edges')  # fmt: skip
  if _JSON.value:
    path = pathlib.Path(_JSON.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + '\n')


if __name__ == '__main__':
  app.run(main)
