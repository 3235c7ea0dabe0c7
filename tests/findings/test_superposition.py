"""Superposition: measures on known shapes; verdicts change when these are broken."""

import dataclasses

import jax
import numpy as np
import pytest

from interp_jax import findings, training
from interp_jax.findings.superposition import (
  FINDING,
  bounds,
  checks,
  experiments,
  measures,
  recipe,
  verdict,
)
from interp_jax.tasks import toy_features

CONFIG = experiments.settings(quick=False)
RNG = np.random.default_rng(0)


def circle(degrees):
  angles = np.radians(degrees)
  return np.stack([np.cos(angles), np.sin(angles)])


def antiprism():
  height = np.sqrt(0.2612)
  ring = lambda turn, z: np.append(
    np.sqrt(1 - z**2) * circle(np.arange(4) * 90 + turn), np.full((1, 4), z), 0
  )
  return np.concatenate([ring(0, height), ring(45, -height)], 1)


def pairs(count):
  """Antipodal pairs, each in a dimension of its own."""
  return np.concatenate([np.eye(count), -np.eye(count)], 1)


def turned(W, seed=0):
  """The same shape, rotated and its features in another order."""
  rng = np.random.default_rng(seed)
  rotation, _ = np.linalg.qr(rng.standard_normal((len(W), len(W))))
  return rotation @ W[:, rng.permutation(W.shape[1])]


PENTAGON = 1.13 * circle(72 * np.arange(5))
SHAPES = {
  'pentagon': PENTAGON,
  'antipodal pairs': pairs(3),
  'square antiprism': antiprism(),
}


def named(quantities):
  return {q.name: q for q in quantities}


@pytest.mark.parametrize('shape', measures.SHAPES)
def test_a_shape_is_known_whichever_way_it_is_turned_and_for_no_other(shape):
  own = turned(SHAPES[shape])
  assert measures.shape_error(own, shape) < 1e-3
  bent = own + 0.1 * RNG.standard_normal(own.shape)
  assert measures.shape_error(bent, shape) > bounds.REGULAR


@pytest.mark.parametrize(
  ('W', 'expected'),
  [
    (np.eye(3), 1),
    (pairs(2), 1 / 2),
    (circle(120 * np.arange(3)), 2 / 3),
    (PENTAGON, 2 / 5),
    (antiprism(), 3 / 8),
    (measures.irregular_frame(), 2 / 5),
  ],
)
def test_dimensionality_is_that_of_the_shape(W, expected):
  found = measures.dimensionality(turned(W))
  # The antiprism of largest least distance is not quite a tight frame.
  np.testing.assert_allclose(found, expected, atol=0.02 if len(W[0]) == 8 else 1e-9)


def test_a_feature_that_is_not_there_has_no_dimension():
  W = np.array([[1.0, 0.0]])
  np.testing.assert_array_equal(measures.dimensionality(W), [1, 0])
  np.testing.assert_array_equal(measures.represented(W), [True, False])


def test_an_irregular_frame_has_the_dimensionality_of_a_pentagon_and_is_none():
  frame = measures.irregular_frame()
  np.testing.assert_allclose(measures.dimensionality(frame), 0.4)
  assert measures.shape_error(frame, 'pentagon') > 0.5
  assert measures.angle_gaps(frame).sum() == pytest.approx(360)
  assert np.ptp(measures.angle_gaps(frame)) > 20
  assert np.ptp(measures.angle_gaps(PENTAGON)) < 1e-9


def test_the_mean_says_nothing_and_the_share_does():
  frame = np.linalg.qr(RNG.standard_normal((40, 20)))[0].T
  assert measures.dimensionality(frame).mean() == pytest.approx(0.5)
  assert measures.share_at(frame, 0.5, 0.02) < 0.5
  assert measures.share_at(turned(pairs(20)), 0.5, 0.02) == 1


def test_phases_are_told_by_what_is_represented():
  W = np.array([[[1, 0.1]], [[0, 1]], [[1, -0.9]], [[1, 1]], [[0.1, 0.1]], [[1, -0.5]]])
  names = ['drop', 'dedicate', 'superpose', 'superpose', '', 'superpose']
  assert measures.phase(W).tolist() == names
  assert measures.antipodal(W).tolist() == [False, False, True, False, False, False]


def shape_verdict(W):
  shapes = {name: {'W': SHAPES[name][None]} for name in list(SHAPES)[1:]}
  return named(verdict.shape_quantities({'W': W}, shapes))


def test_weights_that_are_no_pentagons_change_the_verdict():
  good = shape_verdict(np.stack([turned(PENTAGON, seed) for seed in range(10)]))
  assert all(q.holds for q in good.values())
  two_bad = [turned(PENTAGON)] * 8 + [measures.irregular_frame()] * 2
  assert not shape_verdict(np.stack(two_bad))['regular_pentagons'].holds
  none = shape_verdict(RNG.standard_normal((10, 2, 5)))
  assert not none['regular_pentagons'].holds
  assert not none['pentagon_dimensionality'].holds


def sweep_verdict(sweep, linear):
  config = dataclasses.replace(CONFIG, restarts=1, linear_restarts=1)
  found = [{'W': W, 'loss': np.zeros(len(W))} for W in (sweep, linear)]
  return named(verdict.sweep_quantities(*found, config))


def test_a_linear_model_in_superposition_and_a_relu_model_without_change_the_verdict():
  two = np.append(np.eye(2), np.zeros((2, 3)), 1)
  four = np.append(pairs(2), np.zeros((2, 1)), 1)
  sweep = np.stack([two] * 3 + [four] * 4 + [PENTAGON] * 3)
  dedicated = np.stack([two] * 10)
  assert all(q.holds for q in sweep_verdict(sweep, dedicated).values())
  assert not sweep_verdict(sweep, sweep)['linear_features'].holds
  found = sweep_verdict(dedicated, dedicated)
  assert not found['middle_features'].holds
  assert not found['sparse_features'].holds


def test_a_restart_of_the_linear_model_that_is_worse_than_another_is_not_judged():
  two, stuck = np.append(np.eye(2), np.zeros((2, 3)), 1), PENTAGON
  config = dataclasses.replace(CONFIG, restarts=1, linear_restarts=2)
  sweep = {'W': np.stack([two] * 10), 'loss': np.zeros(10)}
  W, worse = np.stack([two, stuck] * 10), np.arange(20) % 2
  judge = lambda loss: named(
    verdict.sweep_quantities(sweep, {'W': W, 'loss': loss}, config)
  )
  assert judge(worse)['linear_features'].values == (2,) * 10
  assert not judge(1 - worse)['linear_features'].holds


def ideal_cells():
  density, importance = (a.reshape(-1) for a in experiments.phase_axes(CONFIG))
  losses = toy_features.pair_losses(density, importance)
  least = np.stack([losses[name] for name in measures.PHASES]).argmin(0)
  return np.array([[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, -1.0]]])[least]


def test_pairs_that_point_the_same_way_change_the_verdict():
  cells = ideal_cells()
  assert all(q.holds for q in verdict.phase_quantities({'W': cells}, CONFIG))
  same = named(verdict.phase_quantities({'W': np.abs(cells)}, CONFIG))
  assert not same['antipodal_share'].holds
  shuffled = {'W': RNG.permutation(cells)}
  assert not named(verdict.phase_quantities(shuffled, CONFIG))['phase_agreement'].holds


def test_random_frames_instead_of_pairs_change_the_verdict_though_the_mean_is_right():
  config = dataclasses.replace(CONFIG, sparsities=12)
  frame = np.sqrt(2) * np.linalg.qr(RNG.standard_normal((40, 20)))[0].T
  regular = named(
    verdict.plateau_quantities({'W': np.stack([turned(pairs(20))] * 12)}, config)
  )
  assert regular['half_dimensionality'].holds
  assert regular['half_share'].holds
  loose = named(verdict.plateau_quantities({'W': np.stack([frame] * 12)}, config))
  assert not loose['half_share'].holds


def test_controls_fail_as_they_should():
  for quantity in checks.control_quantities(seed=3):
    assert quantity.holds, quantity


def test_training_lowers_the_loss_and_never_moves_what_is_asked():
  size = recipe.Size(2, 1, nodes=(4, 3), learning_rate=0.1)
  params = recipe.make_worlds(size, np.array([0.1, 0.5]), np.ones(2), seed=0)
  loss = recipe.make_loss(size)
  step = training.make_drawn_step(loss, recipe.make_optimizer(size), 0, worlds=2)
  state = training.worlds_state(params, recipe.make_optimizer(size))
  after, metrics = jax.jit(step)(state, np.arange(30))
  jax.tree.map(np.testing.assert_array_equal, after.params['world'], params['world'])
  _, later = jax.jit(step)(after, np.arange(30, 60))
  assert (later['loss'] < metrics['loss']).all()


def test_the_best_restart_is_that_of_least_loss():
  found = {'loss': np.array([3.0, 1, 2, 5, 4, 6]), 'W': np.arange(6)}
  np.testing.assert_array_equal(recipe.best_of(found, 3)['W'], [1, 4])


@pytest.mark.slow
def test_a_short_reproduction_finds_the_shapes_of_small_models(tmp_path, optimized):
  small = dataclasses.replace(
    experiments.settings(quick=True),
    instances=6,
    phase_restarts=8,
    many=dataclasses.replace(experiments.MANY, steps=20, batch=16),
  )
  finding = dataclasses.replace(FINDING, settings=lambda quick: small)
  result = findings.reproduce(finding, tmp_path, seed=1, progress=False)
  held = {q['name'] for q in result['quantities'] if q['holds']}
  large = {'half_dimensionality', 'half_share', 'two_thirds_share'}
  large |= {'dense_dimensions', 'sparse_dimensions'}
  assert set(bounds.BOUNDS) - large <= held
