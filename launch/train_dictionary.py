"""Trains a sparse dictionary on an activation dataset.

    python launch/train_dictionary.py --config=configs/dictionaries/topk.py \
        --store=DIR --held_out=DIR --workdir=DIR

`--held_out` is a dataset that the dictionary is evaluated on; without one there is no
evaluation. `workdir` gets `metrics.jsonl`, `checkpoints/` and, at the end,
`dictionary/`: the folder that `dictionaries.load` reads. Run again, it goes on from the
last checkpoint, bit for bit as if it had not been stopped; Ctrl-C or SIGTERM stop it
behind one.

Any setting can be changed: `--config.trainer.steps=500 --config.trainer.seed=1`.
"""

import json
import pathlib
from typing import Any

from absl import app, flags, logging
import jax
from ml_collections import config_flags

from interp_jax import dictionaries
from interp_jax.sharding import make_mesh
from interp_jax.store import Reader

CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Configuration file, for example configs/dictionaries/topk.py.'
)
STORE = flags.DEFINE_string('store', None, 'Dataset to train on.', required=True)
HELD_OUT = flags.DEFINE_string('held_out', None, 'Dataset to evaluate on.')
WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run.', required=True)
flags.mark_flag_as_required('config')


def dictionary_config(
  values: dict[str, Any], reader: Reader, array: str | None
) -> dictionaries.DictionaryConfig:
  """The shape of the dictionary: width, site and layer are the dataset's."""
  name = array or reader.names[0]
  spec = next(s for s in reader.manifest.schema.arrays if s.name == name)
  if len(spec.shape) != 1:
    raise ValueError(f'Array {name!r} has rows of shape {spec.shape}; it must be [D].')
  given = dict(values)
  features = given.pop('expansion') * spec.shape[0]
  return dictionaries.DictionaryConfig.from_dict(
    given
    | {'width': spec.shape[0], 'features': features}
    | {'site': spec.site, 'layer': spec.layer}
  )


def train(
  values: dict[str, Any], reader: Reader, held_out: Reader | None, workdir: pathlib.Path
) -> dictionaries.TrainResult:
  """Trains and, when the last step is done, saves the dictionary."""
  array = values['array'] or None
  config = dictionary_config(values['dictionary'], reader, array)
  trainer = dictionaries.TrainerConfig.from_dict(values['trainer'])
  rows = None
  if held_out is not None:
    rows = dictionaries.sample_of(held_out, values['held_out_rows'], array)
  mesh = make_mesh(values['mesh']['data'] or None, values['mesh']['model'])
  result = dictionaries.train_on_store(
    config, trainer, reader, workdir, inputs=array, held_out=rows, mesh=mesh
  )
  if result.finished and jax.process_index() == 0:
    how = {'trainer': trainer.to_dict(), 'metrics': result.metrics}
    dictionaries.save(workdir / 'dictionary', result.dictionary, how)
  return result


def main(argv: list[str]) -> None:
  """Trains, saves and says what the dictionary scores."""
  del argv
  if not flags.FLAGS['verbosity'].present:
    logging.set_verbosity(logging.WARNING)  # Libraries tell much at INFO.
  workdir = pathlib.Path(WORKDIR.value)
  held_out = None if HELD_OUT.value is None else Reader(HELD_OUT.value)
  result = train(CONFIG.value.to_dict(), Reader(STORE.value), held_out, workdir)
  if not result.finished:
    print('Stopped behind a checkpoint. Run again to go on.')
    return
  print(f'{workdir / "dictionary"}: {json.dumps(result.metrics)}')


if __name__ == '__main__':
  app.run(main)
