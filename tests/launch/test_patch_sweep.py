"""The command: the quick variants of its configurations, stopped and continued."""

import json
import pathlib

import numpy as np
import pytest

import interp_jax
from interp_jax import circuits
from tests.launch.scripts import config_of, load_script

ROOT = pathlib.Path(__file__).resolve().parents[2]


script = load_script('patch_sweep')


def never():
  return False


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('sweeps')
  config = config_of('sweeps/induction').to_dict()
  config['sweeps'] = {'heads': ('z', 'layer', 'head')}
  return config, workdir, script.run(config, workdir, never)


def test_the_quick_induction_sweep_is_that_of_the_library(finished):
  config, workdir, (pairs, results, _) = finished
  model, params, _ = interp_jax.load('stdlib-4l')
  expected = circuits.sweep(
    model, params, pairs.corrupted, pairs.clean, 'z', ('layer', 'head'),
    metric=circuits.logit_difference(pairs.correct, pairs.wrong), progress=False,
  )  # fmt: skip
  np.testing.assert_allclose(results['heads'].values, expected.values, atol=1e-3)
  saved = circuits.SweepResult.load(workdir / 'heads.npz')
  np.testing.assert_array_equal(saved.values, results['heads'].values)
  assert config['direction'] == 'denoising'


def test_the_page_and_the_numbers_say_what_was_found(finished):
  config, _, (pairs, results, tokenizer) = finished
  numbers = json.loads(json.dumps(script.numbers(config, results)))
  heads = numbers['sweeps']['heads']
  assert heads['top'][0][0].keys() == {'layer', 'head'}
  assert np.shape(heads['values']) == (4, 4)
  page = interp_jax.report.render(script.page(config, pairs, results, tokenizer))
  assert 'Activation patching' in page
  assert '<svg' in page
  ablated = {'heads': circuits.SweepResult(
    ('z',), ('layer', 'head'), results['heads'].coordinates, results['heads'].values,
    results['heads'].base, np.full((), np.nan),
  )}  # fmt: skip
  assert script.numbers(config, ablated)['sweeps']['heads']['top'] is None
  script.page(config, pairs, ablated, tokenizer)


def test_a_finished_sweep_is_only_read(finished):
  config, workdir, (_, results, _) = finished
  asked = []
  again = script.run(config, workdir, lambda: asked.append(1) or False)[1]
  assert not asked
  np.testing.assert_array_equal(again['heads'].values, results['heads'].values)


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('metric', 'logit_diff', 'Unknown metric'),
    ('direction', 'both', 'Unknown direction'),
    ('pairs', {'kind': 'ioi'}, 'Unknown kind of pairs'),
  ],
)
def test_a_wrong_setting_says_what_is_right(tmp_path, field, value, message):
  config = config_of('sweeps/induction').to_dict() | {field: value}
  with pytest.raises(ValueError, match=message):
    script.run(config, tmp_path, never)


@pytest.mark.parametrize('name', ['induction', 'variable'])
def test_configurations_have_a_quick_variant_and_refuse_others(name):
  assert (
    config_of(f'sweeps/{name}').pairs.pairs
    < config_of(f'sweeps/{name}', '').pairs.pairs
  )
  with pytest.raises(ValueError, match='no variant'):
    config_of(f'sweeps/{name}', 'fast')
