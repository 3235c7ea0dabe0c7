"""Ablations of heads: what is ablated, what it is compared with, what is measured."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import circuits, edits

SHAPE = (3, 4)


@pytest.fixture(scope='module')
def compared(setting):
  tokens = np.random.default_rng(1).integers(0, 40, (4, 8))
  regions = np.zeros((2, 4, 7))
  regions[0, :, :3] = 1
  regions[1, :2, 3:] = 1
  heads = [(1, 0), (1, 2), (2, 3)]
  result = circuits.compare_ablations(
    setting.model, setting.params, tokens, regions, heads,
    shape=SHAPE, draws=3, chunk=2, progress=False,
  )  # fmt: skip
  return setting, tokens, regions, result


def losses(setting, tokens, heads=()):
  mask = circuits.head_mask(heads, SHAPE)[:, None, None, :, None]
  cut = {'z': edits.Replace(0.0, jnp.asarray(mask))}
  logits, _ = setting.apply(tokens, cut)
  answers = jax.nn.log_softmax(logits)[:, :-1]
  return -np.take_along_axis(np.asarray(answers), tokens[:, 1:, None], -1)[..., 0]


def test_the_comparison_is_the_mean_loss_of_each_region(compared):
  setting, tokens, regions, result = compared
  sets = ((), result.heads, *result.others)
  measured = (result.intact, result.ablated, *result.controls)
  for heads, got in zip(sets, measured, strict=True):
    each = losses(setting, tokens, heads)
    expected = [(each * r).sum() / r.sum() for r in regions]
    np.testing.assert_allclose(got, expected, rtol=1e-4)
  np.testing.assert_allclose(result.cost, result.ablated - result.intact)
  assert result.control_costs.shape == (3, 2)


def test_controls_are_as_many_other_heads_of_the_same_layers(compared):
  result = compared[-1]
  for others in result.others:
    assert sorted(layer for layer, _ in others) == [1, 1, 2]
    assert not set(others) & set(result.heads)
    assert len(set(others)) == 3


def test_no_control_is_drawn_twice():
  assert set(circuits.draw_others([(1, 0)], SHAPE, 20, 0)) == {
    ((1, 1),),
    ((1, 2),),
    ((1, 3),),
  }


def test_controls_are_drawn_by_the_seed():
  draw = lambda seed: circuits.draw_others([(0, 1), (2, 2)], SHAPE, 5, seed)
  assert draw(0) == draw(0) != draw(1)


def test_losses_do_not_depend_on_the_batches(setting):
  tokens = np.random.default_rng(2).integers(0, 40, (5, 6))
  whole = losses(setting, tokens)
  batched = circuits.token_losses(setting.model, setting.params, tokens, batch_size=2)
  np.testing.assert_allclose(batched, whole, rtol=1e-4, atol=1e-5)


def test_the_mean_is_over_the_batch_and_its_positions(setting):
  acts = setting.apply(setting.base)[1]
  mean = circuits.mean_z(setting.model, setting.params, setting.base)
  assert mean.shape == (3, 1, 1, 4, 4)
  np.testing.assert_allclose(
    mean[1, 0, 0, 2], acts['z'][1, :, :, 2].mean((0, 1)), atol=1e-6
  )


def test_the_in_context_score_is_late_less_early():
  losses = np.tile(np.linspace(4, 1, 31), (2, 1)).astype(np.float32)
  score = circuits.in_context_score(losses, (0, 1), (30, 31))
  assert score == pytest.approx(-3)
  with pytest.raises(ValueError, match=r'does not lie in 0\.\.31'):
    circuits.in_context_score(losses, (0, 1), (30, 32))


@pytest.mark.parametrize(
  ('heads', 'message'),
  [
    ([], 'No head is chosen'),
    ([(3, 0)], 'has 3 layers of 4 heads'),
    ([(0, 0), (0, 1), (0, 2)], 'Choose fewer'),
  ],
)
def test_wrong_heads_say_what_is_right(heads, message):
  with pytest.raises(ValueError, match=message):
    circuits.draw_others(heads, SHAPE, 2, 0)


def test_an_empty_region_is_refused():
  tokens = np.zeros((2, 5), int)
  with pytest.raises(ValueError, match='region 1 of 2 has no token'):
    circuits.region_losses(tokens, np.stack([np.ones((2, 4)), np.zeros((2, 4))]))
