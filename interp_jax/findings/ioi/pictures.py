"""The pictures of the finding, from plain arrays, in the style of `report`."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from matplotlib.figure import Figure
import numpy as np

from interp_jax import circuits, report
from interp_jax.findings.ioi.backup import Backup
from interp_jax.findings.ioi.measures import Head
from interp_jax.findings.ioi.methods import Compared
from interp_jax.report.figures import style
from interp_jax.report.palette import INK, RULE, SERIES

# What a head is called in a picture of the circuit, where there is little room.
SHORT: Mapping[str, str] = {
  'previous token': 'previous',
  'clause': 'clause',
  'duplicate token': 'duplicate',
  'induction': 'induction',
  'name gatherer': 'gathers names',
  'S-inhibition': 'S-inhibition',
  'subject mover': 'subject mover',
  'name mover': 'name mover',
  'negative name mover': 'negative',
}


def circuit(found: circuits.Circuit, roles: Mapping[str, Sequence[Head]]) -> Figure:
  """The circuit, each head with its class under its name."""
  graph, scores = found.graph, found.scores
  assert scores is not None  # It was chosen by them.
  edges = [
    (graph.senders[s], graph.receivers[r], scores[r, s])
    for r, s in np.argwhere(found.edges)
  ]
  notes: dict[str, str] = {}
  for role, heads in roles.items():
    for layer, head in heads:
      # Of several classes the last says most: it is the most specific.
      notes[f'a{layer}.h{head}'] = SHORT[role]
  return report.circuit_picture(edges, notes=notes, weight_name='change of the answer')


def faithfulness(
  compared: Mapping[str, Compared], shuffled: Sequence[Compared]
) -> Figure:
  """Faithfulness of circuits of rising size, by every method and at random."""
  curves = {name: one.curve for name, one in compared.items()}
  first = next(iter(curves.values()))
  # A circuit has one edge at least; the largest is the whole model.
  sizes = np.maximum(1, np.round(first.shares * first.edges[-1]))
  series = {name: (sizes, curve.faithfulness) for name, curve in curves.items()}
  at_random = [one.curve.faithfulness for one in shuffled]
  series['random'] = (sizes, np.mean(at_random, axis=0))
  return report.curves(
    series,
    x_name='edges in the circuit',
    y_name='share of the answer it gives',
    log_x=True,
    levels={'the whole model': 1.0},
  )


def scatter(
  exact: Float[np.ndarray, ' n'], estimates: Mapping[str, Float[np.ndarray, ' n']]
) -> Figure:
  """Estimated effects of edges against measured ones, a panel for each method."""
  figure = Figure((3.4 * len(estimates), 3.3), layout='constrained')
  panels = np.atleast_1d(figure.subplots(1, len(estimates), sharex=True, sharey=True))
  low = min(exact.min(), *(values.min() for values in estimates.values()))
  high = max(exact.max(), *(values.max() for values in estimates.values()))
  for axes, colour, (name, values) in zip(
    panels, SERIES, estimates.items(), strict=False
  ):
    axes.plot([low, high], [low, high], color=RULE, linewidth=1, zorder=1)
    axes.scatter(exact, values, s=16, color=colour, alpha=0.75, linewidth=0, zorder=2)
    agreed = circuits.agreement(values, exact)
    style(axes, 'measured: change of the answer', 'estimated')
    axes.set_title(f'{name}: r = {agreed.pearson:.3f}', fontsize=10, color=INK)
    axes.label_outer()
  return figure


def attention(
  pattern: Float[np.ndarray, 'T T'], tokens: Sequence[str], head: Head
) -> Figure:
  """Where a head attends on one prompt, the last token at the top."""
  return report.heat_map(
    pattern,
    tokens,
    tokens,
    row_name='from',
    column_name='to',
    value_name=f'attention of head {head[0]}.{head[1]}',
    tokens=True,
    annotate=False,
    limit=1.0,
  )


def backup(found: Backup) -> Figure:
  """Direct effects of all heads before and after a knockout."""
  layers, heads = found.before.shape
  names = [f'{layer}.{head}' for layer, head in np.ndindex(layers, heads)]
  places = np.arange(len(names))
  figure = Figure((6.8, 3.0), layout='constrained')
  axes = figure.add_subplot()
  before, after = found.before.ravel(), found.after.ravel()
  axes.bar(places - 0.2, before, 0.38, color=SERIES[0], label='whole model')
  axes.bar(places + 0.2, after, 0.38, color=SERIES[1], label='after the knockout')
  for layer, head in found.knocked_out:
    axes.axvspan(
      layer * heads + head - 0.5, layer * heads + head + 0.5, color=RULE, alpha=0.45
    )
  axes.axhline(0, color=INK, linewidth=0.8)
  axes.set_xticks(places, names)
  style(axes, 'head (layer.head); knocked out: shaded', 'direct effect, logits')
  axes.legend(frameon=False, fontsize=9, labelcolor=INK)
  return figure
