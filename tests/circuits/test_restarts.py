"""Restarted worlds are whole runs: every site, grid, kind of model and padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import circuits, edits
from interp_jax.circuits import restart, runner
from interp_jax.testing import random_params, tiny_model

B, T = 2, 7
PADDED = np.ones((B, T), bool)
PADDED[0, :2] = PADDED[1, 6:] = False
MODELS = {
  'learned': {},
  'rotary, grouped, windows': {
    'positions': 'rotary',
    'kv_heads': 2,
    'windows': (2, None, 4),
    'norm': 'rmsnorm',
  },
  'shortformer': {'positions': 'shortformer', 'attn_only': True},
  'alibi, parallel, capped': {
    'positions': 'alibi',
    'parallel': True,
    'attn_softcap': 2.0,
    'logit_softcap': 3.0,
  },
  'bidirectional': {'causal': False},
  'normed keys that do not turn': {'qk_norm': 'head'},
}
GRIDS = {
  'residual stream': ('resid_pre', ('layer', 'position'), {}),
  'heads': ('z', ('layer', 'head'), {}),
  'keys': ('k', ('layer', 'head', 'position'), {'position': [2, 3, 6]}),
  'values, units': ('v', ('position', 'unit'), {'unit': [0, 2]}),
  'patterns': ('pattern', ('layer', 'position', 'key_position'), {'layer': [0, 2]}),
  'patterns of heads': ('pattern', ('layer', 'head'), {}),
  'scores': ('attn_scores', ('position', 'head'), {}),
  'embedding': ('embed', ('position',), {}),
  'last norm': ('ln_final.normalized', ('position',), {}),
  'scales': ('ln1.scale', ('layer', 'position'), {}),
  'examples': ('attn_out', ('batch', 'layer'), {}),
}
slow = pytest.mark.slow
CASES = [
  ('learned', 'residual stream', None),
  ('learned', 'embedding', None),
  ('rotary, grouped, windows', 'keys', PADDED),
  # Every model with every grid, and either of them with and without padding.
  *(
    pytest.param(model, grid, (None, PADDED)[(m + g + 1) % 2], marks=slow)
    for m, model in enumerate(MODELS)
    for g, grid in enumerate(GRIDS)
  ),
]


def prompts():
  """Two batches that differ at position 2, and at position 4 of one row."""
  base = np.random.default_rng(0).integers(0, 31, (B, T))
  source = base.copy()
  source[:, 2] = (source[:, 2] + 7) % 31
  source[0, 4] = (source[0, 4] + 3) % 31
  return base, source


def both(name, site, over, at, mask=None, **options):
  """A sweep restarted at up to four positions, and one that runs everything."""
  with jax.enable_x64(True):
    wide = {'dtype': 'float64', 'param_dtype': 'float64'}
    model, params = tiny_model(**MODELS[name], **wide)
    base, source = prompts()
    given = {'metric': lambda logits, acts: logits[:, -1].std(-1), 'at': at}
    given |= {'mask': mask, 'progress': False, 'over': over} | options
    run = lambda **kw: circuits.sweep(model, params, base, source, site, **given, **kw)
    return run(programs=4), run(restart='none')


@pytest.mark.parametrize(('name', 'grid', 'mask'), CASES)
def test_restarted_worlds_are_whole_runs(name, grid, mask):
  site, over, at = GRIDS[grid]
  fast, slow = both(name, site, over, at, mask)
  assert np.ptp(slow.values) > 1e-3
  np.testing.assert_allclose(fast.values, slow.values, atol=1e-11)


def test_a_metric_that_reads_all_logits_and_earlier_activations_sees_them():
  def metric(logits, acts):
    early = acts['mlp_out'][0, :, 0].sum() + acts['embed'][:, 1].sum()
    rest = acts['pattern'][1, :, :, 1].sum() + acts['ln_final.scale'].sum()
    return logits[:, :2].sum() + logits[:, -1].std() + early + rest

  fast, slow = both('learned', 'z', ('layer', 'position'), {}, metric=metric)
  np.testing.assert_allclose(fast.values, slow.values, atol=1e-11)


@pytest.mark.slow
def test_logits_of_earlier_positions_are_the_base_runs():
  at = np.array([[1, 6], [5, 2]])
  read = lambda logits, acts: logits.std(-1)
  fast, slow = both(
    'learned', 'resid_post', ('layer', 'position'), {}, metric=read, logit_positions=at
  )
  assert fast.values.shape == (3, T, B, 2)
  np.testing.assert_allclose(fast.values, slow.values, atol=1e-11)


@pytest.mark.slow
def test_edits_of_the_base_run_hold_in_every_world():
  every = {'embed': edits.Add(0.5), 'mlp_out': edits.Scale(0.3), 'q': edits.Add(0.1)}
  fast, slow = both(
    'rotary, grouped, windows', 'attn_out', ('layer', 'position'), {}, base_edits=every
  )
  np.testing.assert_allclose(fast.values, slow.values, atol=1e-11)
  plain = both('rotary, grouped, windows', 'attn_out', ('layer', 'position'), {})[0]
  assert np.abs(plain.base - fast.base).max() > 1e-3


@pytest.mark.parametrize('some', [slice(0, 2), pytest.param(slice(99), marks=slow)])
def test_any_list_of_edits_restarts_too(some):
  value = np.random.default_rng(1).normal(size=(3, B, T, 12))
  here = lambda **at: edits.select('resid_mid', (3, B, T, 12), **at)
  double = jax.tree_util.Partial(lambda act: act + act.mean(1, keepdims=True))
  todo = [
    {'resid_mid': edits.Replace(value, here(layer=1, position=4))},
    {'resid_mid': edits.Replace(value, here(layer=2, position=[3, 6]))},
    {'mlp_out': edits.Scale(0.0, here(layer=1, position=5))},
    {'mlp_out': edits.Add(2.0, here(position=1)), 'embed': edits.Clamp(-0.1, 0.1)},
    {'mlp_out': edits.Interpolate(0.0, here(layer=0, position=2) * 0.5)},
    {'resid_pre': edits.Splice(double, 1)},  # It mixes positions.
    {'attn_out': edits.ProjectOut(np.eye(12)[:2], here(position=3))},
  ]
  fast, slow = both('learned', [*todo[some], {}], (), {})
  assert fast.axes == ('edit',)
  np.testing.assert_allclose(fast.values, slow.values, atol=1e-11)
  np.testing.assert_allclose(fast.values[-1], fast.base, atol=1e-11)
  changed = np.abs(fast.values - fast.base).max(-1) > 1e-4
  assert changed[:-1].all()


class Recording:
  """A model that says which keyword arguments its runs were given."""

  def __init__(self, model, takes=('start', 'resid', 'before')):
    self.model, self.calls, self.takes = model, [], takes

  @property
  def restart_sites(self):
    return self.model.restart_sites

  def apply(self, variables, tokens, edits=None, **kwargs):
    self.calls.append((tokens is None, kwargs))
    unknown = {'start', 'resid', 'before'} - set(self.takes)
    assert not unknown & set(kwargs)
    return self.model.apply(variables, tokens, edits, **kwargs)


def test_worlds_run_no_more_positions_than_they_change():
  model, params = tiny_model()
  recording, (base, source) = Recording(model), prompts()
  result = circuits.sweep(
    recording, params, base, source, 'resid_pre', ('layer', 'position'),
    metric=circuits.logit_difference([0, 1], [2, 3]), programs=99, progress=False,
  )  # fmt: skip
  lengths = {kw['resid'].shape[1] for _, kw in recording.calls if 'resid' in kw}
  # Nothing differs before position 2, so that nothing is run from there.
  assert lengths == {T - position for position in range(2, T)}
  np.testing.assert_array_equal(result.values[:, :2], result.base)


class OnlyLayers(Recording):
  """A model that restarts at layers, and has no positions to restart at."""

  restart_sites = ()


def test_a_model_is_asked_for_no_more_than_it_takes():
  model, params = tiny_model()
  base, source = prompts()

  class Plain:
    """The Protocol's core."""

    def apply(self, variables, tokens, edits=None):
      return model.apply(variables, tokens, edits)

  results = [
    circuits.sweep(
      kind, params, base, source, 'z', ('layer', 'position'),
      metric=circuits.logit_difference([0, 1], [2, 3]), programs=2, progress=False,
    ).values
    for kind in (model, Plain(), OnlyLayers(model, ('start', 'resid')))
  ]  # fmt: skip
  np.testing.assert_allclose(results[1], results[0], atol=1e-5)
  np.testing.assert_allclose(results[2], results[0], atol=1e-5)


def test_what_a_model_takes_is_read_from_its_signature():
  model, _ = tiny_model()
  assert restart.accepts(model, 'before')
  assert not restart.accepts(model, 'after')
  assert restart.accepts(Recording(model), 'anything')


def test_a_restart_that_there_is_not_is_refused():
  with pytest.raises(ValueError, match="Did you mean 'positions'"):
    runner.Options(restart='position')


def test_numbers_that_are_not_numbers_stay_where_they_are():
  # A value of NaN differs from everything, where it is patched and nowhere else.
  model, params = tiny_model()
  params = random_params(model, 3)
  base, _ = prompts()
  value = np.zeros((3, B, T, 12), np.float32)
  value[1, :, 4] = np.nan
  result = circuits.sweep(
    model, params, base, {'mlp_out': jnp.asarray(value)}, 'mlp_out',
    ('layer', 'position'), metric=circuits.logit_difference([0, 1], [2, 3]),
    programs=3, progress=False,
  )  # fmt: skip
  assert np.isnan(result.values[1, 4])
  assert np.isfinite(result.values).sum() == result.values.size - 1
