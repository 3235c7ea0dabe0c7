"""What is measured: of trained networks, of one without a rule to learn, of a formula.

Each function gives numbers by the names in `verdict.TABLE`, and arrays for pictures.
"""

from collections.abc import Sequence
import math
from typing import Any

import numpy as np

from interp_jax.findings.modular_addition import fourier, measures, progress
from interp_jax.findings.modular_addition.recipe import observe
from interp_jax.models import Transformer
from interp_jax.tasks import ModularAddition, closed_form, modular_addition

Arrays = dict[str, Any]

# Widths of the closed form: wide enough to be always right, and too narrow for that.
WIDE, NARROW = 500, 50


def of_trained(
  model: Transformer,
  task: ModularAddition,
  snapshots: Sequence[tuple[int, Any]],
  before: int,
  seed: int,
) -> Arrays:
  """A network that was trained on the true answers, with its own past as a control.

  Args:
    model: The network.
    task: What it was trained on.
    snapshots: `(step, params)`, the last one of the finished network.
    before: How many of them are of the time before it settles; curves end there.
    seed: Of the choice of frequencies to compare with.
  """
  params = snapshots[-1][1]
  logits, neurons = observe(model, params)
  key = measures.key_frequencies(neurons)
  curves = progress.curves(model, task, snapshots[:before], key)
  when = progress.moments(curves, task.modulus)
  by_step: dict[float, Any] = dict(snapshots)
  known_by_heart = by_step.get(when['memorised'], snapshots[0][1])
  return {
    **{f'curve_{name}': values for name, values in curves.items()},
    **when,
    **_timing(curves, when),
    **_mechanism(task, params, logits, neurons, key),
    **_other_frequencies(task, logits, key, seed),
    **_explained_before(
      model, snapshots[0][1], known_by_heart, snapshots[before - 1][1]
    ),
    **_pictured(params, logits, neurons, key),
  }


def _timing(curves: progress.Curves, when: dict[str, float]) -> dict[str, float]:
  now = curves['step'] == when['memorised']
  then = lambda name: curves[name][now][0] if now.any() else math.nan
  return {
    'delay': when['grokked'] / max(when['memorised'], 1),
    'restricted_lead': when['test_falls'] - when['restricted_falls'],
    'excluded_lead': when['test_falls'] - when['excluded_rises'],
    'memorised_test_accuracy': then('test_accuracy'),
    'memorised_excluded_loss': then('excluded'),
    'random_gini': curves['gini'][0],
  }


def _mechanism(
  task: ModularAddition,
  params: Any,
  logits: np.ndarray,
  neurons: np.ndarray,
  key: list[int],
) -> dict[str, float]:
  """How the finished network answers."""
  answers, train = task.answers, task.train
  neuron_logits = neurons_to_logits(params, task.modulus)
  readout = measures.readout_explained(neurons, neuron_logits, key)
  full = measures.cross_entropy(logits, answers)
  kept = measures.cross_entropy(measures.restricted(logits, key), answers)
  left = measures.cross_entropy(measures.excluded(logits, key), answers, train)
  embedding = params['embed']['W_E'][: task.modulus]
  return {
    'train_accuracy': measures.accuracy(logits, answers, train),
    'test_accuracy': measures.accuracy(logits, answers, ~train),
    'key_frequencies': float(len(key)),
    'neurons_explained': measures.neurons_explained(neurons),
    'logit_variance': measures.variance_explained(logits, key),
    'full_loss': full,
    'restricted_loss': kept,
    'restricted_over_full': kept / full,
    'excluded_loss': left,
    'embedding_at_key': measures.embedding_share(embedding, key),
    'gini': fourier.gini(measures.embedding_spectrum(embedding)),
    'unread_weights': measures.unread_weights(neuron_logits, key),
    'readout': readout.mean() if len(key) else math.nan,
  }


def neurons_to_logits(params: Any, modulus: int) -> np.ndarray:
  """The map from neurons to the logits of numbers, `W_L [M, P]`."""
  to_stream = np.asarray(params['blocks']['mlp']['W_out'][0], np.float64)
  return to_stream @ np.asarray(params['unembed']['W_U'][:, :modulus], np.float64)


def _other_frequencies(
  task: ModularAddition, logits: np.ndarray, key: list[int], seed: int
) -> dict[str, float]:
  """The same as for the key frequencies, for as many that are not; NaN without any."""
  if not key:
    names = ('restricted_loss', 'excluded_cost', 'logit_variance')
    return {f'other_{name}': math.nan for name in names}
  rest = sorted(set(range(1, task.modulus // 2 + 1)) - set(key))
  others = np.random.default_rng(seed).choice(rest, len(key), replace=False).tolist()
  answers, train = task.answers, task.train
  kept = measures.cross_entropy(measures.restricted(logits, others), answers)
  left = measures.cross_entropy(measures.excluded(logits, others), answers, train)
  return {
    'other_restricted_loss': kept,
    # The loss itself depends on how sure the network is; what it rises by does not.
    'other_excluded_cost': left - measures.cross_entropy(logits, answers, train),
    'other_logit_variance': measures.variance_explained(logits, others),
  }


def _explained_before(
  model: Transformer, random: Any, known_by_heart: Any, grokked: Any
) -> dict[str, float]:
  """The same network untrained, when it knew by heart, and before it settles."""
  share = lambda params: measures.neurons_explained(observe(model, params)[1])
  return {
    'random_neurons_explained': share(random),
    'memorised_neurons_explained': share(known_by_heart),
    'plain_neurons_explained': share(grokked),
  }


def _pictured(
  params: Any, logits: np.ndarray, neurons: np.ndarray, key: list[int]
) -> Arrays:
  """What the pictures show of the finished network."""
  shares, modulus = fourier.one_frequency_share(neurons), len(logits)
  # Of the explained neurons, the busiest at the lowest frequency: its pattern is the
  # coarsest. Of all neurons, if none is explained.
  frequency = shares.argmax(0) + 1
  explained = shares.max(0) > measures.EXPLAINED
  order = np.lexsort((-neurons.std((0, 1)), frequency, ~explained))
  shown = int(order[0])
  sums = fourier.by_sum(logits)
  return {
    'key': np.array(key, int),
    'embedding': np.asarray(params['embed']['W_E'][:modulus]),
    'neuron': neurons[..., shown],
    'neuron_energy': fourier.energy_by_frequency(neurons[..., shown : shown + 1])[
      ..., 0
    ],
    'neuron_frequency': int(frequency[shown]),
    'logits_by_sum': sums - sums.mean(0) - sums.mean(1, keepdims=True) + sums.mean(),
  }


def of_shuffled(
  model: Transformer, task: ModularAddition, params: Any
) -> dict[str, float]:
  """A network that was trained on shuffled answers: there is no rule to find."""
  logits, neurons = observe(model, params)
  return {
    'shuffled_train_accuracy': measures.accuracy(logits, task.answers, task.train),
    'shuffled_test_accuracy': measures.accuracy(logits, task.answers, ~task.train),
    'shuffled_neurons_explained': measures.neurons_explained(neurons),
  }


def of_closed_form(modulus: int, seed: int) -> dict[str, float]:
  """Gromov's network, of which every measure is known beforehand.

  A neuron is the square of two cosines of frequency k: of its variance, 4/5 is at
  frequency k and 1/5 at 2k.
  """
  answers = modular_addition(modulus, 0.5, seed).answers
  wide = closed_form(modulus, WIDE, seed)
  squared = fourier.one_frequency_share(wide.neurons())
  narrow = closed_form(modulus, NARROW, seed)
  return {
    'oracle_accuracy': measures.accuracy(wide.logits(), answers),
    'oracle_narrow_accuracy': measures.accuracy(narrow.logits(), answers),
    'oracle_neurons_explained': measures.neurons_explained(wide.pre()),
    'oracle_frequencies_found': (squared.argmax(0) + 1 == wide.frequencies).mean(),
    'oracle_least_share': squared.max(0).min(),
    'oracle_most_share': squared.max(0).max(),
  }
