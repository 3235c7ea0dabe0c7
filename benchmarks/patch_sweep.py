"""How fast is activation patching, against TransformerLens and against the machine?

    python benchmarks/patch_sweep.py [--json=FILE]

A model of GPT-2 small's shape with random weights, float32, 8 pairs of prompts of 15
tokens. Two sweeps: `resid_pre` at every layer and position (180 patches) and every
head's output (144). How much of them can be left out depends on where clean and
corrupted prompts differ, so that ours is measured on two kinds of pairs:

- `task`: they differ in one token, at position 10, as in "When John and Mary went to
  the shops, John gave the bag to", the indirect objects of TransformerLens's demo;
- `all`: they share a first token and nothing else, which helps restarts least.

TransformerLens takes the same time for both. Measured, on the same weights:

- TransformerLens, `patching.get_act_patch_*`, at the number of threads that is fastest
  on a few patches;
- this library: the first call, which compiles, and the best of `--rounds` later ones;
  restarted at layers and positions, at layers only, and not at all;
- the floor: the matrix products that no exact method avoids (each patch's layers from
  its own on, its positions from its own on, the answers' logits), at the rate of the
  faster of torch and XLA on the layers' own products.

Values are compared with TransformerLens's. Takes about 6 minutes on 2 cores. Needs the
extra `peers`. `--quick` takes a tiny model and says nothing about speed.
"""

from collections.abc import Callable
import functools
import json
import os
import time
from typing import Any
from unittest import mock
import warnings

from absl import app, flags, logging
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax import circuits, compat, models

ROUNDS = flags.DEFINE_integer('rounds', 3, 'Calls of ours, of which the best counts.')
ONLY = flags.DEFINE_list('sweeps', ['resid_pre', 'head_out'], 'Which to measure.')
JSON = flags.DEFINE_string('json', '', 'File to write the numbers to.')
QUICK = flags.DEFINE_bool('quick', False, 'A tiny model, to try the script.')

PROMPTS, LENGTH = 8, 15
# Kind of pairs → the positions at which they differ.
PAIRS = {'task': (10,), 'all': range(1, LENGTH)}
# Its loops print a bar.
NO_BAR = mock.patch('transformer_lens.patching.tqdm', lambda items: items)
SWEEPS = {
  'resid_pre': ('resid_pre', ('layer', 'position'), 'get_act_patch_resid_pre'),
  'head_out': ('z', ('layer', 'head'), 'get_act_patch_attn_head_out_all_pos'),
}


def config(quick: bool) -> models.TransformerConfig:
  """The shape of GPT-2 small."""
  width, heads, vocabulary = (768, 12, 50257) if not quick else (32, 2, 100)
  return models.TransformerConfig(
    vocab_size=vocabulary,
    width=width,
    layers=12 if not quick else 3,
    heads=heads,
    head_dim=width // heads,
    mlp_width=4 * width,
    act='gelu_tanh',
  )


class Setting:
  """Model, prompts and answers for both libraries."""

  def __init__(self, quick: bool):
    self.cfg = config(quick)
    self.model = models.Transformer(self.cfg)
    self.params = models.init_params(self.model)
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.integers(0, self.cfg.vocab_size, shape).astype(np.int32)
    self.clean, other = draw(PROMPTS, LENGTH), draw(PROMPTS, LENGTH)
    self.corrupted = {
      kind: np.where(np.isin(np.arange(LENGTH), at), other, self.clean)
      for kind, at in PAIRS.items()
    }
    self.correct, self.wrong = draw(PROMPTS), draw(PROMPTS)

  def ours(self, name: str, kind: str, **options: Any) -> np.ndarray:
    """One of the sweeps, on one kind of pairs."""
    site, over, _ = SWEEPS[name]
    return circuits.sweep(
      self.model,
      self.params,
      self.corrupted[kind],
      self.clean,
      site,
      over,
      metric=circuits.logit_difference(self.correct, self.wrong),
      logit_positions=np.array([LENGTH - 1]),
      progress=False,
      **options,
    ).values


class Lens:
  """The same in TransformerLens."""

  def __init__(self, setting: Setting):
    import torch

    self._torch = torch
    self._peer = compat.hooked_transformer(setting.model, setting.params)
    self._peer.requires_grad_(False)
    rows = lambda tokens: torch.tensor(tokens, dtype=torch.long)
    self._corrupted, clean = rows(setting.corrupted['task']), rows(setting.clean)
    self._answers = rows(np.stack([setting.correct, setting.wrong], 1))
    with torch.inference_mode():
      _, self._cache = self._peer.run_with_cache(clean)
      self._cache = {k: v.clone() for k, v in self._cache.items()}

  def metric(self, logits: Any) -> Any:
    """The mean logit difference at the last position."""
    two = logits[:, -1].gather(1, self._answers)
    return (two[:, 0] - two[:, 1]).mean()

  def run(self, name: str) -> np.ndarray:
    """A whole sweep."""
    from transformer_lens import patching

    with self._torch.inference_mode(), NO_BAR:
      getter = getattr(patching, SWEEPS[name][2])
      return getter(self._peer, self._corrupted, self._cache, self.metric).numpy()

  def few(self, count: int) -> None:
    """A few patches, to choose the number of threads by."""
    import pandas
    from transformer_lens import patching

    rows = pandas.DataFrame({'layer': range(count), 'pos': range(count)})
    with self._torch.inference_mode(), NO_BAR:
      patching.generic_activation_patch(
        self._peer,
        self._corrupted,
        self._cache,
        self.metric,
        patching.layer_pos_patch_setter,
        'resid_pre',
        index_df=rows,
      )

  def choose_threads(self) -> int:
    """The fastest number of threads."""
    cores = os.cpu_count() or 1
    times = {}
    for threads in sorted({1, cores // 2 or 1, cores}):
      self._torch.set_num_threads(threads)
      self.few(1)
      times[threads] = seconds(lambda: self.few(3))
    best = min(times, key=lambda threads: times[threads])
    self._torch.set_num_threads(best)
    return best


def seconds(function: Callable[[], Any]) -> float:
  """How long a call takes."""
  start = time.perf_counter()
  function()
  return time.perf_counter() - start


def rate_of_products(cfg: models.TransformerConfig) -> tuple[float, str]:
  """Operations per second of the layers' own matrix products, the best that is seen."""
  import torch

  sizes = [
    (cfg.width, 3 * cfg.width),
    (cfg.width, cfg.width),
    (cfg.width, cfg.mlp_width),
    (cfg.mlp_width, cfg.width),
  ]
  multiply = jax.jit(lambda pairs: [x @ w for x, w in pairs])
  best = (0.0, '')
  for rows in (480, 960, 1920):
    flops = 2 * rows * sum(a * b for a, b in sizes)
    pairs = [(jnp.ones((rows, a)), jnp.ones((a, b))) for a, b in sizes]
    tensors = [(torch.ones(rows, a), torch.ones(a, b)) for a, b in sizes]
    for name, function in (
      ('xla', lambda p=pairs: jax.block_until_ready(multiply(p))),
      ('torch', lambda t=tensors: [x @ w for x, w in t]),
    ):
      function()
      best = max(best, (flops / min(seconds(function) for _ in range(5)), name))
  return best


def floor_flops(cfg: models.TransformerConfig, name: str, kind: str) -> float:
  """The matrix products of what patches change: causal attention's included."""
  weights = 4 * cfg.width * cfg.heads * cfg.head_dim + 2 * cfg.width * cfg.mlp_width
  first = PAIRS[kind][0]
  total = 0.0
  for layer in range(cfg.layers):
    places = [first] * cfg.heads
    if name == 'resid_pre':  # Before the first layer, only what differs differs.
      places = list(PAIRS[kind] if layer == 0 else range(first, LENGTH))
    for place in places:
      rows = range(place, LENGTH)
      keys = sum(2 * cfg.heads * cfg.head_dim * (row + 1) for row in rows)
      total += (cfg.layers - layer) * (weights * len(rows) + keys) + 2 * cfg.width
  return 2.0 * PROMPTS * total


def measure(setting: Setting, lens: Lens, name: str, rounds: int) -> dict[str, Any]:
  """All times of one sweep, in seconds."""
  found: dict[str, Any] = {}

  def theirs() -> None:
    found['theirs'] = lens.run(name)

  times: dict[str, Any] = {'transformer_lens': seconds(theirs)}
  for kind in PAIRS:
    ours = functools.partial(setting.ours, name, kind)
    times[kind] = {'first_call': seconds(lambda o=ours: found.update(ours=o()))}
    if kind == 'task':
      scale = float(np.abs(found['theirs']).max())
      times['error'] = float(np.abs(found['ours'] - found['theirs']).max())
      if not times['error'] <= 1e-3 * max(scale, 1):
        raise AssertionError(f'{name}: values differ by {times["error"]} of {scale}.')
    for restart in ('positions', 'layers'):
      ours(restart=restart)
      times[kind][restart] = min(
        seconds(lambda o=ours, r=restart: o(restart=r)) for _ in range(rounds)
      )
    times[kind]['flops'] = floor_flops(setting.cfg, name, kind)
  # Every layer costs the same if nothing is restarted: a third of them will do.
  part = {'restart': 'none', 'at': {'layer': range(0, setting.cfg.layers, 3)}}
  setting.ours(name, 'task', **part)
  times['none'] = 3 * seconds(lambda: setting.ours(name, 'task', **part))
  return times


def show(name: str, found: dict[str, Any]) -> None:
  """Prints one sweep."""
  lens, whole = found['transformer_lens'], found['none']
  print(f'\n{name}: largest difference from TransformerLens {found["error"]:.1e}')
  print(f'  TransformerLens {lens:.2f} s; ours without restarts {whole:.2f} s')
  for kind in PAIRS:
    own = found[kind]
    print(
      f'  {kind:>4}: {own["positions"]:.2f} s, ratio {lens / own["positions"]:.1f} '
      f'(first call {own["first_call"]:.2f} s, {lens / own["first_call"]:.1f}); floor '
      f'{own["floor"]:.2f} s, share {own["floor"] / own["positions"]:.2f}; saved by '
      f'restarts in layers {1 - own["layers"] / whole:.0%}, in positions another '
      f'{(own["layers"] - own["positions"]) / whole:.0%}'
    )


def main(argv: list[str]) -> None:
  """Prints the table."""
  del argv
  warnings.simplefilter('ignore')  # Those of other libraries, as what they log.
  if not flags.FLAGS['verbosity'].present:
    logging.set_verbosity(logging.WARNING)
  load = os.getloadavg()[0]
  setting = Setting(QUICK.value)
  lens = Lens(setting)
  threads = lens.choose_threads()
  print(f'{os.cpu_count()} cores, load {load:.1f}; TransformerLens: {threads} threads')
  record: dict[str, Any] = {}
  rates = [rate_of_products(setting.cfg)]
  for name in ONLY.value:
    record[name] = measure(setting, lens, name, ROUNDS.value)
    rates.append(rate_of_products(setting.cfg))
  rate, by = max(rates)
  print(f'matrix products: {rate / 1e9:.0f} GFLOP/s by {by}')
  for name, found in record.items():
    for kind in PAIRS:
      found[kind]['floor'] = found[kind]['flops'] / rate
    show(name, found)
  ratios = {}
  for kind, suffix in (('task', ''), ('all', '_all_differ')):
    for name, found in record.items():
      ratio = found['transformer_lens'] / found[kind]['positions']
      ratios[f'ratio_{name}{suffix}'] = ratio
    floor, own = (
      sum(found[kind][key] for found in record.values())
      for key in ('floor', 'positions')
    )
    ratios[f'floor_share{suffix}'] = floor / own
  if JSON.value:
    about = {'jax': jax.__version__, 'cores': os.cpu_count(), 'load': load}
    about |= {'threads': threads}
    about |= {'product_flops_per_s': rate, 'products_by': by}
    with open(JSON.value, 'w', encoding='utf-8') as file:
      json.dump(ratios | {'about': about, 'seconds': record}, file, indent=2)


if __name__ == '__main__':
  app.run(main)
