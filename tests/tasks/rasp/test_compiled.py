import itertools

import jax
import numpy as np
import pytest

from interp_jax import tasks
from interp_jax.tasks import rasp
from tests.tasks.rasp.patching import Runner, edges_that_matter

NAMES = tasks.compiled_names()


@pytest.fixture(scope='module')
def task():
  made = {}
  return lambda name: made.setdefault(name, tasks.compiled(name, length=4))


def logits_of(task, inputs):
  run = jax.jit(task.model.apply)
  return np.asarray(run({'params': task.params}, task.compiled.encode(inputs))[0])


@pytest.mark.parametrize('name', NAMES)
def test_the_model_equals_the_interpreter_on_every_input(task, name):
  compiled = task(name).compiled
  for length in range(1, compiled.max_length + 1):
    inputs = list(itertools.product(compiled.vocabulary, repeat=length))
    if length == compiled.max_length:  # One program of jax; other lengths in numpy.
      logits = logits_of(task(name), inputs)
    else:
      logits, _ = Runner(task(name).model, task(name).params).run(
        compiled.encode(inputs)
      )
    expected = np.stack([compiled.expected_logits(tokens) for tokens in inputs])
    np.testing.assert_allclose(logits[:, 1:], expected, atol=1e-5)


@pytest.mark.parametrize('ablation', rasp.ABLATIONS)
@pytest.mark.parametrize('name', NAMES)
def test_the_true_edges_are_those_whose_patching_changes_an_output(
  task, name, ablation
):
  assert task(name).true_edges(ablation) == edges_that_matter(task(name), ablation)
