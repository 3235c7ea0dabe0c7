"""Checkpoints: what was saved comes back, and nothing half-written is read."""

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
import numpy as np
import pytest

from interp_jax import training
from interp_jax.sharding import make_mesh, shardings
from interp_jax.training.checkpoints import differences

RULES = (('W$', PartitionSpec('data')), ('.*', PartitionSpec()))


def state_of(value):
  return {'W': jnp.full((16, 4), value), 'half': jnp.full((3,), value, jnp.bfloat16)}


def test_what_was_saved_comes_back_with_its_notes(tmp_path):
  with training.Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(3, state_of(1.5), {'next_index': 7}, {'name': 'x', 'list': [1]})
  with training.Checkpoints(tmp_path) as checkpoints:
    restored = checkpoints.restore(state_of(0.0))
  assert restored[0] == 3
  assert restored[2:] == ({'next_index': 7}, {'name': 'x', 'list': [1]})
  assert restored.state['half'].dtype == jnp.bfloat16
  for name, leaf in state_of(1.5).items():
    np.testing.assert_array_equal(restored.state[name], leaf)


def test_saving_goes_on_while_the_state_is_given_away(tmp_path):
  step = jax.jit(lambda state: state * 2, donate_argnums=0)
  state = jnp.ones((1000, 1000))
  with training.Checkpoints(tmp_path, keep=5) as checkpoints:
    for number in range(5):
      checkpoints.save(number, state, None, {})
      state = step(state)
    for number in range(5):
      saved = checkpoints.restore(state, number).state
      assert float(saved.min()) == float(saved.max()) == 2**number


def test_only_the_last_few_are_kept(tmp_path):
  with training.Checkpoints(tmp_path, keep=2) as checkpoints:
    for step in (1, 2, 3, 4):
      checkpoints.save(step, state_of(step), None, {})
    checkpoints.wait()
    assert checkpoints.restore(state_of(0), 3).step == 3
    with pytest.raises(FileNotFoundError, match=r'step 2; it has those of \[3, 4\]'):
      checkpoints.restore(state_of(0), 2)


@pytest.mark.parametrize(
  'other', [{'W': jnp.zeros((16, 4))}, {'W': jnp.zeros((8, 4)), 'half': jnp.zeros(3)}]
)
def test_a_state_of_another_structure_or_shape_is_refused(tmp_path, other):
  with training.Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, state_of(1.0), None, {})
    with pytest.raises(ValueError, match=r'step 1 in .* holds another state'):
      checkpoints.restore(other)


def test_an_empty_folder_says_that_it_is(tmp_path):
  with training.Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.latest_step() is None
    with pytest.raises(FileNotFoundError, match='no checkpoint'):
      checkpoints.restore(state_of(0))


def test_a_half_written_checkpoint_is_not_seen_and_is_cleared_away(tmp_path):
  with training.Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, state_of(1), None, {})
  partial = tmp_path / '2.orbax-checkpoint-tmp'
  (partial / 'state').mkdir(parents=True)
  with training.Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.latest_step() == 1
    checkpoints.save(2, state_of(2), None, {})
  assert not partial.exists()
  with training.Checkpoints(tmp_path) as checkpoints:
    assert float(checkpoints.restore(state_of(0)).state['W'][0, 0]) == 2


def test_a_state_is_restored_onto_another_layout(tmp_path):
  with training.Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, state_of(3.0), None, {})
    mesh = make_mesh()
    like = jax.device_put(state_of(0.0), shardings(mesh, RULES, state_of(0.0)))
    restored = checkpoints.restore(training.abstract_state(like)).state
  assert restored['W'].sharding == like['W'].sharding
  assert len(restored['W'].sharding.device_set) == 8
  np.testing.assert_array_equal(restored['W'], np.full((16, 4), 3.0))


def test_differences_are_named_by_their_path_and_additions_are_none():
  saved = {'model': {'width': 64, 'old': 1}, 'seed': 0}
  given = {'model': {'width': 32, 'new': 2}, 'seed': 0}
  assert differences(saved, given) == ['model.width (64 there, 32 here)']
