"""Circuits, compositions and head detectors against TransformerLens's."""

import jax
import numpy as np
import pytest

pytest.importorskip('transformer_lens')
from interp_jax import compat, lenses
from interp_jax.compat import export
from interp_jax.models.processing import process
from interp_jax.testing import tiny_model
from interp_jax.testing.double import double

pytestmark = [
  pytest.mark.peers,
  # Of torch and TransformerLens, whose classes are all deprecated.
  pytest.mark.filterwarnings('ignore::DeprecationWarning'),
  pytest.mark.filterwarnings('ignore::FutureWarning'),
  pytest.mark.filterwarnings('ignore::UserWarning'),
  pytest.mark.usefixtures('float64'),
]

EXACT = 1e-10
MODELS = {
  'gpt': {},
  'grouped': {'kv_heads': 2, 'positions': 'rotary', 'norm': 'rmsnorm'},
}


@pytest.fixture(params=MODELS)
def pair(request):
  """A processed model, ours and theirs."""
  wide = {'dtype': 'float64', 'param_dtype': 'float64'}
  model, params = tiny_model(**wide, **MODELS[request.param])
  with double():
    peer = compat.hooked_transformer(model, params, processed=True)
  return *process(model, params, **export.processing_steps(model.cfg)), peer


def close(ours, theirs, atol=EXACT):
  np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=atol)


def test_circuits_and_all_that_is_read_off_them_are_theirs(pair):
  model, params, peer = pair
  for ours, theirs in (
    (lenses.qk_circuits(params, model.cfg), peer.QK),
    (lenses.ov_circuits(params, model.cfg), peer.OV),
  ):
    close(ours.AB, theirs.AB)
    close(ours.norm(), theirs.norm())
    close(ours.singular_values(), theirs.S)
    by_size = lambda values: np.sort_complex(np.asarray(values))
    np.testing.assert_allclose(
      by_size(ours.eigenvalues()), by_size(theirs.eigenvalues.detach()), atol=1e-8
    )
    close(ours.T.AB, theirs.T.AB)
    close(ours[1, 2].AB, theirs[1, 2].AB)
    close((ours[0, 1] @ ours[1, 2]).AB, (theirs[0, 1] @ theirs[1, 2]).AB)
    u, s, vh = ours.svd()
    close((u * s[..., None, :]) @ vh, theirs.AB)
    # Singular vectors, up to a sign of each.
    close(abs(np.einsum('lhxr,lhxr->lhr', u, theirs.U.detach())), theirs.S**0)


def test_full_circuits_are_theirs(pair):
  model, params, peer = pair
  close(
    lenses.full_ov_circuits(params, model.cfg).AB, (peer.W_E @ peer.OV @ peer.W_U).AB
  )
  close(
    lenses.full_qk_circuits(params, model.cfg).AB, (peer.W_E @ peer.QK @ peer.W_E.T).AB
  )


def test_composition_scores_are_theirs(pair):
  model, params, peer = pair
  cfg = model.cfg
  ours = lenses.composition_scores(
    lenses.qk_circuits(params, cfg), lenses.ov_circuits(params, cfg)
  )
  for kind in 'QKV':
    close(getattr(ours, kind.lower()), peer.all_composition_scores(kind))


TARGETS = {
  'previous_token_head': lenses.previous_token_targets,
  'duplicate_token_head': lenses.duplicate_token_targets,
  'induction_head': lenses.prefix_matching_targets,
}


@pytest.mark.parametrize('excluded', [(False, False), (True, False), (False, True)])
def test_similarities_of_patterns_are_those_of_detect_head(pair, excluded, monkeypatch):
  import torch
  from transformer_lens.head_detector import detect_head

  model, params, peer = pair
  rows = np.random.default_rng(0).integers(0, 4, (2, 12))  # So few that tokens repeat.
  run = jax.jit(lambda params: model.apply({'params': params}, rows)[1]['pattern'])
  pattern = run(params)
  # Tokens in the place of a text: the model has no tokenizer.
  monkeypatch.setattr(peer, 'to_tokens', lambda row: torch.tensor(rows[row])[None])
  names = {'exclude_bos': excluded[0], 'exclude_current_token': excluded[1]}
  for kind, targets in TARGETS.items():
    for measure in ('mul', 'abs'):
      with double():
        theirs = detect_head(peer, [0, 1], kind, error_measure=measure, **names)
      ours = lenses.pattern_similarity(pattern, targets(rows), measure, *excluded)
      # Theirs is rounded to three digits, by row, where it is a difference.
      close(ours, theirs, 6e-4 if measure == 'abs' else 1e-6)
