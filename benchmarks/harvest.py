"""How fast are harvesting and reading, against others and against the machine?

    python benchmarks/harvest.py [--context=1024] [--json=FILE] [--scratch=DIR]

A model of GPT-2 small's shape with random weights, float32, up to the residual stream
behind layer 6. Measured are, each at the best of several batch sizes, and taking turns
so that what else the machine does hurts all alike:

- the floor: the matrix products alone, causal attention's included, by whichever of
  torch and XLA multiplies faster;
- TransformerLens, `run_with_cache(stop_at_layer=7, names_filter=...)` in inference
  mode, with the same weights (the activations are compared with ours first);
- this library without writing, and with writing;
- SAELens's `CacheActivationsRunner`, which writes Arrow files;
- this library's shuffled batches against TensorStore's reads of the same bytes in
  order, from memory and from disk, and against the rows that a 16× TopK dictionary
  consumes.

Takes about 10 minutes on 2 cores. Needs the extra `peers`. `--quick` takes a tiny model
and says nothing about speed.
"""

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import functools
import io
import json
import math
import os
import pathlib
import shutil
import tempfile
import time
from typing import Any
from unittest import mock
import warnings

from absl import app, flags, logging
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax import dictionaries, models, store
from interp_jax.dictionaries import Plan, initial, kernels, step
from interp_jax.harvest import Sequences, harvest
from interp_jax.harvest import run as run_lib
from interp_jax.harvest.forward import Forward, make_forward

CONTEXT = flags.DEFINE_integer('context', 1024, 'Tokens of a sequence.')
TOKENS = flags.DEFINE_integer('tokens', 16_384, 'Tokens of a round.')
ROUNDS = flags.DEFINE_integer('rounds', 3, 'Rounds, of which the best counts.')
JSON = flags.DEFINE_string('json', '', 'File to write the numbers to.')
SCRATCH = flags.DEFINE_string('scratch', '', 'Folder on the disk to measure.')
QUICK = flags.DEFINE_bool('quick', False, 'A tiny model, to try the script.')

LAYER = 6
HOOK = f'blocks.{LAYER}.hook_resid_post'
SITES = {'resid_post': (LAYER,)}
BATCH_TOKENS = (1024, 2048, 4096)


@dataclasses.dataclass(frozen=True)
class Setting:
  """A model for both libraries, and tokens."""

  peer: Any
  model: models.Transformer
  params: Any
  tokens: np.ndarray

  @property
  def rows(self) -> int:
    """Tokens of a round."""
    return self.tokens.size

  def batch_sizes(self) -> tuple[int, ...]:
    """Sequences of a batch to try."""
    context = self.tokens.shape[1]
    sizes = (max(1, tokens // context) for tokens in BATCH_TOKENS)
    return tuple(size for size in sizes if size <= len(self.tokens))


def config(context: int, quick: bool) -> models.TransformerConfig:
  """The shape of GPT-2 small."""
  width, heads, vocabulary = (768, 12, 50257) if not quick else (64, 2, 100)
  return models.TransformerConfig(
    vocab_size=vocabulary,
    width=width,
    layers=12,
    heads=heads,
    head_dim=width // heads,
    mlp_width=4 * width,
    context=context,
    act='gelu_tanh',
  )


def make_peer(cfg: models.TransformerConfig) -> Any:
  """The same model of TransformerLens, with random weights."""
  import torch
  import transformer_lens

  torch.manual_seed(0)
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    peer = transformer_lens.HookedTransformer(
      transformer_lens.HookedTransformerConfig(
        n_layers=cfg.layers,
        d_model=cfg.width,
        n_ctx=cfg.context,
        d_head=cfg.head_dim,
        n_heads=cfg.heads,
        d_mlp=cfg.mlp_width,
        d_vocab=cfg.vocab_size,
        act_fn='gelu_new',
        normalization_type='LN',
        device='cpu',
        seed=0,
      )
    )
  return peer.eval().requires_grad_(False)


def params_of(peer: Any) -> Any:
  """TransformerLens's weights as ours: the names and axes are the same."""
  weights = {name: value.numpy() for name, value in peer.state_dict().items()}

  def layers(name: str) -> np.ndarray:
    return np.stack([weights[f'blocks.{i}.{name}'] for i in range(peer.cfg.n_layers)])

  parts = {
    'attn': [f'{kind}_{name}' for kind in 'Wb' for name in 'QKVO'],
    'mlp': ['W_in', 'b_in', 'W_out', 'b_out'],
    'ln1': ['w', 'b'],
    'ln2': ['w', 'b'],
  }
  return {
    'embed': {'W_E': weights['embed.W_E']},
    'pos_embed': {'W_pos': weights['pos_embed.W_pos']},
    'blocks': {
      part: {name: layers(f'{part}.{name}') for name in names}
      for part, names in parts.items()
    },
    'ln_final': {name: weights[f'ln_final.{name}'] for name in 'wb'},
    'unembed': {'W_U': weights['unembed.W_U']},
  }


def make_setting(context: int, tokens: int, quick: bool) -> Setting:
  """Model and tokens."""
  cfg = config(context, quick)
  peer = make_peer(cfg)
  params = jax.tree.map(jnp.asarray, params_of(peer))
  rng = np.random.default_rng(0)
  shape = (max(1, tokens // context), context)
  rows = rng.integers(0, cfg.vocab_size, shape, np.int32)
  return Setting(peer, models.Transformer(cfg), params, rows)


def seconds(function: Callable[[], Any]) -> float:
  """How long a call takes."""
  start = time.perf_counter()
  function()
  return time.perf_counter() - start


def best(functions: dict[Any, Callable[[], Any]], rounds: int) -> tuple[Any, float]:
  """The fastest of some functions and its best time, when they take turns."""
  times = {name: math.inf for name in functions}
  for function in functions.values():
    function()  # Compiles, allocates.
  for _ in range(rounds):
    for name, function in functions.items():
      times[name] = min(times[name], seconds(function))
  fastest = min(times, key=lambda name: times[name])
  return fastest, times[fastest]


def flops_per_token(cfg: models.TransformerConfig, context: int) -> float:
  """Of the matrix products of the layers that are run, a causal query's keys only."""
  weights = 4 * cfg.width * cfg.heads * cfg.head_dim + 2 * cfg.width * cfg.mlp_width
  keys = 2 * cfg.heads * cfg.head_dim * (context + 1) / 2
  return 2 * (LAYER + 1) * (weights + keys)


def multiplication_rate(cfg: models.TransformerConfig, rounds: int) -> float:
  """Operations per second of the layers' own matrix products, by the faster library."""
  import torch

  sizes = [
    (cfg.width, 3 * cfg.width),
    (cfg.width, cfg.width),
    (cfg.width, cfg.mlp_width),
    (cfg.mlp_width, cfg.width),
  ]
  functions: dict[Any, Callable[[], Any]] = {}
  multiply = jax.jit(lambda pairs: [x @ w for x, w in pairs])
  for rows in BATCH_TOKENS:
    pairs = [(jnp.ones((rows, a)), jnp.ones((a, b))) for a, b in sizes]
    functions['xla', rows] = lambda pairs=pairs, rows=rows: [
      jax.block_until_ready(multiply(pairs)) for _ in range(8192 // rows)
    ]
    tensors = [(torch.ones(rows, a), torch.ones(a, b)) for a, b in sizes]
    functions['torch', rows] = lambda tensors=tensors, rows=rows: [
      [x @ w for x, w in tensors] for _ in range(8192 // rows)
    ]
  fastest, time_s = best(functions, rounds)
  rate = 2 * 8192 * sum(a * b for a, b in sizes) / time_s
  print(f'matrix products: {rate / 1e9:.0f} GFLOP/s by {fastest[0]}')
  return rate


class Discard:
  """A writer that wants all rows and keeps none."""

  rows, stop = 0, None


def ours(setting: Setting, batch_size: int) -> Callable[[], None]:
  """All rows to the host, through the loop of a harvest."""
  sequences = Sequences(setting.tokens)
  shape = (batch_size, setting.tokens.shape[1])
  forward = make_forward(setting.model, setting.params, SITES, 'float32', shape)

  def run() -> None:
    writer: Any = Discard()
    for _ in run_lib._stream(forward, sequences, batch_size, writer, None):
      pass

  return run


def theirs(setting: Setting, batch_size: int, threads: int) -> Callable[[], None]:
  """All rows by TransformerLens."""
  import torch

  batches = torch.from_numpy(setting.tokens).long().split(batch_size)

  def run() -> None:
    torch.set_num_threads(threads)
    with torch.inference_mode():
      for batch in batches:
        setting.peer.run_with_cache(
          batch, stop_at_layer=LAYER + 1, names_filter=HOOK, return_type=None
        )

  return run


def check_equal(setting: Setting) -> None:
  """The two libraries compute the same."""
  import torch

  tokens = setting.tokens[:1]
  shape = tokens.shape
  forward: Forward = make_forward(
    setting.model, setting.params, SITES, 'float32', (1, shape[1])
  )
  one = forward.run(forward.params, tokens, None)[f'resid_post.{LAYER}']
  with torch.inference_mode():
    _, cache = setting.peer.run_with_cache(
      torch.from_numpy(tokens).long(), stop_at_layer=LAYER + 1, names_filter=HOOK
    )
  np.testing.assert_allclose(one, cache[HOOK].numpy(), atol=1e-4, rtol=1e-4)


def ours_written(
  setting: Setting, batch_size: int, scratch: pathlib.Path
) -> Callable[[], None]:
  """All rows into a dataset, float32 as they are computed."""

  def run() -> None:
    path = scratch / 'ours'
    shutil.rmtree(path, ignore_errors=True)
    harvest(
      setting.model,
      setting.params,
      setting.tokens,
      path,
      sites=SITES,
      batch_size=batch_size,
      drop_first=0,
      dtype='float32',
      progress=False,
    )

  return run


def sae_lens_written(
  setting: Setting, batch_size: int, scratch: pathlib.Path
) -> Callable[[], None]:
  """All rows into Arrow files, by SAELens; not shuffled, which would cost it more."""
  import datasets
  import sae_lens
  import torch

  datasets.disable_progress_bars()
  count, context = setting.tokens.shape
  width = setting.model.cfg.width
  data = datasets.Dataset.from_dict({'input_ids': setting.tokens.tolist()})
  data = data.with_format('torch')

  def run() -> None:
    torch.set_num_threads(os.cpu_count() or 1)
    path = scratch / 'sae_lens'
    shutil.rmtree(path, ignore_errors=True)
    cfg = sae_lens.CacheActivationsRunnerConfig(
      dataset_path='',
      model_name='',
      model_batch_size=batch_size,
      hook_name=HOOK,
      d_in=width,
      training_tokens=count * context,
      context_size=context,
      new_cached_activations_path=str(path),
      shuffle=False,
      prepend_bos=False,
      device='cpu',
      buffer_size_gb=(count * context * width * 4 + 1) / 1e9,
    )
    # It can only load models by name, from the network.
    name = 'sae_lens.cache_activations_runner.load_model'
    with (
      mock.patch(name, return_value=setting.peer),
      contextlib.redirect_stderr(io.StringIO()),
    ):
      sae_lens.CacheActivationsRunner(cfg, override_dataset=data).run()

  return run


def disk_rows(scratch: pathlib.Path, row_bytes: int, rows: int) -> float:
  """Rows per second that plain files take: written, and on the disk when they are."""
  data = np.random.default_rng(0).bytes(2**26)
  count = max(1, rows * row_bytes // len(data))

  def write() -> None:
    with (scratch / 'plain').open('wb') as file:
      for _ in range(count):
        file.write(data)
      file.flush()
      os.fsync(file.fileno())

  time_s = min(seconds(write) for _ in range(2))
  (scratch / 'plain').unlink()
  return count * len(data) / row_bytes / time_s


def write_rows(path: pathlib.Path, rows: int, width: int) -> store.Reader:
  """A dataset of random rows, bfloat16, of a width."""
  spec = store.ArraySpec('resid_post', LAYER, (width,), 'bfloat16')
  rng = np.random.default_rng(0)
  part = rng.standard_normal((16_384, width), np.float32).astype(spec.np_dtype)
  where = np.zeros((len(part), 3), np.int32)
  with store.Writer(path, store.make_schema([spec])) as writer:
    while writer.rows < rows:
      writer.append({spec.name: part}, where)
  return store.Reader(path)


def forget(path: pathlib.Path) -> None:
  """Drops a folder's files from the operating system's cache."""
  for file in path.rglob('*'):
    if file.is_file():
      with file.open('rb') as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def in_order(reader: store.Reader, step: int) -> None:
  """All rows by TensorStore, in order, two reads ahead as the shuffled ones have."""
  import tensorstore

  kvstore = {'driver': 'file', 'path': f'{reader.path}/{reader.names[0]}/'}
  context = tensorstore.Context({'cache_pool': {'total_bytes_limit': 2**24}})
  spec = {'driver': 'zarr3', 'kvstore': kvstore}
  array = tensorstore.open(spec, context=context).result()
  ahead: list[Any] = []
  for start in range(0, len(reader), step):
    ahead.append(array[start : min(start + step, len(reader))].read())
    if len(ahead) > 2:
      ahead.pop(0).result()
  for read in ahead:
    read.result()


def shuffled(reader: store.Reader) -> None:
  """All rows in shuffled batches."""
  batches = reader.batches(4096, seed=0, epochs=1)
  for _ in batches:
    pass
  batches.close()


def reading(scratch: pathlib.Path, rows: int, width: int, rounds: int) -> dict:
  """Rows per second in order and shuffled, from memory and from disk."""
  path = scratch / 'read'
  reader = write_rows(path, rows, width)
  # In order at its best: some pieces are as long as a shard, some as a window of 64.
  schema = reader.manifest.schema
  steps = (schema.chunk_rows * 16, schema.shard_rows)
  result = {}
  for place in ('memory', 'disk'):
    functions: dict[Any, Callable[[], Any]] = {
      step: functools.partial(in_order, reader, step) for step in steps
    }
    functions['shuffled'] = functools.partial(shuffled, reader)
    times: dict[Any, float] = {name: math.inf for name in functions}
    for _ in range(rounds):
      for name, function in functions.items():
        if place == 'disk':
          forget(path)
        times[name] = min(times[name], seconds(function))
    straight = min(times[step] for step in steps)
    result[place] = {
      'in_order': len(reader) / straight,
      'shuffled': len(reader) / times['shuffled'],
      'share': straight / times['shuffled'],
    }
  return result


def consumed(width: int, rounds: int) -> float:
  """Rows per second that a 16× TopK dictionary takes in training, float32."""
  cfg = dictionaries.DictionaryConfig(width, 16 * width, dictionaries.TopK(32))
  trainer = dictionaries.TrainerConfig(steps=1000, batch_size=2048)
  rng = np.random.default_rng(0)
  rows = rng.standard_normal((trainer.batch_size, width), np.float32)
  inputs = initial.measure(rows, 'mean', trainer.normalize)
  plan = Plan(kernels.resolve('auto'))
  update = jax.jit(step.make_step(cfg, trainer, plan), donate_argnums=0)
  state = step.init_state(cfg, trainer, inputs)
  state, _ = jax.block_until_ready(update(state, rows))
  time_s = math.inf
  for _ in range(rounds):
    start = time.perf_counter()
    state, _ = jax.block_until_ready(update(state, rows))
    time_s = min(time_s, time.perf_counter() - start)
  return len(rows) / time_s


@contextlib.contextmanager
def scratch_folder(under: str) -> Iterator[pathlib.Path]:
  """An empty folder that is deleted at the end."""
  if under:
    pathlib.Path(under).mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(dir=under or None) as folder:
    yield pathlib.Path(folder)


def choose(setting: Setting, scratch: pathlib.Path) -> dict[str, Any]:
  """The best batch size of each library (and number of threads), on a few tokens."""
  few = dataclasses.replace(setting, tokens=setting.tokens[: setting.batch_sizes()[-1]])
  sizes = sorted({1, *setting.batch_sizes()})
  cores = os.cpu_count() or 1
  size, _ = best({s: ours(few, s) for s in sizes}, 2)
  peer, _ = best({s: theirs(few, s, cores) for s in sizes}, 2)
  threads, _ = best({t: theirs(few, peer, t) for t in {1, cores}}, 1)
  sae, _ = best({s: sae_lens_written(few, s, scratch) for s in sizes}, 1)
  print(
    f'sequences of a batch: {size}; TransformerLens {peer}, {threads} threads; '
    f'SAELens {sae}'
  )
  return {
    'ours': ours(setting, size),
    'ours, written': ours_written(setting, size, scratch),
    'TransformerLens': theirs(setting, peer, threads),
    'SAELens, written': sae_lens_written(setting, sae, scratch),
  }


def measure_harvest(setting: Setting, scratch: pathlib.Path, rounds: int) -> dict:
  """Rows per second of all who harvest, and the floor."""
  check_equal(setting)
  cfg, rows = setting.model.cfg, setting.rows
  turns = choose(setting, scratch)
  times = {name: math.inf for name in turns}
  rate = 0.0
  for _ in range(rounds):
    rate = max(rate, multiplication_rate(cfg, 1))
    for name, function in turns.items():
      times[name] = min(times[name], seconds(function))
  floor = rate / flops_per_token(cfg, setting.tokens.shape[1])
  disk = disk_rows(scratch, 4 * cfg.width, max(rows, 2**17))
  return {'floor': floor, 'disk': disk} | {n: rows / t for n, t in times.items()}


def main(argv: list[str]) -> None:
  """Prints the tables."""
  del argv
  warnings.simplefilter('ignore')  # Those of other libraries, as what they log.
  if not flags.FLAGS['verbosity'].present:
    logging.set_verbosity(logging.WARNING)
  quick, rounds = QUICK.value, ROUNDS.value
  context = min(CONTEXT.value, 64) if quick else CONTEXT.value
  tokens = min(TOKENS.value, 2048) if quick else TOKENS.value
  setting = make_setting(context, tokens, quick)
  width = setting.model.cfg.width
  load = os.getloadavg()[0]
  with scratch_folder(SCRATCH.value) as scratch:
    rates = measure_harvest(setting, scratch, rounds)
    found = reading(scratch, 50_000 if quick else 655_360, width, rounds)
  taken = consumed(width, rounds)
  ratios = {
    'ratio_transformer_lens': rates['ours'] / rates['TransformerLens'],
    'ratio_sae_lens': rates['ours, written'] / rates['SAELens, written'],
    'write_overhead': rates['ours'] / rates['ours, written'] - 1,
    'shuffled_read_share': found['memory']['share'],
    'shuffled_read_share_disk': found['disk']['share'],
    'read_over_consumed': found['memory']['shuffled'] / taken,
    'floor_share': rates['ours'] / rates['floor'],
    'ceiling_transformer_lens': rates['floor'] / rates['TransformerLens'],
    'disk_over_written': rates['disk'] / rates['ours, written'],
  }
  print(f'\n{os.cpu_count()} cores, load {load:.1f}; context {context}, float32')
  for name, rate in rates.items():
    print(f'{name:20} {rate:10,.0f} rows/s {rate * width * 4 / 2**20:8.1f} MiB/s')
  for place, read in found.items():
    for name in ('in_order', 'shuffled'):
      mib = read[name] * width * 2 / 2**20
      print(f'{f"{name}, {place}":20} {read[name]:10,.0f} rows/s {mib:8.1f} MiB/s')
  print(f'{"dictionary takes":20} {taken:10,.0f} rows/s')
  for name, ratio in ratios.items():
    print(f'{name:26} {ratio:.3f}')
  if JSON.value:
    versions = {'jax': jax.__version__, 'cores': os.cpu_count(), 'load': load}
    record = {'versions': versions, 'context': context, **ratios, 'rows_per_s': rates}
    record |= {'read_rows_per_s': found, 'consumed_rows_per_s': taken}
    with open(JSON.value, 'w', encoding='utf-8') as file:
      json.dump(record, file, indent=2)


if __name__ == '__main__':
  app.run(main)
