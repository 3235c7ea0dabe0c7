"""Exact effects of edges, and what attribution says of them."""

import numpy as np
import pytest

from interp_jax import circuits
from tests.circuits.graphs import make_pair

pytestmark = pytest.mark.usefixtures('double')

EXACT = 1e-11


def effects(name, **options):
  pair = make_pair(name)
  return circuits.edge_patching(
    *pair.args, pair.corrupt, pair.metric, progress=False, **options
  )


@pytest.mark.parametrize('name', ['gpt2', 'sandwich', 'falcon', 'attn-only'])
def test_each_edge_is_a_patch_of_that_edge_alone(name):
  pair = make_pair(name)
  places = np.argwhere(pair.graph.edges)
  patches = np.zeros((len(places), *pair.graph.shape), bool)
  patches[np.arange(len(places)), *places.T] = True
  args = (*pair.args, patches, pair.other.senders, pair.metric)
  expected = circuits.run_patches(*args, progress=False, chunk=20) - pair.base
  exact = effects(name, chunk=7)
  np.testing.assert_allclose(exact.flat, expected, atol=EXACT)
  assert np.abs(expected).max() > 0.05


def test_some_edges_are_those_of_all():
  names = ['input->a1.h0<k>', 'm1->logits', 'a0.h1->m1']
  some, every = effects('gpt2', edges=names), effects('gpt2', chunk=7)
  assert np.count_nonzero(some.values) == 3
  for name in names:
    assert some[name] == pytest.approx(every[name], abs=EXACT)


def test_on_a_linear_model_attribution_is_exact():
  pair = make_pair('attn-only')
  frozen = circuits.freeze(*pair.args)
  exact = effects('attn-only', frozen=frozen)
  args = (*pair.args, pair.corrupt, pair.metric)
  for method in ('eap', 'eap-ig-inputs'):
    estimate = circuits.edge_attribution(*args, method=method, steps=2, frozen=frozen)
    np.testing.assert_allclose(estimate.values, exact.values, atol=EXACT)
  assert np.abs(exact.values).max() > 0.05
  # With patterns held, queries and keys have no effect; values have.
  is_qk = np.array([name[-2:] in ('q>', 'k>') for name in pair.graph.receivers])
  np.testing.assert_allclose(exact.values[is_qk], 0, atol=EXACT)
  # The model as it is, is not linear.
  assert np.abs(effects('attn-only').values - exact.values).max() > 0.01


def test_integrated_gradients_agree_better_than_one_gradient():
  pair = make_pair('gpt2')
  exact = effects('gpt2', chunk=7)
  args = (*pair.args, pair.corrupt, pair.metric)
  one = circuits.edge_attribution(*args, method='eap')
  options = {'method': 'eap-ig-activations', 'steps': 8, 'rule': 'midpoint'}
  many = circuits.edge_attribution(*args, **options)
  reports = [circuits.agreement(scores, exact, k=10) for scores in (one, many)]
  assert reports[1].pearson > reports[0].pearson
  assert reports[1].pearson > 0.95


def test_agreement_is_that_of_cases_worked_out_by_hand():
  exact = np.array([4.0, -3.0, 2.0, 1.0, 0.0])
  same = circuits.agreement(2 * exact, exact, k=2)
  assert (same.pearson, same.spearman) == (pytest.approx(1), pytest.approx(1))
  assert (same.top_overlap, same.top_sign, same.count) == (1, 1, 5)
  # Ranks 4, 0, 3, 2, 1 against 3.5, 1, 3.5, 2, 0, whose mean is 2 as well.
  other = circuits.agreement(np.array([5.0, -1.0, 5.0, 1.0, -7.0]), exact, k=2)
  ours, theirs = np.array([3.5, 1, 3.5, 2, 0]) - 2, np.array([4, 0, 3, 2, 1]) - 2
  size = np.sqrt((ours @ ours) * (theirs @ theirs))
  assert other.spearman == pytest.approx(ours @ theirs / size)
  assert (other.top_overlap, other.top_sign) == (0.5, 1)
  assert circuits.agreement(-exact, exact, k=3).top_sign == 0
  assert np.isnan(circuits.agreement(np.ones(5), exact).pearson)
  with pytest.raises(ValueError, match='same things'):
    circuits.agreement(exact, exact[1:])
