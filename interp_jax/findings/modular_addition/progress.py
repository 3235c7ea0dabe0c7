"""Measures over training: what grows while the test loss still says that nothing does.

Nanda et al. (2023, section 5) see three phases. The network learns the training
questions by heart; then, out of sight, the circuit forms, which the restricted loss and
the excluded loss show; at last the memory is cleaned away, and only then does the test
loss fall.
"""

from collections.abc import Sequence
import math
from typing import Any

from jaxtyping import Float, Num
import numpy as np

from interp_jax.findings.modular_addition import fourier, measures
from interp_jax.findings.modular_addition.recipe import KNOWN, observe
from interp_jax.models import Transformer
from interp_jax.tasks import ModularAddition

Curves = dict[str, np.ndarray]


def curves(
  model: Transformer,
  task: ModularAddition,
  snapshots: Sequence[tuple[int, Any]],
  frequencies: Sequence[int],
) -> Curves:
  """The measures at every snapshot.

  Args:
    model: The network.
    task: What it was trained on.
    snapshots: `(step, params)`.
    frequencies: The key frequencies of the finished network.

  Returns:
    `step`, losses in nats (`train_loss`, `test_loss`; `restricted` over all questions,
    `excluded` over those for training), accuracies, and `gini` of the embedding, each
    `[S]`.
  """
  points = [
    {'step': step, **_at(task, params, observe(model, params)[0], frequencies)}
    for step, params in snapshots
  ]
  return {name: np.array([point[name] for point in points]) for name in points[0]}


def _at(
  task: ModularAddition,
  params: Any,
  logits: Float[np.ndarray, 'P P P'],
  frequencies: Sequence[int],
) -> dict[str, float]:
  answers, train = task.answers, task.train
  losses = measures.losses(logits, answers)
  kept = measures.restricted(logits, frequencies)
  left = measures.excluded(logits, frequencies)
  spectrum = measures.embedding_spectrum(params['embed']['W_E'][: task.modulus])
  return {
    'train_loss': losses[train].mean(),
    'test_loss': losses[~train].mean(),
    'train_accuracy': measures.accuracy(logits, answers, train),
    'test_accuracy': measures.accuracy(logits, answers, ~train),
    'restricted': measures.cross_entropy(kept, answers),
    'excluded': measures.cross_entropy(left, answers, train),
    'gini': fourier.gini(spectrum),
  }


def first(
  steps: Num[np.ndarray, ' S'], reached: np.ndarray, after: float = -math.inf
) -> float:
  """The first step from `after` on at which something is reached; NaN for never."""
  found = steps[reached & (steps >= after)]
  return float(found[0]) if len(found) else math.nan


def moments(found: Curves, modulus: int) -> dict[str, float]:
  """When what happened, in updates; NaN for what did not.

  Losses are compared with one level, half of what guessing costs: the test loss and the
  restricted loss fall below it, the excluded loss rises above it.

  Args:
    found: From `curves`.
    modulus: The number `P`; guessing costs `ln P`.

  Returns:
    `memorised` and `grokked`, when 99 % of the training and of the test questions are
    answered rightly; `test_falls`, `restricted_falls` and `excluded_rises`, counted
    from `memorised` on.
  """
  steps, level = found['step'], math.log(modulus) / 2
  memorised = first(steps, found['train_accuracy'] >= KNOWN)
  return {
    'memorised': memorised,
    'grokked': first(steps, found['test_accuracy'] >= KNOWN),
    'test_falls': first(steps, found['test_loss'] < level, memorised),
    'restricted_falls': first(steps, found['restricted'] < level, memorised),
    'excluded_rises': first(steps, found['excluded'] > level, memorised),
  }
