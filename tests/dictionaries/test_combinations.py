"""What is accepted trains; what is refused says why."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax.dictionaries import (
  L0,
  L1,
  AbsTopK,
  Autoencoder,
  AuxK,
  BatchTopK,
  Crosscoder,
  CrossLayerTranscoder,
  Gated,
  GateReconstruction,
  GroupMax,
  Init,
  JumpReLU,
  Lp,
  Matryoshka,
  MultiTopK,
  Plan,
  PreActivation,
  ReLU,
  Resample,
  SquaredError,
  Tanh,
  TopK,
  Transcoder,
  check,
  init_state,
  initial,
  make_step,
)
from interp_jax.dictionaries.trainer import as_pair
from tests.dictionaries.architectures import FEATURES, Architecture

WIRINGS = (
  Autoencoder(),
  Autoencoder(subtract_b_dec=False),
  Autoencoder(tied=True),
  Transcoder(out_width=6),
  Transcoder(out_width=6, use_skip=True),
  Crosscoder(3),
  CrossLayerTranscoder(3),
)
ACTIVATIONS = (
  ReLU(),
  Gated(),
  JumpReLU(0.05, 0.5),
  TopK(4),
  AbsTopK(4, by_norm=True),
  BatchTopK(4, by_norm=True),
  GroupMax(4),
)
GATE = GateReconstruction()
OBJECTIVES = (
  (L1(0.01),),
  (L1(0.01, by_norm=False, fall=(5, 20)), GATE),
  (Tanh(0.01, warmup=3),),
  (Lp(0.01, start=3, end=12, updates=3, window=2), GATE),
  (L0(0.01), PreActivation(0.01, -1)),
  (L0(0.01, 4.0, 'quadratic'),),
  (L0(0.01, 4.0, 'relative', of_codes=True),),
  (AuxK(dead_after=40),),
  (AuxK(k=2, dead_after=40, pool=8, over='residual', by_dead=True, gradients='all'),),
  (Matryoshka((4, 9)), AuxK(dead_after=40)),
  (Matryoshka(sampled=2), SquaredError(over='variance'), L1(0.01)),
  (MultiTopK(factor=2),),
)
SETTINGS = ({}, {'unit_norm': False, 'clip': 1.0}, {'optimizer': 'signum', 'b1': 0.95})


def judged(wiring, activation, terms, settings):
  """A combination, and why it is refused: nothing where it is accepted."""
  architecture = Architecture(activation, terms, wiring, settings)
  try:
    check(architecture.config, architecture.settings())
  except ValueError as error:
    return architecture, str(error)
  return architecture, ''


def name_of(architecture):
  terms = '+'.join(term.name for term in architecture.terms)
  return f'{architecture.wiring.name}-{architecture.activation.name}-{terms}'


def losses(architecture, steps=20):
  """Of one batch, again and again."""
  config, settings = architecture.config, architecture.settings(steps=steps, warmup=0.0)
  settings = dataclasses.replace(settings, learning_rate=3e-3)
  rows = architecture.rows(32)
  inputs, targets = as_pair(rows)
  state = init_state(config, settings, initial.measure(inputs, targets=targets))
  step = make_step(config, settings, Plan())
  batch = jax.tree.map(jnp.asarray, rows)
  again = lambda state, _: step(state, batch)
  state, logged = jax.jit(lambda s: jax.lax.scan(again, s, None, steps))(state)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
  return logged


def assert_learns(architecture):
  logged = losses(architecture)
  assert np.isfinite(logged['loss']).all()
  assert logged['mse'][-1] < logged['mse'][0]
  assert 0 < logged['l0'][-1] <= FEATURES * 3


JUDGED = [
  judged(*parts)
  for parts in itertools.product(WIRINGS, ACTIVATIONS, OBJECTIVES, SETTINGS)
]
ACCEPTED = [architecture for architecture, reason in JUDGED if not reason]


def test_every_part_is_in_some_combination():
  for part, values in (
    (lambda a: a.wiring, WIRINGS),
    (lambda a: a.activation, ACTIVATIONS),
    (lambda a: a.terms, OBJECTIVES),
    (lambda a: a.trainer, SETTINGS),
  ):
    found = [part(architecture) for architecture in ACCEPTED]
    assert all(value in found for value in values)


def test_every_refusal_says_what_is_wrong_and_what_to_do():
  reasons = {reason for _, reason in JUDGED if reason}
  assert len(reasons) > 10
  for reason in reasons:
    assert len(reason) > 40
    assert reason.count('.') >= 2 or ':' in reason, reason


@pytest.mark.parametrize('architecture', ACCEPTED[7::250], ids=name_of)
def test_what_is_accepted_trains(architecture):
  assert_learns(architecture)


@pytest.mark.slow
@pytest.mark.parametrize('architecture', ACCEPTED[3::7], ids=name_of)
def test_much_of_what_is_accepted_trains(architecture):
  assert_learns(architecture)


@pytest.mark.parametrize(
  ('activation', 'terms', 'changes', 'reason'),
  [
    (ReLU(), (), {}, 'Nothing makes a dictionary'),
    (JumpReLU(), (AuxK(),), {}, 'Add the term l0'),
    (Gated(), (L1(),), {}, 'nothing teaches gates to open'),
    (Gated(), (L1(), GATE, AuxK()), {}, 'gated ones have two'),
    (ReLU(), (L1(), GATE), {}, 'of the activation gated'),
    (TopK(4), (L0(),), {}, 'has none'),
    (TopK(4), (PreActivation(),), {}, 'Use activation jumprelu'),
    (JumpReLU(), (L0(target=99.0, shape='relative'),), {}, 'at most that'),
    (ReLU(), (L1(), MultiTopK()), {}, 'does not choose k'),
    (TopK(4), (Matryoshka((9, 4)),), {}, 'rising numbers'),
    (TopK(4), (Matryoshka((4, 16)),), {}, 'rising numbers'),
    (TopK(4), (Matryoshka(),), {}, 'give one of them'),
    (TopK(4), (AuxK(), AuxK(k=3)), {}, 'name each once'),
    (ReLU(), (L1(by_norm=False),), {'unit_norm': False}, 'evaded'),
    (ReLU(), (Lp(start=1, end=9, updates=2),), {'unit_norm': False}, 'evaded'),
    (ReLU(), (Lp(start=1, end=3),), {}, 'no more updates than steps'),
    (TopK(4), (), {'init': Init('zero')}, 'have no direction'),
    (
      TopK(4, by_norm=True),
      (),
      {'init': Init('zero'), 'unit_norm': False},
      'all features are equal',
    ),
    (TopK(4), (), {'microbatches': 3}, 'Choose a divisor'),
    (TopK(4), (), {'optimizer': 'adm'}, "Did you mean 'adam'"),
    (
      TopK(4),
      (),
      {'optimizer': 'signum', 'resample': Resample(5, 9, 9)},
      "Use 'adam'",
    ),
    (TopK(4), (), {'resample': Resample(0, 9, 9)}, 'must be at least 1'),
  ],
)
def test_what_cannot_work_is_refused_with_the_reason(
  activation, terms, changes, reason
):
  architecture = Architecture(activation, terms)
  with pytest.raises(ValueError, match=reason):
    check(architecture.config, architecture.settings(**changes))


def test_refusals_that_are_of_the_wiring():
  tied = Architecture(TopK(4, by_norm=True), (), Autoencoder(tied=True))
  with pytest.raises(ValueError, match='by_norm=False and unit_norm=True'):
    check(tied.config, tied.settings())
  layered = Architecture(TopK(4), (), CrossLayerTranscoder(2))
  with pytest.raises(ValueError, match='which layer made an error'):
    check(layered.config, layered.settings(resample=Resample(5, 9, 9)))
