import dataclasses

import numpy as np
import pytest

from interp_jax import dictionaries
from interp_jax.dictionaries import TopK
from tests.dictionaries.planted import codes_of, random_dictionary, write_store


@pytest.fixture(scope='module')
def reader(tmp_path_factory):
  rows = np.random.default_rng(5).normal(size=(150, 8)).astype(np.float32)
  return write_store(tmp_path_factory.mktemp('contexts') / 'store', rows)


@pytest.fixture(scope='module')
def dictionary():
  return random_dictionary(TopK(4))


@pytest.fixture(scope='module')
def examples(dictionary, reader):
  return dictionaries.strongest_examples(dictionary, reader, n=6)


def found(dictionary, reader, examples, index, **kwargs):
  return dictionaries.contexts(dictionary, reader, examples, index, **kwargs)


@pytest.mark.parametrize('index', [0, 7, 19])
def test_a_context_holds_the_codes_of_its_own_tokens(
  dictionary, reader, examples, index
):
  codes = np.asarray(codes_of(dictionary, reader.numpy()))[:, index]
  provenance = reader.provenance(np.arange(len(reader)))
  for context in found(dictionary, reader, examples, index, before=4, after=3):
    row = int(
      np.flatnonzero(
        (provenance[:, 0] == context.document) & (provenance[:, 1] == context.position)
      )[0]
    )
    first = row - context.peak
    rows = np.arange(first, first + len(context.tokens))
    np.testing.assert_array_equal(context.tokens, provenance[rows, 2])
    np.testing.assert_allclose(context.values, codes[rows], rtol=1e-4, atol=1e-5)
    assert (provenance[rows, 0] == context.document).all()


def test_the_first_context_is_the_strongest_and_documents_come_once_each_first(
  dictionary, reader, examples
):
  contexts = found(dictionary, reader, examples, 3, count=6)
  values = [context.values[context.peak] for context in contexts]
  np.testing.assert_allclose(max(values), values[0])
  documents = [context.document for context in contexts]
  different = len(set(documents))
  assert len(set(documents[:different])) == different


def test_a_feature_that_was_active_less_often_has_fewer_contexts(
  dictionary, reader, examples
):
  often = int((examples.rows >= 0).sum(1).argmax())
  rows = examples.rows.copy()
  rows[often, 2:] = -1
  few = dataclasses.replace(examples, rows=rows)
  assert len(found(dictionary, reader, examples, often, count=6)) > 2
  assert len(found(dictionary, reader, few, often, count=6)) == 2
