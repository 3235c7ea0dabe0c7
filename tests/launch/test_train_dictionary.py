"""The command: every configuration trains; a sweep; a run that is stopped."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from interp_jax import dictionaries, store
from interp_jax.sharding import simulated_env
from tests.launch.scripts import config_of, load_script
from tests.slow import slow_but

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIGS = sorted(
  path.stem
  for path in (ROOT / 'configs' / 'dictionaries').glob('*.py')
  if path.stem != 'common'
)
OF_MLPS = ('transcoder', 'skip_transcoder', 'cross_layer')


script = load_script('train_dictionary')


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  """What the MLPs of four layers of width 64 read and write, and the streams."""
  names = [('ln2.normalized', 0), ('mlp_out', 0), ('resid_post', 0)]
  specs = [
    store.ArraySpec(site, layer, (64,)) for site, _ in names for layer in range(4)
  ]
  rng = np.random.default_rng(0)
  rows = {spec.name: rng.normal(size=(512, 64)).astype(np.float32) for spec in specs}
  index = np.arange(512, dtype=np.int32)
  where = np.stack([index // 10, index % 10, index % 7], 1)
  folder = tmp_path_factory.mktemp('store') / 'activations'
  schema = store.make_schema(specs, 64, 256)
  with store.Writer(folder, schema, description='made up') as writer:
    writer.append(rows, where)
  return folder


def values_of(name):
  values = config_of(f'dictionaries/{name}').to_dict()
  values['trainer']['steps'] = 4
  if not values['inputs']:
    values['inputs'] = ('resid_post.1',)
  return values


@pytest.mark.parametrize(
  'name',
  slow_but(
    [name for name in CONFIGS if name != 'end_to_end'],
    'batchtopk',
    'skip_transcoder',
    'crosscoder',
    'jumprelu',
  ),
)
def test_every_configuration_trains_and_is_read_back(name, dataset, tmp_path):
  reader = store.Reader(dataset)
  result = script.train_on_store(values_of(name), {}, reader, reader, tmp_path)
  script.save(result, values_of(name), tmp_path)
  trained = dictionaries.load(tmp_path / 'dictionary')
  assert trained.config == result.dictionary.config
  assert np.isfinite(result.metrics['fvu'])
  places = trained.config.reads + trained.config.writes
  assert ('mlp_out' in places) == (name in OF_MLPS)


@pytest.mark.parametrize('name', CONFIGS)
def test_the_full_configuration_makes_sense_and_others_are_refused(name):
  values = config_of(f'dictionaries/{name}', '').to_dict()
  trainer = dictionaries.TrainerConfig.from_dict(values['trainer'])
  width = 128
  place = (width, *values.get('place', ('ln2.normalized', 1)))
  targets = [place] if values['targets'] else []
  config = script.dictionary_config(values['dictionary'], [place], targets)
  dictionaries.check(config, trainer)
  with pytest.raises(ValueError, match="Valid: '', 'quick'"):
    config_of(f'dictionaries/{name}', 'quik')


def test_an_array_that_is_not_there_is_named(dataset, tmp_path):
  values = values_of('topk') | {'inputs': ('resid_pots.1',)}
  with pytest.raises(ValueError, match=r"Did you mean 'resid_post\.1'"):
    script.train_on_store(values, {}, store.Reader(dataset), None, tmp_path)


def command(dataset, workdir, *more):
  return [
    sys.executable,
    str(ROOT / 'launch' / 'train_dictionary.py'),
    f'--config={ROOT}/configs/dictionaries/topk.py:quick',
    "--config.inputs=('resid_post.1',)",
    f'--store={dataset}',
    f'--workdir={workdir}',
    *more,
  ]


def start(*args):
  return subprocess.Popen(
    command(*args),
    env=os.environ | simulated_env(1),
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


@pytest.mark.slow
def test_a_sweep_saves_each_of_its_dictionaries(dataset, tmp_path):
  sweep = '--sweep={"seed": [0, 1], "activation.k": [2, 3]}'
  out, _ = start(dataset, tmp_path, sweep).communicate(timeout=200)
  for i, k in enumerate((2, 3, 2, 3)):
    folder = tmp_path / 'dictionaries' / str(i)
    assert dictionaries.load(folder).config.activation.k == k, out
    assert dictionaries.load_metadata(folder)['member']['seed'] == i // 2


@pytest.mark.slow
def test_a_run_that_is_told_to_stop_goes_on(dataset, tmp_path):
  long = ('--config.trainer.steps=3000', '--config.trainer.checkpoint_every=0')
  process = start(dataset, tmp_path, *long)
  log = tmp_path / 'metrics.jsonl'
  deadline = time.monotonic() + 120
  while not (log.exists() and log.read_text()) and time.monotonic() < deadline:
    time.sleep(0.2)
  process.send_signal(signal.SIGTERM)
  out, _ = process.communicate(timeout=100)
  assert process.returncode == 75
  assert 'Run again to go on' in out
  stopped = json.loads(log.read_text().splitlines()[-1])['step']
  assert 0 < stopped < 3000
  out, _ = start(dataset, tmp_path, *long).communicate(timeout=200)
  steps = [json.loads(line)['step'] for line in log.read_text().splitlines()]
  assert steps[-1] == 3000, out
  assert (tmp_path / 'dictionary' / 'config.json').exists()
