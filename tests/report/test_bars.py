import pytest

from interp_jax.report import bars, to_svg

ROWS = {
  'the model': {'first': 12.38, 'second': 7.64},
  'without the circuit': {'second': 13.16},
  'gain lost': {'first': -0.39},
}


def test_every_bar_has_its_length_its_name_and_its_number():
  figure = bars(ROWS, x_name='loss (nats)')
  drawn = {c.get_label(): c for c in figure.axes[0].containers}
  for name, lengths in (('first', [12.38, -0.39]), ('second', [7.64, 13.16])):
    assert [bar.get_width() for bar in drawn[name]] == lengths
  svg = to_svg(figure, 'losses')
  for text in (*ROWS, 'first', 'second', '12.4', '13.2', '−0.390', 'loss (nats)'):
    assert f'>{text}<' in svg


def test_rows_go_down_in_their_order_and_bars_stay_in_their_rows():
  axes = bars(ROWS, x_name='loss').axes[0]
  low, high = axes.get_ylim()
  assert low > high
  assert [label.get_text() for label in axes.get_yticklabels()] == list(ROWS)
  for container, rows in zip(axes.containers, ([0, 2], [0, 1]), strict=True):
    for bar, row in zip(container, rows, strict=True):
      assert abs(bar.get_y() + bar.get_height() / 2 - row) < 0.5


def test_one_bar_in_each_row_needs_no_legend():
  one = bars({'a': {'gain': 1}, 'b': {'gain': 2}}, x_name='nats')
  assert not one.legends
  assert bars(ROWS, x_name='nats').legends


@pytest.mark.parametrize('rows', [{}, {'empty': {}}])
def test_no_bars_are_an_error(rows):
  with pytest.raises(ValueError, match='at least one'):
    bars(rows, x_name='nats')
