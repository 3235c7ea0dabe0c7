"""What is checked of rows, and how groups are held out."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import probes
from interp_jax.probes import data as data_lib
from tests.dictionaries.planted import write_store
from tests.probes.rows import QUICK, some_rows


def check(features, labels, groups, classes=None):
  return data_lib.check_data(features, labels, groups, classes, 0.2, 0)


def test_groups_are_held_out_whole_and_as_many_as_asked():
  groups = np.random.default_rng(0).integers(0, 50, 400) * 7 - 100
  held_out = probes.split_groups(groups, 0.3, seed=1)
  assert not set(groups[held_out]) & set(groups[~held_out])
  assert len(set(groups[held_out])) == round(0.3 * len(set(groups)))


def test_which_groups_are_held_out_depends_on_the_seed_and_not_on_the_order_of_rows():
  groups = np.repeat(np.arange(30), 3)
  order = np.random.default_rng(0).permutation(90)
  held_out = probes.split_groups(groups, 0.3, seed=1)
  np.testing.assert_array_equal(
    probes.split_groups(groups[order], 0.3, seed=1), held_out[order]
  )
  assert (probes.split_groups(groups, 0.3, seed=2) != held_out).any()


@pytest.mark.parametrize('held_out', [0.001, 0.999])
def test_a_group_at_least_is_on_either_side(held_out):
  assert set(probes.split_groups(np.array([0, 0, 1, 2]), held_out)) == {True, False}


def test_one_group_cannot_be_split():
  with pytest.raises(ValueError, match='1 group; at least 2'):
    probes.split_groups(np.zeros(5, int), 0.5)


def test_layers_are_read_wherever_they_are(tmp_path):
  features, labels, groups = some_rows()
  maps = []
  for i, layer in enumerate(features):
    maps.append(np.memmap(tmp_path / str(i), np.float32, 'w+', shape=layer.shape))
    maps[-1][:] = layer
  rows = np.array([5, 3, 599])
  stores = [write_store(tmp_path / f'store_{i}', x) for i, x in enumerate(features)]
  views = [reader.view('resid_post.1') for reader in stores]
  for kept in (maps, views, features, jnp.asarray(features)):
    data = check(kept, labels, groups)
    np.testing.assert_array_equal(data.gather(rows), features[:, rows])


def test_features_are_computed_with_in_float32_whatever_they_are_kept_in():
  features, labels, groups = some_rows()
  for dtype in (jnp.bfloat16, np.float16, np.float64):
    kept = features.astype(dtype)
    data = check(kept, labels, groups)
    rows = data.gather(np.arange(9))
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, kept[:, :9].astype(np.float32))


def test_the_mean_and_scale_of_parts_are_those_of_the_whole():
  data = check(*some_rows())
  x = data.gather(data.train).astype(np.float64)
  for size in (7, 1000):
    mean, scale = data_lib.standardization(data, size)
    np.testing.assert_allclose(mean, x.mean(1))
    np.testing.assert_allclose(scale, x.std(1))


def test_labels_out_of_range_are_refused():
  features, labels, groups = some_rows()
  with pytest.raises(ValueError, match=r'from 0 to 2. Valid are 0 to 1, and -1'):
    check(features, labels, groups, classes=2)
  labels[3, 1] = -2
  with pytest.raises(ValueError, match='from -2 to 2'):
    check(features, labels, groups)


def test_a_question_with_one_answer_is_refused():
  features, labels, groups = some_rows()
  labels[:, 1] = np.where(groups < 10, -1, 2)
  with pytest.raises(ValueError, match=r'Questions \[1\] have fewer than two classes'):
    check(features, labels, groups)


def test_sizes_that_do_not_fit_are_refused(unchecked_types):
  features, labels, groups = some_rows()
  wrong = (
    (features[0], labels, groups),
    (features, labels[:, 0], groups),
    (features, labels, groups[:-1]),
    (features[:, :-1], labels, groups),
    ([features[0], features[1][:, :-1]], labels, groups),
  )
  for arguments in wrong:
    with pytest.raises(ValueError, match=r'Give features \[L, N, D\]'):
      check(*arguments)


def test_labels_that_are_no_integers_and_features_that_are_not_finite_are_refused(
  unchecked_types,
):
  features, labels, groups = some_rows()
  with pytest.raises(ValueError, match='Labels are float64'):
    check(features, labels / 2, groups)
  features[1, :, 0] = np.nan
  with pytest.raises(ValueError, match=r'layers \[1\] have values that are not finite'):
    data_lib.standardization(check(features, labels, groups))


def test_a_run_without_groups_or_with_too_few_rows_is_refused():
  features, labels, groups = some_rows()
  with pytest.raises(TypeError, match='groups'):
    probes.train_probes(features, labels)
  big = dataclasses.replace(QUICK, batch_size=5000)
  with pytest.raises(ValueError, match='batch_size=5000 of 480 rows'):
    probes.train_probes(features, labels, big, groups=groups, progress=False)


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'kind': 'lineal'}, "Did you mean 'linear'"),
    ({'held_out': 0.0}, 'held_out is 0.0'),
    ({'held_out': 1.0}, 'held_out is 1.0'),
    ({'steps': 0}, 'steps is 0'),
  ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    probes.ProbeConfig(**settings)
