"""What says that a network adds by rotating: measures of Nanda et al. (2023).

All are functions of what a network computes on every question, and know nothing of how
it came about: a trained network, a random one and a closed form are measured alike. The
key frequencies are an argument wherever they matter. They are chosen once, from the
finished network, and then hold for all measures at all times.
"""

from collections.abc import Sequence

from jaxtyping import Bool, Float, Int
import numpy as np

from interp_jax.findings.modular_addition import fourier

# From this share of its variance on, a neuron counts as explained by one frequency
# (Nanda et al. 2023, section 4.2).
EXPLAINED = 0.85
# A frequency is key if so many of the neurons are explained by it. The paper takes what
# is best for any neuron, explained or not, which makes every stray neuron's frequency
# a key one.
LEAST_NEURONS = 0.02


def neurons_explained(neurons: Float[np.ndarray, 'P P M']) -> float:
  """The share of neurons of which one frequency explains more than 85 %."""
  best = fourier.one_frequency_share(neurons).max(0)
  return float((best > EXPLAINED).mean())


def key_frequencies(neurons: Float[np.ndarray, 'P P M']) -> list[int]:
  """The frequencies that at least 2 % of the neurons are explained by, in order."""
  shares = fourier.one_frequency_share(neurons)
  explained = shares.max(0) > EXPLAINED
  counts = np.bincount(shares.argmax(0)[explained], minlength=len(shares))
  (found,) = np.nonzero(counts >= max(1, LEAST_NEURONS * shares.shape[1]))
  return [int(index) + 1 for index in found]


def losses(
  logits: Float[np.ndarray, '*b C'], answers: Int[np.ndarray, '*b']
) -> Float[np.ndarray, '*b']:
  """The cross-entropy of each question in nats, exact however small it is.

  Args:
    logits: Of each answer, on the last axis.
    answers: The right ones.
  """
  rows, right = logits.astype(np.float64), answers[..., None]
  rows -= np.take_along_axis(rows, right, -1)
  np.put_along_axis(rows, right, -np.inf, -1)
  top = rows.max(-1)
  wrong = top + np.log(np.exp(rows - top[..., None]).sum(-1))
  return np.logaddexp(0, wrong)


def cross_entropy(
  logits: Float[np.ndarray, 'P P P'],
  answers: Int[np.ndarray, 'P P'],
  chosen: Bool[np.ndarray, 'P P'] | None = None,
) -> float:
  """The mean loss in nats over the chosen questions; over all by default."""
  if chosen is not None:
    logits, answers = logits[chosen], answers[chosen]
  return float(losses(logits, answers).mean())


def accuracy(
  logits: Float[np.ndarray, 'P P P'],
  answers: Int[np.ndarray, 'P P'],
  chosen: Bool[np.ndarray, 'P P'] | None = None,
) -> float:
  """The share of the chosen questions (all by default) that are answered rightly."""
  right = logits.argmax(-1) == answers
  return float(right.mean() if chosen is None else right[chosen].mean())


def restricted(
  logits: Float[np.ndarray, 'P P P'], frequencies: Sequence[int]
) -> Float[np.ndarray, 'P P P']:
  """The logits with nothing kept but the waves of `a + b` at some frequencies.

  Their mean over all questions is kept as well, a bias that no wave can carry.
  """
  return _at_sums(fourier.waves_of_sum(logits, frequencies)) + logits.mean(
    (0, 1), dtype=np.float64
  )


def excluded(
  logits: Float[np.ndarray, 'P P P'], frequencies: Sequence[int]
) -> Float[np.ndarray, 'P P P']:
  """The logits without the waves of `a + b` at some frequencies."""
  return logits - _at_sums(fourier.waves_of_sum(logits, frequencies))


def _at_sums(table: np.ndarray) -> np.ndarray:
  """A function of the sum, at every pair."""
  numbers = np.arange(len(table))
  return table[(numbers[:, None] + numbers) % len(table)]


def variance_explained(
  logits: Float[np.ndarray, 'P P P'], frequencies: Sequence[int]
) -> float:
  """How much of the logits is a sum of `cos(2πk(a + b - c)/P)`, one factor for each k.

  Logits are centred over answers, which no softmax sees, and over questions.

  Returns:
    The share of the variance, `sum_k factor_k² |cos_k|² / |logits|²`.
  """
  modulus = len(logits)
  centred = logits - logits.mean(-1, keepdims=True, dtype=np.float64)
  centred -= centred.mean((0, 1))
  in_both = fourier.basis(modulus) @ fourier.by_sum(centred) @ fourier.basis(modulus).T
  # cos(x - y) = cos x cos y + sin x sin y, of orthonormal waves over the root of 2.
  pairs = np.diagonal(in_both)[1:].reshape(-1, 2).sum(1) / np.sqrt(2)
  explained = modulus * (pairs[np.asarray(frequencies, int) - 1] ** 2).sum()
  return float(explained / (centred**2).sum())


def embedding_spectrum(
  embedding: Float[np.ndarray, 'P D'],
) -> Float[np.ndarray, ' P-1']:
  """The norm of each wave's vector in the embedding of the numbers, the constant's not.

  Entries `2k - 2` and `2k - 1` are of cosine and sine of frequency k.
  """
  waves = fourier.basis(len(embedding))[1:]
  return np.linalg.norm(waves @ embedding.astype(np.float64), axis=1)


def embedding_share(
  embedding: Float[np.ndarray, 'P D'], frequencies: Sequence[int]
) -> float:
  """The share of the numbers' embeddings, as variance, at some frequencies."""
  energy = embedding_spectrum(embedding) ** 2
  return float(energy[fourier.rows_of(frequencies) - 1].sum() / energy.sum())


def unread_weights(
  neuron_logits: Float[np.ndarray, 'M P'], frequencies: Sequence[int]
) -> float:
  """What is left of the neurons' effect on the logits without some frequencies.

  Two directions for each frequency approximate the map from neurons to logits: five key
  frequencies make it a matrix of rank 10 (Nanda et al. 2023, section 4.2).

  Args:
    neuron_logits: The map, `W_L = W_out W_U`, over the numbers.
    frequencies: Those to keep.

  Returns:
    The norm of the rest over the norm of the map, centred over answers.
  """
  centred = neuron_logits - neuron_logits.mean(1, keepdims=True, dtype=np.float64)
  kept = fourier.basis(centred.shape[1])[fourier.rows_of(frequencies)]
  rest = centred - centred @ kept.T @ kept
  return float(np.linalg.norm(rest) / np.linalg.norm(centred))


def readout_explained(
  neurons: Float[np.ndarray, 'P P M'],
  neuron_logits: Float[np.ndarray, 'M P'],
  frequencies: Sequence[int],
) -> Float[np.ndarray, ' R']:
  """How well the read directions of the neurons carry the waves of the sum.

  The map to the logits reads, for each frequency, two directions of the neurons; along
  them there should be `cos` and `sin` of `2πk(a + b)/P`.

  Returns:
    The share of the variance along each direction that its wave explains.
  """
  rows = fourier.rows_of(frequencies)
  kept = fourier.basis(len(neurons))[rows]
  read = neurons.astype(np.float64) @ (neuron_logits @ kept.T)
  read -= read.mean((0, 1))
  along = np.einsum('rs,sr->r', kept, fourier.by_sum(read))
  return len(neurons) * along**2 / (read**2).sum((0, 1))
