"""Grokking: the measures on networks that are known, and verdicts that change."""

import dataclasses
import math

import jax
import numpy as np
import optax
import pytest

from interp_jax.findings import Run, get
from interp_jax.findings.modular_addition import (
  fourier,
  measures,
  page,
  pictures,
  progress,
  recipe,
  study,
  verdict,
)
from interp_jax.tasks import closed_form, modular_addition
from interp_jax.training import Stages

P = 31
KEY = [3, 7, 11, 14]
NUMBERS = np.arange(P)


@pytest.fixture(scope='module')
def answers():
  return modular_addition(P, 0.5, 0).answers


@pytest.fixture(scope='module')
def formula():
  """Logits and neurons of a network that adds with four frequencies."""
  made = closed_form(P, 400, 0, np.array(KEY))
  return made.logits(), made.pre()


def turned(k):
  """The logits cos(2πk(a + b - c)/P)."""
  a, b, c = np.indices((P, P, P))
  return np.cos(2 * np.pi * k * (a + b - c) / P)


def test_the_basis_is_orthonormal_and_its_rows_are_waves():
  waves = fourier.basis(P)
  np.testing.assert_allclose(waves @ waves.T, np.eye(P), atol=1e-12)
  cosine, sine = waves[fourier.rows_of([5])]
  angle = 2 * np.pi * 5 * NUMBERS / P
  np.testing.assert_allclose(cosine, np.cos(angle) * np.sqrt(2 / P), atol=1e-12)
  np.testing.assert_allclose(sine, np.sin(angle) * np.sqrt(2 / P), atol=1e-12)


def test_a_transform_keeps_the_sum_of_squares_and_the_axes():
  rng = np.random.default_rng(0)
  values = rng.normal(size=(P, P, 4))
  np.testing.assert_allclose(
    (fourier.transform(values) ** 2).sum((0, 1)), (values**2).sum((0, 1))
  )
  waves = fourier.basis(P)
  product = np.outer(waves[3], waves[10])[..., None]  # cos 2 in a, sin 5 in b.
  energy = fourier.energy_by_frequency(product)
  np.testing.assert_allclose(energy[2, 5], 1)
  np.testing.assert_allclose(energy.sum(), 1)


def test_a_squared_neuron_is_four_fifths_at_its_frequency():
  made = closed_form(P, 60, 3)
  share = fourier.one_frequency_share(made.neurons())
  assert (share.argmax(0) + 1 == made.frequencies).all()
  np.testing.assert_allclose(share.max(0), 0.8, rtol=1e-9)
  assert measures.neurons_explained(made.neurons()) == 0
  assert measures.neurons_explained(made.pre()) == 1


def test_a_neuron_that_does_not_vary_is_not_explained():
  still = np.zeros((P, P, 2), np.float32)
  still[..., 1] = 7.3
  assert (fourier.one_frequency_share(still) == 0).all()
  assert measures.key_frequencies(still) == []


def test_a_function_of_the_sum_is_kept_by_the_mean_over_sums():
  rng = np.random.default_rng(1)
  table = rng.normal(size=(P, 3))
  values = table[(NUMBERS[:, None] + NUMBERS) % P]
  np.testing.assert_allclose(fourier.by_sum(values), table)
  difference = table[(NUMBERS[:, None] - NUMBERS) % P]
  np.testing.assert_allclose(
    fourier.by_sum(difference), np.tile(table.mean(0), (P, 1)), atol=1e-12
  )


def test_gini_of_equal_shares_is_0_and_of_one_owner_near_1():
  assert fourier.gini(np.full(10, 3.0)) == pytest.approx(0)
  assert fourier.gini(np.eye(10)[3]) == pytest.approx(0.9)
  assert fourier.gini(np.array([1.0, 3.0])) == pytest.approx(0.25)


def test_the_loss_is_that_of_optax_and_has_no_floor(answers):
  rng = np.random.default_rng(2)
  logits = rng.normal(size=(P, P, P)).astype(np.float32)
  chosen = rng.random((P, P)) < 0.3
  want = optax.softmax_cross_entropy_with_integer_labels(
    logits[chosen], answers[chosen]
  )
  np.testing.assert_allclose(
    measures.cross_entropy(logits, answers, chosen), want.mean(), rtol=1e-5
  )
  sure = 30 * np.eye(P)[answers]
  np.testing.assert_allclose(
    measures.cross_entropy(sure, answers), (P - 1) * math.exp(-30), rtol=1e-6
  )


def test_the_training_loss_has_a_gradient_where_float32_has_none():
  logits, answer = np.array([[40.0, 0.0, 1.0]], np.float32), np.array([0])
  plain = optax.softmax_cross_entropy_with_integer_labels
  assert float(plain(logits, answer)[0]) == 0
  loss = lambda x: recipe.small_losses(x, answer).sum()
  wrong = math.exp(-40) + math.exp(-39)
  np.testing.assert_allclose(loss(logits), wrong, rtol=1e-5)
  (slope,) = jax.grad(loss)(logits)
  np.testing.assert_allclose(slope, [-wrong, math.exp(-40), math.exp(-39)], rtol=1e-5)
  rough = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
  classes = np.array([0, 6, 2, 2, 1])
  np.testing.assert_allclose(
    recipe.small_losses(rough, classes), plain(rough, classes), rtol=1e-5
  )


def test_key_frequencies_are_those_of_enough_neurons(formula):
  assert measures.key_frequencies(formula[1]) == KEY
  stray = closed_form(P, 5, 0, np.array([9])).pre()
  assert measures.key_frequencies(np.concatenate([formula[1], stray], -1)) == KEY


def test_restricted_and_excluded_logits_add_up_and_part_what_works(formula, answers):
  logits = formula[0]
  kept, left = (f(logits, KEY) for f in (measures.restricted, measures.excluded))
  np.testing.assert_allclose(kept + left, logits + logits.mean((0, 1)), atol=1e-9)
  assert measures.accuracy(kept, answers) == 1
  assert measures.accuracy(left, answers) < 0.1
  others = [k for k in range(1, 16) if k not in KEY]
  assert measures.accuracy(measures.restricted(logits, others), answers) < 0.1
  assert measures.accuracy(measures.excluded(logits, others), answers) == 1


def test_the_bias_is_kept_by_the_restricted_logits():
  bias = np.arange(P) * 0.1
  logits = turned(3) + bias
  np.testing.assert_allclose(measures.restricted(logits, [3]), logits, atol=1e-9)
  np.testing.assert_allclose(
    measures.restricted(logits, [4]), np.broadcast_to(bias, logits.shape), atol=1e-9
  )


def test_variance_is_shared_out_among_the_frequencies():
  # Neither a bias nor what is the same for all answers counts.
  logits = 2 * turned(3) + turned(5) + np.arange(P) + NUMBERS[:, None, None]
  for frequencies, share in (([3], 0.8), ([5], 0.2), ([3, 5], 1), ([7], 0), ([], 0)):
    assert measures.variance_explained(logits, frequencies) == pytest.approx(
      share, abs=1e-9
    )
  # A wave of the sum that votes for another answer than the sum is not counted.
  assert measures.variance_explained(turned(3)[..., ::-1], [3]) < 0.1


def test_weights_and_read_directions_of_a_planted_map():
  rng = np.random.default_rng(3)
  waves = fourier.basis(P)
  rows = fourier.rows_of([3, 5])
  planted = rng.normal(size=(20, 4)) @ waves[rows] + 2.0
  assert measures.unread_weights(planted, [3, 5]) == pytest.approx(0, abs=1e-9)
  assert 0.3 < measures.unread_weights(planted, [3]) < 0.95
  # Neurons that are the waves of the sum themselves, read by a map that is theirs.
  neurons = waves[rows].T[(NUMBERS[:, None] + NUMBERS) % P]
  found = measures.readout_explained(neurons, waves[rows], [3, 5])
  np.testing.assert_allclose(found, 1)
  mixed = neurons + np.sqrt(2 / P) * rng.normal(size=neurons.shape)
  assert (measures.readout_explained(mixed, waves[rows], [3, 5]) < 0.7).all()


def test_the_embedding_of_circles_is_sparse_and_a_random_one_is_not():
  rng = np.random.default_rng(4)
  circles = fourier.basis(P)[fourier.rows_of(KEY)].T @ rng.normal(size=(8, 40))
  random = rng.normal(size=(P, 40))
  assert measures.embedding_share(circles, KEY) == pytest.approx(1)
  assert measures.embedding_share(random, KEY) < 0.4
  ginis = [fourier.gini(measures.embedding_spectrum(e)) for e in (circles, random)]
  assert ginis[0] > 0.6 > 0.2 > ginis[1]


def tiny():
  return recipe.Settings(
    weight_decay=2.0,
    learning_rate=1e-3,
    steps=20,
    snapshot_every=10,
    modulus=7,
    width=12,
    heads=3,
    mlp_width=20,
  )


def test_the_last_position_alone_gives_what_the_whole_sequence_gives():
  settings = tiny()
  model, params = recipe.network(settings), recipe.initial(settings, 0)
  logits, neurons = recipe.observe(model, params)
  pairs = np.stack(np.divmod(np.arange(49), 7), 1)
  tokens = np.concatenate([pairs, np.full((49, 1), 7)], 1)
  want, acts = model.apply({'params': params}, tokens)
  np.testing.assert_allclose(
    logits.reshape(49, 7), want[:, -1, :7], atol=2e-6, rtol=1e-5
  )
  np.testing.assert_allclose(
    neurons.reshape(49, 20), acts['post'][0, :, -1], atol=2e-6, rtol=1e-5
  )


def test_the_first_weights_have_the_papers_deviations():
  settings = recipe.settings(quick=False)
  params = recipe.initial(settings, 0)
  assert (params['blocks']['mlp']['b_in'] == 0).all()
  for weight, fan in (
    (params['blocks']['mlp']['W_out'], 128),
    (params['blocks']['attn']['W_O'], 128),
    (params['unembed']['W_U'], 114),
  ):
    np.testing.assert_allclose(weight.std() * math.sqrt(fan), 1, atol=0.03)
  published = recipe.settings(False, recipe='published')
  assert (published.learning_rate, published.weight_decay) == (1e-3, 1.0)
  with pytest.raises(ValueError, match='published'):
    recipe.settings(False, recipe='publishd')


def test_noise_has_its_deviation_and_is_on_weights_alone():
  params = recipe.initial(recipe.settings(quick=False), 0)
  moved = recipe.with_noise(params, 0.06, jax.random.key(0))
  for block in ('attn', 'mlp'):
    for name, before in params['blocks'][block].items():
      shift = np.asarray(moved['blocks'][block][name] - before)
      if name.startswith('W_'):
        np.testing.assert_allclose(shift.std(), 0.06, rtol=0.03)
      else:
        assert (shift == 0).all()
  assert np.asarray(moved['unembed']['W_U'] != params['unembed']['W_U']).all()


def test_a_batch_without_noise_is_right_on_average_and_all_of_it_exactly():
  settings = tiny()
  model, params = recipe.network(settings), recipe.initial(settings, 0)
  task = modular_addition(7, 0.5, 0)
  keys = jax.random.split(jax.random.key(0), 400)
  values = lambda **how: np.asarray(
    jax.vmap(lambda key: recipe.loss_on(model, task, **how)(params, key)[0])(keys)
  )
  whole = values()
  assert (whole == whole[0]).all()
  halves = values(batch=0.5)
  assert halves.std() > 0.01
  error = halves.std() / np.sqrt(len(keys))
  np.testing.assert_allclose(halves.mean(), whole[0], atol=4 * error)
  assert values(noise=0.05).std() > 0.01


@pytest.mark.parametrize(
  ('known', 'late_steps', 'steps'),
  [(True, 20, [0, 10, 20]), (False, 20, [0, 10, 20, 30, 40]), (False, 0, [0, 10, 20])],
)
def test_a_network_that_does_not_know_yet_is_trained_on(
  tmp_path, monkeypatch, known, late_steps, steps
):
  accuracy = recipe.KNOWN if known else recipe.KNOWN - 0.01
  monkeypatch.setattr(recipe, 'test_accuracy', lambda *_: accuracy)
  settings = dataclasses.replace(tiny(), late_steps=late_steps, warmup=2)
  task = modular_addition(7, 0.5, 0)
  run = lambda name: Run(tmp_path / name, 0, False, Stages(tmp_path / name))
  snapshots = recipe.grok(run('one'), 'net', settings, task, 0)
  assert [step for step, _ in snapshots] == steps
  plain = recipe.train(run('other'), 'net', settings, task, 20, 0).snapshots
  for (_, one), (_, other) in zip(plain, snapshots, strict=False):
    jax.tree.map(np.testing.assert_array_equal, one, other)
  assert_all_move(snapshots)


def assert_all_move(snapshots):
  moved = np.diff([params['unembed']['W_U'] for _, params in snapshots], axis=0)
  assert (np.abs(moved).max((1, 2)) > 0).all()


def test_a_network_settles_in_stages_with_rates_of_their_own(tmp_path, monkeypatch):
  stages = ((0.05, 1.0, 20), (0.0, 3.0, 10))
  settings = dataclasses.replace(tiny(), settling=stages, warmup=2)
  task = modular_addition(7, 0.5, 0)
  before = [(40, recipe.initial(settings, 0))]
  asked, train = [], recipe.train

  def watched(run, name, own, *args, **how):
    asked.append((own.learning_rate, own.weight_decay, how['batch'], how['noise']))
    return train(run, name, own, *args, **how)

  monkeypatch.setattr(recipe, 'train', watched)
  run = lambda: Run(tmp_path, 0, False, Stages(tmp_path))
  after = recipe.settle(run(), 'net', settings, task, before, 0)
  assert asked == [(2e-3, 2.0, 0.25, 0.05), (2e-3, 6.0, 0.25, 0.0)]
  assert [step for step, _ in after] == [40, 50, 60, 70]
  assert after[0] is before[0]
  assert_all_move(after)
  again = recipe.settle(run(), 'net', settings, task, before, 0)
  jax.tree.map(np.testing.assert_array_equal, after, again)
  louder = dataclasses.replace(settings, settling=((0.06, 1.0, 20), (0.0, 3.0, 10)))
  other = recipe.settle(run(), 'other', louder, task, before, 0)
  ends = [params['unembed']['W_U'] for _, params in (after[-1], other[-1])]
  assert not np.allclose(*ends)
  assert recipe.settings(quick=False).settling[-1][0] == 0


def test_the_published_recipe_has_nothing_behind_it(tmp_path):
  settings = recipe.settings(False, recipe='published')
  before = [(0, recipe.initial(settings, 0))]
  run = Run(tmp_path, 0, False, Stages(tmp_path))
  task = modular_addition(7, 0.5, 0)
  assert recipe.settle(run, 'net', settings, task, before, 0) == before


def test_the_test_accuracy_is_of_the_questions_that_are_not_for_training():
  settings, task = tiny(), modular_addition(7, 0.5, 0)
  params = recipe.initial(settings, 0)
  logits, _ = recipe.observe(recipe.network(settings), params)
  right = logits.argmax(-1) == task.answers
  assert recipe.test_accuracy(settings, task, params) == pytest.approx(
    right[~task.train].mean()
  )


def curves(test_falls_at, excluded_rises_at=3, restricted_falls_at=2):
  steps = np.arange(10) * 100
  index = np.arange(10)
  return {
    'step': steps,
    'train_accuracy': (index >= 1).astype(float),
    'test_accuracy': (index >= test_falls_at + 1).astype(float),
    'test_loss': np.where(index >= test_falls_at, 0.0, 9.0),
    'restricted': np.where(index >= restricted_falls_at, 0.0, 4.7),
    # High at first, for an untrained network is bad at everything.
    'excluded': np.where((index >= excluded_rises_at) | (index == 0), 4.8, 0.1),
  }


def test_moments_are_the_first_of_their_kind_after_memorising():
  assert progress.moments(curves(6), 113) == {
    'memorised': 100,
    'grokked': 700,
    'test_falls': 600,
    'restricted_falls': 200,
    'excluded_rises': 300,
  }
  never = progress.moments(curves(20), 113)
  assert math.isnan(never['grokked'])
  assert math.isnan(never['test_falls'])


def test_other_frequencies_cost_nothing_unless_they_are_the_ones_that_are_used():
  task = modular_addition(P, 0.5, 0)
  cost = lambda logits, key: study._other_frequencies(task, logits, key, 0)
  nothing = cost(3 * turned(5), [5])
  assert nothing['other_excluded_cost'] == pytest.approx(0, abs=1e-9)
  assert nothing['other_restricted_loss'] == pytest.approx(math.log(P))
  # Seven of the eight others are drawn, and all eight are used.
  others = cost(sum(turned(k) for k in range(8, 16)), list(range(1, 8)))
  assert others['other_excluded_cost'] > 1
  assert math.isnan(cost(turned(5), [])['other_excluded_cost'])


def test_every_row_of_the_table_is_shown_and_measured_once():
  names = [row.name for row in verdict.TABLE]
  assert len(set(names)) == len(names)
  measured = dict.fromkeys(names, 0.0)
  assert [q.name for q in verdict.quantities([measured])] == names
  with pytest.raises(ValueError, match='readout'):
    verdict.quantities([{k: v for k, v in measured.items() if k != 'readout'}])


@pytest.fixture(scope='module')
def small(tmp_path_factory):
  """A small network that has seen its questions a few times, with all its measures."""
  settings = tiny()
  run = Run(
    tmp_path_factory.mktemp('small'), 0, False, Stages(tmp_path_factory.mktemp('s'))
  )
  task = modular_addition(7, 0.5, 0)
  trained = recipe.train(run, 'small', settings, task, 20, 0)
  return settings, task, trained


def test_an_unfinished_network_breaks_the_bounds_and_its_page_is_made(small):
  settings, task, trained = small
  model = recipe.network(settings)
  assert [step for step, _ in trained.snapshots] == [0, 10, 20]
  found = study.of_trained(model, task, trained.snapshots, 2, 0)
  assert found['curve_step'].tolist() == [0, 10]
  found |= study.of_shuffled(model, task, trained.params)
  found |= study.of_closed_form(7, 0)
  broken = {q.name for q in verdict.quantities([found]) if not q.holds}
  assert {'test_accuracy', 'neurons_explained', 'delay', 'excluded_lead'} <= broken
  parts = page.parts(found)
  shown = [name for part in parts for name in part.quantities]
  assert set(shown) <= {row.name for row in verdict.TABLE}
  assert {p.name for part in parts for p in part.pictures} == {
    'phases',
    'spectrum',
    'circles',
    'neuron',
    'votes',
  }


def test_the_formula_passes_the_measures_and_breaking_it_fails_them(formula, answers):
  """Shuffled answers, permuted numbers and random weights each change the verdict."""
  logits, neurons = formula
  task = modular_addition(P, 0.5, 0)
  bounds = {row.name: row for row in verdict.TABLE}

  def verdicts(logits, neurons, answers):
    key = measures.key_frequencies(neurons)
    values = {
      'neurons_explained': measures.neurons_explained(neurons),
      'test_accuracy': measures.accuracy(logits, answers, ~task.train),
      'logit_variance': measures.variance_explained(logits, key),
      'excluded_loss': measures.cross_entropy(measures.excluded(logits, key), answers),
    }
    return {name: values[name] >= bounds[name].at_least for name in values}

  assert all(verdicts(logits, neurons, answers).values())
  shuffled = modular_addition(P, 0.5, 0, shuffled=True).answers
  assert not verdicts(logits, neurons, shuffled)['test_accuracy']
  order = np.random.default_rng(0).permutation(P)
  moved = verdicts(logits[order], neurons[order], answers)
  assert not moved['neurons_explained']
  assert not moved['logit_variance']
  random = np.random.default_rng(1).normal(size=(2, P, P, P))
  assert not any(verdicts(*random, answers).values())


def test_pictures_draw_what_was_never_reached():
  when = progress.moments(curves(20), 113)
  drawn = pictures.phases({**curves(20), 'train_loss': np.ones(10)}, when, 113)
  assert [text.get_text() for text in drawn.axes[0].texts] == [
    'guessing',
    'by heart',
    'circuit forms',
  ]


@pytest.mark.slow
def test_shuffled_answers_are_learned_by_heart_and_the_rule_is_not_found(
  tmp_path, optimized
):
  settings = recipe.settings(quick=True)
  run = Run(tmp_path, 0, False, Stages(tmp_path))
  task = modular_addition(113, 0.3, 0, shuffled=True)
  trained = recipe.train(run, 'shuffled', settings, task, 300, 0)
  found = study.of_shuffled(recipe.network(settings), task, trained.params)
  assert found['shuffled_train_accuracy'] > 0.99
  assert found['shuffled_test_accuracy'] < 0.03
  assert found['shuffled_neurons_explained'] < 0.02


def test_the_finding_is_listed_with_its_recipes():
  finding = get('modular_addition')
  assert finding.settings(False).steps > finding.settings(True).steps
  assert finding.settings(False, recipe='published', networks=3).networks == 3
