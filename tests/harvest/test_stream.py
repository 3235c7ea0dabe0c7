import itertools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import dictionaries, sharding
from interp_jax.harvest import Sequences, buffer, harvest, stream
from interp_jax.testing import tiny_model

LENGTH, COUNT = 8, 24


@pytest.fixture(scope='module')
def tiny():
  return tiny_model()


@pytest.fixture(scope='module')
def tokens():
  tokens = np.random.default_rng(0).integers(0, 31, (COUNT, LENGTH))
  # No two rows are equal: the first token of a sequence sees only itself.
  tokens[:, 0] = np.arange(COUNT)
  return tokens


def make(tiny, tokens, batch_size=16, seed=0, **options):
  given = {
    'sites': {'resid_post': (1,)},
    'buffer_rows': 128,
    'model_batch': 4,
    'drop_first': 0,
    'dtype': 'float32',
    **options,
  }
  return stream(*tiny, tokens, batch_size, seed, **given)


def batches(of, count):
  return [np.asarray(batch) for batch in itertools.islice(of, count)]


@pytest.fixture(scope='module')
def rows(tiny, tokens, tmp_path_factory):
  """All rows, as a dataset has them."""
  path = tmp_path_factory.mktemp('rows') / 'd'
  options = {'drop_first': 0, 'dtype': 'float32', 'batch_size': 4, 'progress': False}
  return harvest(*tiny, tokens, path, sites={'resid_post': (1,)}, **options).numpy()


def which(batch, rows):
  """The index of each row of a batch in the dataset."""
  distance = np.abs(batch[:, None] - rows[None]).max(-1)
  assert (distance.min(1) < 1e-5).all()
  return distance.argmin(1)


def test_every_row_of_a_generation_is_served_once(tiny, tokens, rows):
  # A generation is 64 rows, 8 sequences; 24 sequences are an epoch.
  served = np.concatenate([which(b, rows) for b in batches(make(tiny, tokens), 10)])
  assert len(served) == 160
  values, counts = np.unique(served, return_counts=True)
  assert counts.max() == 1
  sequences = np.unique(values // LENGTH)
  assert len(sequences) == COUNT


def test_epochs_take_the_sequences_in_other_orders(tiny, tokens, rows):
  # The first round serves half a generation (2 batches), the others a whole one.
  found = [which(b, rows) for b in batches(make(tiny, tokens), 2 + 4 * 8)]
  counts = np.bincount(np.concatenate(found), minlength=len(rows))
  # 8 generations and a half: 2 epochs and 5 sixths.
  assert set(counts.tolist()) <= {2, 3}
  first, second = found[2:6], found[14:18]
  assert not np.array_equal(np.concatenate(first), np.concatenate(second))


def test_a_batch_mixes_sequences_of_two_generations(tiny, tokens, rows):
  given = batches(make(tiny, tokens), 10)
  early = {row // LENGTH for b in given[:2] for row in which(b, rows)}
  assert len(early) == 8
  for batch in given[2:6]:
    found = {row // LENGTH for row in which(batch, rows)}
    assert found & early
    assert found - early


@pytest.mark.parametrize('batch_size', [5, 16, 64])
def test_restored_anywhere_it_goes_on_with_the_same_bits(tiny, tokens, batch_size):
  whole = make(tiny, tokens, batch_size)
  states, given = [], []
  for _ in range(12):
    states.append(json.loads(json.dumps(whole.get_state())))
    given.append(np.asarray(next(whole)))
  restored = make(tiny, tokens, batch_size)
  for start in (11, 3, 0, 7):
    restored.set_state(states[start])
    assert restored.get_state() == states[start]
    for expected in given[start:]:
      np.testing.assert_array_equal(next(restored), expected)


def test_padding_and_first_tokens_are_never_served(tiny, tokens):
  mask = np.random.default_rng(1).random(tokens.shape) < 0.6
  model, params = tiny
  whole = jax.jit(lambda t, m: model.apply({'params': params}, t, mask=m)[1])
  acts = whole(tokens, mask)['resid_post'][1]
  kept = Sequences(tokens, mask, drop_first=1).keep(0, COUNT)
  wanted = np.asarray(acts)[kept]
  given = batches(make(tiny, tokens, mask=mask, drop_first=1, batch_size=7), 30)
  served = np.concatenate([which(batch, wanted) for batch in given])
  counts = np.bincount(served, minlength=len(wanted))
  assert counts.max() - counts.min() <= 2


def test_other_seeds_give_other_orders_of_the_same_rows(tiny, tokens):
  one, same, other = (batches(make(tiny, tokens, seed=s), 3) for s in (0, 0, 1))
  np.testing.assert_array_equal(one, same)
  assert not np.array_equal(one, other)


def test_several_arrays_come_as_rows_of_the_same_tokens(tiny, tokens):
  sites = {'resid_pre': (1,), 'resid_post': (0,), 'z': (1,)}
  batch = next(make(tiny, tokens, sites=sites, flat=True))
  assert {name: rows.shape for name, rows in batch.items()} == {
    'resid_pre.1': (16, 12),
    'resid_post.0': (16, 12),
    'z.1': (16, 16),
  }
  np.testing.assert_array_equal(batch['resid_pre.1'], batch['resid_post.0'])


def test_on_a_mesh_batches_are_those_of_one_device_and_split(tiny, tokens):
  mesh = sharding.make_mesh(devices=jax.devices()[:4])
  one = make(tiny, tokens)
  four = make(tiny, tokens, mesh=mesh)
  for _ in range(8):
    batch = next(four)
    assert batch.sharding.spec == jax.sharding.PartitionSpec('data')
    np.testing.assert_allclose(batch, next(one), atol=1e-5)


def test_taking_rows_moves_rows_and_not_the_buffer(tiny, tokens):
  mesh = sharding.make_mesh(devices=jax.devices()[:4])
  held = make(tiny, tokens, mesh=mesh)._buffer
  where = jnp.zeros((16, 3), jnp.int32)
  program = buffer._take.lower(mesh, held._arrays, where).compile().as_text()
  assert 'all-reduce' in program or 'reduce-scatter' in program
  # The indices are gathered; the rows were summed with zeros of the other devices.
  assert not re.search(r'f32\S* all-gather', program)


def test_the_buffer_is_written_in_place(tiny, tokens):
  held = make(tiny, tokens)._buffer
  before = jax.tree.leaves(held._arrays)[0]
  held.fill(0, tokens[:4], None)
  assert before.is_deleted()


def test_a_sample_is_of_all_the_tokens(tiny, tokens, rows):
  mask = np.ones(tokens.shape, bool)
  mask[:, 6:] = False
  sample = make(tiny, tokens).sample(64)
  assert 64 <= len(sample) < len(rows)
  assert len({row // LENGTH for row in which(sample, rows)}) >= 8
  assert make(tiny, tokens, mask=mask).sample(10**6).shape == (COUNT * 6, 12)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'batch_size': 65}, 'less than two batches'),
    ({'model_batch': 0}, 'A batch of 0'),
    ({'sites': {'resid_post': (9,)}}, 'no layer 9'),
  ],
)
def test_sizes_that_do_not_fit_are_refused(tiny, tokens, options, message):
  with pytest.raises(ValueError, match=message):
    make(tiny, tokens, **options)


def test_a_position_of_another_stream_is_refused(tiny, tokens):
  state = make(tiny, tokens).get_state()
  with pytest.raises(ValueError, match='belongs to a stream'):
    make(tiny, tokens, seed=1).set_state(state)


def train(tiny, tokens, workdir, steps, mesh=None):
  batches = make(tiny, tokens, mesh=mesh)
  config = dictionaries.DictionaryConfig(12, 24, dictionaries.TopK(3))
  trainer = dictionaries.TrainerConfig(
    steps, batch_size=16, terms=(), log_every=1, checkpoint_every=5, eval_every=0
  )
  sample = batches.sample(64)
  return dictionaries.train(
    config, trainer, batches, sample, workdir, mesh=mesh, progress=False
  )


def test_a_dictionary_trains_straight_from_the_model_and_resumes(
  tiny, tokens, tmp_path, monkeypatch
):
  whole = train(tiny, tokens, tmp_path / 'whole', 12)
  assert whole.finished
  real, left = dictionaries.trainer.training.loop._Run._save, [1]

  def dying(self, *args):
    real(self, *args)
    left[0] -= 1
    if not left[0]:
      raise KeyboardInterrupt

  monkeypatch.setattr(dictionaries.trainer.training.loop._Run, '_save', dying)
  with pytest.raises(KeyboardInterrupt):
    train(tiny, tokens, tmp_path / 'again', 12)
  monkeypatch.undo()
  again = train(tiny, tokens, tmp_path / 'again', 12)
  for one, two in zip(
    jax.tree.leaves(whole.state), jax.tree.leaves(again.state), strict=True
  ):
    np.testing.assert_array_equal(one, two)
