"""The page of a first tour: data, dictionary, features and patching of one model.

Everything comes in as plain numbers, arrays and strings. Each section opens with what
was done, why, and how to read it, so that a reader new to the field can follow.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from jaxtyping import Float
from markupsafe import Markup
import numpy as np

from interp_jax.report import figures, html, tables
from interp_jax.report.cards import FeatureCard, feature_card
from interp_jax.report.glossary import glossary
from interp_jax.report.patching import PatchingView, patching_blocks
from interp_jax.report.tables import duration, number, percent
from interp_jax.report.types import Number, Numbers


@dataclasses.dataclass(frozen=True)
class Tour:
  """What the page shows.

  Attributes:
    model: name -> value, what is told about the model; needs `name`.
    data: name -> value, what is told about the harvest; needs `tokens`, `site`.
    training: name -> value, what is told about the training; needs `features`, `k`.
    history: metric -> (steps, values): `fvu`, `l0`, `dead_fraction` are drawn.
    evaluation: `fvu`, `l0`, `dead_fraction`, `dense_fraction`, `cosine`, `l1`,
      `shrinkage`, `relative_reconstruction_bias`, `ce_recovered`, `ce_recovered_mean`,
      `kl_recovered` and, in nats per token, `ce_clean`, `ce_spliced`, `ce_zero`,
      `ce_mean`; `tokens`, how many were predicted for them.
    densities: the fraction of tokens on which each feature is active.
    features: the features to show, clearest first.
    ranking: in a sentence, what `clearest` means.
    patching: one view per kind of text pair.
    seconds: stage -> seconds of work.
    setup: name -> value: versions, seed, sizes, command.
  """

  model: Mapping[str, Any]
  data: Mapping[str, Any]
  training: Mapping[str, Any]
  history: Mapping[str, tuple[Numbers, Numbers]]
  evaluation: Mapping[str, Number]
  densities: Float[np.ndarray, ' F']
  features: Sequence[FeatureCard]
  ranking: str
  patching: Sequence[PatchingView]
  seconds: Mapping[str, Number]
  setup: Mapping[str, Any]


def tour_page(tour: Tour) -> html.Page:
  """Composes the page; `html.write` puts it into a file."""
  total = duration(sum(tour.seconds.values()))
  return html.Page(
    title=f'What {tour.model["name"]} represents, and how it decides',
    lead=(
      f'A first look inside a small language model of Python source code. A dictionary '
      f'of {tour.training["features"]:,} features was learned from '
      f'{tour.data["tokens"]:,} tokens of its inner activations and checked against '
      f'text that neither model nor dictionary had seen. Then single activations were '
      f'exchanged between pairs of texts, to find where the model’s answer is decided. '
      f'All of it took {total}.',
    ),
    tiles=_tiles(tour),
    sections=(
      _data_section(tour),
      _training_section(tour),
      _evaluation_section(tour),
      _features_section(tour),
      _patching_section(tour),
      _words_section(),
      _setup_section(tour),
    ),
    footer='Written by interp_jax. The page is complete in itself: it loads nothing.',
  )


def _tiles(tour: Tour) -> tuple[html.Tile, ...]:
  scores = tour.evaluation
  return (
    html.Tile(
      number(scores['fvu']), 'FVU', 'share of the variance left unexplained; 0 is best'
    ),
    html.Tile(number(scores['l0']), 'L0', 'features active per token, on average'),
    html.Tile(
      percent(scores['dead_fraction']), 'dead features', 'never active on held-out text'
    ),
    html.Tile(
      percent(scores['ce_recovered']),
      'CE recovered',
      'of the prediction quality survives the reconstruction',
    ),
  )


def _data_section(tour: Tour) -> html.Section:
  return html.Section(
    'The model and its activations',
    (
      'The model reads Python source and predicts each next token. It was run over '
      'files of the standard library, and its inner state at each token was stored: '
      f'the vector at the site {tour.data["site"]}, in the middle of the model, where '
      'it no longer holds just the token and not yet just the prediction.',
      'These stored vectors are all that the dictionary below learns from. Files that '
      'the model was tested on when it was trained are kept out, so that they can test '
      'the dictionary too.',
    ),
    (
      html.side_by_side(
        (
          tables.pairs(_shown(tour.model), caption='The model.'),
          tables.pairs(_shown(tour.data), caption='The stored activations.'),
        )
      ),
    ),
  )


def _training_section(tour: Tour) -> html.Section:
  k = tour.training['k']
  return html.Section(
    'Training the dictionary',
    (
      f'The dictionary rewrites each stored vector as a sum of at most {k} out of '
      f'{tour.training["features"]:,} learned directions: it keeps the {k} features '
      'that respond most (“TopK”) and adds up their directions, each times its '
      'activation. So few must do, and so each comes to stand for something specific.',
      'The first picture shows the error that remains, as a fraction of the variance '
      '(FVU): it should fall and then level off. The second picture shows the share of '
      'features that had gone unused for a while: it should end low, or much of the '
      'dictionary is wasted.',
    ),
    (
      html.side_by_side(_history_figures(tour.history)),
      tables.pairs(_shown(tour.training), caption='The settings of the training.'),
    ),
  )


def _history_figures(history) -> tuple[Markup, ...]:
  drawn = (
    ('fvu', 'FVU (fraction of variance)', 'Error of the reconstruction'),
    ('dead_fraction', 'unused features (fraction)', 'Unused features'),
  )
  blocks = []
  for key, y_name, name in drawn:
    if key not in history:
      continue
    steps, values = history[key]
    picture = figures.curves(
      {name: (steps, values)},
      x_name='training step',
      y_name=y_name,
      from_zero=True,
      width=4.6,
    )
    said = f'from {number(values[0])} to {number(values[-1])} in {steps[-1]:,} steps'
    blocks.append(
      html.figure(
        picture,
        alt=f'Line chart. {name} over training, {said}.',
        caption=f'{name} over training: {said}.',
      )
    )
  return tuple(blocks)


def _evaluation_section(tour: Tour) -> html.Section:
  scores = tour.evaluation
  return html.Section(
    'How good is it?',
    (
      f'The dictionary was tested on {int(scores["tokens"]):,} tokens of files that it '
      'was not trained on. Two questions matter: how close are its reconstructions, '
      'and does the model still work when it is given them in place of its own '
      'activations? The second is the harder test, as small errors can fall on what '
      'the model needs.',
      'CE is the model’s surprise at the next token, in nats; lower is better. The '
      'dictionary lies between leaving the model alone and wiping the site out. '
      'Tokens that mark the beginning of a file are left as they are in all runs.',
    ),
    (_score_table(scores), _density_figure(tour.densities)),
  )


def _score_table(scores: Mapping[str, Number]) -> Markup:
  def ce(key: str) -> str:
    return f'{scores[key]:.3f} nats'

  rows = (
    ('FVU', number(scores['fvu']), 'squared error ÷ variance; 0 best, 1 useless'),
    ('L0', number(scores['l0']), 'features active per token, on average'),
    ('dead features', percent(scores['dead_fraction']), 'active on no held-out token'),
    (
      'dense features',
      percent(scores['dense_fraction']),
      'active on more than one held-out token in ten',
    ),
    ('L1', number(scores['l1']), 'sum of the activations of a token'),
    ('cosine', number(scores['cosine']), 'of a vector and its reconstruction'),
    (
      'shrinkage',
      number(scores['shrinkage']),
      'length of the reconstruction ÷ length of the vector; 1 is none',
    ),
    (
      'relative bias',
      number(scores['relative_reconstruction_bias']),
      'the factor by which reconstructions are too short (below 1) or too long',
    ),
    ('CE clean', ce('ce_clean'), 'the model as it is'),
    ('CE spliced', ce('ce_spliced'), 'with the reconstruction in place'),
    ('CE zeroed', ce('ce_zero'), 'with the site set to zero'),
    ('CE mean', ce('ce_mean'), 'with the site set to its mean over all tokens'),
    (
      'CE recovered',
      percent(scores['ce_recovered']),
      '(CE zeroed − CE spliced) ÷ (CE zeroed − CE clean)',
    ),
    (
      'CE recovered from mean',
      percent(scores['ce_recovered_mean']),
      'the same with CE mean for CE zeroed: the harder comparison',
    ),
    (
      'KL recovered',
      percent(scores['kl_recovered']),
      '1 − KL spliced ÷ KL zeroed, from what the model predicts as it is',
    ),
  )
  return tables.table(
    ('measure', 'value', 'meaning'),
    rows,
    caption='Scores of the dictionary on held-out files.',
    text_columns=(0, 2),
  )


def _density_figure(densities: Float[np.ndarray, ' F']) -> Markup:
  alive = densities[densities > 0]
  dead = len(densities) - len(alive)
  median = float(np.median(alive)) if alive.size else 0.0
  rare = f'one token in {round(1 / median):,}' if median else 'no token'
  said = (
    f'{len(alive):,} of {len(densities):,} features are ever active; the median one on '
    f'{rare}'
  )
  picture = figures.histogram(
    densities,
    x_name='fraction of tokens on which a feature is active',
    y_name='features',
    log=True,
    marks={'median': median} if median else None,
  )
  return html.figure(
    picture,
    alt=f'Histogram of how often features are active: {said}.',
    caption=(
      f'How often features are active. {said[0].upper() + said[1:]}. Features far to '
      'the right respond to almost anything and mean little.'
      + (f' The {dead:,} that were never active are not drawn.' if dead else '')
    ),
  )


def _features_section(tour: Tour) -> html.Section:
  scale = Markup(
    'Each card is one feature. The code below its number is where it was most active '
    'in the stored data: the stronger the tint <span class="scale" role="img" '
    'aria-label="scale from faint to strong"></span> behind a token, the more active '
    'the feature there, and the outlined token is the strongest. The number in the '
    'corner is that token’s activation; point at a token for its own.'
  )
  return html.Section(
    'The clearest features',
    (
      scale,
      'Above the code stand the tokens that the feature’s direction raises and lowers '
      'when it is carried straight to the output, in logits per unit of activation '
      '(times the divisor of the final norm, which varies from token to token). A '
      'feature is clear when its contexts have something in common that you can name, '
      'and clearer still when what it raises fits.',
      tour.ranking,
    ),
    tuple(feature_card(feature) for feature in tour.features),
  )


def _patching_section(tour: Tour) -> html.Section:
  return html.Section(
    'Where the answer is decided',
    (
      'Take two texts that differ in one token, so that the model should answer '
      'differently at their ends. Run it on the second, the corrupt one, but replace '
      'one activation by what it was on the first, the clean one. If the answer turns '
      'to that of the clean text, what decides it passes through that activation.',
      'The number says how much of the answer came back: 0 that nothing changed, 1 '
      'that the model answers as on the clean text; orange is towards that answer, '
      'blue away from it. Each map has a scale of its own, beside it. Exact: (logit '
      'difference when patched − corrupt) '
      '÷ (clean − corrupt), of means over all pairs.',
    ),
    tuple(block for view in tour.patching for block in patching_blocks(view)),
  )


def _words_section() -> html.Section:
  return html.Section('Words', ('What the words on this page mean.',), (glossary(),))


def _setup_section(tour: Tour) -> html.Section:
  rows = [(stage, f'{seconds:.1f}') for stage, seconds in tour.seconds.items()]
  rows.append(('in all', f'{sum(tour.seconds.values()):.1f}'))
  return html.Section(
    'How to make this page again',
    (
      'The same settings, versions and seed give the same numbers, up to rounding that '
      'differs between machines. Times count all work on it, that of '
      'interrupted runs included.',
    ),
    (
      html.side_by_side(
        (
          tables.pairs(_shown(tour.setup), caption='Settings and versions.'),
          tables.table(
            ('stage', 'seconds'), rows, caption='Time of each stage, in seconds.'
          ),
        )
      ),
    ),
  )


def _shown(items: Mapping[str, Any]) -> dict[str, Any]:
  """Names for a reader: `batch_size` reads as `batch size`."""
  return {name.replace('_', ' '): value for name, value in items.items()}
