"""Weights arrive on their shards as they would arrive whole, and pass one at a time."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from interp_jax.models import load, streaming
from interp_jax.sharding import TRANSFORMER_RULES, make_mesh, shardings
from interp_jax.testing import random_checkpoint

ROOT = pathlib.Path(__file__).parents[2]
LLAMA = {
  'model_type': 'llama',
  'vocab_size': 40,
  'hidden_size': 16,
  'intermediate_size': 24,
  'num_hidden_layers': 3,
  'num_attention_heads': 4,
  'num_key_value_heads': 2,
  'max_position_embeddings': 32,
}
MIXTRAL = LLAMA | {'model_type': 'mixtral', 'num_local_experts': 4}
NEOX = {k: v for k, v in LLAMA.items() if k != 'num_key_value_heads'}
NEOX = NEOX | {'model_type': 'gpt_neox', 'rotary_pct': 0.5}


def equal(got, want):
  jax.tree.map(np.testing.assert_array_equal, got, want)


@pytest.mark.parametrize('config', [LLAMA, MIXTRAL, NEOX])
@pytest.mark.parametrize('model_axis', [1, 2])
def test_a_sharded_model_is_the_unsharded_model(tmp_path, config, model_axis):
  folder = random_checkpoint(tmp_path, config)
  mesh = make_mesh(8 // model_axis, model_axis)
  place = functools.partial(shardings, mesh, TRANSFORMER_RULES)
  _, whole, _ = load(folder)
  _, sharded, _ = load(folder, shardings=place)
  equal(sharded, whole)
  want = place(jax.eval_shape(lambda: whole))
  assert jax.tree.map(lambda leaf: leaf.sharding, sharded) == want


def test_a_saved_model_is_loaded_onto_shards_too():
  place = functools.partial(shardings, make_mesh(4, 2), TRANSFORMER_RULES)
  _, sharded, _ = load('stdlib-4l', shardings=place)
  equal(sharded, load('stdlib-4l')[1])
  w_in = sharded['blocks']['mlp']['W_in']
  assert w_in.addressable_shards[0].data.shape[2] * 2 == w_in.shape[2]


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_devices_with_memory_of_their_own_are_filled_piece_by_piece(
  tmp_path, monkeypatch, dtype
):
  folder = random_checkpoint(tmp_path, MIXTRAL, dtype=dtype)
  place = functools.partial(shardings, make_mesh(4, 2), TRANSFORMER_RULES)
  _, want, _ = load(folder, dtype, shardings=place)
  monkeypatch.setattr(streaming, '_assemble', streaming.assemble_remotely)
  _, got, _ = load(folder, dtype, shardings=place)
  equal(got, want)


MEASURE = """
import functools, json, pathlib, sys
import jax
from interp_jax.models import load
from interp_jax.sharding import TRANSFORMER_RULES, make_mesh, shardings

def status(name):
  lines = pathlib.Path('/proc/self/status').read_text().splitlines()
  return next(int(l.split()[1]) * 1024 for l in lines if l.startswith(name))

place = functools.partial(shardings, make_mesh(1, 8), TRANSFORMER_RULES)
load('stdlib-4l', shardings=functools.partial(
  shardings, make_mesh(8, 1), TRANSFORMER_RULES))  # Starts what has to be started.
pathlib.Path('/proc/self/clear_refs').write_text('5')
before = status('VmRSS')
params = jax.block_until_ready(load(sys.argv[1], shardings=place)[1])
held = sum(
  shard.data.nbytes for leaf in jax.tree.leaves(params) for shard in
  leaf.addressable_shards)
print(json.dumps({'beyond': status('VmHWM') - before - held, 'held': held}))
"""


@pytest.mark.slow
def test_loading_a_gigabyte_onto_shards_takes_little_more_than_its_largest_tensor(
  tmp_path,
):
  config = LLAMA | {
    'vocab_size': 32_000,
    'hidden_size': 1024,
    'intermediate_size': 4096,
    'num_hidden_layers': 12,
    'num_attention_heads': 16,
    'num_key_value_heads': 8,
  }
  folder = random_checkpoint(tmp_path / 'model', config)
  size = (folder / 'model.safetensors').stat().st_size
  assert size > 0.9e9
  largest = 4 * 32_000 * 1024
  environment = {
    **os.environ,
    'JAX_NUM_CPU_DEVICES': '8',
    'PJRT_NPROC': '16',
    'PYTHONPATH': str(ROOT),
  }
  done = subprocess.run(
    [sys.executable, '-c', MEASURE, str(folder)],
    capture_output=True,
    text=True,
    check=False,
    env=environment,
  )
  assert done.returncode == 0, done.stderr
  measured = json.loads(done.stdout.splitlines()[-1])
  print(f'{size / 1e6:.0f} MB on disk, {measured}, largest tensor {largest}')
  assert measured['beyond'] < 1.2 * largest
