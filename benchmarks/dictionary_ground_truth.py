"""Do dictionaries find known features as well as SAELens's, from the same samples?

    python benchmarks/dictionary_ground_truth.py [--architectures=topk,batchtopk]
        [--size=cpu] [--json=benchmarks/results/ground_truth.json]

The data are of SAELens's own generator, `sae_lens.synthetic`, with the settings of
SynthSAEBench-16k (Chanin & Garriga-Alonso 2026, arXiv 2602.14687): Zipfian firing
probabilities, trees of features of which a child fires only with its parent and
siblings exclude each other, low-rank correlations. `--size=cpu` has 1/16 of its
features in 1/8 of its width; `--size=synthsaebench` is the published one, for a GPU.

Both sides get the same samples in the same order, the same number of latents and the
same batches, and are compared at the same L0, the mean number of true features among
the most frequent ones (as many as there are latents). They are:

- SAELens's training classes and `SAETrainer`, with the settings that the authors of
  SynthSAEBench chose for each architecture (`THEIRS`);
- this library's `train_sweep`, with the settings in `OURS`.

Each side first tries the learning rates `RATES` with one seed, and keeps the one with
the best mean of MCC and F1. Where L0 follows from a coefficient (ReLU with L1,
JumpReLU), each run is a search: `SEARCH` dictionaries are trained, each with the
coefficient that the ones before point to, and every score is read off at the wanted L0
by interpolation over log L0. MCC, F1, L0 and explained variance of both sides are this
library's (`compare`, `detect`, `evaluate`), of dictionaries on the same held-out
samples.

Takes 5 to 25 minutes for each architecture on 2 cores, nearly all of them SAELens's;
`--samples=DIR` keeps the samples for the next run. Needs the extra `peers`.
`--size=tiny` tries the script and says nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import importlib.metadata
import io
import json
import math
import os
import pathlib
import tempfile
import time
from typing import Any
import warnings

from absl import app, flags, logging
import numpy as np

from interp_jax import dictionaries
from interp_jax.core import unknown

ARCHITECTURES = ('relu', 'jumprelu', 'topk', 'batchtopk', 'matryoshka')
SIDES = ('SAELens', 'interp_jax')
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
# Dictionaries for each run whose L0 follows from a coefficient.
SEARCH = 3
# SAELens's rate does not fall unless told to; ours does, so theirs does as much here.
DECAY = 0.3
# More threads of torch than one make the small products of this size no faster.
THREADS = 1


@dataclasses.dataclass(frozen=True)
class Size:
  """The data, and how long both sides train.

  Attributes:
    features: True features.
    width: Of the activations.
    roots: Trees of features, each of 85.
    rank: Of the correlations.
    latents: Of the dictionaries.
    active: L0 at which they are compared.
    prefixes: Numbers of latents of Matryoshka's inner dictionaries.
    samples: For training, each seen once.
    batch_size: Of both sides.
    held_out: Samples to score on.
  """

  features: int = 1024
  width: int = 96
  roots: int = 8
  rank: int = 25
  latents: int = 256
  active: int = 6
  prefixes: tuple[int, ...] = (8, 32, 128)
  samples: int = 1_024_000
  batch_size: int = 512
  held_out: int = 20_480

  @property
  def steps(self) -> int:
    """Updates of a run."""
    return self.samples // self.batch_size

  @property
  def patience(self) -> int:
    """Steps without activity after which a latent counts as dead, on both sides."""
    return max(1, self.steps // 20)


SIZES = {
  'cpu': Size(),
  'synthsaebench': Size(
    features=16_384,
    width=768,
    roots=128,
    latents=4096,
    active=25,
    prefixes=(128, 512, 2048),
    samples=200_000_000,
    batch_size=1024,
    held_out=500_000,
  ),
  'tiny': Size(
    features=170,
    width=16,
    roots=2,
    rank=4,
    latents=24,
    active=3,
    prefixes=(4, 12),
    samples=1280,
    batch_size=64,
    held_out=256,
  ),
}

SIZE = flags.DEFINE_enum('size', 'cpu', SIZES, 'Which data.')
CHOSEN = flags.DEFINE_list('architectures', list(ARCHITECTURES), 'Which of them.')
SEEDS = flags.DEFINE_integer('seeds', 3, 'Runs of each side.')
JSON = flags.DEFINE_string('json', '', 'File to add the numbers to; .md is beside it.')
SAMPLES = flags.DEFINE_string('samples', '', 'Folder to keep the samples in.')


@dataclasses.dataclass(frozen=True)
class World:
  """What there is to be found, and samples.

  Attributes:
    directions: The true features, `[G, D]`.
    rows: Samples to train on, `[N, D]`.
    held_out: Others, `[M, D]`.
    present: The true features' activations in these, `[M, G]`.
  """

  directions: np.ndarray
  rows: np.ndarray
  held_out: np.ndarray
  present: np.ndarray


def make_world(size: Size) -> World:
  """Samples of SAELens's generator."""
  from sae_lens import synthetic
  import torch

  with quiet():
    model = synthetic.SyntheticModel(
      synthetic.SyntheticModelConfig(
        num_features=size.features,
        hidden_dim=size.width,
        firing_probability=synthetic.ZipfianFiringProbabilityConfig(0.5, 0.4, 5e-4),
        hierarchy=synthetic.HierarchyConfig(
          total_root_nodes=size.roots,
          branching_factor=4,
          max_depth=3,
          mutually_exclusive_portion=1.0,
          compensate_probabilities=True,
          scale_children_by_parent=True,
        ),
        orthogonalization=synthetic.OrthogonalizationConfig(num_steps=100, lr=3e-4),
        correlation=synthetic.LowRankCorrelationConfig(size.rank, 0.1),
        mean_firing_magnitudes=synthetic.LinearMagnitudeConfig(5.0, 4.0),
        std_firing_magnitudes=synthetic.FoldedNormalMagnitudeConfig(0.5, 0.5),
        bias=0.5,
        seed=42,
      )
    )
  torch.manual_seed(0)
  rows = np.empty((size.samples, size.width), np.float32)
  for start in range(0, size.samples, 4096):
    part = rows[start : start + 4096]
    part[:] = model.sample(len(part)).numpy()
  held_out, present = model.sample_with_features(size.held_out)
  directions = model.feature_dict.feature_vectors.detach().numpy()
  return World(directions, rows, held_out.numpy(), present.numpy())


def kept_world(size: Size, folder: str) -> World:
  """The samples that a folder keeps of an earlier run; else new ones, kept there."""
  if not folder:
    return make_world(size)
  path = pathlib.Path(folder)
  path.mkdir(parents=True, exist_ok=True)
  told = path / 'size.txt'
  names = [field.name for field in dataclasses.fields(World)]
  if told.is_file() and told.read_text() == repr(size):
    return World(*(np.load(path / f'{name}.npy') for name in names))
  world = make_world(size)
  for name in names:
    np.save(path / f'{name}.npy', getattr(world, name))
  told.write_text(repr(size))  # Last: all files are there.
  return world


@dataclasses.dataclass(frozen=True)
class Trial:
  """One run of a side: what differs between runs.

  Attributes:
    seed: Of the first weights.
    rate: Learning rate.
    coefficient: Of the sparsity term; None where k says how sparse.
  """

  seed: int
  rate: float
  coefficient: float | None = None


@dataclasses.dataclass(frozen=True)
class Recipe:
  """What both sides are told of an architecture.

  Attributes:
    tuned: Name of the setting that says how sparse, where it is not k.
    start: Its value where the search begins.
  """

  tuned: str = ''
  start: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Theirs(Recipe):
  """How SAELens trains an architecture.

  Attributes:
    name: Of its classes, before `TrainingSAE` and `TrainingSAEConfig`.
    settings: Size → of the latter, if they are not the defaults.
  """

  name: str
  settings: Callable[[Size], dict[str, Any]] = lambda size: {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ours(Recipe):
  """How this library trains an architecture.

  Attributes:
    activation: Size → activation.
    terms: Size → terms of the objective.
    b1: Decay of Adam's first moment.
  """

  activation: Callable[[Size], Any]
  terms: Callable[[Size], tuple[Any, ...]]
  b1: float = 0.9


# The settings of github.com/decoderesearch/synth-sae-bench-experiments, by which the
# published numbers were made; the widths of Matryoshka are scaled with the latents.
# There a controller moves the coefficients until L0 is as wanted.
THEIRS = {
  'relu': Theirs(
    name='Standard',
    settings=lambda size: {'l1_warm_up_steps': size.steps // 3},
    tuned='l1_coefficient',
    start=2.5,
  ),
  'jumprelu': Theirs(
    name='JumpReLU',
    settings=lambda size: {
      'normalize_activations': 'expected_average_only_in',
      'jumprelu_bandwidth': 1.0,
      'jumprelu_init_threshold': 1.0,
      'decoder_init_norm': 0.5,
    },
    tuned='l0_coefficient',
    start=1.0,
  ),
  'topk': Theirs(
    name='TopK',
    settings=lambda size: {'k': size.active},
  ),
  'batchtopk': Theirs(
    name='BatchTopK',
    settings=lambda size: {'k': size.active},
  ),
  'matryoshka': Theirs(
    name='MatryoshkaBatchTopK',
    settings=lambda size: {
      'k': size.active,
      'matryoshka_widths': list(size.prefixes),
      'use_matryoshka_aux_loss': True,
    },
  ),
}


def theirs(
  recipe: Theirs, size: Size, world: World, trials: Sequence[Trial]
) -> list[tuple[dictionaries.Dictionary, float]]:
  """SAELens's dictionaries of some trials, and the seconds that each took."""
  return [_train_theirs(recipe, size, world, one) for one in trials]


def _train_theirs(
  recipe: Theirs, size: Size, world: World, trial: Trial
) -> tuple[dictionaries.Dictionary, float]:
  import sae_lens
  from sae_lens.config import SAETrainerConfig
  from sae_lens.training.sae_trainer import SAETrainer
  import torch

  torch.manual_seed(trial.seed)
  settings = {'d_in': size.width, 'd_sae': size.latents, **recipe.settings(size)}
  if recipe.tuned:
    settings[recipe.tuned] = trial.coefficient
  with quiet():
    config = getattr(sae_lens, f'{recipe.name}TrainingSAEConfig')(**settings)
    sae: Any = getattr(sae_lens, f'{recipe.name}TrainingSAE')(config)
  batches = torch.from_numpy(world.rows).split(size.batch_size)
  trainer: Any = SAETrainer(
    SAETrainerConfig(
      total_training_samples=size.samples,
      train_batch_size_samples=size.batch_size,
      lr=trial.rate,
      lr_end=trial.rate,
      lr_decay_steps=int(DECAY * size.steps),
      dead_feature_window=size.patience,
    ),
    sae,
    iter(batches),
  )
  if sae.cfg.normalize_activations != 'none':
    # What it would estimate from batches that it then does not train on.
    norms = np.linalg.norm(world.rows[:100_000], axis=1)
    trainer.activation_scaler.scaling_factor = float(size.width**0.5 / norms.mean())
  start = time.perf_counter()
  with quiet():
    trainer.fit()
  return as_dictionary(sae, world.held_out[:64]), time.perf_counter() - start


def as_dictionary(sae: Any, rows: np.ndarray) -> dictionaries.Dictionary:
  """A trained SAE of SAELens as ours, as it would be saved for inference.

  Raises:
    AssertionError: if the two give other codes for these rows.
  """
  import sae_lens
  import torch

  with tempfile.TemporaryDirectory() as folder, quiet():
    sae.save_inference_model(folder)
    peer: Any = sae_lens.SAE.load_from_disk(folder)
    # Its trainer has folded the scale of the data into the weights.
    dictionary = dictionaries.load(folder, 'sae_lens', input_scale=1.0)
  with torch.inference_mode():
    codes = peer.encode(torch.from_numpy(rows)).to_dense().numpy()
  np.testing.assert_allclose(dictionary.encode(rows), codes, atol=1e-3, rtol=1e-3)
  return dictionary


class InOrder:
  """The samples as batches, in order, from the beginning when they are used up."""

  def __init__(self, rows: np.ndarray, batch_size: int):
    self._rows, self._size, self._taken = rows, batch_size, 0

  def __iter__(self) -> Iterator[np.ndarray]:
    return self

  def __next__(self) -> np.ndarray:
    start = self._taken * self._size % len(self._rows)
    self._taken += 1
    return self._rows[start : start + self._size]

  def get_state(self) -> dict[str, int]:
    """The position."""
    return {'taken': self._taken}

  def set_state(self, state: dict[str, Any]) -> None:
    """Goes to a position."""
    self._taken = state['taken']


def auxk(size: Size, coefficient: float = 1 / 32) -> dictionaries.AuxK:
  """With the patience of both sides."""
  patience = size.patience * size.batch_size
  return dictionaries.AuxK(coefficient=coefficient, dead_after=patience)


OURS = {
  'relu': Ours(
    activation=lambda size: dictionaries.ReLU(),
    terms=lambda size: (dictionaries.L1(warmup=size.steps // 3),),
    b1=0.0,  # As Gemma Scope's (Lieberum et al. 2024).
    tuned='terms.l1.coefficient',
    start=2.0,
  ),
  'jumprelu': Ours(
    activation=lambda size: dictionaries.JumpReLU(init_threshold=1.0, bandwidth=1.0),
    terms=lambda size: (dictionaries.L0(),),
    tuned='terms.l0.coefficient',
    start=0.7,
  ),
  'topk': Ours(
    activation=lambda size: dictionaries.TopK(size.active),
    terms=lambda size: (auxk(size),),
  ),
  'batchtopk': Ours(
    activation=lambda size: dictionaries.BatchTopK(size.active),
    terms=lambda size: (auxk(size),),
  ),
  'matryoshka': Ours(
    activation=lambda size: dictionaries.BatchTopK(size.active),
    terms=lambda size: (auxk(size, 1.0), dictionaries.Matryoshka(size.prefixes)),
  ),
}


def ours(
  recipe: Ours, size: Size, world: World, trials: Sequence[Trial]
) -> list[tuple[dictionaries.Dictionary, float]]:
  """This library's dictionaries of some trials: members of one sweep.

  The seconds of each are its share of the sweep's, compilation included.
  """
  config = dictionaries.DictionaryConfig(
    size.width, size.latents, recipe.activation(size)
  )
  trainer = dictionaries.TrainerConfig(
    steps=size.steps,
    batch_size=size.batch_size,
    terms=recipe.terms(size),
    log_every=size.steps,
    eval_every=0,
    checkpoint_every=0,
    clip=1.0,
    b1=recipe.b1,
  )
  members = [
    {'seed': one.seed, 'learning_rate': one.rate}
    | ({} if one.coefficient is None else {recipe.tuned: one.coefficient})
    for one in trials
  ]
  start = time.perf_counter()
  with tempfile.TemporaryDirectory() as workdir:
    result = dictionaries.train_sweep(
      config,
      trainer,
      members,
      InOrder(world.rows, size.batch_size),
      world.rows[:8192],
      workdir,
      progress=False,
    )
  seconds = (time.perf_counter() - start) / len(trials)
  return [(dictionary, seconds) for dictionary in result.dictionaries]


def score(dictionary: dictionaries.Dictionary, world: World) -> dict[str, float]:
  """MCC, F1 and what else the table shows."""
  metrics = dictionaries.evaluate(dictionary, dictionaries.split(world.held_out, 4096))
  alike = dictionaries.compare(dictionary.params['W_dec'], world.directions)
  batches = zip(
    dictionaries.split(world.held_out, 4096),
    dictionaries.split(world.present, 4096),
    strict=True,
  )
  found = dictionaries.detect(dictionary, batches, world.directions)
  return {
    'l0': metrics.l0,
    'mcc': alike.mcc,
    'f1': found.to_dict()['f1'],
    'explained_variance': metrics.explained_variance,
    'dead_fraction': metrics.dead_fraction,
    'uniqueness': alike.uniqueness,
  }


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """Without the progress bars and remarks of SAELens."""
  with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
    warnings.simplefilter('ignore')
    yield


Scores = dict[str, float]
Train = Callable[[Any, Size, World, Sequence[Trial]], list[Any]]


def at_wanted_l0(scores: Sequence[Scores], wanted: float) -> Scores:
  """Scores of several coefficients, interpolated to an L0 over its logarithm.

  Outside of them those of the nearest stand, with its own L0. Seconds are the mean.
  """
  rising = sorted(scores, key=lambda one: one['l0'])
  logs = [math.log(max(one['l0'], 1e-9)) for one in rising]
  at = min(max(math.log(wanted), logs[0]), logs[-1]) if len(logs) > 1 else logs[0]
  found = {
    name: float(np.interp(at, logs, [one[name] for one in rising]))
    for name in rising[0]
  }
  return found | {
    'l0': math.exp(at),
    'seconds': float(np.mean([one['seconds'] for one in scores])),
  }


def quality(scores: Scores) -> float:
  """What the learning rate is chosen by."""
  return (scores['mcc'] + scores['f1']) / 2


def next_coefficient(scores: Sequence[Scores], wanted: float) -> float:
  """Where L0 should be as wanted, if log L0 is linear in the log of the coefficient.

  With one dictionary known, L0 is taken to be inversely proportional.
  """
  logs = [(math.log(s['coefficient']), math.log(max(s['l0'], 1e-3))) for s in scores]
  logs = sorted(logs, key=lambda one: abs(one[1] - math.log(wanted)))[:2]
  slope = -1.0
  if len(logs) == 2 and logs[0][0] != logs[1][0]:
    slope = (logs[1][1] - logs[0][1]) / (logs[1][0] - logs[0][0])
  # Not past a factor of 4, nor against the sense of the coefficient.
  step = (math.log(wanted) - logs[0][1]) / min(slope, -0.25)
  return math.exp(logs[0][0] + min(max(step, -math.log(4)), math.log(4)))


def measure_side(
  train: Train, recipe: Recipe, size: Size, world: World, seeds: int
) -> dict[str, Any]:
  """Chooses a learning rate with seed 0 and trains the other seeds with it."""

  def at(runs: Sequence[tuple[int, float]]) -> list[tuple[Scores, list[Scores]]]:
    found: list[list[Scores]] = [[] for _ in runs]
    given = [recipe.start] * len(runs)
    for _ in range(SEARCH if recipe.tuned else 1):
      trials = [Trial(*run, value) for run, value in zip(runs, given, strict=True)]
      trained = train(recipe, size, world, trials)
      for group, (one, took), value in zip(found, trained, given, strict=True):
        told = {} if value is None else {'coefficient': value}
        group.append(score(one, world) | {'seconds': took} | told)
      if recipe.tuned:
        given = [next_coefficient(group, size.active) for group in found]
    return [(at_wanted_l0(group, size.active), group) for group in found]

  tried = dict(zip(RATES, at([(0, rate) for rate in RATES]), strict=True))
  rate = max(tried, key=lambda r: quality(tried[r][0]))
  others = at([(seed, rate) for seed in range(1, seeds)]) if seeds > 1 else []
  all_runs = [tried[rate], *others]
  return {
    'rate': rate,
    'rates': {str(r): found for r, (found, _) in tried.items()},
    'seeds': [found for found, _ in all_runs],
    'runs': [group for _, group in all_runs],
  }


def measure(name: str, size: Size, world: World, seeds: int) -> dict[str, Any]:
  """Both sides of an architecture."""
  both = {}
  sides = ((theirs, THEIRS[name]), (ours, OURS[name]))
  for side, (train, recipe) in zip(SIDES, sides, strict=True):
    both[side] = measure_side(train, recipe, size, world, seeds)
    print(row(name, side, both[side]), flush=True)
  return both


COLUMNS = ('L0', 'MCC', 'worst', 'F1', 'worst', 'explained', 'dead', 's', 'rate')


def row(name: str, side: str, found: Mapping[str, Any]) -> str:
  """A line of the table: means over the seeds, and the worst of MCC and F1."""
  seeds = found['seeds']
  mean = {key: float(np.mean([one[key] for one in seeds])) for key in seeds[0]}
  cells = [
    f'{mean["l0"]:.2f}',
    f'{mean["mcc"]:.3f}',
    f'{min(one["mcc"] for one in seeds):.3f}',
    f'{mean["f1"]:.3f}',
    f'{min(one["f1"] for one in seeds):.3f}',
    f'{mean["explained_variance"]:.3f}',
    f'{mean["dead_fraction"]:.1%}',
    f'{mean["seconds"]:.1f}',
    f'{found["rate"]:g}',
  ]
  return ' | '.join(('', name, side, *cells, '')).strip()


def table(measured: Mapping[str, Any]) -> str:
  """All architectures, as Markdown."""
  head = ' | '.join(('', 'architecture', 'trained by', *COLUMNS, '')).strip()
  rule = '| --- | --- |' + ' ---: |' * len(COLUMNS)
  rows = [
    row(name, side, both[side]) for name, both in measured.items() for side in SIDES
  ]
  return '\n'.join((head, rule, *rows))


def margins(name: str, both: Mapping[str, Any]) -> dict[str, float]:
  """How far this library is above SAELens: means, and the worst of the seeds."""
  found = {}
  for metric in ('mcc', 'f1'):
    pairs = zip(both['interp_jax']['seeds'], both['SAELens']['seeds'], strict=True)
    apart = [mine[metric] - peer[metric] for mine, peer in pairs]
    found[f'{metric}_margin_{name}'] = float(np.mean(apart))
    found[f'{metric}_margin_worst_{name}'] = float(min(apart))
  return found


def versions() -> dict[str, str]:
  """Of the libraries that the numbers depend on."""
  names = ('jax', 'sae-lens', 'torch', 'numpy')
  return {name: importlib.metadata.version(name) for name in names}


def add_to(path: pathlib.Path, setting: Mapping[str, Any], measured: dict) -> dict:
  """What an earlier run with the same setting measured, and what is new; written."""
  known = {}
  if path.is_file():
    kept = json.loads(path.read_text())
    if all(kept.get(key) == value for key, value in setting.items()):
      known = kept['measured']
  known |= measured
  known = {name: known[name] for name in ARCHITECTURES if name in known}
  record = dict(setting)
  for name, both in known.items():
    record |= margins(name, both)
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(record | {'measured': known}, indent=2) + '\n')
  path.with_suffix('.md').write_text(table(known) + '\n')
  return known


def main(argv: Sequence[str]) -> None:
  """Measures, prints and writes."""
  if len(argv) > 1:
    raise app.UsageError(f'{argv[1]!r} is not a flag.')
  if not flags.FLAGS['verbosity'].present:
    logging.set_verbosity(logging.WARNING)
  for name in CHOSEN.value:
    if name not in ARCHITECTURES:
      raise app.UsageError(unknown('architecture', name, ARCHITECTURES))
  import torch

  torch.set_num_threads(THREADS)
  size = SIZES[SIZE.value]
  start = time.perf_counter()
  world = kept_world(size, SAMPLES.value)
  true_l0 = float(np.mean(np.sum(world.present > 0, axis=1)))
  print(
    f'{os.cpu_count()} cores; {size.samples:,} samples of {size.features} features '
    f'(L0 {true_l0:.2f}) in {size.width} dimensions, {size.latents} latents, made in '
    f'{time.perf_counter() - start:.0f} s'
  )
  measured = {}
  for name in CHOSEN.value:
    measured[name] = measure(name, size, world, SEEDS.value)
    for margin, value in margins(name, measured[name]).items():
      print(f'{margin:32} {value:+.4f}')
  if JSON.value:
    setting = {
      'versions': versions(),
      'size': {**dataclasses.asdict(size), 'prefixes': list(size.prefixes)},
      'seeds': SEEDS.value,
      'true_l0': true_l0,
    }
    measured = add_to(pathlib.Path(JSON.value), setting, measured)
  print('\n' + table(measured))
  print(f'{time.perf_counter() - start:.0f} s')


if __name__ == '__main__':
  app.run(main)
