"""Sweeps: a labelled array of what single patches give."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import circuits, edits, sharding

LAYERS, POSITIONS, HEADS = 3, 6, 4


def run(setting, site='resid_pre', over=('layer', 'position'), **options):
  options = {'metric': setting.metric, 'progress': False} | options
  return circuits.sweep(
    setting.model, setting.params, setting.base, setting.source, site, over, **options
  )


def one_by_one(setting, site, over, within=None):
  """The same grid as a Python loop of single patches."""
  source_acts = setting.apply(setting.source)[1]
  masks, _ = edits.grid(site, source_acts[site].shape, over)
  out = []
  for mask in masks:
    mask = mask if within is None else mask & within
    patch = edits.Replace(source_acts[site], jnp.asarray(mask))
    out.append(setting.metric(*setting.apply(setting.base, {site: patch})))
  return np.array(out)


@pytest.mark.parametrize(
  ('site', 'over'),
  [
    ('resid_pre', ('layer', 'position')),
    ('z', ('layer', 'head')),
    ('mlp_out', ('position', 'layer')),
    ('embed', ('position',)),
  ],
)
def test_a_sweep_equals_a_loop_of_single_patches(setting, site, over):
  result = run(setting, site, over)
  expected = one_by_one(setting, site, over).reshape(result.values.shape)
  np.testing.assert_allclose(result.values, expected, atol=2e-5)
  assert result.axes == over
  assert result.values.shape == tuple(len(result.coordinates[a]) for a in over)


@pytest.mark.parametrize(
  ('site', 'reads'), [('resid_pre', 'logits'), ('resid_post', 'logits'), ('z', 'acts')]
)
def test_restarting_equals_recomputing(setting, site, reads):
  def from_acts(logits, acts):
    # Early layers, which a restarted run does not compute, and sites outside layers.
    return acts['mlp_out'].sum() + acts['embed'][0].sum() + acts['ln_final.scale'].sum()

  metric = setting.metric if reads == 'logits' else from_acts
  over = ('layer', 'head') if site == 'z' else ('layer', 'position')
  fast = run(setting, site, over, metric=metric)
  slow = run(setting, site, over, metric=metric, restart='none')
  np.testing.assert_allclose(fast.values, slow.values, atol=5e-5, rtol=1e-5)


@pytest.mark.parametrize('chunk', [5, 100])
def test_chunking_changes_nothing(setting, chunk):
  whole, chunked = run(setting), run(setting, chunk=chunk)
  np.testing.assert_allclose(chunked.values, whole.values, atol=1e-5)


def test_eight_devices_change_nothing(setting):
  mesh = sharding.make_mesh()
  assert mesh.size == 8
  spread = run(setting, mesh=mesh, programs=3)
  np.testing.assert_allclose(spread.values, run(setting).values, atol=1e-5)


def test_patching_everything_gives_the_source_run(setting):
  # At layer 0 the runs differ at position 2 alone: patching it is patching everything,
  # and what comes before or after it in the stream is patched into itself.
  result = run(setting)
  np.testing.assert_allclose(result.values[0, 2], result.source, atol=1e-5)
  np.testing.assert_allclose(result.values[0, [0, 1, 3]], result.base, atol=1e-5)
  # A point may be a slice of everything: each example, with all that is in it.
  each = circuits.logit_difference(np.array([1, 2]), np.array([3, 4]), True)
  batch = run(setting, over=('batch',), metric=each)
  np.testing.assert_allclose(np.diag(batch.values), batch.source, atol=1e-5)


def test_patching_a_run_into_itself_changes_nothing(setting):
  result = circuits.sweep(
    setting.model,
    setting.params,
    setting.base,
    setting.base,
    'z',
    ('layer', 'head'),
    metric=setting.metric,
    progress=False,
  )
  np.testing.assert_allclose(result.values, float(result.base), atol=1e-5)


def test_noising_is_denoising_with_the_runs_swapped(setting):
  swapped = setting._replace(base=setting.source, source=setting.base)
  denoise, noise = run(setting), run(swapped)
  assert denoise.base == pytest.approx(float(noise.source), abs=1e-5)
  assert denoise.source == pytest.approx(float(noise.base), abs=1e-5)
  assert noise.effect[0, 2] == pytest.approx(1, abs=1e-3)


def test_unembedding_only_what_the_metric_reads_changes_nothing(setting):
  np.testing.assert_allclose(
    run(setting, logit_positions=[5]).values, run(setting).values, atol=1e-5
  )


def test_a_metric_may_return_one_number_per_example(setting):
  rng = np.random.default_rng(0)
  right, wrong = rng.integers(0, 20, 2), rng.integers(20, 40, 2)
  each = circuits.logit_difference(right, wrong, per_example=True)
  mean = circuits.logit_difference(right, wrong)
  result = run(setting, metric=each)
  assert result.values.shape == (LAYERS, POSITIONS, 2)
  np.testing.assert_allclose(
    result.values.mean(-1), run(setting, metric=mean).values, atol=1e-5
  )


def test_a_sweep_stays_within_its_mask(setting):
  within = edits.select('z', (LAYERS, 2, POSITIONS, HEADS, 4), position=[2, 5])
  result = run(setting, 'z', ('layer', 'head'), within=within)
  expected = one_by_one(setting, 'z', ('layer', 'head'), within)
  np.testing.assert_allclose(result.values.ravel(), expected, atol=2e-5)


def test_a_part_of_the_grid_equals_that_part_of_the_whole(setting):
  part = run(setting, at={'layer': [2, 0], 'position': [5, 2, 3]})
  whole = run(setting)
  np.testing.assert_allclose(
    part.values, whole.values[np.ix_([2, 0], [5, 2, 3])], atol=1e-5
  )
  assert part.coordinates == {'layer': (2, 0), 'position': (5, 2, 3)}


def test_activations_can_be_the_source(setting):
  acts = setting.apply(setting.source)[1]
  options = {'metric': setting.metric, 'progress': False}
  given = circuits.sweep(
    setting.model, setting.params, setting.base, {'resid_pre': acts['resid_pre']},
    'resid_pre', **options,
  )  # fmt: skip
  np.testing.assert_allclose(given.values, run(setting).values, atol=1e-5)
  with pytest.raises(ValueError, match='not known'):
    _ = given.effect


class CountingModel:
  """The Protocol and nothing more, and how often it was traced."""

  def __init__(self, model):
    self.model, self.traces = model, 0

  def apply(self, variables, tokens, edits=None, **kwargs):
    self.traces += 1
    return self.model.apply(variables, tokens, edits, **kwargs)


def test_a_grid_of_any_size_is_one_compilation(setting):
  def traces(**options):
    model = CountingModel(setting.model)
    run(setting._replace(model=model), 'z', ('layer', 'position', 'head'), **options)
    return model.traces

  small = traces(at={'layer': [0], 'head': [0], 'position': [2]})
  assert traces(chunk=7) == small


def test_a_second_sweep_with_other_answers_compiles_nothing(setting):
  model = CountingModel(setting.model)
  counted = setting._replace(model=model)
  run(counted)
  first = model.traces
  run(counted._replace(base=setting.source, source=setting.base), metric=(
    circuits.logit_difference(np.array([5, 6]), np.array([7, 8]))))  # fmt: skip
  assert model.traces == first


def test_padding_goes_to_the_model(setting):
  mask = np.ones((2, POSITIONS), bool)
  mask[:, 0] = False
  result = run(setting, mask=mask)
  logits, acts = setting.apply(setting.base, mask=mask)
  assert result.base == pytest.approx(float(setting.metric(logits, acts)), abs=1e-5)
  assert not np.allclose(result.base, run(setting).base)


def test_a_result_survives_the_disk(setting, tmp_path):
  result = run(setting, at={'position': [2, 4]})
  result.save(tmp_path / 'sweep.npz')
  again = circuits.SweepResult.load(tmp_path / 'sweep.npz')
  np.testing.assert_array_equal(again.values, result.values)
  np.testing.assert_array_equal(again.effect, result.effect)
  assert (again.sites, again.axes) == (result.sites, result.axes)
  assert again.coordinates == result.coordinates


def test_the_top_points_are_those_of_largest_effect(setting):
  result = run(setting, at={'position': [1, 2, 4]})
  best = max(
    itertools.product(range(LAYERS), range(3)), key=lambda p: abs(result.effect[p])
  )
  point, effect = result.top(1)[0]
  assert point == {'layer': best[0], 'position': (1, 2, 4)[best[1]]}
  assert effect == pytest.approx(float(result.effect[best]))


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'site': 'resid_pr'}, "Unknown site.*'resid_pr'.*Did you mean 'resid_pre'"),
    ({'over': ('layer', 'heads')}, 'Unknown axis.*Valid: layer, batch, position'),
    ({'over': ('layer', 'layer')}, 'each once'),
    ({'at': {'head': [0]}}, 'not in'),
    ({'at': {'layer': [3]}}, 'from 0 to 2'),
    ({'chunk': 0}, 'at least 1'),
  ],
)
def test_a_wrong_argument_says_what_is_right(setting, options, message):
  with pytest.raises(ValueError, match=message):
    run(setting, **options)


def test_runs_that_do_not_align_are_refused(setting):
  short = setting._replace(source=setting.source[:, :-1])
  with pytest.raises(ValueError, match='align position by position'):
    run(short)


def test_a_mesh_without_a_data_axis_is_refused(setting):
  mesh = jax.make_mesh((8,), ('model',), (jax.sharding.AxisType.Auto,))
  with pytest.raises(ValueError, match="an axis named 'data'"):
    run(setting, mesh=mesh)
