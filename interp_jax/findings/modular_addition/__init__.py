"""How a small transformer learns to add modulo 113, and when (Nanda et al. 2023).

A network is shown three tenths of all questions `a + b = ?` modulo 113. Soon it knows
them by heart and fails on all others. Thousands of updates later it answers those too,
all of them: it has *grokked*. In between, nothing in its losses moves.

Inside, much does. The finished network places the numbers around a few circles, turns
the angle of `a` and the angle of `b` into the angle of `a + b`, and votes for the
answer whose angle that is: the logits are sums of `cos(2πk(a + b - c)/113)` for a
handful of key frequencies k. With these frequencies known, the part of the network that
does this can be followed through training, and it is seen to grow smoothly, long before
the test loss tells.

A few networks keep knowing their questions by heart; they are trained on with a quarter
of the questions at an update, and generalise.

A network that has just generalised still has memory in it and weak neurons that mix key
frequencies. The paper's is trained on for some thirty thousand updates, and 15 % such
neurons are left; here small batches, a higher learning rate and some noise on the
weights take 2,050 updates. What is measured of the finished network is measured after
that.

`fourier` has the decompositions, `measures` what is measured with them, `recipe` the
network, `progress` the measures over training, `study` all numbers of a network and its
controls, `verdict` the bounds, `pictures` and `page` the page.
"""

import dataclasses

import jax
import numpy as np

from interp_jax.findings.finding import Finding, Outcome
from interp_jax.findings.modular_addition import page, study, verdict
from interp_jax.findings.modular_addition.recipe import (
  Settings,
  grok,
  network,
  settings,
  settle,
  train,
)
from interp_jax.findings.run import Run
from interp_jax.tasks import modular_addition


def reproduce(run: Run, settings: Settings) -> Outcome:
  """Trains the networks, measures them and their controls, and judges.

  Args:
    run: The working folder.
    settings: From `recipe.settings`.
  """
  seeds = {
    'networks': run.seeds('networks', settings.networks),
    'shuffled': run.seeds('shuffled', 1),
    'closed form': run.seeds('closed form', 1),
  }
  networks = [
    _trained(run, settings, f'network_{index}', seed)
    for index, seed in enumerate(seeds['networks'])
  ]
  controls = [
    _shuffled(run, settings, seeds['shuffled'][0]),
    study.of_closed_form(settings.modulus, seeds['closed form'][0]),
  ]
  return Outcome(
    verdict.quantities([*networks, *controls]), page.parts(networks[0]), seeds
  )


def _trained(run: Run, settings: Settings, name: str, seed: int) -> study.Arrays:
  task = modular_addition(settings.modulus, settings.train_fraction, seed)
  grokked = grok(run, name, settings, task, seed)
  snapshots = settle(run, name, settings, task, grokked, seed)
  return run.arrays(
    f'{name}_measures',
    dataclasses.asdict(settings) | {'seed_of_network': seed},
    lambda: study.of_trained(network(settings), task, snapshots, len(grokked), seed),
  )


def _shuffled(run: Run, settings: Settings, seed: int) -> dict[str, float]:
  task = modular_addition(
    settings.modulus, settings.train_fraction, seed, shuffled=True
  )
  trained = train(run, 'shuffled', settings, task, settings.shuffled_steps, seed)
  params = jax.tree.map(np.asarray, trained.params)
  return study.of_shuffled(network(settings), task, params)


FINDING = Finding(
  name='modular_addition',
  title='Grokking: a network learns to add by rotating',
  claim=(
    'A transformer that learns to add modulo 113 knows its training questions by heart '
    'long before it generalises; it comes to add by rotation at a few frequencies, and '
    'measures of that circuit move before the test loss does.'
  ),
  paper=(
    'Nanda, Chan, Lieberum, Smith & Steinhardt (2023), Progress measures for grokking '
    'via mechanistic interpretability, arXiv:2301.05217'
  ),
  settings=settings,
  reproduce=reproduce,
  options=('recipe', 'networks'),
)

__all__ = ['FINDING', 'reproduce']
