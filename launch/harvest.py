"""Harvests the activations of a model on text into a dataset.

    python launch/harvest.py --config=configs/harvest/resid_post.py --workdir=DIR

`DIR/tokens` gets the tokens with the names of their documents, `DIR/activations` the
dataset, which `interp_jax.store.Reader` opens; `--output` puts it elsewhere, e.g. at
`s3://bucket/prefix`. Run again, it goes on from the last complete shard, however it was
ended; Ctrl-C or SIGTERM end it behind one, with the exit status 75. The dataset is byte
for byte that of a run that was never stopped.

Several processes harvest one dataset, each its shards, on storage that they share: see
BUILD.md. They need not know of each other, only which of them each is:
`--processes=4 --process=0`, and so on.

Any setting can be changed: `--config.tokens.max_tokens=1000000`.
"""

from collections.abc import Callable
import pathlib
import sys
import time
from typing import Any

from absl import app, flags
import jax
from ml_collections import config_flags

import interp_jax
from interp_jax import harvest as harvest_lib
from interp_jax import sharding, store
from interp_jax.tasks import python_source
from interp_jax.training import job, signals

# Configurations import their neighbours, from `configs`.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))

CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Configuration file, for example configs/harvest/resid_post.py.'
)
WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run.', required=True)
OUTPUT = flags.DEFINE_string('output', '', 'Where the dataset goes, if elsewhere.')
flags.mark_flag_as_required('config')

SOURCES = {
  'text': harvest_lib.TextFiles,
  'jsonl': harvest_lib.JsonLines,
  'tokens': harvest_lib.TokenArrays,
}


def make_source(values: dict[str, Any]) -> Any:
  """The documents that a configuration names."""
  given = dict(values)
  kind = given.pop('kind')
  if kind not in SOURCES:
    raise ValueError(interp_jax.core.unknown('kind of source', kind, SOURCES))
  given['path'] = given['path'] or python_source.stdlib_root()
  return SOURCES[kind](**given)


def make_corpus(
  config: dict[str, Any],
  folder: pathlib.Path,
  tokenizer: Any,
  should_stop: Callable[[], bool],
  process: int = 0,
) -> harvest_lib.Corpus:
  """Tokenizes the documents; of several processes the first does, for all."""
  if process:
    while not should_stop():
      try:
        return harvest_lib.open_corpus(folder)
      except FileNotFoundError:
        time.sleep(1)
    raise harvest_lib.Stopped('waiting for the tokens')
  values = dict(config['tokens'])
  max_tokens = values.pop('max_tokens') or None
  return harvest_lib.tokenize(
    make_source(config['source']),
    folder,
    harvest_lib.Layout(**values),
    tokenizer,
    max_tokens=max_tokens,
    should_stop=should_stop,
  )


def run(
  config: dict[str, Any],
  workdir: pathlib.Path,
  should_stop: Callable[[], bool],
  output: str = '',
  process: int = 0,
  processes: int = 1,
) -> store.Reader:
  """Tokenizes and harvests, or goes on doing so.

  Raises:
    Stopped: if it was told to stop.
  """
  model, params, tokenizer = interp_jax.load(config['model'])
  tokens = workdir / 'tokens'
  corpus = make_corpus(config, tokens, tokenizer, should_stop, process)
  mesh = sharding.make_mesh(model=config['mesh']['model'], devices=jax.local_devices())
  # Weights that the devices do not divide are whole on each.
  rules = sharding.fit_rules(mesh, sharding.TRANSFORMER_RULES, params)
  values = dict(config['harvest'])
  values['sites'] = {site: layers or None for site, layers in values['sites'].items()}
  values['compute_dtype'] = values['compute_dtype'] or None
  return harvest_lib.harvest(
    model,
    sharding.place(mesh, rules, params),
    corpus.sequences,
    output or workdir / 'activations',
    **values,
    mesh=mesh,
    description=config['description'],
    metadata={'model': config['model']},
    process_index=process,
    process_count=processes,
    should_stop=should_stop,
    progress=process == 0,
  )


def work(place: job.Place) -> bool:
  """Harvests and says what there is; returns whether all is done."""
  workdir = pathlib.Path(WORKDIR.value)
  with signals.catch_interrupts() as interrupted:
    should_stop = lambda: interrupted.requested
    try:
      reader = run(CONFIG.value.to_dict(), workdir, should_stop, OUTPUT.value, *place)
    except harvest_lib.Stopped as stopped:
      if place.index == 0:
        print(f'Stopped: {stopped}. Run again to go on.')
      return False
  if place.index == 0:
    print(reader)
  return True


def main(argv: list[str]) -> int:
  """Runs it in as many processes as the flags say."""
  del argv
  return job.run(work, apart=True)


if __name__ == '__main__':
  app.run(main)
