"""The pictures of an activation-patching experiment, with words for what they show."""

from collections.abc import Sequence
import dataclasses

from jaxtyping import Float
from markupsafe import Markup
import numpy as np

from interp_jax.report import figures, html, tables
from interp_jax.report.labels import visible


@dataclasses.dataclass(frozen=True)
class PatchingView:
  """One kind of text pair and what patching it gave.

  Attributes:
    name: the kind, for a heading.
    question: in a sentence or two, what the model has to do.
    clean: the tokens of one pair's clean text, which also label the positions.
    corrupt: the tokens of that pair's corrupt text; equally many.
    clean_answer: the token that should follow the clean text.
    corrupt_answer: the token that should follow the corrupt text.
    pairs: how many pairs the numbers are means over.
    clean_difference: mean logit difference on clean texts, in logits.
    corrupt_difference: the same on corrupt texts.
    positions: share of the answer recovered by patching the residual stream, for each
      layer and position.
    heads: the same for each layer and head, its output patched at all positions.
    labels: names of the positions, where the tokens of the one pair would mislead;
      by default its clean tokens.
    site: the site patched in `positions`.
  """

  name: str
  question: str
  clean: Sequence[str]
  corrupt: Sequence[str]
  clean_answer: str
  corrupt_answer: str
  pairs: int
  clean_difference: float
  corrupt_difference: float
  positions: Float[np.ndarray, 'L T']
  heads: Float[np.ndarray, 'L H']
  labels: Sequence[str] = ()
  site: str = 'resid_pre'


def patching_blocks(view: PatchingView) -> tuple[Markup, ...]:
  """A heading, the pair, and the two maps of one patching experiment."""
  return (
    html.heading(view.name),
    html.paragraph(view.question),
    _pair_table(view),
    _position_figure(view),
    _head_figure(view),
  )


def _pair_table(view: PatchingView) -> Markup:
  differs = [a != b for a, b in zip(view.clean, view.corrupt, strict=True)]
  rows = (
    ('clean', _text(view.clean, differs), _answer(view.clean_answer)),
    ('corrupt', _text(view.corrupt, differs), _answer(view.corrupt_answer)),
  )
  return tables.table(
    ('text', 'tokens', 'should go on with'),
    rows,
    caption=(
      f'One of {view.pairs} pairs. Mean logit difference, answer of the clean text '
      f'minus answer of the corrupt text: {_signed(view.clean_difference)} on clean '
      f'texts, {_signed(view.corrupt_difference)} on corrupt texts.'
    ),
    text_columns=(0, 1, 2),
  )


def _text(tokens: Sequence[str], differs: Sequence[bool]) -> Markup:
  parts = [
    Markup('<{0} class="unit">{1}</{0}>').format(
      'mark' if mark else 'span', visible(token)
    )
    for token, mark in zip(tokens, differs, strict=True)
  ]
  return Markup('<code>{}</code>').format(Markup('<wbr>').join(parts))


def _answer(token: str) -> Markup:
  return Markup('<code>{}</code>').format(visible(token))


def _signed(value: float) -> str:
  return f'{value:+.2f}'.replace('-', '−')


def _position_figure(view: PatchingView) -> Markup:
  layers, length = view.positions.shape
  names = view.labels or view.clean
  picture = figures.heat_map(
    view.positions,
    [f'{layer}' for layer in range(layers)],
    names,
    row_name='layer',
    column_name='position',
    value_name='share recovered',
    tokens=True,
    limit=_limit(view.positions),
  )
  path = [
    (layer, int(np.nanargmax(row)), float(np.nanmax(row)))
    for layer, row in enumerate(view.positions)
  ]
  said = '; '.join(
    f'layer {layer}, position {place} ({visible(names[place])}): {value:.2f}'
    for layer, place, value in path
  )
  return html.figure(
    picture,
    alt=(
      f'Heat map of {layers} layers by {length} positions: share of the answer '
      f'recovered. Largest in each layer: {said}.'
    ),
    caption=(
      f'Residual stream ({view.site}) patched at one layer and one position. Read it '
      'from the bottom up: the bright cells trace where what decides the answer is '
      f'held, layer by layer. Largest in each layer: {said}.'
    ),
  )


def _head_figure(view: PatchingView) -> Markup:
  layers, heads = view.heads.shape
  picture = figures.heat_map(
    view.heads,
    [f'{layer}' for layer in range(layers)],
    [f'{head}' for head in range(heads)],
    row_name='layer',
    column_name='head',
    value_name='share recovered',
    limit=_limit(view.heads),
  )
  order = np.argsort(-np.abs(np.nan_to_num(view.heads)), axis=None)[:3]
  places = [np.unravel_index(i, view.heads.shape) for i in order]
  said = ', '.join(
    f'head {head} of layer {layer} ({_signed(float(view.heads[layer, head]))})'
    for layer, head in places
  )
  return html.figure(
    picture,
    alt=(
      f'Heat map of {layers} layers by {heads} heads: share of the answer recovered. '
      f'Largest effects: {said}.'
    ),
    caption=(
      'Output of one attention head (z) patched at all positions. The few coloured '
      'heads carry the decision; many heads near 0 play no part in it. Largest '
      f'effects: {said}.'
    ),
  )


def _limit(values: Float[np.ndarray, 'rows columns']) -> float:
  """The scale: 1 where the effects come near it, else what makes them visible."""
  return float(max(np.nanmax(np.abs(values)), 0.25))
