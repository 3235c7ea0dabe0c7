"""Attribution patching and AtP* against patches made one by one."""

import dataclasses

import jax
import numpy as np
import pytest

from interp_jax import circuits, edits
from tests.circuits.graphs import make_pair
from tests.slow import slow_but

pytestmark = pytest.mark.usefixtures('double')

EXACT = 1e-10


def attribute(name, sites, **options):
  pair = make_pair(name)
  args = (*pair.args, pair.corrupt, pair.metric, sites)
  return circuits.attribution_patching(*args, **options)


def star(name, sites, **options):
  pair = make_pair(name)
  args = (*pair.args, pair.corrupt, pair.metric, sites)
  return circuits.atp_star(*args, **options)


def test_it_is_the_derivative_of_interpolated_patches():
  pair = make_pair('gpt2')
  other = pair.model.apply({'params': pair.params}, pair.corrupt)[1]
  sites = ('z', 'mlp_out', 'embed', 'pattern')
  estimates = attribute('gpt2', sites)
  for site in sites:

    def measure(weight, site=site):
      patch = {site: edits.Interpolate(other[site], weight)}
      run = pair.model.apply({'params': pair.params}, pair.clean, patch)
      return pair.metric(*run)

    # A weight per layer and position (of sites outside the layers: per position).
    shape = np.ones(other[site].ndim, int)
    kept = [i for i, a in enumerate(estimates[site].axes) if a in ('layer', 'position')]
    shape[kept] = np.array(other[site].shape)[kept]
    expected = jax.grad(measure)(np.zeros(shape))
    axes = [a for a in estimates[site].axes if a in ('layer', 'position')]
    values = estimates[site].over(*axes)
    np.testing.assert_allclose(values, np.squeeze(expected), atol=EXACT)


def test_units_may_be_kept_and_axes_summed_in_any_order():
  whole, summed = (attribute('gpt2', ('z',), units=u)['z'] for u in (True, False))
  assert whole.axes == ('layer', 'batch', 'position', 'head', 'unit')
  np.testing.assert_allclose(whole.values.sum(-1), summed.values, atol=EXACT)
  swapped = summed.over('head', 'layer')
  np.testing.assert_allclose(swapped, summed.over('layer', 'head').T, atol=EXACT)
  with pytest.raises(ValueError, match="Unknown axis of 'z' 'unit'"):
    summed.over('unit')


def test_masked_scores_do_not_spoil_the_sum():
  values = attribute('gpt2', ('attn_scores',))['attn_scores'].values
  assert np.isfinite(values).all()
  assert np.abs(values).max() > 1e-3


def patched_patterns(pair, site, point):
  """The change of the metric, to first order in patterns, of one query or key."""
  variables = {'params': pair.params}
  own, other = (pair.model.apply(variables, t)[1] for t in (pair.clean, pair.corrupt))
  layer = point[0]
  mask = np.zeros(own[site].shape, bool)
  mask[point] = True
  patch = {site: edits.Replace(other[site], mask)}
  moved = pair.model.apply(variables, pair.clean, patch)[1]['pattern'][layer]

  def measure(delta):
    added = {'pattern': edits.Add(delta)}
    return pair.metric(*pair.model.apply(variables, pair.clean, added))

  grad = jax.grad(measure)(np.zeros(own['pattern'].shape))[layer]
  return float((grad * (moved - own['pattern'][layer])).sum())


@pytest.mark.parametrize('name', slow_but(['gpt2', 'llama'], 'gpt2'))
@pytest.mark.parametrize('site', slow_but(['q', 'k'], 'q'))
def test_qk_fix_recomputes_the_pattern_of_each_query_and_key(name, site):
  pair = make_pair(name)
  values = star(name, (site,), grad_drop=False)[site].values
  for point in [(0, 0, 1, 0), (1, 1, 3, -1), (1, 0, 4, 0)]:
    expected = patched_patterns(pair, site, point)
    assert values[point] == pytest.approx(expected, abs=EXACT)
  assert np.abs(values).max() > 1e-3


def test_without_either_fix_it_is_attribution_patching():
  plain = attribute('gpt2', ('q', 'v'))
  values = star('gpt2', ('q', 'v'), qk_fix=False, grad_drop=False)
  for site in ('q', 'v'):
    np.testing.assert_allclose(values[site].values, plain[site].values, atol=EXACT)


def test_grad_drop_is_the_mean_size_with_one_layer_dropped_at_a_time():
  pair = make_pair('gpt2')
  variables = {'params': pair.params}
  own, other = (pair.model.apply(variables, t)[1] for t in (pair.clean, pair.corrupt))

  def measure(delta, layer):
    here = (np.arange(2) == layer)[:, None, None, None]
    held = {s: edits.Replace(own[s], here) for s in ('attn_out', 'mlp_out')}
    patch = edits.compose({'z': edits.Add(delta)}, held)
    return pair.metric(*pair.model.apply(variables, pair.clean, patch))

  gap, expected = other['z'] - own['z'], 0
  for layer in range(2):
    grad = jax.grad(measure)(np.zeros(gap.shape), layer)
    assert not np.asarray(grad[layer]).any()
    expected += np.abs((grad * gap).sum(-1))
  values = star('gpt2', ('z',), qk_fix=False)['z'].values
  np.testing.assert_allclose(values, expected, atol=EXACT)


def test_attribution_is_exact_where_the_rest_of_the_model_is_linear():
  # After the last layer without a final norm nothing is left but the unembedding.
  pair = make_pair('compiled')
  values = attribute('compiled', ('mlp_out', 'z'))
  other = pair.model.apply({'params': pair.params}, pair.corrupt)[1]
  mask = np.zeros((2, 1, 5, 1), bool)
  mask[1, :, 4] = True
  patch = {'mlp_out': edits.Replace(other['mlp_out'], mask)}
  run = pair.model.apply({'params': pair.params}, pair.clean, patch)
  expected = float(pair.metric(*run)) - pair.base
  estimate = values['mlp_out'].over('layer', 'position')[1, 4]
  assert estimate == pytest.approx(expected, abs=EXACT)
  assert abs(expected) > 1e-3


def test_what_cannot_be_attributed_is_refused():
  with pytest.raises(ValueError, match="Unknown site of this model 'zz'"):
    attribute('gpt2', ('zz',))
  with pytest.raises(ValueError, match='integers'):
    attribute('mixture', ('expert_choices',))
  with pytest.raises(ValueError, match='effects are those of attribution_patching'):
    star('gpt2', ('pattern',))
  pair = make_pair('gpt2')
  short = dataclasses.replace(pair.model.cfg, layers=1)
  params = {
    **pair.params,
    'blocks': jax.tree.map(lambda x: x[:1], pair.params['blocks']),
  }
  args = (pair.model.clone(cfg=short), params, pair.clean, pair.corrupt, pair.metric)
  with pytest.raises(ValueError, match='two layers or more'):
    circuits.atp_star(*args)
