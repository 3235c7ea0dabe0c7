"""What a figure becomes when it is put into a page."""

import re
import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
import pytest

from interp_jax import report
from interp_jax.report import palette
from interp_jax.report.svg import tooltip


def a_figure(values=((0.0, 1.0), (-0.5, 0.2))):
  return report.heat_map(
    np.array(values),
    ['0', '1'],
    ['a', 'b'],
    row_name='layer',
    column_name='head',
    value_name='effect',
  )


def test_an_svg_is_one_well_formed_element_with_its_alt_text():
  text = report.to_svg(a_figure(), 'two <b> "heads" & so on')
  root = ET.fromstring(str(text))
  assert root.tag.endswith('svg')
  assert root.attrib['role'] == 'img'
  assert root.attrib['aria-label'] == 'two <b> "heads" & so on'


def test_a_figure_without_alt_text_is_refused():
  with pytest.raises(ValueError, match='alt text'):
    report.to_svg(a_figure(), '  ')
  with pytest.raises(ValueError, match='alt text'):
    report.to_png(a_figure(), '')


def test_two_figures_share_no_ids():
  texts = [report.to_svg(a_figure(), alt) for alt in ('one', 'two')]
  ids = [set(re.findall(r' id="([^"]+)"', text)) for text in texts]
  assert all(ids)
  assert not ids[0] & ids[1]


def test_every_reference_points_into_the_same_svg():
  text = report.to_svg(a_figure(), 'a map')
  ids = set(re.findall(r' id="([^"]+)"', text))
  assert set(re.findall(r'url\(#([^)]+)\)', text)) <= ids
  assert set(re.findall(r'href="#([^"]+)"', text)) <= ids


def test_text_and_lines_take_the_colours_of_the_page():
  text = report.to_svg(a_figure(), 'a map').lower()
  assert 'currentcolor' in text
  assert palette.INK not in text


def test_the_same_figure_gives_the_same_bytes():
  assert report.to_svg(a_figure(), 'a map') == report.to_svg(a_figure(), 'a map')


def test_matplotlib_is_left_as_it_was():
  before = dict(matplotlib.rcParams)
  report.to_svg(a_figure(), 'a map')
  assert dict(matplotlib.rcParams) == before


def test_every_cell_tells_its_number_when_pointed_at():
  text = report.to_svg(a_figure(), 'a map')
  for said in ('0, a: +0.000', '0, b: +1.000', '1, a: -0.500', '1, b: +0.200'):
    assert f'<title>{said}</title>' in text


def test_a_tooltip_cannot_break_out_of_the_picture():
  figure = a_figure()
  figure.axes[0].patches[0].set_gid(tooltip('"></g><script>alert(1)</script>'))
  text = report.to_svg(figure, 'a map')
  assert '<script' not in text
  ET.fromstring(str(text))
