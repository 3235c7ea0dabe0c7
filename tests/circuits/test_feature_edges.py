"""Effects of features by way of later features."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from interp_jax import circuits, edits
from tests.circuits.graphs import make_pair

pytestmark = pytest.mark.usefixtures('double')

EXACT = 1e-10


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Linear:
  """A dictionary without a non-linearity: everything has a closed form."""

  w_enc: Any
  w_dec: Any

  def encode(self, act):
    return act @ self.w_enc

  def decode(self, features):
    return features @ self.w_dec


def make_places(complete=False):
  """At the streams after both layers; complete ones lose nothing of the stream."""
  rng = np.random.default_rng(0)

  def dictionary(features):
    w = rng.normal(size=(8, features))
    return Linear(w, np.linalg.pinv(w) if complete else rng.normal(size=(features, 8)))

  return (
    circuits.FeaturePlace('resid_post', 0, dictionary(9)),
    circuits.FeaturePlace('resid_post', 1, dictionary(10)),
  )


def effects(up, down, **options):
  pair = make_pair('attn-only')
  args = (*pair.args, options.pop('corrupt', pair.corrupt), up, down, pair.metric)
  return circuits.feature_edges(*args, **options)


def test_a_node_is_the_derivative_of_moving_its_feature():
  pair = make_pair('attn-only')
  up, down = make_places()
  result = effects(up, down, count=9)
  own, other = (
    pair.model.apply({'params': pair.params}, t)[1]['resid_post'][0]
    @ up.dictionary.w_enc
    for t in (pair.clean, pair.corrupt)
  )

  def measure(weights):
    moved = ((other - own) * weights) @ up.dictionary.w_dec
    added = {'resid_post': edits.Add(jax.numpy.stack([moved, 0 * moved]))}
    return pair.metric(*pair.model.apply({'params': pair.params}, pair.clean, added))

  expected = jax.grad(measure)(np.zeros(9))
  np.testing.assert_array_equal(result.upstream, np.arange(9))
  np.testing.assert_allclose(result.upstream_effects, expected, atol=EXACT)
  assert np.abs(expected).max() > 1e-3


def test_edges_into_all_features_of_a_complete_dictionary_add_up_to_the_node():
  # What reaches the answer from the first layer's stream passes the second's.
  up, down = make_places(complete=True)
  result = effects(up, down, count=10)
  assert result.edges.shape == (10, 9)
  np.testing.assert_allclose(result.edges.sum(0), result.upstream_effects, atol=EXACT)
  # And a complete upstream dictionary carries all of the difference.
  pair = make_pair('attn-only')
  args = (*pair.args, pair.corrupt, pair.metric, ('resid_post',))
  whole = circuits.attribution_patching(*args)['resid_post'].over('layer')
  sums = [result.upstream_effects.sum(), result.downstream_effects.sum()]
  np.testing.assert_allclose(sums, whole, atol=EXACT)


def test_chosen_features_are_those_of_all_and_zero_is_a_corruption():
  up, down = make_places()
  every, some = (
    effects(up, down, corrupt=None, count=10),
    effects(up, down, corrupt=None, upstream_features=[7, 2], downstream_features=[4]),
  )
  np.testing.assert_allclose(some.edges[0], every.edges[4, [7, 2]], atol=EXACT)
  largest = effects(up, down, corrupt=None, count=3)
  order = np.sort(np.argsort(-np.abs(every.upstream_effects))[:3])
  np.testing.assert_array_equal(largest.upstream, order)


def test_places_must_exist_and_come_in_order():
  up, down = make_places()
  with pytest.raises(ValueError, match='not later than the'):
    effects(down, up)
  with pytest.raises(ValueError, match='from 0 to 1'):
    effects(up, dataclasses.replace(down, layer=2))
  with pytest.raises(ValueError, match='outside the layers'):
    effects(dataclasses.replace(up, site='embed'), down)
