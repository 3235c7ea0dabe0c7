"""The patchable run: clean without patches, the other run with all, exact between."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import circuits, core
from interp_jax.testing import tiny_model
from tests.circuits.graphs import FAMILIES, make_pair
from tests.slow import slow_but

pytestmark = pytest.mark.usefixtures('double')

EXACT = 1e-11
SOME = slow_but(FAMILIES, 'gpt2', 'gemma2', 'falcon', 'attn-only')


@functools.cache
def patched(name):
  """A family's patched run, compiled once."""
  pair = make_pair(name)
  run = functools.partial(circuits.run_patched, *pair.args)
  return jax.jit(lambda patch, **kw: run(patch, pair.other.senders, **kw))


@pytest.mark.parametrize('name', SOME)
def test_the_model_taken_apart_is_the_model(name):
  pair = make_pair(name)
  assert isinstance(pair.model, core.Decomposable)
  logits, acts = pair.model.apply({'params': pair.params}, pair.clean)
  np.testing.assert_allclose(pair.own.logits, logits, atol=EXACT)
  np.testing.assert_allclose(pair.own.streams[:-1], acts['resid_pre'], atol=EXACT)
  np.testing.assert_allclose(pair.own.streams[1:], acts['resid_post'], atol=EXACT)


@pytest.mark.parametrize('name', SOME)
def test_no_patch_is_the_clean_run_and_all_patches_are_the_corrupted_one(name):
  pair, run = make_pair(name), patched(name)
  shape = pair.graph.shape
  none, every = run(jnp.zeros(shape)), run(jnp.ones(shape))
  np.testing.assert_allclose(none.logits, pair.own.logits, atol=EXACT)
  np.testing.assert_allclose(every.logits, pair.other.logits, atol=EXACT)
  np.testing.assert_allclose(every.senders[1:], pair.other.senders[1:], atol=EXACT)
  # It is the patch that does it: the runs differ.
  assert np.abs(pair.own.logits - pair.other.logits).max() > 0.1


def test_what_is_no_edge_is_not_read():
  pair, run = make_pair('gpt2'), patched('gpt2')
  patch = np.random.default_rng(0).random(pair.graph.shape)
  edges = np.where(pair.graph.edges, patch, 0)
  np.testing.assert_array_equal(run(patch).logits, run(edges).logits)


def test_senders_and_constants_add_up_to_the_stream():
  for name in ('gpt2', 'sandwich'):
    pair = make_pair(name)
    constant = lambda run: run.streams[-1] - run.senders.sum(0)
    assert np.abs(constant(pair.own)).max() > 0.1
    np.testing.assert_allclose(constant(pair.own), constant(pair.other), atol=EXACT)


def test_one_patch_is_its_definition_worked_out_by_edits():
  pair, run = make_pair('gpt2'), patched('gpt2')
  patch = pair.graph.select(['m0->logits'])
  gap = pair.other.senders - pair.own.senders
  parts = pair.model.decompose({'params': pair.params}, pair.clean)
  expected = parts.logits(pair.own.streams[-1] + gap[pair.graph.sender('m0')])
  np.testing.assert_allclose(run(patch).logits, expected, atol=EXACT)


def test_a_patch_may_differ_by_example_and_position():
  pair, run = make_pair('gpt2'), patched('gpt2')
  mask = np.random.default_rng(1).random(pair.graph.shape) < 0.3
  whole = run(jnp.asarray(mask, float))
  rows = np.zeros((*pair.graph.shape, 2, 1))
  rows[..., 1, 0] = mask
  mixed = run(rows)
  np.testing.assert_allclose(mixed.logits[0], pair.own.logits[0], atol=EXACT)
  np.testing.assert_allclose(mixed.logits[1], whole.logits[1], atol=EXACT)
  positions = np.zeros((*pair.graph.shape, 1, 5))
  positions[..., 0, 3:] = mask[..., None]
  late = run(positions)
  np.testing.assert_allclose(late.logits[:, :3], pair.own.logits[:, :3], atol=EXACT)
  assert np.abs(late.logits[:, 3:] - pair.own.logits[:, 3:]).max() > 1e-3


@pytest.mark.parametrize('name', ['gpt2', 'gemma2'])
def test_a_restarted_run_is_the_whole_run(name):
  pair = make_pair(name)
  patch = np.random.default_rng(2).random(pair.graph.shape)
  patch[pair.graph.receiver_layers < 1] = 0
  run = functools.partial(circuits.run_patched, *pair.args, patch, pair.other.senders)
  whole = patched(name)(patch)
  part = jax.jit(lambda start: run(start=start, base=pair.own))(1)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=EXACT), part, whole)


def test_many_patches_are_each_of_them_and_restart_by_themselves():
  pair = make_pair('gpt2')
  rng = np.random.default_rng(3)
  patches = (rng.random((7, *pair.graph.shape)) < 0.2) & pair.graph.edges
  for i in range(1, 7):  # Of early and late layers, and of logits alone.
    patches[i, pair.graph.receiver_layers < i % 3] = False
  args = (*pair.args, patches, pair.other.senders, pair.metric)
  values = circuits.run_patches(*args, chunk=3, progress=False)
  run = patched('gpt2')
  expected = [pair.metric(run(1.0 * patch).logits, {}) for patch in patches]
  np.testing.assert_allclose(values, expected, atol=EXACT)


def test_padding_changes_nothing_where_it_is_not():
  pair = make_pair('gpt2')
  pad = np.zeros((2, 2), int)
  mask = np.ones((2, 7), bool)
  mask[:, :2] = False
  own, other = (
    circuits.graph_run(pair.model, pair.params, np.hstack([pad, t]), mask=mask)
    for t in (pair.clean, pair.corrupt)
  )
  np.testing.assert_allclose(own.logits[:, 2:], pair.own.logits, atol=EXACT)
  patch = np.random.default_rng(0).random(pair.graph.shape)
  padded = circuits.run_patched(
    pair.model, pair.params, np.hstack([pad, pair.clean]), patch, other.senders,
    mask=mask,
  )  # fmt: skip
  plain = patched('gpt2')(patch)
  np.testing.assert_allclose(padded.logits[:, 2:], plain.logits, atol=EXACT)


def test_a_frozen_model_without_mlps_is_linear_in_the_patch():
  pair = make_pair('attn-only')
  frozen = circuits.freeze(*pair.args)
  run = jax.jit(
    lambda patch: circuits.run_patched(
      *pair.args, patch, pair.other.senders, frozen=frozen
    ).streams[-1]
  )
  values = pair.graph.select(n for n in pair.graph.edge_names if 'input->' in n)
  one = run(1.0 * values) - pair.own.streams[-1]
  half = run(0.5 * values) - pair.own.streams[-1]
  np.testing.assert_allclose(half, one / 2, atol=EXACT)
  assert np.abs(one).max() > 0.1


def test_what_does_not_fit_is_refused():
  pair = make_pair('gpt2')
  run = functools.partial(circuits.run_patched, *pair.args)
  with pytest.raises(ValueError, match='15 receivers and 7 senders'):
    run(np.zeros((7, 15)), 0.0)
  with pytest.raises(ValueError, match='patch and other together'):
    run(np.zeros(pair.graph.shape))
  with pytest.raises(ValueError, match='start and base together'):
    run(start=1)
  model, params = tiny_model(norm_placement='residual')
  with pytest.raises(ValueError, match='cannot be taken apart'):
    circuits.run_patched(model, params, pair.clean)
  with pytest.raises(ValueError, match="Unknown site to freeze 'patern'"):
    run(frozen={'patern': 0})
