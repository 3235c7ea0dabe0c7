"""Scaled wavelengths are what the papers' formulas give."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.models import RotaryScaling, TransformerConfig
from interp_jax.models.rotary import rotary_frequencies, rotate
from interp_jax.testing import tiny_model

DIM, BASE = 16, 500.0
PLAIN = rotary_frequencies(DIM, BASE, None, 10)


def scaled(length=10, **options):
  return rotary_frequencies(DIM, BASE, RotaryScaling(**options), length)


def test_linear_scaling_is_a_slower_walk_through_the_same_angles():
  np.testing.assert_allclose(scaled(kind='linear', factor=4.0) * 8, PLAIN * 2)


def test_dynamic_scaling_changes_nothing_within_the_original_context():
  options = {'kind': 'dynamic', 'factor': 2.0, 'original_context': 10}
  np.testing.assert_array_equal(scaled(10, **options), PLAIN)
  longer = scaled(20, **options)
  assert longer[0] == PLAIN[0]  # The shortest wavelength stays, for any base.
  assert (longer[1:] < PLAIN[1:]).all()
  # The longest is stretched by the growth of the base: factor * 2 - (factor - 1) = 3.
  np.testing.assert_allclose(PLAIN[-1] / longer[-1], 3.0)


def test_llama3_keeps_short_waves_stretches_long_ones_and_blends_between():
  context, low, high, factor = 64, 1.0, 4.0, 8.0
  got = scaled(
    kind='llama3',
    factor=factor,
    original_context=context,
    low_freq_factor=low,
    high_freq_factor=high,
  )
  for plain, new in zip(PLAIN, got, strict=True):
    wavelength = 2 * math.pi / plain
    if wavelength < context / high:
      want = plain
    elif wavelength > context / low:
      want = plain / factor
    else:
      smooth = (context / wavelength - low) / (high - low)
      want = (1 - smooth) * plain / factor + smooth * plain
    np.testing.assert_allclose(new, want, rtol=1e-12)
  kept = got == PLAIN
  assert kept.any()
  assert not kept.all()


def test_yarn_is_between_no_scaling_and_linear_scaling():
  got = scaled(kind='yarn', factor=4.0, original_context=64)
  share = (got - PLAIN / 4) / (PLAIN - PLAIN / 4)  # 1: kept, 0: stretched in full.
  assert share[0] == 1
  np.testing.assert_allclose(share[-1], 0, atol=1e-12)
  assert (np.diff(share) <= 1e-12).all()
  assert ((share > 0.01) & (share < 0.99)).any()


def test_longrope_divides_by_the_factors_of_the_runs_length():
  short, long = tuple(np.arange(1.0, 9.0)), tuple(np.arange(11.0, 19.0))
  options = {
    'kind': 'longrope',
    'original_context': 10,
    'short_factor': short,
    'long_factor': long,
  }
  np.testing.assert_allclose(scaled(10, **options), PLAIN / short)
  np.testing.assert_allclose(scaled(11, **options), PLAIN / long)


def test_scores_depend_on_distances_only_however_the_wavelengths_are_scaled():
  scaling = RotaryScaling('yarn', 4.0, 64, attention_factor=1.2)
  frequencies = jnp.asarray(rotary_frequencies(8, BASE, scaling, 10), 'float32')
  q, k = np.random.default_rng(0).normal(size=(2, 1, 1, 1, 8)).astype('float32')

  def score(at_q, at_k):
    turned = [
      rotate(jnp.asarray(x), jnp.array([[at]]), frequencies, False, 1.2)
      for x, at in ((q, at_q), (k, at_k))
    ]
    return float((turned[0] * turned[1]).sum())

  assert score(3, 1) == pytest.approx(score(40, 38), abs=1e-4)
  assert score(5, 5) == pytest.approx(1.2**2 * float((q * k).sum()), abs=1e-5)


def test_layers_have_bases_and_scalings_of_their_own():
  options = {'positions': 'rotary', 'rotary_base': (9.0, 8.0, 9.0), 'norm': 'none'}
  linear = RotaryScaling('linear', 2.0)
  model, params = tiny_model(**options, rotary_scaling=(None, linear, None))
  tokens = np.arange(6)[None]
  acts = model.apply({'params': params}, tokens)[1]
  for layer, base, scaling in ((0, 9.0, None), (1, 8.0, linear)):
    frequencies = jnp.asarray(rotary_frequencies(4, base, scaling, 6), 'float32')
    want = rotate(acts['q'][layer], jnp.arange(6)[None], frequencies, False)
    np.testing.assert_allclose(acts['rot_q'][layer], want, atol=1e-5)


def test_a_scaling_survives_json_in_a_config():
  long = RotaryScaling('longrope', 2.0, 8, short_factor=(1.0,), long_factor=(2.0,))
  for scaling in (long, (long, None)):
    cfg = TransformerConfig(
      vocab_size=5,
      width=4,
      layers=2,
      heads=2,
      head_dim=2,
      mlp_width=4,
      rotary_scaling=scaling,
    )
    assert TransformerConfig.from_dict(cfg.to_dict()) == cfg
    hash(cfg)


def test_nonsense_is_refused():
  with pytest.raises(ValueError, match=r"Unknown rotary scaling 'yarm'.*'yarn'"):
    RotaryScaling('yarm', 2.0, 8)
  with pytest.raises(ValueError, match='needs original_context'):
    RotaryScaling('llama3', 2.0)
  with pytest.raises(ValueError, match=r'factor=0\.0 must be positive'):
    RotaryScaling('linear', 0.0)
  with pytest.raises(ValueError, match="Unknown field of RotaryScaling 'factr'"):
    RotaryScaling.from_dict({'kind': 'linear', 'factr': 2.0})
  fields = dataclasses.asdict(RotaryScaling('linear', 2.0))
  assert RotaryScaling.from_dict(fields) == RotaryScaling('linear', 2.0)


def test_generation_uses_the_scaling_of_the_whole_run():
  from interp_jax.models import generate

  scaling = RotaryScaling(
    'longrope', 2.0, 6, short_factor=(1.0, 2.0), long_factor=(3.0, 5.0)
  )
  model, params = tiny_model(positions='rotary', rotary_scaling=scaling)
  prompt = np.random.default_rng(0).integers(0, 31, (2, 4))
  new = generate(model, params, prompt, 4)
  whole = jnp.concatenate([prompt, new.tokens], 1)
  logits = jax.jit(model.apply)({'params': params}, whole)[0]
  np.testing.assert_allclose(new.logits, logits[:, 3:-1], atol=1e-4)
