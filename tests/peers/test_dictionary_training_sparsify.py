"""Recipes of sparsify train as its own trainer does, on a model that is a table."""

import contextlib
import io

import jax
import numpy as np
import pytest

from interp_jax.dictionaries import recipe
from interp_jax.dictionaries.step import final_params
from interp_jax.testing.double import double
from tests.peers import dictionary_training as common
from tests.peers.dictionary_training import (
  BATCH,
  DEAD,
  FEATURES,
  SHAPE,
  STEPS,
  WIDTH,
  WINDOW,
  Outcome,
)
from tests.slow import slow_but

torch = pytest.importorskip('torch')
pytest.importorskip('sparsify')
pytestmark = pytest.mark.peers

# Recipe, its options, the sparse coder's options, the optimiser.
CASES = {
  'topk': ('topk', {'k': 4, 'auxk': 0.1}, {'k': 4}, 'signum'),
  'topk, adam': ('topk', {'k': 4, 'auxk': 0.1}, {'k': 4}, 'adam'),
  'multi-topk': (
    'topk',
    {'k': 4, 'multi_topk': True},
    {'k': 4, 'multi_topk': True},
    'signum',
  ),
  'groupmax': ('groupmax', {'k': 8}, {'k': 8, 'activation': 'groupmax'}, 'signum'),
  'transcoder': (
    'transcoder',
    {'k': 4, 'auxk': 0.1},
    {'k': 4, 'transcode': True},
    'signum',
  ),
  'skip_transcoder': (
    'skip_transcoder',
    {'k': 4},
    {'k': 4, 'transcode': True, 'skip_connection': True},
    'adam',
  ),
}
every_case = pytest.mark.parametrize('case', CASES)
LEARNING_RATE = {'signum': 3e-3, 'adam': 1e-2}
TOKENS = 16


def ours(case, **changes):
  name, options, _, optimizer = CASES[case]
  config, trainer = recipe(
    f'sparsify/{name}',
    **SHAPE,
    optimizer=optimizer,
    warmup_steps=20,
    learning_rate=LEARNING_RATE[optimizer],
    **options,
    **changes,
  )
  return config, common.with_window(trainer, WINDOW * BATCH)


def their_coder(case, dtype=torch.float32):
  from sparsify.config import SparseCoderConfig
  from sparsify.sparse_coder import SparseCoder

  torch.manual_seed(0)
  config = SparseCoderConfig(num_latents=FEATURES, **CASES[case][2])
  return SparseCoder(WIDTH, config, dtype=dtype)


def params_of(coder, read=lambda p: p.detach()):
  """Our parameters from theirs: linear maps lie the other way round."""
  names = {
    'encoder.weight': ('W_enc', True),
    'encoder.bias': ('b_enc', False),
    'W_dec': ('W_dec', False),
    'b_dec': ('b_dec', False),
    'W_skip': ('W_skip', True),
  }
  params = {}
  for name, p in coder.named_parameters():
    ours, flip = names[name]
    array = read(p).numpy()
    params[ours] = (array.T if flip else array).copy()
  return params


def pairs(case, count, seed):
  """Inputs and targets: the same, or a rectified map of the inputs."""
  inputs = common.rows(count, seed)
  if 'transcoder' not in case:
    return inputs, inputs
  image = np.random.default_rng(5).normal(size=(WIDTH, WIDTH)) / np.sqrt(WIDTH)
  return inputs, np.maximum(inputs @ image, 0) + 0.1 * inputs


@every_case
def test_the_loss_and_the_gradients_are_the_librarys(case):
  config, trainer = ours(case)
  params = common.random_params(config, trainer)
  # Every selected pre-activation is positive: the library's backward pass of the
  # encoder does not ask.
  params['b_enc'] = np.where(DEAD, params['b_enc'], np.abs(params['b_enc']) + 8.0)
  batch, targets = pairs(case, BATCH, 1)
  with double():
    coder = their_coder(case, torch.float64)
    for name, value in params.items():
      to = {'W_enc': coder.encoder.weight, 'b_enc': coder.encoder.bias}.get(name)
      to = getattr(coder, name) if to is None else to
      to.data = torch.tensor(value.T if name in ('W_enc', 'W_skip') else value)
    mask = torch.tensor(DEAD) if CASES[case][1].get('auxk') else None
    out = coder(torch.tensor(batch), torch.tensor(targets), dead_mask=mask)
    loss = out.fvu + 0.1 * out.auxk_loss + out.multi_topk_fvu / 8
    loss.backward()
  theirs = params_of(coder, lambda p: p.grad)
  common.assert_same_loss(
    common.loss_and_gradients(config, trainer, params, batch, targets),
    (loss.item(), theirs),
  )


class Table(torch.nn.Module):
  """A language model whose one layer maps a row of a table to another."""

  def __init__(self, inputs, outputs):
    super().__init__()
    self.layer = Lookup(outputs)
    self.inputs = torch.tensor(inputs)
    self.device = torch.device('cpu')
    self.dummy_inputs = {'input_ids': torch.zeros((1, TOKENS), dtype=torch.long)}

  @property
  def base_model(self):
    return self

  def forward(self, input_ids):
    return self.layer(self.inputs[input_ids], input_ids)


class Lookup(torch.nn.Module):
  def __init__(self, outputs):
    super().__init__()
    self.outputs = torch.tensor(outputs)
    self.weight = torch.nn.Parameter(torch.zeros(1))

  def forward(self, inputs, input_ids):
    return self.outputs[input_ids]


@pytest.fixture
def precision():
  """Their trainer sets how exact products in float32 are, for good."""
  before = torch.get_float32_matmul_precision()
  yield
  torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize('case', slow_but(CASES, 'transcoder'))
def test_200_steps_stay_together(case, tmp_path, precision):
  from sparsify.config import SparseCoderConfig, TrainConfig
  from sparsify.sparse_coder import SparseCoder
  from sparsify.trainer import Trainer

  _, options, coder_options, optimizer = CASES[case]
  inputs, targets = pairs(case, STEPS * BATCH, 0)
  order = torch.arange(STEPS * BATCH).reshape(-1, TOKENS)
  settings = TrainConfig(
    SparseCoderConfig(num_latents=FEATURES, **coder_options),
    batch_size=BATCH // TOKENS,
    optimizer=optimizer,
    lr=LEARNING_RATE[optimizer],
    lr_warmup_steps=20,
    auxk_alpha=options.get('auxk', 0.0),
    dead_feature_threshold=WINDOW * BATCH,
    hookpoints=['layer'],
    log_to_wandb=False,
    save_dir=str(tmp_path),
  )
  held_out, held_targets = pairs(case, 1000, 2)
  with double(), contextlib.redirect_stdout(io.StringIO()):
    trainer = Trainer(
      settings, [{'input_ids': row} for row in order], Table(inputs, targets)
    )
  params = params_of(trainer.saes['layer'])
  with common.float64_by_default(), contextlib.redirect_stdout(io.StringIO()):
    trainer.fit()
    coder = SparseCoder.load_from_disk(tmp_path / 'unnamed' / 'layer')
    coder.cfg.multi_topk = False  # With it, what a call gives back is of 4 k features.
    with torch.no_grad():
      out = coder(torch.tensor(held_out), torch.tensor(held_targets))
      codes, _, _ = coder.encode(torch.tensor(held_out))

  config, our_trainer = ours(case)
  params['b_dec'] = targets[:BATCH].mean(0)
  if 'transcoder' in case:
    params['b_enc'] = -inputs[:BATCH].mean(0) @ params['W_enc']
  shape = (STEPS, BATCH, WIDTH)
  data = {'inputs': inputs.reshape(shape), 'targets': targets.reshape(shape)}
  state = common.train(config, our_trainer, params, data)

  theirs = Outcome(
    common.fvu(out.sae_out.numpy(), held_targets),
    (codes != 0).double().sum(-1).mean().item(),
  )
  common.assert_stayed_together(
    common.outcome(config, state, held_out, held_targets), theirs
  )
  if optimizer == 'signum':
    with jax.enable_x64(True):
      average = np.asarray(final_params(state)['W_enc'])
    assert np.abs(average - np.asarray(state.params['W_enc'])).max() > 1e-4
