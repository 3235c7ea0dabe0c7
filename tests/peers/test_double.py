"""What is computed under `double` knows no float32."""

import numpy as np
import pytest

from interp_jax.testing.double import double

torch = pytest.importorskip('torch')
pytestmark = pytest.mark.peers


def test_casts_to_float32_by_any_name_go_to_float64():
  x = torch.full((3,), 1 / 3, dtype=torch.float64)
  with double():
    casts = [
      x.float(),
      x.to(torch.float32),
      x.to(dtype=torch.float),
      x.type(torch.float32),
      torch.softmax(x, -1, dtype=torch.float32),
      torch.arange(3, dtype=torch.float32),
      torch.ones(3),
    ]
  assert {cast.dtype for cast in casts} == {torch.float64}
  np.testing.assert_array_equal(casts[0], x)


def test_casts_to_16_bits_and_to_integers_stay_what_they_are():
  with double():
    x = torch.ones(3)
    assert x.bfloat16().dtype == torch.bfloat16
    assert x.to(torch.long).dtype == torch.int64


def test_outside_of_it_nothing_has_changed():
  with double():
    pass
  assert torch.get_default_dtype() == torch.float32
  assert torch.ones(3, dtype=torch.float64).float().dtype == torch.float32


def test_without_it_a_double_model_of_transformers_is_rounded_to_float32(tmp_path):
  transformers = pytest.importorskip('transformers')
  from interp_jax.testing.peer import Peer
  from tests.models import golden_files, published

  folder = golden_files.make_checkpoint('llama-plain', tmp_path)
  tokens = published.tokens_of('llama-plain')
  exact = Peer(folder, in_double=True).run(tokens).logits
  peer = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
  with torch.no_grad():
    rounded = peer(torch.tensor(tokens, dtype=torch.long)).logits.numpy()
  apart = np.abs(exact - rounded).max()
  assert 1e-9 < apart < 1e-4
