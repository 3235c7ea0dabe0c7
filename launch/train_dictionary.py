"""Trains sparse dictionaries, on an activation dataset or through a model.

    python launch/train_dictionary.py --config=configs/dictionaries/topk.py \
        --store=DIR --held_out=DIR --workdir=DIR

There is a configuration for each architecture in `configs/dictionaries/`. `--held_out`
is a dataset that the dictionary is evaluated on; without one there is no evaluation.
`workdir` gets `metrics.jsonl`, `checkpoints/` and, at the end, `dictionary/`: the
folder that `dictionaries.load` reads. Run again, it goes on from the last checkpoint,
bit for bit as if it had not been stopped; Ctrl-C or SIGTERM stop it behind one, with
the exit status 75. On several hosts, see BUILD.md: `workdir` must be on storage that
they share, and `--config.lanes` a multiple of them spares each the rows of the others.

Any setting can be changed: `--config.trainer.steps=500 --config.trainer.seed=1`. Many
dictionaries train at once, on the same batches, where a setting has several values:

    --sweep='{"seed": [0, 1], "activation.k": [16, 32]}'

They are saved as `dictionaries/0`, `1`, ... A configuration with the term `end_to_end`
takes `--tokens` (the folder of tokens that `launch/harvest.py` makes) and `--model` in
the place of `--store` and `--held_out`. `--tensorboard` and `--wandb=PROJECT` log there
as well.
"""

from collections.abc import Iterator
import contextlib
import json
import pathlib
import sys
from typing import Any

from absl import app, flags
from ml_collections import config_flags
import numpy as np

import interp_jax
from interp_jax import dictionaries, harvest, training
from interp_jax.sharding import data_share, make_mesh, processes
from interp_jax.store import Reader
from interp_jax.training import job

# Configurations import their neighbours, from `configs`.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))

CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Configuration file, for example configs/dictionaries/topk.py.'
)
STORE = flags.DEFINE_string('store', None, 'Dataset to train on.')
HELD_OUT = flags.DEFINE_string('held_out', None, 'Dataset to evaluate on.')
TOKENS = flags.DEFINE_string('tokens', None, 'Tokens to train on, through a model.')
MODEL = flags.DEFINE_string('model', None, 'The model: a name or a folder.')
SWEEP = flags.DEFINE_string('sweep', None, 'JSON: setting → values to train with.')
WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run.', required=True)
TENSORBOARD = flags.DEFINE_bool('tensorboard', False, 'Whether to log to TensorBoard.')
WANDB = flags.DEFINE_string('wandb', None, 'Project of Weights & Biases to log to.')
flags.mark_flag_as_required('config')

Json = dict[str, Any]


def place_of(reader: Reader, name: str) -> tuple[int, str, int | None]:
  """Width, site and layer of an array of a dataset."""
  spec = next((s for s in reader.manifest.schema.arrays if s.name == name), None)
  if spec is None:
    raise ValueError(interp_jax.core.unknown('array of the store', name, reader.names))
  if len(spec.shape) != 1:
    raise ValueError(f'Array {name!r} has rows of shape {spec.shape}; it must be [D].')
  return spec.shape[0], spec.site, spec.layer


def dictionary_config(
  values: Json, inputs: list[tuple], targets: list[tuple]
) -> dictionaries.DictionaryConfig:
  """The shape of the dictionary: width, sites and layers are those of the arrays.

  Args:
    values: `config.dictionary`.
    inputs: Width, site and layer of what it reads.
    targets: The same of what it writes, where that is not the same.
  """
  given = dict(values)
  width, site, layer = inputs[0]
  one = len(inputs) == 1
  where: Json = {'site': site, 'layer': layer if one else None}
  if targets:
    where |= {'out_site': targets[0][1], 'out_layer': targets[0][2] if one else None}
    if given['wiring']['name'] == 'transcoder':
      given['wiring'] = dict(given['wiring']) | {'out_width': targets[0][0]}
  features = given.pop('expansion') * width
  return dictionaries.DictionaryConfig.from_dict(
    given | {'width': width, 'features': features} | where
  )


@contextlib.contextmanager
def sinks_of(workdir: pathlib.Path, config: Json) -> Iterator[list[training.Sink]]:
  """Where metrics go beside the log, as the flags say."""
  with contextlib.ExitStack() as stack:
    found: list[training.Sink] = []
    if TENSORBOARD.value:
      found.append(training.TensorBoard(workdir / 'tensorboard'))
    if WANDB.value:
      name = workdir.name
      settings = {'project': WANDB.value, 'name': name, 'id': name, 'resume': 'allow'}
      found.append(training.WeightsAndBiases(config=config, **settings))
    for sink in found:
      stack.callback(sink.close)
    yield found


def train_on_store(
  values: Json,
  sweep: Json,
  reader: Reader,
  held_out: Reader | None,
  workdir: pathlib.Path,
) -> Any:
  """Trains one dictionary, or all of a sweep (setting → values), on a dataset."""
  inputs, targets = dictionaries.array_names(
    reader, values['inputs'] or None, values['targets']
  )
  places = [[place_of(reader, name) for name in some] for some in (inputs, targets)]
  config = dictionary_config(values['dictionary'], *places)
  trainer = dictionaries.TrainerConfig.from_dict(values['trainer'])
  rows = None
  if held_out is not None:
    count = values['held_out_rows']
    rows = dictionaries.sample_of(held_out, count, inputs, targets)
  with sinks_of(workdir, values) as sinks:
    return dictionaries.train_on_store(
      config,
      trainer,
      reader,
      workdir,
      inputs=inputs,
      targets=targets,
      members=dictionaries.grid(sweep) if sweep else None,
      lanes=values['lanes'],
      held_out=rows,
      mesh=make_mesh(values['mesh']['data'] or None, values['mesh']['model']),
      sinks=sinks,
    )


def train_through_model(
  values: Json, name: str, corpus: str, workdir: pathlib.Path
) -> Any:
  """Trains a dictionary on tokens, with the model in the loop."""
  model, params, _ = interp_jax.load(name)
  tokens = np.asarray(harvest.open_corpus(corpus).sequences.tokens, np.int32)
  site, layer = values['place']
  place = (model.cfg.width, site, layer)
  config = dictionary_config(values['dictionary'], [place], [])
  trainer = dictionaries.TrainerConfig.from_dict(values['trainer'])
  rows = max(1, trainer.batch_size // (tokens.shape[1] - 1))
  mesh = make_mesh(values['mesh']['data'] or None, values['mesh']['model'])
  batches = dictionaries.ArrayBatches(tokens, rows, trainer.seed)
  with sinks_of(workdir, values) as sinks:
    return dictionaries.train_end_to_end(
      config,
      trainer,
      model,
      params,
      training.OwnRows(batches, *data_share(mesh)),
      tokens[:64],
      workdir,
      mesh=mesh,
      sinks=sinks,
    )


def save(result: Any, values: Json, workdir: pathlib.Path) -> None:
  """Writes what was trained, with how it was trained and what it scores."""
  if isinstance(result, dictionaries.TrainResult):
    how = {'trainer': values['trainer'], 'metrics': result.metrics}
    dictionaries.save(workdir / 'dictionary', result.dictionary, how)
    print(f'{workdir / "dictionary"}: {json.dumps(result.metrics)}')
    return
  scores = result.metrics or [{}] * len(result.members)
  members = zip(result.members, result.dictionaries, scores, strict=True)
  for i, (member, dictionary, score) in enumerate(members):
    how = {'trainer': values['trainer'], 'member': member, 'metrics': score}
    dictionaries.save(workdir / 'dictionaries' / str(i), dictionary, how)
    print(f'{workdir / "dictionaries" / str(i)}: {json.dumps(member | score)}')


def run(values: Json, workdir: pathlib.Path) -> bool:
  """Trains and, when the last step is done, saves; returns whether it is."""
  if TOKENS.value and MODEL.value:
    result = train_through_model(values, MODEL.value, TOKENS.value, workdir)
  else:
    assert STORE.value is not None  # `check_flags` has seen to it.
    held_out = None if HELD_OUT.value is None else Reader(HELD_OUT.value)
    sweep = json.loads(SWEEP.value or '{}')
    result = train_on_store(values, sweep, Reader(STORE.value), held_out, workdir)
  if not result.finished:
    processes.say('Stopped behind a checkpoint. Run again to go on.')
  elif processes.is_first():
    save(result, values, workdir)
  return result.finished


def check_flags(values: Json) -> None:
  """Raises UsageError where the flags are not those of the configuration."""
  if 'end_to_end' in values['trainer']['terms']:
    if MODEL.value is None or TOKENS.value is None:
      raise app.UsageError('This configuration needs --tokens and --model.')
    if SWEEP.value or HELD_OUT.value or STORE.value:
      raise app.UsageError(
        'Through a model there is no --sweep, no --held_out and no --store.'
      )
  elif STORE.value is None or TOKENS.value is not None:
    raise app.UsageError('This configuration needs --store, and takes no --tokens.')


def main(argv: list[str]) -> int:
  """Trains, saves and says what the dictionaries score."""
  del argv
  values = CONFIG.value.to_dict()
  check_flags(values)
  return job.run(lambda place: run(values, pathlib.Path(WORKDIR.value)))


if __name__ == '__main__':
  app.run(main)
