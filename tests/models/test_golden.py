"""Published layouts against what transformers gave, where it need not be installed.

`make_golden.py` wrote the numbers; `tests/peers/test_transformers.py` compares with the
library itself.
"""

import jax
import numpy as np
import pytest

from interp_jax import models
from tests.models import golden_files, published
from tests.slow import slow_but

BOUND = 1e-10

# One for each family; the others take their time.
QUICK = {cases[-1].name for cases in published.FAMILIES.values()}
NAMES = slow_but(published.CASES, *QUICK)


def test_every_case_has_its_file_and_every_file_its_case():
  files = {path.stem for path in golden_files.FOLDER.glob('*.json')}
  assert files == set(published.CASES)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.usefixtures('float64')
def test_logits_and_the_last_residual_stream_are_those_of_transformers(name, tmp_path):
  kept = golden_files.read(name)
  folder = golden_files.make_checkpoint(name, tmp_path)
  model, params, _ = models.load(folder, dtype='float64')

  @jax.jit
  def run(params, tokens):
    logits, acts = model.apply({'params': params}, tokens)
    return logits, acts['resid_pre'][-1]

  logits, hidden = run(params, published.tokens_of(name))
  assert golden_files.compare(logits, kept['logits']) < BOUND
  assert golden_files.compare(hidden, kept['hidden']) < BOUND


def test_the_golden_numbers_tell_models_apart():
  kept = [golden_files.read(name) for name in published.CASES]
  logits = np.array([one['logits'] for one in kept if one['logits'].size == 61])
  apart = np.abs(logits[:, None] - logits[None]).max(-1)
  assert (apart[~np.eye(len(logits), dtype=bool)] > 0.1).all()
