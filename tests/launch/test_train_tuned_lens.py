"""The command that trains a tuned lens, and its configuration."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from configs.lenses import tuned
from interp_jax import lenses, training

ROOT = pathlib.Path(tuned.__file__).parents[2]
FEW_FILES = pathlib.Path(json.__file__).parents[1] / 'asyncio'


@pytest.mark.parametrize('variant', ['', 'quick'])
def test_every_variant_fits_together(variant):
  settings = tuned.get_config(variant).to_dict()['training']
  optimizer = training.OptimizerConfig(**settings.pop('optimizer'))
  config = lenses.TunedLensConfig(**settings, optimizer=optimizer)
  assert config.batch_size % config.microbatches == 0
  training.make_schedule(optimizer, config.steps)


def test_a_wrong_variant_lists_the_right_ones():
  with pytest.raises(ValueError, match="Valid: '', 'quick'"):
    tuned.get_config('small')


@pytest.mark.slow
def test_the_command_trains_scores_draws_and_does_not_train_twice(tmp_path):
  command = [
    sys.executable,
    'launch/train_tuned_lens.py',
    '--config=configs/lenses/tuned.py:quick',
    '--workdir',
    str(tmp_path),
    f'--config.data.root={FEW_FILES}',
    '--config.data.held_out=0.3',
  ]
  for _ in range(2):
    done = subprocess.run(
      command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 'layers run' in done.stdout
  steps = [
    r['step'] for r in training.read_metrics(tmp_path / 'metrics.jsonl', 'train')
  ]
  assert steps == [5, 10]
  scores = json.loads((tmp_path / 'scores.json').read_text())
  assert (
    np.array(scores['tuned']['kl'])[:-1] < np.array(scores['logit']['kl'])[:-1]
  ).all()
  lens, metadata = lenses.load_lens(tmp_path / 'lens')
  assert lens.W_lens.shape == (4, 128, 128)
  assert metadata['model'] == 'stdlib-4l'
  page = (tmp_path / 'report.html').read_text()
  assert page.count('<svg') >= 5
