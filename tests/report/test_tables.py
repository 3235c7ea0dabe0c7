"""Numbers and tables for readers."""

import numpy as np
import pytest

from interp_jax import report


@pytest.mark.parametrize(
  ('value', 'text'),
  [
    (500_224, '500,224'),
    (np.int64(7), '7'),
    (0.16342, '0.163'),
    (np.float32(31.84), '31.8'),
    (31_234.6, '31,235'),
    (-0.5, '−0.500'),
    (0.0, '0.00'),
    (9.999, '10.0'),
    (3.2e-6, '3.20e−06'),
    (float('nan'), '–'),
    (float('inf'), '–'),
    (True, 'yes'),
  ],
)
def test_a_number_reads_as_it_should(value, text):
  assert report.number(value) == text


def test_a_small_share_is_never_shown_as_none():
  assert report.percent(0.0001) == '< 0.1 %'
  assert report.percent(0.0) == '0.0 %'
  assert report.percent(0.9731) == '97.3 %'


def test_durations_have_units():
  assert report.duration(8.24) == '8.2 s'
  assert report.duration(185) == '3 min 05 s'
  assert report.duration(3720) == '1 h 02 min'
  assert report.duration(59.99) == '1 min 00 s'


def test_cells_are_escaped_and_numbers_formatted():
  text = report.table(('name', 'n'), [('<b>', 1234), ('x', None)], caption='<i>')
  assert '&lt;b&gt;' in text
  assert '1,234' in text
  assert '&lt;i&gt;' in text
  assert '<b>' not in text


def test_a_ragged_table_is_refused():
  with pytest.raises(ValueError, match='row 1 has 1 cells'):
    report.table(('a', 'b'), [(1, 2), (3,)], caption='c')


def test_a_lone_setting_is_said_shortly():
  text = report.pairs({'learning rate': 5e-4, 'batch': 2048}, caption='c')
  assert '>0.0005<' in text
  assert '>2,048<' in text
