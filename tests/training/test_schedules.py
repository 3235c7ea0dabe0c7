"""Learning rates at the steps where they are known."""

import numpy as np
import pytest

from interp_jax.training import warmup_cosine, warmup_stable_decay


def test_cosine_rises_linearly_and_falls_as_half_a_cosine():
  schedule = warmup_cosine(2.0, steps=100, warmup=20, final=0.1)
  steps = [0, 10, 20, 60, 100, 150]
  expected = [0.0, 1.0, 2.0, (2.0 + 0.2) / 2, 0.2, 0.2]
  np.testing.assert_allclose([schedule(step) for step in steps], expected, rtol=1e-6)


def test_stable_holds_a_plateau_and_decays_linearly():
  schedule = warmup_stable_decay(2.0, steps=100, warmup=10, decay=40)
  steps = [0, 5, 10, 35, 60, 80, 100]
  expected = [0.0, 1.0, 2.0, 2.0, 2.0, 1.0, 0.0]
  found = [schedule(step) for step in steps]
  np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_without_warmup_the_first_step_is_at_the_peak():
  assert float(warmup_cosine(3.0, 10, 0)(0)) == 3.0
  assert float(warmup_stable_decay(3.0, 10, 0, 0)(9)) == 3.0


@pytest.mark.parametrize(('warmup', 'decay'), [(10, 0), (6, 6), (-1, 0)])
def test_what_does_not_fit_into_the_run_is_refused(warmup, decay):
  with pytest.raises(ValueError, match='10 steps cannot hold'):
    warmup_stable_decay(1.0, 10, warmup, decay)
