"""One vector for a text, whatever stands beside it as padding."""

import numpy as np
import pytest

from interp_jax.models import pool
from interp_jax.testing import tiny_model

RESID = np.random.default_rng(0).normal(size=(2, 5, 12)).astype('float32')
RIGHT = np.array([[1, 1, 1, 0, 0], [1] * 5], bool)


@pytest.fixture
def encoder():
  return tiny_model(
    causal=False, norm_placement='residual', head='none', pooler=True, final_norm=False
  )


@pytest.mark.parametrize('kind', ['mean', 'first', 'pooler'])
def test_padding_on_either_side_changes_no_vector(encoder, kind):
  params = encoder[1]
  rolled = np.stack([np.roll(RESID[0], 2, 0), RESID[1]])
  left = np.stack([RIGHT[0][::-1], RIGHT[1]])
  got = pool(params, RESID, RIGHT, kind)
  np.testing.assert_allclose(pool(params, rolled, left, kind), got, atol=1e-6)
  np.testing.assert_allclose(
    pool(params, RESID[:1, :3], None, kind), got[:1], atol=1e-6
  )


def test_vectors_are_what_their_names_say(encoder):
  params = encoder[1]
  np.testing.assert_allclose(
    pool(params, RESID, RIGHT)[0], RESID[0, :3].mean(0), atol=1e-6
  )
  np.testing.assert_array_equal(pool(params, RESID, RIGHT, 'first'), RESID[:, 0])
  dense = params['pooler']
  want = np.tanh(RESID[:, 0] @ dense['W'] + dense['b'])
  np.testing.assert_allclose(pool(params, RESID, None, 'pooler'), want, atol=1e-5)
  lengths = np.linalg.norm(pool(params, RESID, RIGHT, normalize=True), axis=-1)
  np.testing.assert_allclose(lengths, 1, atol=1e-6)


def test_an_encoder_without_a_head_gives_its_last_residual_stream(encoder):
  model, params = encoder
  out, acts = model.apply({'params': params}, np.arange(6)[None])
  np.testing.assert_array_equal(out, acts['ln2.normalized'][-1])


def test_nonsense_is_refused(encoder):
  with pytest.raises(ValueError, match=r"Unknown pooling 'maen'\. Did you mean 'mean'"):
    pool(encoder[1], RESID, kind='maen')
  with pytest.raises(ValueError, match='has no pooler'):
    pool(tiny_model()[1], RESID, kind='pooler')
