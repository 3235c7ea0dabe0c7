"""Ablations as sources, several sites, windows of layers, features of a dictionary."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import circuits, edits
from interp_jax.edits import Splice

LAYERS, POSITIONS = 3, 6
SLOW = pytest.mark.slow


def run(setting, source, site, over, **options):
  options = {'metric': setting.metric, 'progress': False} | options
  given = setting.model, setting.params, setting.base
  return circuits.sweep(*given, source, site, over, **options)


def patched(setting, todo):
  return float(setting.metric(*setting.apply(setting.base, todo)))


@pytest.mark.parametrize(
  ('source', 'value'),
  [
    ('zero', lambda z: 0.0),
    pytest.param('mean', lambda z: z.mean((1, 2), keepdims=True), marks=SLOW),
    pytest.param(
      circuits.Mean(by_position=True), lambda z: z.mean(1, keepdims=True), marks=SLOW
    ),
    # Of two examples, each gets the other's.
    pytest.param('resample', lambda z: z[:, ::-1], marks=SLOW),
  ],
)
def test_an_ablation_puts_its_value_in_the_place(setting, source, value):
  z = setting.apply(setting.base)[1]['z']
  result = run(setting, source, 'z', ('layer', 'head'), at={'head': [1, 3]})
  for layer, head in ((0, 1), (2, 3)):
    mask = edits.select('z', z.shape, layer=layer, head=head)
    expected = patched(setting, {'z': edits.Replace(value(z), mask)})
    assert result.at(layer=layer, head=head) == pytest.approx(expected, abs=1e-5)
  assert np.isnan(result.source)


def test_means_leave_padding_out():
  act = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
  mask = np.ones((3, 4), bool)
  mask[0, :3] = mask[2, 1:] = False
  letters = ('L', 'B', 'T', 'D')
  mean = circuits.Mean().value(jnp.asarray(act), letters, mask)
  np.testing.assert_allclose(mean[1, 0, 0], act[1][mask].mean(0), atol=1e-6)
  act[:, ~mask] = np.nan
  again = circuits.Mean().value(jnp.asarray(act), letters, mask)
  np.testing.assert_allclose(again, mean, atol=1e-6)
  by_position = circuits.Mean(True).value(jnp.asarray(act), letters, mask)
  np.testing.assert_allclose(by_position[0, 0, 1], act[0, 1, 1], atol=1e-6)


def test_resampling_leaves_no_example_in_its_place():
  act = jnp.arange(7.0).reshape(1, 7, 1, 1)
  for seed in range(5):
    other = circuits.Resample(seed).value(act, ('L', 'B', 'T', 'D'), None)
    assert sorted(np.ravel(other)) == list(range(7))
    assert not (other == act).any()
  with pytest.raises(ValueError, match='which has one'):
    circuits.Resample().value(act[:, :1], ('L', 'B', 'T', 'D'), None)


@pytest.mark.slow
def test_mean_activations_of_other_inputs_are_a_source(setting):
  others = np.random.default_rng(5).integers(0, 40, (4, POSITIONS))
  means = circuits.mean_acts(setting.model, setting.params, others, ['z'])
  expected = setting.apply(others)[1]['z'].mean((1, 2), keepdims=True)
  np.testing.assert_allclose(means['z'], expected, atol=1e-6)
  result = run(setting, means, 'z', ('layer',), at={'layer': [1]})
  mask = edits.select('z', (LAYERS, 2, POSITIONS, 4, 4), layer=1)
  expected = patched(setting, {'z': edits.Replace(expected, mask)})
  assert float(result.values[0]) == pytest.approx(expected, abs=1e-5)


def test_several_sites_are_an_axis(setting):
  sites = ('attn_out', 'mlp_out')
  result = run(setting, setting.source, sites, ('layer', 'position'))
  assert result.axes == ('site', 'layer', 'position')
  alone = run(setting, setting.source, 'mlp_out', ('layer', 'position'))
  np.testing.assert_allclose(result.at(site='mlp_out'), alone.values, atol=1e-6)
  assert not np.allclose(result.at(site='attn_out'), alone.values, atol=1e-3)
  point, _ = result.top(1)[0]
  assert point['site'] in sites
  with pytest.raises(ValueError, match='sweep them one by one'):
    run(setting, 'zero', ('z', 'post'), ('unit',))


def test_a_window_patches_layers_around_each(setting):
  result = run(setting, setting.source, 'mlp_out', ('layer', 'position'), window=2)
  value = setting.apply(setting.source)[1]['mlp_out']
  for layer, position in ((0, 2), (1, 4), (2, 2)):
    layers = [at for at in (layer - 1, layer) if at >= 0]
    mask = edits.select('mlp_out', value.shape, layer=layers, position=position)
    expected = patched(setting, {'mlp_out': edits.Replace(value, mask)})
    got = result.at(layer=layer, position=position)
    assert float(got) == pytest.approx(expected, abs=1e-5)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Codes:
  """A dictionary of random directions."""

  w: jax.Array
  b: jax.Array
  zeroed: jax.Array | None = None

  def encode(self, x):
    return jax.nn.relu(x @ self.w)

  def decode(self, codes):
    return codes @ self.w.T + self.b

  def __call__(self, x):
    codes = self.encode(x)
    if self.zeroed is not None:
      codes = jnp.where(self.zeroed, 0, codes)
    return self.decode(codes)


@pytest.fixture(scope='module')
def dictionary():
  rng = np.random.default_rng(3)
  w = jnp.asarray(rng.normal(size=(16, 20)), jnp.float32)
  return Codes(w, jnp.asarray(rng.normal(size=16), jnp.float32))


def test_a_feature_is_ablated_as_by_a_splice_that_keeps_the_error(setting, dictionary):
  result = run(
    setting, 'zero', 'resid_post', ('feature',), at={'layer': [1]},
    dictionary=dictionary,
  )  # fmt: skip
  assert result.values.shape == (20,)
  for feature in (0, 7, 19):
    cut = dataclasses.replace(dictionary, zeroed=jnp.arange(20) == feature)
    splice = Splice(cut, 1, error_of=dictionary, keep_error=True)
    expected = patched(setting, {'resid_post': splice})
    assert float(result.values[feature]) == pytest.approx(expected, abs=1e-4)


def test_a_features_code_is_patched_at_a_position(setting, dictionary):
  result = run(
    setting, setting.source, 'resid_pre', ('feature', 'position'),
    at={'layer': [1], 'feature': [3, 8]}, dictionary=dictionary, programs=3,
  )  # fmt: skip
  base, source = (
    setting.apply(tokens)[1]['resid_pre'][1]
    for tokens in (setting.base, setting.source)
  )
  codes = dictionary.encode(base)
  for i, feature in enumerate((3, 8)):
    changed = codes.at[:, 4, feature].set(dictionary.encode(source)[:, 4, feature])
    value = base + dictionary.decode(changed) - dictionary.decode(codes)
    mask = (np.arange(LAYERS) == 1)[:, None, None, None]
    expected = patched(setting, {'resid_pre': edits.Replace(value, mask)})
    assert float(result.values[i, 4]) == pytest.approx(expected, abs=1e-4)
  np.testing.assert_allclose(result.values[:, :2], float(result.base), atol=1e-6)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'source': 'zeros'}, "Unknown ablation.*Did you mean 'zero'"),
    ({'dictionary': True}, 'belongs to one layer'),
    ({'dictionary': True, 'site': 'z', 'at': {'layer': [0]}}, 'reads a vector'),
    ({'site': ()}, 'site is empty'),
  ],
)
def test_a_wrong_source_says_what_is_right(setting, dictionary, options, message):
  given = {'source': 'zero', 'site': 'resid_pre', 'over': ('layer',)} | options
  if 'dictionary' in given:
    given |= {'dictionary': dictionary, 'over': ('feature',)}
  with pytest.raises(ValueError, match=message):
    run(setting, **given)


def test_a_coordinate_that_was_not_swept_is_refused(setting):
  result = run(setting, 'zero', 'z', ('layer', 'head'), at={'head': [1]})
  with pytest.raises(ValueError, match='head=0 was not swept'):
    result.at(head=0)
  with pytest.raises(ValueError, match='Unknown axis'):
    result.at(position=0)
