"""The script that checks a folder of weights."""

from unittest import mock

import pytest

from interp_jax.testing import load_check
from tests.launch.scripts import load_script
from tests.models import golden_files

script = load_script('load_check')


@pytest.fixture
def run(monkeypatch):
  """Runs it on a machine without PyTorch; comparisons have tests of their own."""
  monkeypatch.setattr(load_check, '_installed', lambda name: False)
  monkeypatch.setattr(script, 'hush', lambda: None)
  monkeypatch.setattr(script, 'flags', mock.MagicMock())

  def main(path):
    monkeypatch.setattr(script, 'PATH', mock.Mock(value=path))
    monkeypatch.setattr(script, 'IGNORE', mock.Mock(value=[]))
    script.main(['load_check'])

  return main


def test_it_prints_the_row_and_what_is_not_installed(run, tmp_path, capsys):
  run(golden_files.make_checkpoint('llama-plain', tmp_path))
  printed = capsys.readouterr().out
  assert '| Llama 2, 3 | – | – |' in printed
  assert 'transformers is not installed' in printed


def test_a_folder_that_cannot_be_read_ends_it_with_the_reason(run, tmp_path):
  folder = golden_files.make_checkpoint('llama-plain', tmp_path)
  (folder / 'model.safetensors').rename(folder / 'model.bin')
  with pytest.raises(SystemExit, match=r'is not read.*safetensors'):
    run(folder)


def test_a_number_above_its_bound_ends_it_with_its_column(run, tmp_path, monkeypatch):
  found = load_check.Check('Llama 2, 3', float32=1.0)
  monkeypatch.setattr(load_check, 'check_folder', lambda *args, **kwargs: found)
  with pytest.raises(SystemExit, match=r'Above the bounds.*float32\.'):
    run(tmp_path)
