"""The main job end to end on a tiny random model: done once, resumed, never mixed."""

import contextlib
import dataclasses
import functools
import json
import pathlib
import re
import zlib

import jax
import pytest

from interp_jax import models
from interp_jax.sharding import make_mesh
from interp_jax.tasks import python_source
from interp_jax.training import stages as stages_lib
from tests.launch.scripts import config_of, load_script

ROOT = pathlib.Path(__file__).resolve().parents[2]
VOCAB = 499


main_job = load_script('quickstart')


class WordTokenizer:
  """Words with the space before them, by a hash: enough for a random model."""

  vocab_size, bos_id = VOCAB, 0

  def __init__(self):
    self._words = {0: '<bos>'}

  def encode(self, text):
    words = re.findall(r' ?\w+|\n *| +|.', text)
    ids = [1 + zlib.crc32(word.encode()) % (VOCAB - 1) for word in words]
    self._words |= dict(zip(ids, words, strict=True))
    return ids

  def token_strings(self, ids):
    return [self._words.get(int(i), '?') for i in ids]


@pytest.fixture(scope='module')
def corpus(tmp_path_factory):
  folder = tmp_path_factory.mktemp('corpus')
  line = 'def f{0}(name):\n    for value in name:\n        print(value, {0})\n'
  for index in range(80):
    path = folder / f'module_{index}.py'
    path.write_text(''.join(line.format(index * 7 + k) for k in range(30)))
  names = python_source.list_files(folder)
  assert any(python_source.split_of(name) == 'held_out' for name in names)
  return folder


@pytest.fixture(scope='module')
def config(corpus):
  config = config_of('quickstart', 'quick')
  config.corpus = str(corpus)
  config.model = 'tiny'
  return config.to_dict()


@functools.cache
def tiny_model():
  cfg = models.TransformerConfig(
    vocab_size=VOCAB, width=16, layers=2, heads=2, head_dim=8, mlp_width=32, context=32
  )
  model = models.Transformer(cfg)
  return model, models.init_params(model, 0)


def load_tiny(config, workdir):
  # Two devices are a mesh, and compile faster than eight.
  mesh = make_mesh(devices=jax.devices()[:2])
  return main_job.Run(config, workdir, *tiny_model(), WordTokenizer(), mesh)


@pytest.fixture(scope='module')
def finished(config, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('finished')
  return workdir, main_job.quickstart(config, workdir, load_tiny)


def timeless(summary):
  return {k: v for k, v in summary.items() if k not in ('seconds', 'stage_seconds')}


def files_of(workdir):
  return {
    path: (path.stat().st_mtime_ns, path.stat().st_size)
    for path in workdir.rglob('*')
    if path.is_file()
  }


def test_the_summary_has_the_promised_numbers(finished):
  _, summary = finished
  for name in ('fvu', 'l0', 'dead_fraction', 'ce_recovered', 'seconds'):
    assert isinstance(summary[name], float), name
  assert summary['tokens_harvested'] >= 4096
  assert set(summary['stage_seconds']) >= set(main_job.STAGES)
  assert summary['seconds'] == pytest.approx(
    sum(summary['stage_seconds'].values()), abs=0.5
  )


def test_the_page_is_complete_in_itself(finished):
  workdir, _ = finished
  page = (workdir / 'report.html').read_text(encoding='utf-8')
  assert page.rstrip().endswith('</html>')
  assert not re.search(r'(src|href)="https?://', page)
  pictures = re.findall(r'<svg role="img" aria-label="([^"]+)"', page)
  assert len(pictures) == page.count('<figure>') == page.count('<svg') >= 7


def test_run_again_it_does_nothing(finished, config):
  workdir, summary = finished
  before = files_of(workdir)
  assert main_job.quickstart(config, workdir, load_tiny) == summary
  assert files_of(workdir) == before


def test_a_deleted_page_is_written_again_and_nothing_else(finished, config):
  workdir, summary = finished
  (workdir / 'report.html').unlink()
  before = files_of(workdir / 'activations') | files_of(workdir / 'training')
  again = main_job.quickstart(config, workdir, load_tiny)
  assert (workdir / 'report.html').exists()
  assert timeless(again) == timeless(summary)
  assert files_of(workdir / 'activations') | files_of(workdir / 'training') == before


def test_finished_stages_of_other_settings_are_an_error_that_names_them(
  finished, config
):
  workdir, _ = finished
  before = files_of(workdir)
  other = config | {'trainer': config['trainer'] | {'steps': 41}}
  with pytest.raises(ValueError, match=r'train\.json is of a run with other settings'):
    main_job.quickstart(other, workdir, load_tiny)
  kept = {k: v for k, v in files_of(workdir).items() if k in before}
  assert kept == before


class Killed(BaseException):
  """Stands for whatever ends a process."""


@contextlib.contextmanager
def killed_at(monkeypatch, owner, name, call):
  """Raises at the n-th call of a function, as if the process ended there."""
  calls, real = [0], getattr(owner, name)

  def counted(*args, **kwargs):
    calls[0] += 1
    if calls[0] == call:
      raise Killed
    return real(*args, **kwargs)

  with monkeypatch.context() as patch:
    patch.setattr(owner, name, counted)
    yield


def test_stopped_between_and_inside_stages_it_ends_with_the_same_summary(
  finished, config, tmp_path, monkeypatch
):
  from interp_jax.store import writer
  from interp_jax.training import checkpoints

  _, summary = finished
  places = [
    (writer.Writer, 'append', 6),  # inside the harvest
    (checkpoints.Checkpoints, 'save', 3),  # inside the training
    (main_job.dictionaries, 'recovered', 1),  # inside the evaluation
    (main_job.circuits, 'sweep', 2),  # inside the patching
    (main_job.report, 'write', 1),  # before the page
  ]
  for owner, name, call in places:
    with killed_at(monkeypatch, owner, name, call), pytest.raises(Killed):
      main_job.quickstart(config, tmp_path, load_tiny)
    assert not (tmp_path / 'summary.json').exists()
  resumed = main_job.quickstart(config, tmp_path, load_tiny)
  assert timeless(resumed) == timeless(summary)


def test_a_signal_in_training_stops_behind_a_checkpoint(config, tmp_path, monkeypatch):
  real = main_job.dictionaries.train_on_store

  def stopped(*args, **kwargs):
    return dataclasses.replace(real(*args, **kwargs), finished=False)

  monkeypatch.setattr(main_job.dictionaries, 'train_on_store', stopped)
  with pytest.raises(main_job.Stopped):
    main_job.quickstart(config, tmp_path, load_tiny)
  assert (tmp_path / 'stages' / 'harvest.json').exists()
  assert not (tmp_path / 'stages' / 'train.json').exists()


def test_time_adds_up_over_runs_that_were_killed(tmp_path, monkeypatch):
  clock = [0.0]
  monkeypatch.setattr(stages_lib.time, 'monotonic', lambda: clock[0])

  def work():
    clock[0] += 10.0
    raise Killed

  for run in (1, 2):
    with pytest.raises(Killed):
      stages_lib.Stages(tmp_path).result('slow', {}, work)
    saved = json.loads((tmp_path / 'stages' / 'clock.json').read_text())
    assert saved == {'slow': 10.0 * run}


def test_a_stage_depends_on_the_settings_of_those_before_it(tmp_path):
  def ask(first):
    stages = stages_lib.Stages(tmp_path)
    if first is not None:
      stages.result('first', {'a': first}, dict)
    return stages.result('second', {}, dict)

  ask(1)
  (tmp_path / 'stages' / 'first.json').unlink()
  with pytest.raises(ValueError, match=r'second\.json is of a run with other settings'):
    ask(2)


def test_both_variants_of_the_configuration_exist_and_no_other():
  assert config_of('quickstart', '').harvest.tokens >= 500_000
  assert config_of('quickstart', 'quick').harvest.tokens < 10_000
  with pytest.raises(ValueError, match='no variant'):
    config_of('quickstart', 'large')
