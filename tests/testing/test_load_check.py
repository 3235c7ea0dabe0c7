"""The check of a folder: what it measures on its own, and how it judges."""

import json

import numpy as np
import pytest

from interp_jax import models
from interp_jax.testing import load_check
from interp_jax.testing.load_check import Check
from tests.models import golden_files


@pytest.fixture
def alone(monkeypatch):
  """A machine without PyTorch."""
  monkeypatch.setattr(load_check, '_installed', lambda name: False)


@pytest.mark.usefixtures('alone')
def test_without_other_libraries_it_measures_what_needs_none(tmp_path):
  folder = golden_files.make_checkpoint('gpt2-plain', tmp_path)
  check = load_check.check_folder(folder)
  assert check.family == 'GPT-2'
  assert check.float32 is check.float64 is check.hooks is None
  assert check.round_trip == 0
  assert check.padding < 1e-12
  assert 0 < check.processed < 1e-12
  assert not check.above()
  assert len(check.notes) == 2


@pytest.mark.usefixtures('alone')
def test_weights_that_overflow_are_refused(tmp_path):
  folder = golden_files.make_checkpoint('gpt2-plain', tmp_path / 'read')
  model, params, _ = models.load(folder)
  params['ln_final']['w'] = params['ln_final']['w'] * np.inf
  models.save_like(tmp_path / 'bad', model, params, like=folder)
  with pytest.raises(ValueError, match='not finite'):
    load_check.check_folder(tmp_path / 'bad')


def test_what_cannot_be_read_says_why(tmp_path):
  folder = golden_files.make_checkpoint('gpt2-plain', tmp_path)
  fields = json.loads((folder / 'config.json').read_text()) | {'warp': 9}
  (folder / 'config.json').write_text(json.dumps(fields))
  with pytest.raises(ValueError, match='warp=9'):
    load_check.check_folder(folder)


def test_a_number_above_its_bound_or_not_a_number_is_named():
  good = Check('GPT-2', 1e-6, 1e-15, 10, 1e-14, 1e-14, 0.0, 0.0)
  assert good.above() == []
  bad = Check('GPT-2', 6e-5, float('nan'), 10, 1e-9, None, 1e-30, 1e-9)
  assert set(bad.above()) == {
    'float32',
    'float64',
    'hook_error',
    'round_trip',
    'padding',
  }


def test_the_worst_of_a_family_is_the_worst_of_each_column():
  one = Check('GPT-2', 1e-6, float('nan'), 10, 1e-14, None, 0.0, 0.0, ('a note',))
  other = Check('GPT-2', 2e-6, 1e-15, 8, 3e-14, None, 0.0, 1e-15)
  worst = load_check.worst([one, other])
  assert (worst.float32, worst.hook_error, worst.padding) == (2e-6, 3e-14, 1e-15)
  assert np.isnan(worst.float64)
  assert worst.processed is None


def test_the_table_has_a_row_for_each_check_and_a_dash_for_what_was_not_measured():
  text = load_check.table([Check('GPT-2', 1.26e-6, round_trip=0.0)])
  assert text.splitlines()[2] == '| GPT-2 | 1e-06 | – | – | – | – | 0 | – |'
