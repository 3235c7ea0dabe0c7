"""The page: what was found, what would have fooled us, and how sure we are."""

import numpy as np

from interp_jax import report
from interp_jax.findings.finding import Part, Picture
from interp_jax.findings.induction import measures, pictures, verdict
from interp_jax.findings.induction.verdict import Evidence
from interp_jax.lenses import RepeatedTokens
from interp_jax.report.lenses import attention_patterns


def parts(evidence: Evidence, repeats: RepeatedTokens) -> tuple[Part, ...]:
  """The sections, in order."""
  return (
    _heads(evidence, repeats),
    _transition(evidence),
    _ablation(evidence),
    _wiring(evidence),
    _controls(evidence),
    _embedded(evidence),
  )


def _heads(evidence: Evidence, repeats: RepeatedTokens) -> Part:
  found = evidence.two_layers
  writer, reader = (
    '.'.join(map(str, found[name][0].tolist())) for name in ('writer', 'reader')
  )
  end = 1 + 2 * int(repeats.periods[0])
  tokens = ['BOS', *map(str, repeats.tokens[0, 1:end].tolist())]
  figure = attention_patterns(
    found['patterns'][0][:, :end, :end],
    tokens,
    [f'{writer}, previous token', f'{reader}, induction'],
    columns=2,
  )
  return Part(
    'Two heads that repeat',
    (
      'The models read a block of random tokens, and then the same block again. '
      'Nothing in the first copy can be predicted. In the second, every token can: it '
      'is the one that followed the same token last time.',
      'An induction head looks for it. At each token it attends to what came after '
      'the earlier occurrence of that token (prefix matching), and raises the logit of '
      'what it attends to (copying). It can know what came after, because a '
      'previous-token head in the first layer has told every position what stands '
      'before it.',
      'The period is another one in every row, and the periods of this page never came '
      'up in training.',
    ),
    (
      Picture(
        'patterns',
        figure,
        'Attention of a previous-token head, on the diagonal below the main one, and '
        'of an induction head, on a diagonal that begins where the block repeats',
        f'Attention in the model of the first seed on one row, a block of '
        f'{repeats.periods[0]} tokens twice; queries go down, keys go right. Head '
        f'{writer} looks one token back, for about as long as the blocks of training '
        f'are: there it is needed. In the second copy, head {reader} looks at the '
        'token that followed last time, least surely where the block is longer than '
        'those of training.',
      ),
    ),
    ('prefix_matching', 'copying', 'copying_with_bos', 'repeated_loss'),
  )


def _transition(evidence: Evidence) -> Part:
  watched = evidence.watched
  matching = watched['prefix_matching']
  figure = pictures.transition(
    evidence.steps,
    watched['repeated_loss'],
    verdict.best_by_then(matching),
    verdict.of_best_by_then(watched['copying'], matching),
    evidence.chance,
  )
  return Part(
    'All at once',
    (
      'For the first hundred updates or more almost nothing happens. Then, within a '
      'short window, '
      'the loss on repeated tokens falls, and in the same window prefix matching and '
      'copying rise: the ability appears together with the heads.',
      'Neither head is of use without the other, so that for a while little pushes '
      'either of them; once both are there, they improve each other.',
    ),
    (
      Picture(
        'transition',
        figure,
        'Curves over training: loss on repeated tokens falls when prefix matching and '
        'copying of the same head rise',
        'Three signs over training, one line for each seed. Prefix matching and '
        'copying are those of the head that matches prefixes best by then.',
      ),
    ),
    ('transition_drop', 'transition_lag', 'transition_correlation'),
  )


def _ablation(evidence: Evidence) -> Part:
  found = evidence.two_layers
  seeds = [f'seed {world}' for world in range(len(found['zero_intact']))]
  figure = pictures.grouped_bars(
    seeds,
    {
      'intact': found['zero_intact'][:, 1],
      'without the other heads': found['zero_others'][:, 1],
      'without induction heads': found['zero_chosen'][:, 1],
    },
    'loss, second copy (nats)',
    {'ln V': evidence.chance},
  )
  return Part(
    'Without them, nothing is left',
    (
      'A head may look like an induction head and do nothing. So the induction heads '
      'are taken out: their output is set to zero. The loss in the second copy then '
      'rises above ln V, the loss of a model that knows nothing.',
      'Taking heads out may hurt whatever they do. As a control, the other heads of '
      'the same layer are taken out instead.',
    ),
    (
      Picture(
        'ablation',
        figure,
        'Bars: the loss without induction heads is above ln V, without other heads '
        'nearly as it was',
        'Loss in the second copy, of each seed: of the whole model, without the '
        'other heads of the last layer, and without the induction heads. The dashed '
        'line is ln V.',
      ),
    ),
    ('ablated_above_chance', 'others_cost', 'others_cost_per_head'),
  )


def _wiring(evidence: Evidence) -> Part:
  found = evidence.two_layers
  seeds = [f'seed {world}' for world in range(len(found['zero_intact']))]
  composition = pictures.grouped_bars(
    seeds,
    {
      f'{kind}-composition': found['composition'][:, index]
      for index, kind in enumerate('QKV')
    },
    'over the random baseline',
    {'random': 1.0},
  )
  paths = pictures.grouped_bars(
    seeds,
    {name: found['paths'][:, i] for i, name in enumerate(measures.PATHS)},
    "right token's logit, over the mean",
  )
  return Part(
    'How they are wired',
    (
      'That the two heads work together can be read off the weights. Composition '
      'scores say how much of what one head writes another reads: as queries, as keys '
      'or as values. Two unrelated heads do not score zero, so each score is given '
      'over that of the same matrices turned at random. Keys are where the induction '
      'head reads the previous-token head. There are several heads that look one back, '
      'each at some positions; shown is the one that it reads most. Of as many random '
      'ones, the best would lie two or three deviations above the mean.',
      'With its attention patterns and norms held fixed, the model is linear in its '
      'embeddings, and its logits are a sum over all paths from a token to the output: '
      'the direct one, paths through one head, and paths through a head of the first '
      'layer and one of the second. The sum is exact up to rounding. Nearly all that '
      'raises the right token comes by paths that end in an induction head. Some come '
      'there straight from the token that is copied, others by way of a head of the '
      'first layer, which copies tokens as well.',
    ),
    (
      Picture(
        'composition',
        composition,
        'Bars: K-composition stands out above its random baseline',
        'Composition of the previous-token head with the best induction head, over the '
        'mean of the same circuits turned at random; the dashed line is what random '
        'circuits have.',
      ),
      Picture(
        'paths',
        paths,
        'Bars: paths through induction heads write most of the right logit',
        'What kinds of paths add to the logit of the right token in the second copy, '
        'over the mean of all tokens.',
      ),
    ),
    (
      'k_composition',
      'k_composition_deviations',
      'q_composition',
      'v_composition',
      'right_token_share',
      'path_expansion_single',
      'path_expansion_double',
    ),
  )


def _controls(evidence: Evidence) -> Part:
  two = evidence.two_layers
  points = {
    'two layers': (two['zero_intact'][:, 1], verdict.best(two['prefix_matching']))
  }
  others = {
    'one layer': evidence.one_layer,
    'absolute positions, periods of training': evidence.absolute_seen,
    'absolute positions, other periods': evidence.absolute,
    'one period, at that period': evidence.constant_seen,
    'one period, at others': evidence.constant,
  }
  for name, found in others.items():
    points[name] = (found['repeated_loss'], verdict.best(found['prefix_matching']))
  figure = pictures.matching_against_loss(points, evidence.chance)
  return Part(
    'What would have fooled us',
    (
      'One layer: a single layer has no earlier head to read, so it cannot do '
      'induction. What it learns from the periods of training is worse than knowing '
      'nothing at others.',
      'Absolute positions: models whose positions are added to the residual stream '
      'learn to repeat, too, at the periods of training. But no head of theirs attends '
      'as induction heads do, and at other periods nothing is left of the ability. The '
      'loss on data like that of training would have called them induction; the score '
      'does not.',
      'One period: trained on rows that all repeat after the same number of tokens, '
      'even one layer gets a high prefix-matching score at that period, by looking '
      'equally far back whatever the token is. At other periods nothing of it is left. '
      'That is why periods are drawn at random here, and others are used to measure.',
    ),
    (
      Picture(
        'controls',
        figure,
        'Points: only the two-layer models have a low loss and high prefix matching at '
        'periods that they were not trained on',
        'Every model as a point: its loss in the second copy, and the prefix matching '
        'of its best head.',
      ),
    ),
    tuple(name for name, bound in verdict.BOUNDS.items() if _is_model_control(name)),
  )


def _is_model_control(name: str) -> bool:
  return name.startswith(('one_layer', 'absolute', 'constant'))


def _embedded(evidence: Evidence) -> Part:
  found = evidence.embedded
  layers = range(found['prefix_matching'].shape[1])
  columns = [str(head) for head in range(found['prefix_matching'].shape[2])]
  figure = report.heat_map(
    found['prefix_matching'][0],
    [str(layer) for layer in layers],
    columns,
    row_name='layer',
    column_name='head',
    value_name='prefix matching',
    limit=1.0,
  )
  heads = ', '.join('.'.join(map(str, h)) for h in np.argwhere(found['chosen'][0]))
  return Part(
    'In a language model',
    (
      'The embedded model stdlib-4l was trained on Python source, where nobody asked '
      'for induction. The same measures find the same heads in it: on random tokens '
      f'that repeat, the heads {heads} match prefixes, and without them the second '
      'copy is as hard as the first. Here the heads are replaced by their mean output, '
      'which spares the rest of the model as much as possible.',
    ),
    (
      Picture(
        'stdlib',
        figure,
        'A map of prefix-matching scores by layer and head of stdlib-4l',
        'Prefix matching of every head of stdlib-4l.',
      ),
    ),
    tuple(name for name in verdict.BOUNDS if name.startswith('stdlib')),
  )
