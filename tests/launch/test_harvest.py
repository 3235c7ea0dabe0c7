"""The command: the quick variants of its configurations, stopped and continued."""

import os
import pathlib
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import interp_jax
from interp_jax import harvest, store
from interp_jax.sharding import simulated_env
from tests.launch.scripts import config_of, load_script, write_python

ROOT = pathlib.Path(__file__).resolve().parents[2]


script = load_script('harvest')


@pytest.fixture(scope='module')
def corpus(tmp_path_factory):
  return write_python(tmp_path_factory.mktemp('corpus'), 40)


def settings(name, corpus):
  config = config_of(f'harvest/{name}')
  config.source.path = str(corpus)
  config.tokens.max_tokens = 4096
  config.harvest.shard_rows = 1024
  config.harvest.batch_size = 8  # A multiple of the simulated devices.
  return config.to_dict()


def never():
  return False


def contents(path):
  files = (file for file in path.rglob('*') if file.is_file())
  return {str(file.relative_to(path)): file.read_bytes() for file in files}


def test_a_row_leads_back_to_the_text_of_its_file(corpus, tmp_path):
  reader = script.run(settings('resid_post', corpus), tmp_path, never)
  tokenizer = interp_jax.load('stdlib-4l')[2]
  names = harvest.open_corpus(tmp_path / 'tokens').names
  document, position, token = reader.provenance([1000])[0]
  ids = tokenizer.encode((corpus / names[document]).read_text())
  assert ids[position] == token


def test_heads_come_as_one_vector_next_to_the_residual_stream(corpus, tmp_path):
  reader = script.run(settings('heads', corpus), tmp_path, never)
  shapes = {s.name: s.shape for s in reader.manifest.schema.arrays}
  assert shapes == {'resid_post.2': (128,), 'resid_pre.2': (128,), 'z.2': (64,)}
  # A sequence is of one file and begins with a BOS, which gives no row.
  assert (reader.numpy('provenance')[:, 1] >= 0).all()


def test_two_processes_write_the_dataset_of_one(corpus, tmp_path):
  config = settings('resid_post', corpus)
  script.run(config, tmp_path / 'one', never)
  threads = [
    threading.Thread(
      target=script.run, args=(config, tmp_path / 'two', never, '', index, 2)
    )
    for index in (1, 0)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert contents(tmp_path / 'two') == contents(tmp_path / 'one')


def test_an_unknown_kind_of_source_is_named(corpus, tmp_path):
  config = settings('resid_post', corpus)
  config['source']['kind'] = 'texts'
  with pytest.raises(ValueError, match=r"kind of source 'texts'\. Did you mean 'text'"):
    script.run(config, tmp_path, never)


@pytest.mark.parametrize('name', ['resid_post', 'heads'])
def test_configurations_have_two_variants_and_no_other(name):
  assert config_of(f'harvest/{name}', '').tokens.max_tokens > 400_000
  with pytest.raises(ValueError, match='no variant'):
    config_of(f'harvest/{name}', 'large')


def command(corpus, workdir):
  config = ROOT / 'configs' / 'harvest' / 'resid_post.py'
  return subprocess.Popen(
    [
      *(sys.executable, str(ROOT / 'launch' / 'harvest.py')),
      *(f'--config={config}:quick', f'--workdir={workdir}'),
      *(f'--config.source.path={corpus}', '--config.tokens.max_tokens=60000'),
      '--config.tokens.context=8',
    ],
    cwd=workdir.parent,
    env=os.environ | simulated_env(1),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def test_sigterm_ends_it_cleanly_and_run_again_it_finishes(corpus, tmp_path):
  process = command(corpus, tmp_path / 'run')
  shown = ''
  # The bar appears when it harvests.
  while process.poll() is None and 'harvest:' not in shown:
    shown += process.stderr.read(1)
  process.send_signal(signal.SIGTERM)
  out, err = process.communicate(timeout=120)
  assert process.returncode == 75, err
  assert 'Run again to go on' in out
  with pytest.raises(store.UnfinishedError):
    store.Reader(tmp_path / 'run' / 'activations')
  process = command(corpus, tmp_path / 'run')
  out, err = process.communicate(timeout=120)
  assert process.returncode == 0, err
  assert 'rows of resid_post.1' in out
  assert 'tok/s' in err
  reader = store.Reader(tmp_path / 'run' / 'activations')
  assert not reader.verify()
  token = np.load(tmp_path / 'run' / 'tokens' / 'tokens.npy')[:, 1:]
  np.testing.assert_array_equal(reader.numpy('provenance')[:, 2], token.reshape(-1))
