import itertools

import numpy as np
import pytest

from interp_jax.harvest import Layout
from interp_jax.harvest.packing import BOS_POLICIES, Packer

BOS = 99
LENGTHS = (5, 0, 1, 12, 3, 7)


def documents():
  """Tokens that tell their document and position: `10 d + position`, in base 10."""
  return [100 * d + np.arange(n) for d, n in enumerate(LENGTHS)]


def packed(layout: Layout) -> np.ndarray:
  packer = Packer(layout, BOS)
  return np.concatenate([packer.add(d, ids) for d, ids in enumerate(documents())])


ALL = [
  Layout(context, together, bos)
  for context, together, bos in itertools.product(
    (2, 4, 7), (True, False), BOS_POLICIES
  )
]


@pytest.mark.parametrize('layout', ALL, ids=str)
def test_provenance_leads_from_every_token_to_its_document(layout):
  sequences = packed(layout)
  assert sequences.shape[1:] == (layout.context, 3)
  token, document, position = sequences.reshape(-1, 3).T
  text = position >= 0
  np.testing.assert_array_equal(token[text], 100 * document[text] + position[text])
  assert set(token[~text]) <= {BOS}


@pytest.mark.parametrize('layout', ALL, ids=str)
def test_every_token_stands_once_and_in_order(layout):
  token, _, position = packed(layout).reshape(-1, 3).T
  every = np.concatenate(documents())
  kept = token[position >= 0]
  np.testing.assert_array_equal(kept, every[: len(kept)])
  lost = len(every) - len(kept)
  assert lost < layout.context if layout.packed else lost == 0


@pytest.mark.parametrize('layout', ALL, ids=str)
def test_a_bos_stands_where_the_policy_says_and_nowhere_else(layout):
  token, document, position = np.moveaxis(packed(layout), -1, 0)
  bos = (token == BOS) & (document >= 0)
  assert (position[bos] == -1).all()
  if layout.bos == 'none':
    assert not bos.any()
  elif layout.bos == 'sequence':
    assert bos[:, 0].all()
    assert bos.sum() == len(bos)
    # It belongs to the document of the token that it stands in front of.
    np.testing.assert_array_equal(document[:, 0], document[:, 1])
  else:
    flat = bos.reshape(-1)
    after = np.roll(flat, 1)
    after[0] = False
    begins = position.reshape(-1) == 0
    np.testing.assert_array_equal(after, begins)


@pytest.mark.parametrize('layout', [a for a in ALL if not a.packed], ids=str)
def test_unpacked_a_sequence_has_one_document_and_padding_on_the_right(layout):
  _, document, _ = np.moveaxis(packed(layout), -1, 0)
  padding = document == -1
  assert (np.diff(padding.astype(int), axis=1) >= 0).all()
  for row, pad in zip(document, padding, strict=True):
    assert len(set(row[~pad])) == 1


@pytest.mark.parametrize('layout', ALL, ids=str)
def test_continued_with_its_rest_a_packer_gives_the_same(layout):
  whole = packed(layout)
  packer, parts = Packer(layout, BOS), []
  for d, ids in enumerate(documents()):
    rest, packer = packer.rest, Packer(layout, BOS)
    packer.rest = rest
    parts.append(packer.add(d, ids))
  np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_layouts_that_make_no_sense_are_refused():
  with pytest.raises(ValueError, match=r"Unknown BOS policy 'documents'. Did you mean"):
    Layout(8, bos='documents')
  with pytest.raises(ValueError, match='no room for text'):
    Layout(1, bos='sequence')
  with pytest.raises(ValueError, match='no BOS'):
    Packer(Layout(8), None)
  assert Packer(Layout(1, bos='none'), None).add(0, np.arange(3)).shape == (3, 1, 3)
