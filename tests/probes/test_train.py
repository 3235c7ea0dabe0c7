"""Training probes: layers alone, groups apart, and nothing lost when it is stopped."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from interp_jax import probes, training
from interp_jax.probes import train as train_lib
from tests.dictionaries.runs import StopsAt, assert_close, assert_same_bits
from tests.probes.rows import QUICK, some_rows


@pytest.fixture(scope='module')
def rows():
  return some_rows()


def train(features, labels, config=QUICK, **rest):
  return probes.train_probes(features, labels, config, progress=False, **rest)


@pytest.fixture(scope='module', params=['linear', 'mlp'])
def trained(request, rows, tmp_path_factory):
  features, labels, groups = rows
  config = dataclasses.replace(QUICK, kind=request.param)
  folder = tmp_path_factory.mktemp(request.param)
  return train(features, labels, config, groups=groups, workdir=folder), config, folder


def test_what_a_layer_holds_is_found_and_what_it_does_not_hold_is_not(trained):
  scores = trained[0].scores
  assert (scores.accuracy[1] > 0.85).all()
  assert (scores.accuracy[[0, 2]] < scores.majority + 0.15).all()
  assert scores.cross_entropy[1].max() < scores.cross_entropy[[0, 2]].min()


def test_what_is_logged_of_held_out_rows_is_what_is_scored(trained):
  result, _, folder = trained
  records = training.read_metrics(folder / 'metrics.jsonl', 'eval')
  assert [record['step'] for record in records] == [40, 80]
  for name in ('accuracy', 'cross_entropy'):
    found = getattr(result.scores, name).mean(-1)
    np.testing.assert_allclose(records[-1][f'held_out_{name}'], found)


def test_a_layer_among_others_is_trained_as_it_is_alone(trained, rows):
  result, config, _ = trained
  features, labels, groups = rows
  alone = train([features[1]], labels, config, groups=groups)
  among = jax.tree.map(lambda leaf: leaf[1:2], result.probes)
  assert_close(alone.probes, among, rtol=1e-3, atol=1e-4)


def test_a_run_that_died_goes_on_with_the_same_bits(
  trained, rows, tmp_path, monkeypatch
):
  result, config, whole = trained
  features, labels, groups = rows
  again = lambda: train(features, labels, config, groups=groups, workdir=tmp_path)
  make = training.ArrayBatches
  monkeypatch.setattr(training, 'ArrayBatches', lambda *args: StopsAt(make(*args), 50))
  with pytest.raises(KeyboardInterrupt):
    again()
  monkeypatch.undo()
  resumed = again()
  assert_same_bits(resumed.probes, result.probes)
  losses = [
    [r['loss'] for r in training.read_metrics(folder / 'metrics.jsonl', 'train')]
    for folder in (whole, tmp_path)
  ]
  assert losses[0] == losses[1]
  assert np.shape(losses[0]) == (4, 3)  # A loss for each layer.


def test_a_folder_of_other_data_is_refused(trained, rows):
  _, config, folder = trained
  features, labels, groups = rows
  for data in ((features, labels[::-1].copy()), (features + 1, labels)):
    with pytest.raises(ValueError, match='another run'):
      train(*data, config, groups=groups, workdir=folder)


def test_what_is_the_same_within_groups_only_tells_nothing_of_other_groups():
  """The leak that a split by rows has: a label of its own for each group, by heart."""
  rng = np.random.default_rng(0)
  groups = np.repeat(np.arange(60), 10)
  features = rng.normal(size=(60, 64))[groups][None].astype(np.float32)
  labels = rng.integers(0, 2, (60, 1))[groups]
  leaking = train(features, labels, groups=np.arange(600))
  assert leaking.scores.accuracy[0, 0] == 1
  many = dataclasses.replace(QUICK, held_out=0.5)
  assert train(features, labels, many, groups=groups).scores.accuracy[0, 0] < 0.75


def test_nothing_depends_on_how_questions_classes_and_coordinates_are_numbered(rows):
  features, labels, groups = rows
  result = train(features, labels, groups=groups)
  units, classes = np.array([3, 1, 5, 0, 2, 4]), np.array([1, 2, 0])
  other = train(features[..., units], classes[labels[:, ::-1]], groups=groups)
  back = other.probes.params['W_out'][:, :, ::-1][..., classes]
  np.testing.assert_allclose(
    back, result.probes.params['W_out'][:, units], rtol=1e-2, atol=1e-3
  )


def test_a_linear_probe_is_the_optimum_that_a_second_order_method_finds():
  features, labels, groups = some_rows(layers=1, questions=1)
  rng = np.random.default_rng(2)
  labels[rng.random(len(labels)) < 0.3] = 0  # Or the optimum would be at infinity.
  config = dataclasses.replace(QUICK, steps=300, batch_size=480, weight_decay=0.0)
  result = train(features, labels, config, groups=groups)
  seen = ~result.held_out
  assert seen.sum() == config.batch_size
  x = (features[0, seen] - features[0, seen].mean(0)) / features[0, seen].std(0)
  x, y = np.c_[x, np.ones(len(x))].astype(np.float64), labels[seen, 0]

  def loss(weights):
    logits = x @ weights.reshape(-1, 3)
    total = np.logaddexp.reduce(logits, -1)
    slope = np.exp(logits - total[:, None]) - np.eye(3)[y]
    value = (total - logits[np.arange(len(y)), y]).mean()
    return value, (x.T @ slope / len(y)).ravel()

  best = scipy.optimize.minimize(loss, np.zeros(x.shape[1] * 3), jac=True, tol=1e-10)
  params = jax.tree.map(
    lambda leaf: np.asarray(leaf[0, ..., 0, :]), result.probes.params
  )
  ours, slope = loss(np.r_[params['W_out'], params['b_out'][None]].ravel())
  assert best.fun < 0.8
  assert ours == pytest.approx(best.fun, abs=1e-5)
  assert np.abs(slope).max() < 1e-3


def test_units_of_the_activations_change_nothing(rows):
  features, labels, groups = rows
  rng = np.random.default_rng(3)
  stretch, shift = rng.uniform(0.01, 100, 6), rng.normal(0, 50, 6)
  one = train(features, labels, groups=groups)
  other = train(features * stretch + shift, labels, groups=groups)
  assert_close(one.probes.params, other.probes.params, rtol=1e-2, atol=2e-3)
  seen = features[:, ~one.held_out]
  np.testing.assert_allclose(one.probes.mean, seen.mean(1), rtol=1e-5)
  np.testing.assert_allclose(one.probes.scale, seen.std(1), rtol=1e-5)


def test_a_row_without_a_label_has_no_say_in_that_question():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(8, 4))
  labels = np.array(
    [[0, 1], [1, -1], [2, 2], [1, -1], [0, 0], [-1, -1], [2, 1], [1, 0]]
  )
  params = {'W_out': rng.normal(size=(4, 2, 3)), 'b_out': rng.normal(size=(2, 3))}
  gradient = jax.jit(jax.grad(train_lib._loss, has_aux=True))
  slope = lambda x: gradient(params, (jnp.asarray(x), labels))[0]
  moved = slope(x + 5.0 * (labels[:, 1:] == -1))
  np.testing.assert_array_equal(moved['W_out'][:, 1], slope(x)['W_out'][:, 1])
  assert not np.allclose(moved['W_out'][:, 0], slope(x)['W_out'][:, 0])


def test_a_coordinate_that_does_not_vary_is_harmless(rows):
  features, labels, groups = rows
  features = features.copy()
  features[:, :, 2], features[:, :, 3] = 0.0, 1234.567
  result = train(features, labels, groups=groups)
  assert (result.probes.scale[:, 2:4] == 1).all()
  assert (np.abs(result.probes.params['W_out'][:, 2:4]) < 1e-3).all()


def test_the_example_of_the_room_runs():
  noses, labels, bottles = some_rows(rows=1000)
  labels[:, 1] = np.minimum(labels[:, 1], 1)  # Dry or sweet.
  lines = [line for line in probes.__doc__.splitlines() if line.startswith('    ')]
  names = vars(probes) | {'noses': noses, 'labels': labels, 'bottles': bottles}
  shapes = []
  for line in lines:
    code, _, comment = line.strip().partition('  # ')
    value = eval(code.split(' = ')[-1], names)
    if ' = ' in code:
      names[code.split(' = ')[0]] = value
    else:
      shapes.append((np.shape(value), comment.strip().split(']')[0] + ']'))
  sizes = {'L': 3, 'N': 1000, 'D': 6, '2': 2}
  for shape, said in shapes:
    assert shape == tuple(sizes[letter] for letter in said.strip('[]').split(', '))
  assert len(shapes) == 4
