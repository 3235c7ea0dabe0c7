"""Does a training step wait for its data? The share of the time in which it does.

    python benchmarks/input_wait.py [--steps=40] [--lanes=1] [--json=FILE]

Trains, by the library's own loop, a TopK dictionary (width 512, 8192 features, batches
of 2048 rows from a dataset on disk, bfloat16) and the embedded language model (the
settings of `configs/stdlib_4l.py`), and reads `data_wait` off the log: the share of the
time in which the devices had nothing to do because the next batch was not there. The
first tenth of the steps, which compile and fill the buffers, is not counted. Both are
then timed again on one batch that is in memory, so that the steps alone can be
compared. About two minutes on 2 CPU cores.
"""

from collections.abc import Callable, Iterator
import json
import pathlib
import shutil
import sys
import tempfile
from typing import Any

from absl import app, flags, logging
import jax
import numpy as np

from interp_jax import dictionaries, models, store, training

# The settings of the language model are those of its configuration.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
from configs import stdlib_4l

STEPS = flags.DEFINE_integer('steps', 40, 'Steps of each run.')
LANES = flags.DEFINE_integer('lanes', 1, 'Streams of the dataset.')
ROWS = flags.DEFINE_integer('rows', 400_000, 'Rows of the dataset.')
JSON = flags.DEFINE_string('json', None, 'File to write the numbers to.')

WIDTH, FEATURES, BATCH = 512, 8192, 2048
PIECE = 2**14  # Rows that are written at a time.


class Same(Iterator[Any]):
  """One batch again and again: data that is always there."""

  def __init__(self, batch: Any):
    self._batch = batch

  def __next__(self) -> Any:
    return self._batch

  def get_state(self) -> int:
    return 0

  def set_state(self, state: int) -> None:
    del state


def write_dataset(folder: pathlib.Path) -> store.Reader:
  """Random rows."""
  rng = np.random.default_rng(0)
  schema = store.make_schema([store.ArraySpec('resid_post', 1, (WIDTH,))])
  with store.Writer(folder, schema) as writer:
    for start in range(0, ROWS.value, PIECE):
      index = np.arange(start, min(start + PIECE, ROWS.value), dtype=np.int32)
      rows = rng.normal(size=(len(index), WIDTH)).astype(np.float32)
      writer.append({'resid_post.1': rows}, np.stack([index] * 3, 1))
  return store.Reader(folder)


def train_dictionary(reader: store.Reader, folder: pathlib.Path, same: bool) -> None:
  """Trains on the dataset, or on one batch of it."""
  config = dictionaries.DictionaryConfig(WIDTH, FEATURES, dictionaries.TopK(32))
  trainer = dictionaries.TrainerConfig(
    steps=STEPS.value,
    batch_size=BATCH,
    log_every=max(1, STEPS.value // 10),
    checkpoint_every=0,
  )
  if same:
    rows = reader.numpy(stop=BATCH)
    dictionaries.train(config, trainer, Same(rows), rows, folder, progress=False)
  else:
    options = {'lanes': LANES.value, 'progress': False}
    dictionaries.train_on_store(config, trainer, reader, folder, **options)


def train_language_model(folder: pathlib.Path, same: bool) -> None:
  """Trains on random tokens, or on one batch of them."""
  config = stdlib_4l.get_config()
  cfg = models.TransformerConfig.from_dict(config.model.to_dict())
  model = models.Transformer(cfg, unroll=config.unroll)
  settings = training.OptimizerConfig(**config.optimizer.to_dict())
  optimizer = training.make_optimizer(settings, config.steps)
  rng = np.random.default_rng(0)
  rows = rng.integers(0, cfg.vocab_size, (4096, cfg.context)).astype(np.uint16)
  size = config.batch_size
  loss = training.make_loss(lambda p, tokens: model.apply({'params': p}, tokens)[0])
  training.fit(
    training.create_state(models.init_params(model, 0), optimizer),
    training.make_train_step(loss, optimizer, microbatches=config.microbatches),
    Same(rows[:size]) if same else training.batches(rows, size, seed=0),
    training.LoopConfig(
      steps=STEPS.value,
      log_every=max(1, STEPS.value // 10),
      checkpoint_every=0,
      units_per_step=size,
      unit='examples',
    ),
    folder,
    progress=False,
  )


def numbers_of(folder: pathlib.Path) -> dict[str, float]:
  """Means over the log, without its first record."""
  _, *records = training.read_metrics(folder / 'metrics.jsonl', 'train')
  return {
    name: float(np.mean([record[name] for record in records]))
    for name in ('data_wait', 'examples_per_second')
  }


def measure(scratch: pathlib.Path) -> dict[str, Any]:
  """All runs."""
  reader = write_dataset(scratch / 'dataset')
  jobs: dict[str, Callable[[pathlib.Path, bool], None]] = {
    'dictionary': lambda folder, same: train_dictionary(reader, folder, same),
    'language model': train_language_model,
  }
  found: dict[str, Any] = {}
  for name, train in jobs.items():
    for kind, same in (('data', False), ('one batch', True)):
      folder = scratch / f'{name} {kind}'
      train(folder, same)
      found.setdefault(name, {})[kind] = numbers_of(folder)
    wait, rate = found[name]['data'].values()
    alone = found[name]['one batch']['examples_per_second']
    print(
      f'{name:15} waits for data {wait:6.2%} of the time; {rate:8,.0f} examples/s, '
      f'{alone:8,.0f} where one batch is repeated'
    )
  return found


def main(argv: list[str]) -> None:
  """Measures and prints."""
  if len(argv) > 1:
    raise app.UsageError(f'{argv[1]!r} is not a flag.')
  logging.set_verbosity(logging.WARNING)
  scratch = pathlib.Path(tempfile.mkdtemp(prefix='input_wait_'))
  try:
    found = measure(scratch)
  finally:
    shutil.rmtree(scratch)
  if JSON.value:
    device = jax.devices()[0].device_kind
    record = {'steps': STEPS.value, 'lanes': LANES.value, 'device': device, **found}
    pathlib.Path(JSON.value).write_text(json.dumps(record, indent=2) + '\n')


if __name__ == '__main__':
  app.run(main)
