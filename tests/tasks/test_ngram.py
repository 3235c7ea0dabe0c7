"""The n-gram baseline: a distribution, as defined, and better than simpler ones."""

import itertools

import numpy as np
import pytest

from interp_jax.tasks.ngram import KneserNey, _discounts

VOCAB = 6


def markov(rows, length, seed):
  """Rows of a second-order chain whose transitions are the same for all seeds."""
  table = np.random.default_rng(0).dirichlet(np.full(VOCAB, 0.3), (VOCAB, VOCAB))
  draw = np.random.default_rng(seed)
  found = np.zeros((rows, length), np.int64)
  for row in found:
    for t in range(2, length):
      row[t] = draw.choice(VOCAB, p=table[row[t - 2], row[t - 1]])
  return found


TRAIN, TEST = markov(40, 40, 1), markov(20, 40, 2)


@pytest.mark.parametrize('order', [1, 2, 3, 4])
@pytest.mark.parametrize('vocab', [VOCAB, VOCAB + 3])
def test_probabilities_sum_to_one_in_every_context(order, vocab):
  model = KneserNey.fit(TRAIN[:3], vocab, order)  # Little data: many unseen contexts.
  for length in range(1, order + 1):
    for context in itertools.product(range(vocab), repeat=length - 1):
      ngrams = np.array([[*context, w] for w in range(vocab)])
      p = model.probabilities(ngrams)
      assert (p > 0).all()
      np.testing.assert_allclose(p.sum(), 1, rtol=1e-12)


def test_longer_contexts_help_up_to_the_order_of_the_source():
  uni, bi, tri = (
    KneserNey.fit(TRAIN, VOCAB, order).held_out_loss(TEST) for order in (1, 2, 3)
  )
  assert tri < bi - 0.1
  assert bi < uni - 0.03
  assert uni < np.log(VOCAB)


def test_losses_are_those_of_the_probabilities_given_what_the_row_shows():
  model = KneserNey.fit(TRAIN, VOCAB)
  losses = model.losses(TEST)
  assert losses.shape == (20, 39)
  for row, t in ((0, 1), (0, 2), (3, 7), (19, 39)):
    ngram = TEST[row, max(t - 2, 0) : t + 1]
    expected = -np.log(model.probabilities(ngram[None])[0])
    np.testing.assert_allclose(losses[row, t - 1], expected)
  np.testing.assert_allclose(model.held_out_loss(TEST), losses.mean())


def test_a_token_that_follows_many_contexts_is_likelier_in_a_new_one():
  # Token 1 is frequent but only ever follows 0; token 2 is rarer and follows many.
  row = np.array([[0, 1] * 8 + [3, 2, 4, 2, 5, 2, 6, 2]])
  model = KneserNey.fit(row, 8, order=2)
  new_context = model.probabilities(np.array([[7, 1], [7, 2]]))
  assert new_context[1] > new_context[0]
  assert (row == 1).sum() > (row == 2).sum()


def test_it_agrees_with_the_definition_written_as_loops():
  model = KneserNey.fit(TRAIN[:4], VOCAB)
  for ngram in itertools.product(range(VOCAB), repeat=3):
    expected = by_definition(TRAIN[:4], ngram)
    np.testing.assert_allclose(model.probabilities(np.array([ngram]))[0], expected)


def by_definition(rows, ngram):
  seen = [tuple(row[i : i + 3]) for row in rows.tolist() for i in range(len(row) - 2)]
  p = 1 / VOCAB
  for length in (1, 2, 3):
    counts = {}
    if length == 3:
      for found in seen:
        counts[found] = counts.get(found, 0) + 1
    else:
      for found in {found[-length - 1 :] for found in seen}:
        counts[found[1:]] = counts.get(found[1:], 0) + 1
    d = _discounts(np.array(list(counts.values())))
    here = ngram[-length:]
    after = {key: c for key, c in counts.items() if key[:-1] == here[:-1]}
    if after:
      total = sum(after.values())
      gamma = sum(d[min(c, 3)] for c in after.values()) / total
      count = after.get(here, 0)
      p = (count - d[min(count, 3)]) / total + gamma * p
  return p


def test_discounts_are_the_closed_forms():
  counts = np.repeat([1, 2, 3, 4, 9], [8, 4, 2, 1, 5])
  y = 8 / (8 + 2 * 4)
  expected = [0, 1 - 2 * y * 4 / 8, 2 - 3 * y * 2 / 4, 3 - 4 * y * 1 / 2]
  np.testing.assert_allclose(_discounts(counts), expected)
  np.testing.assert_allclose(_discounts(np.array([5, 6])), [0, 0.5, 0.5, 0.5])


def test_what_cannot_be_counted_is_refused():
  with pytest.raises(ValueError, match='no n-grams of length 3'):
    KneserNey.fit(TRAIN[:, :2], VOCAB)
  with pytest.raises(ValueError, match='vocab_size is 2'):
    KneserNey.fit(TRAIN, 2)
  with pytest.raises(ValueError, match='63 bits'):
    KneserNey.fit(TRAIN, 50_000, order=5)
