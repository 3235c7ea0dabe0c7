"""Addition modulo a number: all of its questions, and a network without training.

The task of Power et al. (2022, "Grokking", arXiv:2201.02177) and Nanda et al. (2023,
"Progress measures for grokking via mechanistic interpretability", arXiv:2301.05217):
given `a b =`, say `a + b` modulo `P`. There are `P²` questions, few enough to ask all
of them: what a network computes can be known on every input that it will ever see.
"""

import dataclasses

from jaxtyping import Bool, Float, Int
import numpy as np


@dataclasses.dataclass(frozen=True)
class ModularAddition:
  """The questions `[a, b]`, their answers, and which of them are for training.

  Attributes:
    modulus: The number `P`. Tokens below it are numbers; it is itself the token `=`.
    answers: What is to be said to each question, `[P, P]`.
    train: Which questions are for training, `[P, P]`; the others are the test.
  """

  modulus: int
  answers: Int[np.ndarray, 'P P']
  train: Bool[np.ndarray, 'P P']

  @property
  def equals(self) -> int:
    """The token `=`, at which the answer is read."""
    return self.modulus

  @property
  def vocab_size(self) -> int:
    """How many tokens there are: the numbers and `=`."""
    return self.modulus + 1

  def pairs(self, chosen: Bool[np.ndarray, 'P P']) -> Int[np.ndarray, 'B 2']:
    """The numbers `a` and `b` of the chosen questions, in the order of the grid."""
    return np.argwhere(chosen).astype(np.int32)


def modular_addition(
  modulus: int, train_fraction: float, seed: int, *, shuffled: bool = False
) -> ModularAddition:
  """All questions, a random part of them for training.

  Args:
    modulus: The number `P`, odd.
    train_fraction: How much of the questions is for training.
    seed: Of the choice, and of the shuffle.
    shuffled: Whether the answers are dealt out anew among the questions: each answer is
      as frequent as before, but none follows from its question. They can be learned by
      heart only.

  Raises:
    ValueError: if the modulus is even or below 3, or either part would be empty.
  """
  if modulus < 3 or modulus % 2 == 0:
    raise ValueError(f'modulus={modulus}: give an odd number from 3 on, a prime best.')
  count = int(train_fraction * modulus**2)
  if not 0 < count < modulus**2:
    raise ValueError(
      f'train_fraction={train_fraction} leaves {count} of {modulus**2} questions for '
      'training; there must be some for it and some for the test.'
    )
  rng = np.random.default_rng(seed)
  train = np.zeros(modulus**2, bool)
  train[rng.permutation(modulus**2)[:count]] = True
  numbers = np.arange(modulus)
  answers = (numbers[:, None] + numbers) % modulus
  if shuffled:
    answers = rng.permutation(answers.ravel()).reshape(answers.shape)
  return ModularAddition(modulus, answers, train.reshape(answers.shape))


@dataclasses.dataclass(frozen=True)
class ClosedForm:
  """A network that adds modulo `P` by its weights' formula (Gromov 2023).

  One hidden layer of quadratic neurons, "Grokking modular arithmetic",
  arXiv:2301.02679: neuron j with frequency `w = 2πk/P` is
  `(cos(wa + f) + cos(wb + g))²`, and it votes for the answer c with
  `cos(wc + f + g)`. The square makes a product of the two cosines, the product has a
  part `cos(w(a + b) + f + g)`, and only that part has the same phase as the vote in all
  neurons: at `c = a + b` votes add up, elsewhere they cancel, the better the more
  neurons there are.

  Attributes:
    modulus: The number `P`.
    frequencies: The frequency k of each neuron, `[M]`.
    phases: The phases f and g of each neuron, in radians, `[2, M]`.
  """

  modulus: int
  frequencies: Int[np.ndarray, ' M']
  phases: Float[np.ndarray, '2 M']

  def pre(self) -> Float[np.ndarray, 'P P M']:
    """What each neuron squares, for every `a` and `b`."""
    angles = self._angles()
    first, second = (np.cos(angles + phase) for phase in self.phases)
    return first[:, None] + second

  def neurons(self) -> Float[np.ndarray, 'P P M']:
    """The activations of the neurons for every `a` and `b`."""
    return self.pre() ** 2

  def logits(self) -> Float[np.ndarray, 'P P P']:
    """The votes for each answer `c`, for every `a` and `b`: `[a, b, c]`."""
    return self.neurons() @ np.cos(self._angles() + self.phases.sum(0)).T

  def _angles(self) -> Float[np.ndarray, 'P M']:
    return (
      2 * np.pi / self.modulus * np.outer(np.arange(self.modulus), self.frequencies)
    )


def closed_form(
  modulus: int,
  width: int,
  seed: int,
  frequencies: Int[np.ndarray, ' F'] | None = None,
) -> ClosedForm:
  """Gromov's network with random phases.

  Args:
    modulus: The number `P`, odd.
    width: Number of neurons `M`.
    seed: Of frequencies and phases.
    frequencies: Which frequencies to draw from; by default all that there are, from 1
      to `(P - 1) / 2`.

  Raises:
    ValueError: if a frequency is not one of those that there are.
  """
  half = (modulus - 1) // 2
  allowed = np.arange(1, half + 1) if frequencies is None else np.asarray(frequencies)
  if not len(allowed) or allowed.min() < 1 or allowed.max() > half:
    raise ValueError(f'frequencies={frequencies}: give some of 1 to {half}.')
  rng = np.random.default_rng(seed)
  phases = rng.uniform(-np.pi, np.pi, (2, width))
  return ClosedForm(modulus, rng.choice(allowed, width), phases)
