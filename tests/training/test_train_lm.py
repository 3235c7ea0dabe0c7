"""The configuration of the embedded model, and the command that trains it."""

import json
import pathlib
import subprocess
import sys

import pytest

from configs import stdlib_4l
from interp_jax import models, training
from interp_jax.training import optimizers

REPOSITORY = pathlib.Path(stdlib_4l.__file__).parents[1]
FEW_FILES = pathlib.Path(json.__file__).parents[1] / 'asyncio'


@pytest.mark.parametrize('variant', ['', 'b', 'quick'])
def test_every_variant_makes_a_model_and_an_optimizer(variant):
  config = stdlib_4l.get_config(variant).to_dict()
  models.TransformerConfig.from_dict(config['model'])
  optimizer = optimizers.OptimizerConfig(**config['optimizer'])
  schedule = optimizers.make_schedule(optimizer, config['steps'])
  assert float(schedule(optimizer.warmup)) == pytest.approx(optimizer.learning_rate)
  assert config['batch_size'] % config['microbatches'] == 0


def test_the_second_seed_differs_in_the_seed_and_the_name_alone():
  first, second = (stdlib_4l.get_config(variant).to_dict() for variant in ('', 'b'))
  assert {key for key in first if first[key] != second[key]} == {'name', 'seed'}


def test_a_wrong_variant_lists_the_right_ones():
  with pytest.raises(ValueError, match="'b', 'quick'"):
    stdlib_4l.get_config('c')


@pytest.mark.slow
def test_the_command_trains_exports_and_does_not_train_twice(tmp_path):
  command = [
    sys.executable,
    'launch/train_lm.py',
    '--config=configs/stdlib_4l.py:quick',
    '--workdir',
    str(tmp_path),
    f'--config.data.root={FEW_FILES}',
    '--config.data.held_out=0.3',
    '--config.model.vocab_size=512',
  ]
  for _ in range(2):
    done = subprocess.run(
      command, cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 'held-out loss' in done.stdout
  steps = [
    r['step'] for r in training.read_metrics(tmp_path / 'metrics.jsonl', 'train')
  ]
  assert steps == [5, 10, 15, 20]
  model, _, tokenizer = models.load(tmp_path / 'export')
  assert (model.cfg.vocab_size, tokenizer.vocab_size) == (512, 512)
  card = json.loads((tmp_path / 'export' / 'card.json').read_text())
  assert '--workdir=DIR' in card['command']
  assert str(tmp_path) not in json.dumps(card)
  assert card['held_out_loss'] < card['loss_curve']['held_out'][0][1] + 0.5
