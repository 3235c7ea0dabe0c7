"""Pictures from plain arrays."""

import subprocess
import sys

from matplotlib.figure import Figure
import numpy as np
import pytest

from interp_jax import report
from interp_jax.report import palette

NAMES = {'row_name': 'layer', 'column_name': 'token', 'value_name': 'effect'}


def test_zero_has_the_neutral_colour_whatever_the_range():
  neutral = palette.DIVERGING(0.5)
  for low, high in ((-1, 1), (-0.1, 3), (0, 2), (0, 0)):
    assert palette.DIVERGING(palette.centred_norm(low, high)(0.0)) == neutral


def test_equal_size_on_both_sides_is_equally_far_from_neutral():
  norm = palette.centred_norm(-0.2, 1.0)
  assert norm(0.2) - 0.5 == pytest.approx(0.5 - norm(-0.2))


def test_numbers_on_cells_are_readable_on_every_colour_of_the_map():
  def luminance(rgb):
    rgb = np.asarray(rgb[:3])
    linear = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]

  for place in np.linspace(0, 1, 50):
    back = palette.DIVERGING(place)
    ink = palette.text_on(back)
    front = tuple(int(ink[i : i + 2], 16) / 255 for i in (1, 3, 5))
    bright, dark = sorted((luminance(back), luminance(front)), reverse=True)
    assert (bright + 0.05) / (dark + 0.05) >= 4.4


def test_tokens_with_dollars_whitespace_and_strange_letters_can_label_an_axis():
  tokens = ['$x$', '\n    ', ' ', '', '漢', '🙂', '<b>', '\t', '_^{']
  figure = report.heat_map(
    np.zeros((2, len(tokens))), ['0', '1'], tokens, tokens=True, **NAMES
  )
  text = report.to_svg(figure, 'a map')
  assert '$x$' in text
  assert '&lt;b&gt;' in text
  assert '↵' in text


def test_cells_without_a_number_are_left_empty():
  values = np.array([[np.nan, 1.0]])
  text = report.to_svg(report.heat_map(values, ['0'], ['a', 'b'], **NAMES), 'a map')
  assert '0, b: +1.000' in text
  assert '0, a:' not in text


def test_labels_must_match_the_values():
  with pytest.raises(ValueError, match='1 column labels were given for 3 columns'):
    report.heat_map(np.zeros((1, 3)), ['0'], ['a'], **NAMES)
  with pytest.raises(ValueError, match='2 row labels'):
    report.heat_map(np.zeros((1, 3)), ['0', '1'], list('abc'), **NAMES)


def test_a_large_sweep_becomes_an_image_of_modest_size():
  values = np.random.default_rng(0).normal(size=(24, 256))
  rows, columns = [str(i) for i in range(24)], [str(i) for i in range(256)]
  text = report.to_svg(report.heat_map(values, rows, columns, **NAMES), 'a map')
  assert len(text) < 400_000


def test_curves_and_histograms_are_figures_of_their_own():
  drawn = report.curves(
    {'a': ([0, 1], [1.0, 0.5]), 'b': ([0, 1], [0.9, 0.7])},
    x_name='step',
    y_name='loss',
    levels={'floor': 0.2},
  )
  counted = report.histogram(
    np.array([0.0, 1e-4, 0.1, np.nan]), x_name='density', y_name='features', log=True
  )
  assert isinstance(drawn, Figure)
  assert isinstance(counted, Figure)
  assert 'floor' in report.to_svg(drawn, 'curves')


def test_a_histogram_of_nothing_can_be_drawn():
  figure = report.histogram(np.zeros(5), x_name='x', y_name='y', log=True)
  assert report.to_svg(figure, 'an empty histogram')


def test_curves_say_what_is_wrong_with_a_series():
  with pytest.raises(ValueError, match='no series'):
    report.curves({}, x_name='x', y_name='y')
  with pytest.raises(ValueError, match="'a' has 2 x and 1 y"):
    report.curves({'a': ([0, 1], [1])}, x_name='x', y_name='y')


def test_the_room_never_imports_pyplot_or_jax():
  code = (
    'import sys; import interp_jax.report; '
    'print([m for m in ("matplotlib.pyplot", "jax") if m in sys.modules])'
  )
  out = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True
  )
  assert 'pyplot' not in out.stdout
