"""The main job: what does a model represent, and where does it decide?

    python launch/quickstart.py [--workdir=DIR]

takes the embedded language model and (1) harvests a middle layer's residual stream from
the standard library into a dataset, (2) trains a TopK dictionary on it, (3) evaluates
it on files held out, (4) finds the clearest features, their contexts and the tokens
that they raise, (5) patches activations over layers, positions and heads, and (6)
writes `DIR/report.html` and `DIR/summary.json`. Under 5 minutes on 2 CPU cores.

Each stage leaves `DIR/stages/NAME.json` when it is done, with the settings that it
depends on. Run again, finished stages are not repeated; a run that was stopped, in
whatever way, continues, inside the harvest and the training too. A finished stage of
other settings is an error that says what differs: nothing is overwritten unasked. It
runs as one process.

`seconds` in the summary is the time spent in stages, and on loading the model for them,
over all runs. Runs that were stopped count; one that was killed may lose the last
second of its count. Importing the libraries is not counted.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import functools
from importlib import metadata
import json
import pathlib
import platform
from typing import Any

from absl import app, flags
import jax
from ml_collections import config_flags
import numpy as np
import tqdm

import interp_jax
from interp_jax import circuits, dictionaries, lenses, report, store, training
from interp_jax.harvest import fingerprint, harvest
from interp_jax.sharding import make_mesh
from interp_jax.tasks import pairs as pairs_lib
from interp_jax.tasks import python_source
from interp_jax.training import job
from interp_jax.training.stages import Stages, write_json

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIG = config_flags.DEFINE_config_file(
  'config', str(ROOT / 'configs' / 'quickstart.py'), 'Configuration file.'
)
WORKDIR = flags.DEFINE_string('workdir', 'runs/quickstart', 'Folder of the run.')

Json = dict[str, Any]
# A token is about three characters: twice what is needed, to draw sequences from.
CHARACTERS_PER_TOKEN = 6


class Stopped(Exception):
  """A signal ended a stage behind a checkpoint."""


@dataclasses.dataclass(frozen=True)
class Run:
  """A model with its tokenizer, the settings, and where things are.

  Attributes:
    config: The values of the configuration file.
    workdir: The folder of the run.
    model: The model.
    params: Its parameters.
    tokenizer: Its tokenizer.
    mesh: The devices.
  """

  config: Json
  workdir: pathlib.Path
  model: Any
  params: Any
  tokenizer: Any
  mesh: Any

  def reader(self, split: str) -> store.Reader:
    """The harvested activations of a split."""
    return store.Reader(self.workdir / 'activations' / split)

  @functools.cached_property
  def dictionary(self) -> dictionaries.Dictionary:
    """The trained dictionary."""
    return dictionaries.load(self.workdir / 'dictionary')

  def sequences(self, split: str) -> tuple[python_source.PackedTokens, np.ndarray]:
    """The packed tokens of a split, and which rows of them are used."""
    values = self.config['harvest']
    files = python_source.read_files(split, self.config['corpus'] or None)
    asked = values['tokens' if split == 'train' else 'held_out_tokens']
    rng = np.random.default_rng(self.config['seed'])
    # To tokenize all of the library would take longer than to harvest from it.
    files = python_source.sample_files(files, CHARACTERS_PER_TOKEN * asked, rng)
    context = self.model.cfg.context
    cache = self.workdir / 'tokens'
    packed = python_source.load_or_tokenize(cache, files, self.tokenizer, context)
    # The harvest leaves out the first token of each sequence.
    count = -(-asked // (context - 1))
    return packed, np.sort(rng.permutation(len(packed.tokens))[:count])


def load_run(config: Json, workdir: pathlib.Path) -> Run:
  """Loads the model and makes a mesh of all devices."""
  model, params, tokenizer = interp_jax.load(config['model'])
  return Run(config, workdir, model, params, tokenizer, make_mesh())


def harvest_stage(run: Run) -> Json:
  """Writes the activations of both splits to datasets."""
  values, result = run.config['harvest'], {}
  for split in python_source.SPLITS:
    packed, rows = run.sequences(split)
    reader = harvest(
      run.model,
      run.params,
      packed.tokens[rows].astype(np.int32),
      run.workdir / 'activations' / split,
      sites={values['site']: (values['layer'],)},
      batch_size=values['batch_size'],
      documents=packed.documents(rows),
      positions=packed.positions(rows),
      mesh=run.mesh,
      description=f'{run.config["model"]} on {split} files of Python source',
      metadata={'model': run.config['model'], 'paths': list(packed.paths)},
      shard_rows=values['shard_rows'],
    )
    files = len(np.unique(packed.documents(rows)))
    result[split] = {'tokens': len(reader), 'files': files}
  return result


def train_stage(run: Run) -> Json:
  """Trains the dictionary, or goes on training it."""
  values, cfg = run.config['dictionary'], run.model.cfg
  config = dictionaries.DictionaryConfig(
    width=cfg.width,
    features=values['expansion'] * cfg.width,
    activation=dictionaries.TopK(values['k']),
    site=run.config['harvest']['site'],
    layer=run.config['harvest']['layer'],
  )
  trainer = dictionaries.TrainerConfig.from_dict(
    run.config['trainer'] | {'seed': run.config['seed']}
  )
  folder = run.workdir / 'training'
  result = dictionaries.train_on_store(
    config,
    trainer,
    run.reader('train'),
    folder,
    held_out=dictionaries.sample_of(run.reader('held_out'), 32_768),
    mesh=run.mesh,
  )
  if not result.finished:
    raise Stopped
  how = {'trainer': trainer.to_dict(), 'metrics': result.metrics}
  dictionaries.save(run.workdir / 'dictionary', result.dictionary, how)
  log = training.read_metrics(folder / 'metrics.jsonl', 'train')
  history = {key: [record[key] for record in log] for key in ('fvu', 'dead_fraction')}
  return {
    'features': config.features,
    'steps': [record['step'] for record in log],
    **history,
  }


def shown(items: Sequence[Any], name: str) -> Iterator[Any]:
  """The items, with a progress bar."""
  yield from tqdm.tqdm(items, name)


def evaluate_stage(run: Run) -> Json:
  """Scores the dictionary on held-out files."""
  values, reader = run.config['harvest'], run.reader('held_out')
  rows = list(dictionaries.split(reader.numpy(), 4096))
  scores = dictionaries.evaluate(run.dictionary, shown(rows, 'evaluating'))
  packed, chosen = run.sequences('held_out')
  tokens = packed.tokens[chosen].astype(np.int32)
  size = values['batch_size']
  batches = [tokens[start : start + size] for start in range(0, len(tokens), size)]
  recovered = dictionaries.recovered(
    run.model,
    run.params,
    run.dictionary,
    shown(batches, 'splicing'),
    site=values['site'],
    layer=values['layer'],
    layers=run.model.cfg.layers,
    mean=run.reader('train').statistics().mean,
    bos_id=run.tokenizer.bos_id,
  )
  return scores.to_dict() | recovered.to_dict() | {'density': scores.density.tolist()}


def features_stage(run: Run) -> Json:
  """Finds the clearest features, their contexts and the tokens that they raise."""
  values, reader = run.config['features'], run.reader('train')
  examples = dictionaries.strongest_examples(
    run.dictionary, reader, n=16, progress=True
  )
  chosen = dictionaries.clearest(examples, values['count'])
  features = examples.features[chosen]
  clarity = dictionaries.clarity(examples)[chosen]
  unembedding = lenses.unembedding(run.params, run.model.cfg)
  raised, lowered = (
    dictionaries.promoted_tokens(
      run.dictionary, features, sign * unembedding, values['tokens']
    )
    for sign in (1, -1)
  )
  cards = []
  paths = reader.manifest.metadata['paths']
  for place, index in enumerate(chosen):
    found = dictionaries.contexts(
      run.dictionary, reader, examples, int(index), values['contexts']
    )
    cards.append(
      {
        'index': int(features[place]),
        'density': float(examples.density[index]),
        'maximum': float(examples.values[index, 0]),
        'clarity': float(clarity[place]),
        'promoted': run.tokenizer.token_strings(raised[0][place].tolist()),
        'promoted_logits': raised[1][place].tolist(),
        'suppressed': run.tokenizer.token_strings(lowered[0][place].tolist()),
        'suppressed_logits': (-lowered[1][place]).tolist(),
        'contexts': [show(run, paths, context) for context in found],
      }
    )
  return {'features': cards, 'rows': examples.count}


def show(run: Run, paths: list[str], context: dictionaries.Context) -> Json:
  """A context as JSON types."""
  return {
    'tokens': run.tokenizer.token_strings(context.tokens.tolist()),
    'values': context.values.round(4).tolist(),
    'peak': context.peak,
    'source': f'{paths[context.document]}, token {context.position}',
  }


def pair_sets(run: Run) -> dict[str, pairs_lib.Pairs]:
  """The pairs of texts, by name."""
  values, seed = run.config['patching'], run.config['seed']
  found = {
    'induction': pairs_lib.induction_pairs(
      values['pairs'],
      run.tokenizer.vocab_size,
      run.tokenizer.bos_id,
      length=values['context'],
      gap=(6, min(16, values['context'] - 3)),
      seed=seed,
    )
  }
  for template in values['templates']:
    found[template] = pairs_lib.variable_pairs(
      run.tokenizer, template, pairs=values['pairs'], seed=seed
    )
  return found


def patch_stage(run: Run) -> Json:
  """Patches clean activations into corrupted runs: layer × position, layer × head."""
  result = {}
  for name, pairs in pair_sets(run).items():
    sweep = functools.partial(
      circuits.sweep,
      run.model,
      run.params,
      pairs.corrupted,
      pairs.clean,
      metric=circuits.logit_difference(pairs.correct, pairs.wrong),
      logit_positions=np.array([pairs.clean.shape[1] - 1]),
      mesh=run.mesh,
    )
    positions = sweep('resid_pre', ('layer', 'position'))
    heads = sweep('z', ('layer', 'head'))
    result[name] = {
      'pairs': len(pairs),
      'clean_difference': float(positions.source),
      'corrupt_difference': float(positions.base),
      'positions': positions.effect.tolist(),
      'heads': heads.effect.tolist(),
      'clean': run.tokenizer.token_strings(pairs.clean[0].tolist()),
      'corrupt': run.tokenizer.token_strings(pairs.corrupted[0].tolist()),
      'answers': run.tokenizer.token_strings(
        [int(pairs.correct[0]), int(pairs.wrong[0])]
      ),
      'changed': int(pairs.changed[0]),
    }
  return result


def circuit_stage(run: Run) -> Json:
  """Finds the induction circuit, and what the model loses without it."""
  values, pairs = run.config['circuit'], pair_sets(run)['induction']
  # The earlier A is another token, too: finding the place must be part of the answer.
  corrupted, rows = np.array(pairs.corrupted), np.arange(len(pairs))
  corrupted[rows, pairs.changed - 1] = np.roll(pairs.correct, 1)
  difference = circuits.logit_difference(pairs.correct, pairs.wrong)
  question = circuits.make_discovery(
    run.model,
    run.params,
    pairs.clean,
    corrupted,
    metric=difference,
    loss=difference,
    logit_positions=[pairs.clean.shape[1] - 1],
  )
  scores = circuits.discover_edges(question, 'eap-ig-inputs', steps=values['steps'])
  curve = circuits.faithfulness_curve(question, scores, values['shares'], how='greedy')
  enough = np.flatnonzero(curve.faithfulness >= values['faithful'])
  size = int(curve.edges[enough[0] if enough.size else -1])
  total = int(question.graph.edges.sum())
  circuit = circuits.select_circuit(scores, min(size, total // 2), 'greedy')
  repeats = lenses.repeated_tokens(
    values['rows'],
    run.model.cfg.vocab_size,
    run.tokenizer.bos_id,
    periods=tuple(values['periods']),
    seed=run.config['seed'],
  )
  regions = np.stack([repeats.first_copy[:, 1:], repeats.second_copy[:, 1:]])
  ablation = circuits.ablate_edges(
    run.model,
    run.params,
    repeats.tokens,
    regions,
    circuit,
    draws=values['draws'],
    seed=run.config['seed'],
  )
  graph = question.graph
  return {
    'total': total,
    'edges': [
      [graph.senders[s], graph.receivers[r], float(scores.values[r, s])]
      for r, s in np.argwhere(circuit.edges)
    ],
    'curve': {
      'shares': curve.shares.tolist(),
      'edges': curve.edges.tolist(),
      'faithfulness': curve.faithfulness.tolist(),
      'cmd': curve.cmd,
    },
    'faithfulness': float(circuits.faithfulness(question, [circuit])[0]),
    'intact': ablation.intact.tolist(),
    'ablated': ablation.ablated.tolist(),
    'controls': ablation.controls.tolist(),
  }


def report_stage(run: Run, results: dict[str, Json], seconds: dict[str, float]) -> Json:
  """Writes the page."""
  model = run.model.cfg.to_dict() | {
    'name': pathlib.Path(run.config['model']).name,
    'parameters': sum(leaf.size for leaf in jax.tree.leaves(run.params)),
  }
  page = report.quickstart_page(run.config, model, results, seconds, environment(run))
  report.write(page, run.workdir / 'report.html')
  return {}


def environment(run: Run) -> Json:
  """What the numbers may depend on besides the settings."""
  devices = jax.devices()
  return {
    'seed': run.config['seed'],
    'devices': f'{len(devices)} × {devices[0].device_kind}',
    'python': platform.python_version(),
    **{name: metadata.version(name) for name in ('jax', 'flax', 'numpy')},
    'interp_jax': interp_jax.__version__,
  }


def summarize(run: Run, results: dict[str, Json], seconds: dict[str, float]) -> Json:
  """The summary: scores first, then what they are of."""
  scores = {k: v for k, v in results['evaluate'].items() if k != 'density'}
  return {
    **{key: scores.pop(key) for key in ('fvu', 'l0', 'dead_fraction', 'ce_recovered')},
    'seconds': round(sum(seconds.values()), 1),
    'tokens_harvested': results['harvest']['train']['tokens'],
    'stage_seconds': {name: round(value, 1) for name, value in seconds.items()},
    'model': run.config['model'],
    'features': results['train']['features'],
    'width': run.model.cfg.width,
    'clearest_features': [f['index'] for f in results['features']['features']],
    'patching': {k: report.top_effects(found) for k, found in results['patch'].items()},
    'circuit': report.circuit_summary(results['circuit']),
    'evaluation': scores,
    'environment': environment(run),
    'config': run.config,
  }


STAGES: dict[str, tuple[Callable[[Run], Json], tuple[str, ...]]] = {
  'harvest': (harvest_stage, ('harvest', 'corpus', 'seed')),
  'train': (train_stage, ('dictionary', 'trainer')),
  'evaluate': (evaluate_stage, ()),
  'features': (features_stage, ('features',)),
  'patch': (patch_stage, ('patching',)),
  'circuit': (circuit_stage, ('circuit',)),
}


def quickstart(
  config: Json,
  workdir: pathlib.Path,
  load: Callable[[Json, pathlib.Path], Run] = load_run,
) -> Json:
  """Runs the stages that are not done; see the head of this file.

  Args:
    config: The values of a configuration such as `configs/quickstart.py`.
    workdir: The folder of the run; it is made if it is not there.
    load: Gives the model, for models that are not on disk.

  Returns:
    The summary.

  Raises:
    ValueError: if the folder holds finished stages of other settings.
    Stopped: if a signal ended the training behind a checkpoint.
  """
  stages = Stages(workdir)
  outputs = [workdir / 'report.html', workdir / 'summary.json']
  if not all(path.exists() for path in outputs):
    stages.forget('report')
  done = stages.finished('report')
  with contextlib.nullcontext() if done else stages.clock.count('load'):
    run = load(config, workdir)
    identity = {
      'model': config['model'],
      'params': fingerprint(run.params),
      'python': platform.python_version(),  # The corpus is its standard library.
    }
  results: dict[str, Json] = {}
  for name, (work, keys) in STAGES.items():
    if not stages.finished(name):
      print(f'{name}: {work.__doc__}', flush=True)
    settings = {key: config[key] for key in keys}
    if name == 'harvest':
      settings |= identity
    results[name] = stages.result(name, settings, functools.partial(work, run))
  seconds = stages.clock.seconds
  stages.result(
    'report', {}, lambda: report_stage(run, results, seconds | {'report': 0.0})
  )
  if not done:
    write_json(workdir / 'summary.json', summarize(run, results, seconds))
  return json.loads((workdir / 'summary.json').read_text(encoding='utf-8'))


def work() -> bool:
  """Runs the stages and says where the results are; returns whether all are done."""
  workdir = pathlib.Path(WORKDIR.value)
  try:
    summary = quickstart(CONFIG.value.to_dict(), workdir)
  except (Stopped, KeyboardInterrupt):
    print(f'\nStopped. Run again with --workdir={workdir} to go on.')
    return False
  scores = ('fvu', 'l0', 'dead_fraction', 'ce_recovered', 'seconds')
  print('  '.join(f'{name} {summary[name]:.4g}' for name in scores))
  print(f'{workdir / "report.html"}  {workdir / "summary.json"}')
  return True


def main(argv: list[str]) -> int:
  """Runs it, in one process."""
  del argv
  return job.run_alone(work)


if __name__ == '__main__':
  app.run(main)
