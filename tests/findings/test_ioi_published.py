"""The branch for GPT-2 small, on random weights in its real format at reduced width.

No published weights are here, so that nothing is claimed of the circuit itself: these
tests are of what is kept, what is ablated and how the paper's numbers are made of it.
"""

import re

import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers

from interp_jax import circuits, models
from interp_jax.findings.ioi import gpt2, gpt2_story, published
from interp_jax.tasks import ioi, ioi_prompts
from interp_jax.testing.checkpoints import random_checkpoint
from interp_jax.testing.tiny import random_params

GPT2_SMALL = {
  'model_type': 'gpt2',
  'architectures': ['GPT2LMHeadModel'],
  'n_layer': 12,
  'n_head': 12,
  'n_embd': 24,
  'n_positions': 32,
  'n_ctx': 32,
  'activation_function': 'gelu_new',
  'layer_norm_epsilon': 1e-5,
}
PATTERN = r' ?\w+|[^\w\s]'


def write_tokenizer(path):
  """A tokenizer of the words of the prompts, the space before them included."""
  texts = [*ioi.TEMPLATES, ioi.MENTION]
  words = {piece for text in texts for piece in re.findall(PATTERN, text)}
  words |= {f' {word}' for word in (*ioi.NAMES, *ioi.PLACES, *ioi.OBJECTS)}
  table = {word: i for i, word in enumerate(sorted(words))}
  own = tokenizers.Tokenizer(tokenizers.models.WordLevel(table, unk_token=' a'))
  own.pre_tokenizer = tokenizers.pre_tokenizers.Split(
    tokenizers.Regex(PATTERN), behavior='isolated'
  )
  own.save(str(path))
  return len(table)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp('gpt2')
  size = write_tokenizer(path / 'tokenizer.json')
  return random_checkpoint(path, {**GPT2_SMALL, 'vocab_size': size}, seed=1)


@pytest.fixture(scope='module')
def loaded(folder):
  model, _, tokenizer = models.load(folder)
  # Larger weights than GPT-2's at its start, so that every head counts.
  return model, random_params(model, seed=2, std=0.3), tokenizer


@pytest.fixture(scope='module')
def prompts(loaded):
  return ioi_prompts(loaded[2], ioi.TEMPLATES[4], 'BABA', count=3, seed=5)


def test_the_circuit_has_26_heads_in_seven_classes():
  assert len(published.CLASSES) == 7
  assert len(set(published.HEADS)) == len(published.HEADS) == 26
  assert set(published.NAIVE) < set(published.HEADS)


def test_every_head_is_kept_at_the_position_of_its_class(prompts):
  mask = published.nodes_mask(prompts)
  assert mask.sum() == 26
  subject = prompts.tokens[0] == prompts.subject[0]
  first, second = np.flatnonzero(subject)
  at = {head: np.flatnonzero(mask[head[0], :, head[1]]) for head in published.HEADS}
  assert all(len(places) == 1 for places in at.values())
  assert at[2, 2] == at[4, 11] == first + 1
  assert at[3, 0] == at[5, 5] == second
  assert at[7, 3] == at[9, 9] == at[10, 7] == at[9, 0] == mask.shape[1] - 1


def test_what_is_kept_is_the_models_and_what_is_not_is_the_mean(loaded, prompts):
  model, params, _ = loaded
  means = circuits.mean_acts(model, params, prompts.abc, ('z',), by_position=True)['z']
  keep = published.KeepHeads(means)
  kept = published.nodes_mask(prompts)
  apply = lambda edits: model.apply({'params': params}, prompts.tokens, edits)
  logits, acts = apply(None)
  whole, _ = apply(keep(jnp.ones_like(kept)))
  np.testing.assert_array_equal(whole, logits)
  z = np.asarray(apply(keep(jnp.asarray(kept)))[1]['z'])
  outside = np.broadcast_to(~kept[:, None, :, :, None], z.shape)
  np.testing.assert_array_equal(z[outside], np.broadcast_to(means, z.shape)[outside])
  # Nothing comes before layer 0: what is kept there is the model's own.
  inside = np.broadcast_to(kept[:1, None, :, :, None], z[:1].shape)
  np.testing.assert_allclose(
    z[:1][inside], np.asarray(acts['z'])[:1][inside], rtol=1e-5
  )


def test_a_moved_circuit_has_as_many_heads_of_each_layer_and_position(prompts):
  mask = published.nodes_mask(prompts)
  moved = published.moved_mask(prompts, np.random.default_rng(0))
  np.testing.assert_array_equal(moved.sum(2), mask.sum(2))
  assert (moved != mask).any()


def test_knockouts_leave_out_the_same_nodes_of_circuit_and_model(prompts):
  heads = published.CLASSES['name mover']
  circuit, model = published.knockouts(prompts, [heads, []])
  assert circuit[0].sum() == 23
  assert (~model[0]).sum() == 3
  np.testing.assert_array_equal(circuit[1], published.nodes_mask(prompts))
  assert model[1].all()
  np.testing.assert_array_equal(circuit[0], published.nodes_mask(prompts) & model[0])


def test_parts_are_measured_as_single_runs_are(loaded, prompts):
  model, params, _ = loaded
  measured = gpt2.run_parts(model, params, prompts, seed=3)
  masks = gpt2.part_masks(prompts, seed=3)
  assert measured.shape == (len(masks), len(gpt2.MEASURES))
  means = circuits.mean_acts(model, params, prompts.abc, ('z',), by_position=True)['z']
  row = np.arange(3)
  for part in (0, 1, 5, len(masks) - 1):
    edits = published.KeepHeads(means)(jnp.asarray(masks[part]))
    logits, _ = model.apply({'params': params}, prompts.tokens, edits)
    last = np.asarray(logits[:, -1], np.float64)
    gap = last[row, prompts.io] - last[row, prompts.subject]
    probability = np.exp(last[row, prompts.io]) / np.exp(last).sum(1)
    expected = [gap.mean(), (gap > 0).mean(), probability.mean()]
    np.testing.assert_allclose(measured[part], expected, rtol=1e-4, atol=1e-5)


def test_the_papers_numbers_are_made_of_the_parts():
  classes, heads = len(published.CLASSES), len(published.HEADS)
  difference = np.concatenate(
    [
      [4.0, 3.0, 0.5],
      3.0 - np.arange(classes),  # C - K
      3.5 - np.arange(classes),  # M - K
      np.full(heads, 2.9),  # C - v
      3.0 - np.repeat(np.arange(classes), [len(c) for c in published.CLASSES.values()]),
      [0.1, 0.2, 0.3, 0.4, 0.5],
    ]
  )
  parts = np.stack([difference, np.full_like(difference, 0.9), 0 * difference + 0.4], 1)
  mentions = np.array([[[1.0, 0.8, 0.3], [3.9, 0.9, 0.5]]])
  found = gpt2.values({'parts': parts[None], 'mentions': mentions})
  assert found.faithfulness == 0.75
  assert (found.io_above_subject, found.io_probability, found.naive) == (0.9, 0.4, 0.5)
  np.testing.assert_allclose([*found.incompleteness.values()], 0.5)
  assert found.without['previous token'] == 3.5
  # Of the head alone, since the circuit without its class is that without its mates.
  np.testing.assert_allclose(found.minimality, 0.1)
  np.testing.assert_allclose(found.moved, [0.1, 0.2, 0.3, 0.4, 0.5])
  assert (found.mention_io, found.mention_other) == (1.0, 3.9)


def test_a_model_of_another_shape_is_refused(tmp_path, unchecked_types):
  size = write_tokenizer(tmp_path / 'tokenizer.json')
  config = {**GPT2_SMALL, 'n_layer': 2, 'vocab_size': size}
  model, params, tokenizer = models.load(random_checkpoint(tmp_path, config))
  with pytest.raises(ValueError, match='2 layers of 12 heads'):
    gpt2.measure(model, params, tokenizer, 2, 0, progress=False)


@pytest.mark.slow
def test_random_weights_in_the_format_of_gpt2_do_not_hold(loaded):
  model, params, tokenizer = loaded
  arrays = gpt2.measure(
    model, params, tokenizer, 2, 0, templates=ioi.TEMPLATES[:2], progress=False
  )
  assert arrays['parts'].shape[0] == 4  # Two templates in both orders.
  values = gpt2.values(arrays)
  quantities = gpt2_story.quantities(values)
  broken = {quantity.name for quantity in quantities if not quantity.holds}
  assert 'logit_difference' in broken
  shown = {name for part in gpt2_story.parts(values) for name in part.quantities}
  assert shown <= {quantity.name for quantity in quantities}
