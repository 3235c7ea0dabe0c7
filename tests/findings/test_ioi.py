"""Two clauses: what is measured is what it says, and a broken model is not praised."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import circuits
from interp_jax.findings import get
from interp_jax.findings.ioi import backup, measures, methods, recipe, roles, study
from interp_jax.tasks import TwoClauses
from interp_jax.testing.tiny import random_params

TASK = TwoClauses(names=9, words=2, length=13, held_out=0.2)
COUNT = 6


@pytest.fixture(scope='module')
def model():
  return recipe.make_model(TASK, width=8)


@pytest.fixture(scope='module')
def params(model):
  return random_params(model, seed=3)


@pytest.fixture(scope='module')
def prompts():
  return TASK.prompts(COUNT, seed=0)


@pytest.fixture(scope='module')
def question(model, params, prompts):
  return measures.ask(model, params, prompts)


def logit_differences(model, params, tokens, prompts, edits=None):
  logits = np.asarray(model.apply({'params': params}, tokens, edits)[0])[:, -1]
  row = np.arange(COUNT)
  return logits[row, prompts.answer] - logits[row, prompts.subject], logits


def test_behaviour_is_that_of_plain_runs(model, params, prompts):
  found = measures.behaviour(model, params, prompts)
  clean, logits = logit_differences(model, params, prompts.tokens, prompts)
  corrupted, _ = logit_differences(model, params, prompts.corrupted, prompts)
  assert found.accuracy == pytest.approx((logits.argmax(-1) == prompts.answer).mean())
  assert found.logit_difference == pytest.approx(clean.mean(), abs=1e-5)
  assert found.corrupted == pytest.approx(corrupted.mean(), abs=1e-5)


def test_targets_of_attention_are_the_names_that_they_are_called_by(prompts):
  targets = measures.attention_targets(prompts)
  tokens, end = prompts.tokens, TASK.length - 1
  for name, queries, key in (
    ('duplicate', TASK.second_subject_at, prompts.subject),
    ('partner', TASK.second_subject_at, prompts.answer),
    ('reads_answer', end, prompts.answer),
  ):
    b, t, s = np.nonzero(targets[name])
    np.testing.assert_array_equal(b, np.arange(COUNT))
    assert (t == queries).all()
    assert (tokens[b, s] == key).all()
  assert targets['reads_subject'][:, end, end - 2].all()
  b, t, s = np.nonzero(targets['clause'])
  assert len(b) == 2 * COUNT
  assert (t - s == 2).all()
  assert np.isin(tokens[b, t], TASK.name_ids).all()
  assert np.isin(tokens[b, s], TASK.name_ids).all()


def test_a_total_effect_is_that_of_patching_the_head(model, params, prompts, question):
  effects = measures.total_effects(question)
  other = model.apply({'params': params}, prompts.corrupted)[1]['z']
  for layer, head in ((0, 1), (2, 3)):
    patch = circuits.AblateHeads(other)(
      jnp.asarray(circuits.head_mask([(layer, head)], (3, 4)))
    )
    after, _ = logit_differences(model, params, prompts.tokens, prompts, patch)
    before, _ = logit_differences(model, params, prompts.tokens, prompts)
    assert effects[layer, head] == pytest.approx(after.mean() - before.mean(), abs=1e-4)


def test_what_last_heads_gave_is_what_the_answer_loses_but_for_the_norm(
  model, params, prompts
):
  found = backup.knock_out(model, params, prompts, [(2, 0), (2, 2)])
  # Nothing comes behind them that could react.
  np.testing.assert_allclose(found.by_heads, 0, atol=1e-4)
  other = model.apply({'params': params}, prompts.corrupted)[1]['z']
  mask = circuits.head_mask([(2, 0), (2, 2)], (3, 4))
  after, _ = logit_differences(
    model,
    params,
    prompts.tokens,
    prompts,
    circuits.AblateHeads(other)(jnp.asarray(mask)),
  )
  assert found.without == pytest.approx(after.mean(), abs=1e-4)
  still = found.after_fixed.sum() - found.before.sum()
  assert found.given == pytest.approx(-still, abs=1e-4)


def test_a_head_of_an_earlier_layer_is_answered_by_later_ones(model, params, prompts):
  found = backup.knock_out(model, params, prompts, [(0, 1)])
  assert np.abs(found.by_heads[1:]).max() > 1e-3
  np.testing.assert_allclose(found.by_heads[0], 0, atol=1e-4)


def test_exchanged_heads_attend_as_others_and_write_as_themselves(params):
  broken = study.exchange_heads(params, np.random.default_rng(0))
  own, other = params['blocks']['attn'], broken['blocks']['attn']
  queries, keys = (np.concatenate(own[name]) for name in ('W_Q', 'W_K'))
  order = [
    next(h for h in range(12) if (queries[h] == query).all())
    for query in np.concatenate(other['W_Q'])
  ]
  assert sorted(order) == list(range(12))
  assert all(new != old for new, old in enumerate(order))
  np.testing.assert_array_equal(np.concatenate(other['W_K']), keys[order])
  np.testing.assert_array_equal(other['W_O'], own['W_O'])


def scores(question, seed=0):
  values = np.random.default_rng(seed).normal(size=question.graph.shape)
  return circuits.EdgeScores(question.graph, values * question.graph.edges)


def test_controls_have_the_size_of_what_they_control(question):
  some = scores(question)
  circuit = some.circuit(30)
  (dealt,) = methods.shuffled(some, 1, 0)
  np.testing.assert_array_equal(np.sort(dealt.flat), np.sort(some.flat))
  assert (dealt.flat != some.flat).any()
  for one in methods.random_circuits(circuit, 3, 0):
    assert len(one) == len(circuit)
    assert (one.edges != circuit.edges).any()


def test_what_heads_send_is_summed_by_what_it_is_read_as(question):
  some = scores(question)
  sent = roles.sent_by_heads(some, whole=2.0)
  assert sent.logits[1, 2] == pytest.approx(-some['a1.h2->logits'] / 2)
  by_key = sum(some[f'a1.h2->a2.h{head}<k>'] for head in range(4))
  assert sent.k[1, 2] == pytest.approx(-by_key / 2)
  assert (sent.q[2] == 0).all()


def head_measures(**given):
  zeros = np.zeros((3, 4))
  fields = [field.name for field in dataclasses.fields(measures.HeadMeasures)]
  made = {name: zeros.copy() for name in fields}
  for name, heads in given.items():
    for head, value in heads.items():
      made[name][head] = value
  return measures.HeadMeasures(**made)


def test_classes_need_attention_writing_and_an_effect():
  nothing = np.zeros((3, 4))
  sent = roles.Sent(nothing, nothing, nothing, nothing)
  sent.q[1, 1] = 0.5
  matter = [(0, 0), (0, 2), (0, 3), (1, 1), (1, 2), (2, 0), (2, 1), (2, 3)]
  found = roles.find_roles(
    head_measures(
      duplicate={(0, 0): 0.9, (0, 1): 0.9},
      partner={(0, 2): 0.4, (0, 3): 0.4},
      others={(0, 2): 0.2},
      reads_subject={(1, 1): 0.8, (1, 2): 0.8},
      reads_answer={(2, 0): 0.9, (2, 1): 0.9, (2, 3): 0.9},
      direct={(1, 2): 2.0, (2, 0): 5.0, (2, 1): -5.0},
      total={(0, 1): 0.0} | dict.fromkeys(matter, -3.0),
    ),
    sent,
    whole=10.0,
  )
  assert found['duplicate token'] == ((0, 0),)  # The other one matters to nothing.
  assert found['S-inhibition'] == ((1, 1),)
  assert found['name mover'] == ((2, 0),)
  assert found['negative name mover'] == ((2, 1),)
  assert found['name gatherer'] == ((0, 2),)  # The other one attends elsewhere.
  assert found['subject mover'] == ((1, 2),)
  assert found['induction'] == ()


def test_the_finding_takes_a_model_and_has_a_quick_form():
  finding = get('ioi')
  assert finding.options == ('model',)
  full, quick = finding.settings(False), finding.settings(True)
  assert quick.recipe.steps < full.recipe.steps
  assert finding.settings(False, model='gpt2').model == 'gpt2'
