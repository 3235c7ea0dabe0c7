"""The pictures: the phases of training, circles, a neuron, the logits."""

from collections.abc import Mapping, Sequence
import math
from typing import Any

from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
import numpy as np

from interp_jax.findings.modular_addition import fourier, measures
from interp_jax.report.figures import style
from interp_jax.report.palette import DIVERGING, INK, RULE, SERIES, centred_norm

_CURVES = (
  ('train_loss', 'training', '-'),
  ('test_loss', 'test', '-'),
  ('restricted', 'restricted: key frequencies alone', '--'),
  ('excluded', 'excluded: training, without them', '--'),
)


def phases(
  curves: Mapping[str, np.ndarray], when: Mapping[str, float], modulus: int
) -> Figure:
  """The four losses over training, the three phases shaded.

  Args:
    curves: From `progress.curves`.
    when: From `progress.moments`.
    modulus: The number `P`.
  """
  figure = Figure((7.2, 3.7), layout='constrained')
  axes = figure.add_subplot()
  steps = curves['step']
  for colour, (name, label, line) in zip(SERIES, _CURVES, strict=False):
    axes.plot(steps, curves[name], line, color=colour, linewidth=1.9, label=label)
  axes.axhline(math.log(modulus), color=INK, linewidth=0.9, linestyle=':')
  axes.annotate('guessing', (steps[-1], math.log(modulus)), va='top', **_corner())
  axes.set(yscale='log', xlim=(0, steps[-1]))
  _shade(axes, when, float(steps[-1]))
  axes.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc='lower left')
  style(axes, 'updates', 'loss, nats', grid=False)
  return figure


def _corner() -> dict[str, Any]:
  return {
    'xytext': (-4, -3),
    'textcoords': 'offset points',
    'ha': 'right',
    'fontsize': 8,
    'color': INK,
  }


def _shade(axes: Axes, when: Mapping[str, float], last: float) -> None:
  """The phases, as far as the network came."""
  edges = [0.0, when['memorised'], when['test_falls'], when['grokked'], last]
  names = ('by heart', 'circuit forms', 'clean-up', 'grokked')
  for index, name in enumerate(names):
    left, right = edges[index : index + 2]
    if math.isnan(left):
      return
    right = last if math.isnan(right) else right
    axes.axvspan(left, right, color=RULE, alpha=0.16 + 0.16 * (index % 2), linewidth=0)
    axes.annotate(
      name,
      ((left + right) / 2, 1.0),
      xycoords=('data', 'axes fraction'),
      xytext=(0, 4),
      textcoords='offset points',
      ha='center',
      fontsize=8.5,
      color=INK,
    )


def spectrum(embedding: Float[np.ndarray, 'P D'], key: Sequence[int]) -> Figure:
  """How much of the embedding each frequency has, the key ones in colour."""
  energy = measures.embedding_spectrum(embedding) ** 2
  shares = energy.reshape(-1, 2).sum(1) / energy.sum()
  figure = Figure((7.2, 2.4), layout='constrained')
  axes = figure.add_subplot()
  frequencies = np.arange(1, len(shares) + 1)
  is_key = np.isin(frequencies, key)
  axes.bar(frequencies, shares, color=np.where(is_key, SERIES[1], SERIES[0]))
  for k in key:
    axes.annotate(
      str(k),
      (k, shares[k - 1]),
      xytext=(0, 2),
      textcoords='offset points',
      ha='center',
      fontsize=8.5,
      color=INK,
    )
  axes.set_xlim(0, len(shares) + 1)
  axes.margins(y=0.15)
  style(axes, 'frequency', 'share of the variance', grid=False)
  return figure


def circles(embedding: Float[np.ndarray, 'P D'], key: Sequence[int]) -> Figure:
  """The numbers, seen along the two directions of each key frequency.

  Colours go around with the angle `2πka/P`: where the embedding is a circle, they are
  in order.
  """
  modulus = len(embedding)
  waves = fourier.basis(modulus)
  shown = list(key)[:5] or [1]
  figure = Figure((1.75 * len(shown) + 0.3, 2.1), layout='constrained')
  for index, k in enumerate(shown):
    axes = figure.add_subplot(1, len(shown), index + 1)
    directions = waves[fourier.rows_of([k])] @ embedding
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    x, y = directions @ embedding.T
    turn = (k * np.arange(modulus)) % modulus / modulus
    axes.scatter(x, y, c=turn, cmap='twilight', s=13, linewidths=0)
    axes.set_aspect('equal')
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_title(f'k = {k}', fontsize=9.5, color=INK)
  return figure


def neuron(
  activations: Float[np.ndarray, 'P P'], energy: Float[np.ndarray, 'F F'], k: int
) -> Figure:
  """A neuron on every question, twice, and at which frequencies it varies.

  Args:
    activations: For each `a` and `b`.
    energy: From `fourier.energy_by_frequency`.
    k: The frequency that explains most of it.
  """
  figure = Figure((9.6, 3.1), layout='constrained')
  plain, turned, right = figure.subplots(1, 3)
  _map(plain, activations, 'b', 'a')
  # Step k times around the circle: neighbours in angle become neighbours in place.
  modulus = len(activations)
  order = pow(k, -1, modulus) * np.arange(modulus) % modulus
  sorted_ = activations[np.ix_(order, order)]
  image = _map(turned, sorted_, 'angle of b', 'angle of a')
  _bar(figure, image, [plain, turned], 'activation')
  turns = {'ticks': [0, modulus / 2, modulus], 'labels': ['0', '½', '1 turn']}
  turned.set_xticks(**turns)
  turned.set_yticks(**turns)
  variance = energy.copy()
  variance[0, 0] = 0
  share = variance / max(variance.sum(), 1e-30)
  image = _map(right, share, 'frequency in b', 'frequency in a')
  _bar(figure, image, [right], 'share of variance')
  right.set(xticks=[0, k], yticks=[0, k])
  for i, j in ((k, k), (0, k), (k, 0)):
    right.plot(j, i, 'o', markersize=11, fillstyle='none', color=INK, markeredgewidth=1)
  return figure


def votes(by_sum: Float[np.ndarray, 'P P'], key: Int[np.ndarray, ' F']) -> Figure:
  """The mean logit of each answer for each sum, and by their distance.

  Args:
    by_sum: `[a + b, c]`, centred over both.
    key: The key frequencies.
  """
  modulus = len(by_sum)
  figure = Figure((9.2, 3.3), layout='constrained')
  left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
  image = _map(left, by_sum, 'answer c', 'a + b modulo P')
  _bar(figure, image, [left], 'logit')
  offsets = np.arange(modulus) - modulus // 2
  sums = np.arange(modulus)
  mean = np.array([by_sum[sums, (sums + d) % modulus].mean() for d in offsets])
  factors = 2 / modulus * np.cos(2 * np.pi / modulus * np.outer(key, offsets)) @ mean
  finely = np.linspace(offsets[0], offsets[-1], 20 * modulus)
  waves = factors @ np.cos(2 * np.pi / modulus * np.outer(key, finely))
  label = f'{len(key)} cosines' if len(key) != 1 else '1 cosine'
  right.plot(finely, waves, color=SERIES[1], linewidth=0.8, label=label)
  right.plot(offsets, mean, 'o', color=SERIES[0], markersize=3.2, label='network')
  right.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc='upper right')
  right.margins(y=0.12)
  style(right, 'c - (a + b)', 'mean logit', grid=False)
  return figure


def _map(axes: Axes, values: np.ndarray, x: str, y: str) -> AxesImage:
  style(axes, x, y, grid=False)
  return axes.imshow(
    values,
    cmap=DIVERGING,
    norm=centred_norm(values.min(), values.max()),
    origin='lower',
    interpolation='nearest',
  )


def _bar(figure: Figure, image: AxesImage, axes: list[Axes], name: str) -> None:
  bar = figure.colorbar(image, ax=axes, shrink=0.82, pad=0.02)
  bar.outline.set_visible(False)
  bar.ax.tick_params(colors=INK, labelsize=8, length=2)
  values = np.asarray(image.get_array())
  bar.ax.set_ylim(min(values.min(), 0), values.max())
  bar.set_label(name, color=INK, fontsize=9)
