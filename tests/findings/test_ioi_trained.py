"""A smaller model, trained: its mechanism is praised, and broken it is not."""

import jax
import numpy as np
import pytest

from interp_jax.findings.ioi import page, recipe, verdict
from interp_jax.findings.ioi.study import Study, exchange_heads, study_model
from interp_jax.findings.run import Run
from interp_jax.tasks import TwoClauses
from interp_jax.testing.tiny import random_params
from interp_jax.training import Stages

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('optimized')]

TASK = TwoClauses(names=20, words=2, length=13)
# With the decay of the whole recipe, a quarter of its updates learn too little.
RECIPE = recipe.Recipe(steps=800, batch=128, weight_decay=0.05)
SEEDS = {'found_on': 1, 'tested_on': 2, 'draws': 3}


@pytest.fixture(scope='module')
def trained(optimized, tmp_path_factory):
  folder = tmp_path_factory.mktemp('run')
  return recipe.train(Run(folder, 0, False, Stages(folder)), TASK, RECIPE)


def judge(model, params) -> tuple[Study, dict[str, bool]]:
  keep = lambda work: work()
  found = study_model(model, params, TASK, prompts=60, seeds=SEEDS, keep=keep)
  return found, {q.name: q.holds for q in verdict.quantities(found)}


def test_the_trained_model_keeps_the_bounds_of_its_mechanism(trained):
  model, params, records = trained
  assert records[-1]['accuracy'] > records[0]['accuracy']
  found, holds = judge(model, params)
  for name in ('accuracy', 'pearson_eap_ig', 'cmd_random_ratio'):
    assert holds[name], name
  shown = page.parts(found, model, params, TASK, seed=4)
  named = {name for part in shown for name in part.quantities}
  assert named <= set(holds)
  assert [p.name for part in shown for p in part.pictures] == [
    'edges',
    'faithfulness',
    'circuit',
    'attention',
    'backup',
  ]


def test_heads_that_attend_as_others_do_not_solve_the_task(trained):
  model, params, _ = trained
  broken = exchange_heads(params, np.random.default_rng(0))
  assert not judge(model, jax.tree.map(jax.numpy.asarray, broken))[1]['accuracy']


def test_random_weights_keep_neither_accuracy_nor_the_control_of_their_prompts(trained):
  model, _, _ = trained
  holds = judge(model, random_params(model, seed=5))[1]
  assert not holds['accuracy']
  assert not holds['accuracy_new_pairs']
