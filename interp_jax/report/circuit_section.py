"""The section of the page that shows a circuit, and what the model is without it."""

from collections.abc import Mapping, Sequence
import dataclasses

from markupsafe import Markup
from matplotlib.figure import Figure

from interp_jax.report import figures, html, tables
from interp_jax.report.circuit import Edge, circuit_picture
from interp_jax.report.types import Number, Numbers


@dataclasses.dataclass(frozen=True)
class CircuitView:
  """A circuit and its tests.

  Attributes:
    edges: its edges: who writes, who reads, the score.
    total: how many edges the model has.
    faithfulness: share of the model's answer that the circuit alone gives.
    curve: shares of all edges, and the faithfulness of circuits of these sizes.
    losses: case -> loss (nats per token) on the first and on the second copy of
      repeated random tokens.
  """

  edges: Sequence[Edge]
  total: int
  faithfulness: Number
  curve: tuple[Numbers, Numbers]
  losses: Mapping[str, Numbers]


def circuit_section(view: CircuitView) -> html.Section:
  """The section: a picture, a curve and a table, with words."""
  count = len(view.edges)
  return html.Section(
    'The induction circuit',
    (
      'A model is a graph: each head and MLP reads what those before it wrote to the '
      'residual stream. Which of these edges does induction need? Each was scored by '
      'the gradient of the answer along the way from the clean to the corrupt text '
      '(EAP-IG), and edges were taken by their scores, best first.',
      'In the corrupt text both tokens of the earlier pair, A B, are others, so that '
      'finding the place and copying what stands there are both asked for.',
      f'{count} of {view.total} edges alone, all others carrying what they carry on '
      f'the corrupt text, give {view.faithfulness:.0%} of the difference between the '
      'two answers. Edges into a head end at its query, key or value.',
    ),
    (
      _picture(view),
      html.side_by_side((_curve(view), _losses(view))),
    ),
  )


def faithfulness_picture(shares: Numbers, values: Numbers) -> Figure:
  """How faithful circuits of rising size are.

  Args:
    shares: The share of all edges that each circuit has.
    values: What each gives of what the whole model does.
  """
  return figures.curves(
    {'faithfulness': (shares, values)},
    x_name='share of edges',
    y_name='faithfulness',
    log_x=True,
    levels={'the whole model': 1.0},
  )


def _picture(view: CircuitView) -> Markup:
  names = ', '.join(f'{sender} → {receiver}' for sender, receiver, _ in view.edges)
  return html.figure(
    circuit_picture(view.edges),
    alt=f'The edges of the circuit: {names}.',
    caption=(
      'The circuit: layers from the input at the bottom up to the logits; '
      'a2.h1 is head 1 of layer 2, m0 the MLP of layer 0. The thicker an edge, the '
      'larger its score.'
    ),
  )


def _curve(view: CircuitView) -> Markup:
  shares, values = view.curve
  said = ', '.join(f'{v:.0%} with {s:.1%}' for s, v in zip(shares, values, strict=True))
  return html.figure(
    faithfulness_picture(shares, values),
    alt=f'Curve of faithfulness over the share of edges: {said}.',
    caption='How much of the answer circuits of rising size give.',
  )


def _losses(view: CircuitView) -> Markup:
  rows = [
    (case, f'{first:.2f}', f'{second:.2f}', f'{first - second:+.2f}')
    for case, (first, second) in view.losses.items()
  ]
  return tables.table(
    ('random tokens, repeated', 'first copy', 'second copy', 'gain'),
    rows,
    caption=(
      'Loss in nats per token; an ablated edge carries what its sender writes on '
      'average. Without the circuit the second copy is as hard as the first.'
    ),
    text_columns=(0,),
  )
