"""How fast is a step of dictionary training, against others and the machine?

    python benchmarks/dictionary_step.py [--json=FILE] [--sweep] [--quick]
        [--width=512] [--features=8192] [--batch=2048] [--k=32] [--dtype=bfloat16]

A step is forward, loss, backward, clipping or constraint, and Adam, on a batch that is
there already. Measured are, taking turns so that what else the machine does hurts all
alike, and each at its best:

- this library's step, for each architecture that has a peer;
- SAELens's own trainer's step (`SAETrainer.step`) and sparsify's, with one thread and
  with all;
- the encoder's matrix product alone, `[batch, width]` times `[width, features]`.

Memory is the peak of a process that makes three steps of TopK, ours and SAELens's each
in one of its own: all of it (`memory_ratio`), and what is above the imports
(`memory_ratio_net`); ours also as the compiler plans it.

Rates are those of the first steps of a long warm-up, so that nothing moves: ReLU,
JumpReLU and gates get a bias with which k features are active on average, as after
training;
`--dense` leaves it at 0, as before. Nothing is dead.

With `--sweep`, eight TopK dictionaries of a quarter of the features, as one step of a
sweep, against eight steps of one. On a GPU, SAELens runs with autocast (if bfloat16)
and `torch.compile`, and rates are printed as shares of the largest matrix product's.

Takes about 5 minutes on 2 cores. Needs the extra `peers`. `--quick` takes tiny sizes
and says nothing about speed.
"""

from collections.abc import Callable, Iterator, Mapping
import dataclasses
import json
import math
import os
import statistics
import subprocess
import sys
import time
from typing import Any
import warnings

from absl import app, flags, logging
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax import dictionaries
from interp_jax.dictionaries import Plan, initial, kernels, step
from interp_jax.dictionaries.sweep import make_sweep_step

WIDTH = flags.DEFINE_integer('width', 512, 'Width of the activations.')
FEATURES = flags.DEFINE_integer('features', 8192, 'Features of the dictionary.')
BATCH = flags.DEFINE_integer('batch', 2048, 'Examples of a batch.')
ACTIVE = flags.DEFINE_integer('k', 32, 'Active features of an example.')
DTYPE = flags.DEFINE_enum('dtype', 'float32', ['float32', 'bfloat16'], 'Of compute.')
DENSE = flags.DEFINE_bool('dense', False, 'ReLU, JumpReLU, gates as before training.')
ROUNDS = flags.DEFINE_integer('rounds', 5, 'Rounds, of which the best counts.')
ONLY = flags.DEFINE_list('only', [], 'Architectures to measure; empty for all.')
SWEEP = flags.DEFINE_bool('sweep', False, 'Measure a sweep of dictionaries, too.')
JSON = flags.DEFINE_string('json', '', 'File to write the numbers to.')
QUICK = flags.DEFINE_bool('quick', False, 'Tiny sizes, to try the script.')
PEAK = flags.DEFINE_enum(
  'peak', '', ['', 'ours', 'saelens'], 'Only print the peak memory of three steps.'
)

WORLDS = 8  # Dictionaries of a sweep.
MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Setting:
  """Sizes, and a batch."""

  width: int
  features: int
  batch: int
  k: int
  dtype: str

  @property
  def flops(self) -> int:
    """Of the encoder's matrix product."""
    return 2 * self.batch * self.width * self.features

  def rows(self) -> np.ndarray:
    """The batch: normal numbers."""
    shape = (self.batch, self.width)
    return np.random.default_rng(0).standard_normal(shape, np.float32)

  def bias(self) -> float:
    """What leaves k features active, where pre-activations are standard normal."""
    share = self.k / self.features
    return 0.0 if DENSE.value else statistics.NormalDist().inv_cdf(share)


def make_setting() -> Setting:
  """From the flags."""
  if QUICK.value:
    return Setting(32, 512, 256, 4, DTYPE.value)
  return Setting(WIDTH.value, FEATURES.value, BATCH.value, ACTIVE.value, DTYPE.value)


def architectures(k: int, features: int) -> dict[str, tuple[Any, tuple[Any, ...]]]:
  """Activation and terms of ours, under the names of SAELens."""
  return {
    'topk': (dictionaries.TopK(k), (dictionaries.AuxK(),)),
    'batchtopk': (dictionaries.BatchTopK(k), (dictionaries.AuxK(),)),
    'matryoshka': (
      dictionaries.BatchTopK(k),
      (dictionaries.AuxK(), dictionaries.Matryoshka((features // 16, features // 4))),
    ),
    'standard': (dictionaries.ReLU(), (dictionaries.L1(),)),
    'jumprelu': (dictionaries.JumpReLU(), (dictionaries.L0(),)),
    'gated': (
      dictionaries.Gated(),
      (dictionaries.L1(), dictionaries.GateReconstruction()),
    ),
  }


def configs(
  setting: Setting, name: str
) -> tuple[dictionaries.DictionaryConfig, dictionaries.TrainerConfig]:
  """The dictionary of an architecture, and how it is trained."""
  activation, terms = architectures(setting.k, setting.features)[name]
  return (
    dictionaries.DictionaryConfig(setting.width, setting.features, activation),
    dictionaries.TrainerConfig(
      steps=10**8,
      batch_size=setting.batch,
      terms=terms,
      compute_dtype=setting.dtype,
    ),
  )


@dataclasses.dataclass
class Ours:
  """A dictionary in training: call it for a step."""

  compiled: Any
  state: Any
  batch: Any

  def __call__(self) -> None:
    self.state, _ = jax.block_until_ready(self.compiled(self.state, self.batch))


def ours(setting: Setting, name: str) -> Ours:
  """A compiled step of an architecture, with the state that it takes."""
  config, trainer = configs(setting, name)
  rows = setting.rows()
  inputs = initial.measure(rows, 'zero', 'none')
  state = step.init_state(config, trainer, inputs)
  if name in BIASES:
    bias = jnp.full_like(state.params[BIASES[name]], setting.bias())
    params = state.params | {BIASES[name]: bias}
    state = dataclasses.replace(state, params=params)
  plan = Plan(kernels.resolve('auto'))
  update = jax.jit(step.make_step(config, trainer, plan), donate_argnums=0)
  batch = jnp.asarray(rows)
  return Ours(update.lower(state, batch).compile(), state, batch)


def sae_of(setting: Setting, name: str, device: str) -> Any:
  """SAELens's dictionary of an architecture, with its own defaults."""
  import sae_lens
  import torch

  quarter = setting.features // 4
  own: dict[str, tuple[str, dict[str, Any]]] = {
    'topk': ('TopK', {'k': setting.k}),
    'batchtopk': ('BatchTopK', {'k': setting.k}),
    'matryoshka': (
      'MatryoshkaBatchTopK',
      {'k': setting.k, 'matryoshka_widths': [quarter // 4, quarter, setting.features]},
    ),
    'standard': ('Standard', {'l1_coefficient': 5.0}),
    'jumprelu': ('JumpReLU', {}),
    'gated': ('Gated', {}),
  }
  prefix, given = own[name]
  config = getattr(sae_lens, f'{prefix}TrainingSAEConfig')(
    d_in=setting.width, d_sae=setting.features, device=device, **given
  )
  sae = getattr(sae_lens, f'{prefix}TrainingSAE')(config)
  if name in BIASES:
    # Its encoder starts as a decoder of norm 0.1.
    with torch.no_grad():
      getattr(sae, BIASES[name]).add_(0.1 * setting.bias())
  return sae


# What says how many features are active, where k does not; SAELens has the same names.
BIASES = {'standard': 'b_enc', 'jumprelu': 'b_enc', 'gated': 'b_gate'}
SAELENS = ('topk', 'batchtopk', 'matryoshka', 'standard', 'jumprelu', 'gated')


def saelens(setting: Setting, name: str) -> Callable[[], None]:
  """A step of SAELens's trainer."""
  from sae_lens.config import LoggingConfig, SAETrainerConfig
  from sae_lens.training.sae_trainer import SAETrainer
  import torch

  gpu = torch.cuda.is_available()
  device = 'cuda' if gpu else 'cpu'
  sae = sae_of(setting, name, device)
  if gpu:
    sae.training_forward_pass = torch.compile(sae.training_forward_pass)
  batch = torch.from_numpy(setting.rows()).to(device)

  def data() -> Iterator[Any]:
    while True:
      yield batch

  config = SAETrainerConfig(
    total_training_samples=10**12,
    train_batch_size_samples=setting.batch,
    lr=1e-9,
    lr_end=1e-9,
    device=device,
    autocast=setting.dtype == 'bfloat16',
    logger=LoggingConfig(log_to_wandb=False),
  )
  trainer = SAETrainer(config, sae, data())

  def run() -> None:
    trainer.step(batch)
    if gpu:
      torch.cuda.synchronize()

  return run


def sparsify_topk(setting: Setting) -> Callable[[], None]:
  """What sparsify's trainer does with a batch; with Adam, as ours."""
  import sparsify
  import torch

  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  config = sparsify.SparseCoderConfig(num_latents=setting.features, k=setting.k)
  sae = sparsify.SparseCoder(setting.width, config, device=device)
  optimizer = torch.optim.Adam(sae.parameters(), lr=1e-9)
  batch = torch.from_numpy(setting.rows()).to(device)
  idle = torch.zeros(setting.features, dtype=torch.long, device=device)

  def run() -> None:
    sae.set_decoder_norm_to_unit_norm()
    out = sae(batch, dead_mask=idle > 10**7)
    (out.fvu + out.auxk_loss / 32).backward()
    idle.add_(len(batch))
    idle[out.latent_indices.flatten()] = 0
    sae.remove_gradient_parallel_to_decoder_directions()
    optimizer.step()
    optimizer.zero_grad()
    if device == 'cuda':
      torch.cuda.synchronize()

  return run


def with_threads(run: Callable[[], None], threads: int) -> Callable[[], None]:
  """A function of torch with a number of threads."""
  import torch

  def limited() -> None:
    torch.set_num_threads(threads)
    run()

  return limited


def best(functions: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
  """The best time of each, in seconds, when they take turns."""
  for function in functions.values():
    function()  # Compiles, allocates.
    function()
  times = dict.fromkeys(functions, math.inf)
  for _ in range(rounds):
    for name, function in functions.items():
      start = time.perf_counter()
      function()
      times[name] = min(times[name], time.perf_counter() - start)
  return times


def encoder(setting: Setting) -> Callable[[], Any]:
  """The encoder's matrix product alone."""
  x = jnp.asarray(setting.rows(), setting.dtype)
  W_enc = jnp.ones((setting.width, setting.features), setting.dtype)
  multiply = jax.jit(jnp.matmul)
  return lambda: jax.block_until_ready(multiply(x, W_enc))


def measure(setting: Setting, name: str, rounds: int) -> dict[str, float]:
  """Times of all who train an architecture, by name; of torch at its best threads."""
  threads = sorted({1, os.cpu_count() or 1})
  runs: dict[str, Callable[[], Any]] = {'encoder': encoder(setting)}
  runs['ours'] = ours(setting, name)
  peers = {'saelens': saelens(setting, name)}
  if name == 'topk':
    peers['sparsify'] = sparsify_topk(setting)
  for peer, run in peers.items():
    runs |= {f'{peer}/{t}': with_threads(run, t) for t in threads}
  times: dict[str, float] = {}
  for run_name, time_s in best(runs, rounds).items():
    who = run_name.split('/')[0]
    times[who] = min(times.get(who, math.inf), time_s)
  return times


def sweep(setting: Setting, rounds: int) -> float:
  """The time of a vmapped sweep of dictionaries over that of single steps."""
  small = dataclasses.replace(setting, features=setting.features // 4)
  single = ours(small, 'topk')
  config, trainer = configs(small, 'topk')
  inputs = initial.measure(small.rows(), 'zero', 'none')
  states = [
    step.init_state(config, dataclasses.replace(trainer, seed=seed), inputs)
    for seed in range(WORLDS)
  ]
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
  plan = Plan(kernels.resolve('auto'))
  rates = np.geomspace(1e-4, 1e-2, WORLDS)
  values = {'seed': np.arange(WORLDS), 'learning_rate': rates}
  worlds = make_sweep_step(config, trainer, values, plan)
  compiled = jax.jit(worlds, donate_argnums=0).lower(stacked, single.batch).compile()
  together = Ours(compiled, stacked, single.batch)
  times = best({'single': single, 'together': together}, rounds)
  return times['together'] / (WORLDS * times['single'])


def resident() -> float:
  """The largest memory that this process has had, in MiB (Linux)."""
  # getrusage would count what the parent had before this program was loaded.
  with open('/proc/self/status', encoding='utf-8') as file:
    lines = dict(line.split(':', 1) for line in file)
  return int(lines['VmHWM'].split()[0]) / 1024


def print_peak(setting: Setting, who: str) -> None:
  """Prints what the imports took and what three steps took at most, as JSON."""
  if who == 'ours':
    jax.block_until_ready(jnp.ones(8) @ jnp.ones((8, 8)))
  else:
    import sae_lens.training.sae_trainer  # noqa: F401
  before = resident()
  run = ours(setting, 'topk') if who == 'ours' else saelens(setting, 'topk')
  for _ in range(3):
    run()
  print(json.dumps({'imports': before, 'peak': resident()}))


def peak(who: str) -> dict[str, float]:
  """The same of a process of its own."""
  command = [sys.executable, *sys.argv, f'--peak={who}']
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  return json.loads(done.stdout.splitlines()[-1])


def memory(setting: Setting) -> dict[str, float]:
  """Peaks in MiB, and ours over SAELens's."""
  one, other = peak('ours'), peak('saelens')
  planned = ours(setting, 'topk').compiled.memory_analysis()
  return {
    'memory_ours_mib': one['peak'],
    'memory_saelens_mib': other['peak'],
    'memory_ratio': one['peak'] / other['peak'],
    'memory_ratio_net': (one['peak'] - one['imports'])
    / (other['peak'] - other['imports']),
    'memory_planned_mib': planned.temp_size_in_bytes / MIB,
    'memory_state_mib': planned.argument_size_in_bytes / MIB,
  }


def report(setting: Setting, name: str, times: dict[str, float]) -> dict[str, float]:
  """Prints the times of an architecture; the ratios, peer over ours."""
  for who, time_s in times.items():
    share = setting.flops / time_s / 1e9
    rate = setting.batch / time_s
    print(f'{name:10} {who:9} {1e3 * time_s:9.1f} ms {rate:12,.0f} examples/s', end='')
    print(f' {share:9.0f} GFLOP/s' if who == 'encoder' else '')
  ratios = {
    f'ratio_{peer}_{name}': time_s / times['ours']
    for peer, time_s in times.items()
    if peer not in ('ours', 'encoder')
  }
  if name == 'topk':
    ratios['topk_over_encoder'] = times['ours'] / times['encoder']
  if jax.default_backend() == 'gpu':
    # Of the five products of a dense step, at the rate of the first alone.
    ratios[f'peak_share_{name}'] = 5 * times['encoder'] / times['ours']
  return ratios


def main(argv: list[str]) -> None:
  """Prints the tables."""
  del argv
  warnings.simplefilter('ignore')  # Those of other libraries.
  if not flags.FLAGS['verbosity'].present:
    logging.set_verbosity(logging.WARNING)
  setting = make_setting()
  if PEAK.value:
    print_peak(setting, PEAK.value)
    return
  load = os.getloadavg()[0]
  rounds = 2 if QUICK.value else ROUNDS.value
  ratios: dict[str, float] = {}
  seconds = {}
  for name in ONLY.value or SAELENS:
    seconds[name] = measure(setting, name, rounds)
    ratios |= report(setting, name, seconds[name])
  if jax.default_backend() == 'cpu':
    ratios |= memory(setting)
  if SWEEP.value:
    ratios['sweep_over_singles'] = sweep(setting, rounds)
  print(f'\n{os.cpu_count()} cores, load {load:.1f}; {setting}')
  for name, ratio in ratios.items():
    print(f'{name:26} {ratio:.3f}')
  if JSON.value:
    versions = {'jax': jax.__version__, 'cores': os.cpu_count(), 'load': load}
    record = {'versions': versions, 'setting': dataclasses.asdict(setting)}
    record |= {**ratios, 'seconds': seconds}
    with open(JSON.value, 'w', encoding='utf-8') as file:
      json.dump(record, file, indent=2)


if __name__ == '__main__':
  app.run(main)
