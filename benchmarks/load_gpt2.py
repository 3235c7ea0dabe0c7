"""Loading a GPT-2-small-sized folder: time and memory, beside the peers.

Each library loads the same folder in a process of its own, its own way: ours by
`models.load`, transformers by `GPT2LMHeadModel.from_pretrained`, and TransformerLens by
the steps of its `from_pretrained_no_processing` (the function itself asks the hub for
the config and the tokenizer). All in float32. Shown are the first load of a process,
which is what a script or a notebook waits for, and the median of later ones, with every
parameter read once, since a mapped file is not in memory before it is read. Memory is
that of the first load, counted twice: all that is resident (`VmHWM`, with the pages of
the mapped file), and what the process itself allocated (anonymous pages).

    python benchmarks/load_gpt2.py --json=benchmarks/results/load_gpt2.json

needs the extra `peers` and half a gigabyte of disk; it takes two minutes.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from absl import app, flags

_JSON = flags.DEFINE_string('json', '', 'Where to write the results.')
_REPEATS = flags.DEFINE_integer('repeats', 5, 'Timed loads of each library.')
_SIDE = flags.DEFINE_string('side', '', 'Used by the script itself: the library.')
_FOLDER = flags.DEFINE_string('folder', '', 'Used by the script itself: the model.')

CONFIG = {
  'model_type': 'gpt2',
  'architectures': ['GPT2LMHeadModel'],
  'vocab_size': 50257,
  'n_embd': 768,
  'n_layer': 12,
  'n_head': 12,
  'n_positions': 1024,
  'activation_function': 'gelu_new',
}


def interp_jax_loader(folder):
  import jax

  from interp_jax.models import load

  return lambda: jax.block_until_ready(load(folder)[1])


def transformers_loader(folder):
  import torch
  import transformers

  transformers.logging.disable_progress_bar()
  torch.set_num_threads(os.cpu_count() or 1)

  def loader():
    return transformers.GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32)

  return loader


def transformer_lens_loader(folder):
  import torch
  import transformer_lens
  from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights
  import transformers

  transformers.logging.disable_progress_bar()
  torch.set_num_threads(os.cpu_count() or 1)
  cfg = transformer_lens.HookedTransformerConfig(
    n_layers=CONFIG['n_layer'],
    d_model=CONFIG['n_embd'],
    n_ctx=CONFIG['n_positions'],
    d_head=CONFIG['n_embd'] // CONFIG['n_head'],
    d_vocab=CONFIG['vocab_size'],
    act_fn='gelu_new',
    normalization_type='LN',
    original_architecture='GPT2LMHeadModel',
    init_weights=False,
    device='cpu',
  )

  def loader():
    published = transformers.GPT2LMHeadModel.from_pretrained(
      folder, dtype=torch.float32
    )
    state = convert_gpt2_weights(published, cfg)
    model = transformer_lens.HookedTransformer(cfg, move_to_device=False)
    model.load_and_process_state_dict(
      state,
      fold_ln=False,
      center_writing_weights=False,
      center_unembed=False,
      fold_value_biases=False,
    )
    return model

  return loader


LOADERS = {
  'interp_jax': interp_jax_loader,
  'transformers': transformers_loader,
  'transformer_lens': transformer_lens_loader,
}


def touch(model):
  """Reads every parameter once: a mapped file is not loaded before it is read."""
  if hasattr(model, 'parameters'):
    return float(sum(p.sum() for p in model.parameters()))
  import jax

  return float(sum(p.sum() for p in jax.tree.leaves(model)))


class Memory:
  """The most memory of this process, watched by a thread."""

  def __init__(self):
    self.anonymous = 0.0
    self._done = threading.Event()
    self._thread = threading.Thread(target=self._watch, daemon=True)

  def __enter__(self):
    self._before = status()
    pathlib.Path('/proc/self/clear_refs').write_text('5')  # Resets VmHWM.
    self._thread.start()
    return self

  def __exit__(self, *_):
    self._done.set()
    self._thread.join()
    self.resident = status()['VmHWM'] - self._before['VmRSS']
    self.anonymous -= self._before['RssAnon']

  def _watch(self):
    while not self._done.wait(0.002):
      self.anonymous = max(self.anonymous, status()['RssAnon'])


def status():
  lines = pathlib.Path('/proc/self/status').read_text().splitlines()
  pairs = (line.split(':') for line in lines)
  return {
    name: int(value.split()[0]) / 1024
    for name, value in pairs
    if name in ('VmHWM', 'VmRSS', 'RssAnon')
  }


def measure(side, folder, repeats):
  start = time.perf_counter()
  loader = LOADERS[side](folder)
  imports = time.perf_counter() - start
  start = time.perf_counter()
  with Memory() as memory:
    model = loader()
    touch(model)
  first = time.perf_counter() - start
  del model
  loads, reads = [], []
  for _ in range(repeats):
    start = time.perf_counter()
    model = loader()
    loads.append(time.perf_counter() - start)
    touch(model)
    reads.append(time.perf_counter() - start)
    del model
  return {
    'import_s': imports,
    'first_load_and_read_s': first,
    'load_s': statistics.median(loads),
    'load_and_read_s': statistics.median(reads),
    'peak_resident_mib': memory.resident,
    'peak_anonymous_mib': memory.anonymous,
  }


def run(folder):
  results = {}
  for side in LOADERS:
    command = [sys.executable, __file__, f'--side={side}', f'--folder={folder}']
    command.append(f'--repeats={_REPEATS.value}')
    environment = os.environ | {'HF_HUB_OFFLINE': '1', 'JAX_PLATFORMS': 'cpu'}
    done = subprocess.run(
      command, capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
      raise RuntimeError(f'{side}: {done.stderr[-2000:]}')
    results[side] = json.loads(done.stdout.splitlines()[-1])
  return results


def show(results):
  names = list(next(iter(results.values())))
  print('| |', ' | '.join(results), '|')
  print('|---' * (len(results) + 1) + '|')
  for name in names:
    print(f'| {name} |', ' | '.join(f'{r[name]:.3g}' for r in results.values()), '|')
  ours = results['interp_jax']
  for peer in ('transformers', 'transformer_lens'):
    ratios = {name: results[peer][name] / ours[name] for name in names}
    print(f'{peer} / interp_jax:', {n: round(r, 2) for n, r in ratios.items()})


def main(argv):
  del argv
  if _SIDE.value:
    print(json.dumps(measure(_SIDE.value, _FOLDER.value, _REPEATS.value)))
    return
  from interp_jax.testing import random_checkpoint

  with tempfile.TemporaryDirectory() as scratch:
    folder = random_checkpoint(pathlib.Path(scratch) / 'gpt2', CONFIG)
    results = run(folder)
  show(results)
  if _JSON.value:
    path = pathlib.Path(_JSON.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + '\n')


if __name__ == '__main__':
  app.run(main)
