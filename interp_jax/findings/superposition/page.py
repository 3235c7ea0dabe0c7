"""The page: what the models do, told to a newcomer, and how sure we are."""

import numpy as np

from interp_jax.findings.finding import Part, Picture
from interp_jax.findings.superposition import experiments, measures, pictures, recipe
from interp_jax.findings.superposition.experiments import Found, Settings
from interp_jax.tasks import toy_features


def parts(
  plane: dict[str, Found], cells: Found, many: Found, config: Settings
) -> tuple[Part, ...]:
  """The sections, in order.

  Args:
    plane: pentagons, the sweep and the linear control.
    cells: of the phase diagram.
    many: the large models.
    config: of the reproduction.
  """
  return (
    _question(),
    _pentagons(plane['pentagons']),
    _sweep(plane, config),
    _phases(cells, config),
    _plateaus(many, config),
    _loss(),
    _sure(),
  )


def _question() -> Part:
  return Part(
    'The question',
    (
      'A network has fewer neurons than there are things worth knowing. Does it keep '
      'the most important ones, or can it store more features than it has dimensions?',
      'The model here is the smallest that can be asked: it reads n numbers, keeps '
      'only m < n numbers of them (h = W x), and has to give all n back, as '
      'ReLU(Wᵀ h + b). Each feature i is stored along one direction, column i of W. '
      'If features are present only now and then, two of them can share a direction: '
      'they disturb each other only when both are there, and the ReLU clears away the '
      'rest. That is superposition.',
    ),
  )


def _pentagons(found: Found) -> Part:
  picture = Picture(
    'pentagons',
    pictures.pentagons(found['W']),
    alt='Five arrows from the origin to the corners of a regular pentagon, many times',
    caption='Each picture is a model that was trained by itself. An arrow is the '
    'direction in which one of five features is stored in two dimensions; the circle '
    'has radius 1.',
  )
  return Part(
    'Five features in two dimensions',
    (
      'Five features that are equally important, and each present one time in twenty, '
      'are stored in two dimensions as a regular pentagon, whatever the initial '
      'weights. The pentagon may be turned, and the order of the features differs.',
      'A feature that is alone in its direction has a dimension of its own; here each '
      'has 2/5 of one. That number alone proves little, because other frames have it, '
      'too. A model counts as a pentagon if all its angles are those of one. In three '
      'dimensions, six features become three antipodal pairs, and eight a square '
      'antiprism: a cube, one face turned by 45 degrees.',
    ),
    (picture,),
    (
      'regular_pentagons',
      'pentagon_dimensionality',
      'pentagon_gap_error',
      'antipodal_pair_models',
      'square_antiprism_models',
    ),
  )


def _sweep(plane: dict[str, Found], config: Settings) -> Part:
  best = recipe.best_of(plane['sweep'], config.restarts)
  linear = recipe.best_of(plane['linear'], config.linear_restarts)
  picture = Picture(
    'sweep',
    pictures.sweep(experiments.sweep_densities(config), best['W'], linear['W']),
    alt='Two arrows at right angles in dense data, two opposite pairs, then a pentagon;'
    ' the linear model has two arrows throughout',
    caption='Left to right, features become rare. Above, the directions of the five '
    'features; in the middle, WᵀW, of which the diagonal says what is stored and the '
    'rest what disturbs; below, the same model without its ReLU.',
  )
  return Part(
    'From dense to sparse',
    (
      'Now each feature matters a tenth less than the one before. Where all are '
      'always present, the model keeps the two most important and drops the rest, as '
      'principal components would. As they become rare it stores four, as two pairs of '
      'opposites, and then all five.',
      'The linear model, which has a bias but no ReLU, keeps exactly two at every '
      'density: it cannot clear away what leaks from one feature into another.',
    ),
    (picture,),
    (
      'dense_features',
      'middle_features',
      'middle_dimensionality',
      'sparse_features',
      'linear_features',
    ),
  )


def _phases(cells: Found, config: Settings) -> Part:
  density, importance = experiments.phase_axes(config)
  losses = toy_features.pair_losses(density, importance)
  least = np.stack([losses[name] for name in measures.PHASES]).argmin(0)
  picture = Picture(
    'phases',
    pictures.phases(
      density[0],
      importance[:, 0],
      measures.phase(cells['W']).reshape(density.shape),
      np.array(measures.PHASES)[least],
    ),
    alt='Two maps of three regions: dropped below left, dedicated above left, both in '
    'superposition to the right',
    caption=f'Each cell is the best of {config.phase_restarts} models of two features '
    'in one dimension. Left: what was learned. Right: which of three fixed models has '
    'the least loss, by a formula for each. The leftmost cell of equal importance is a '
    'tie.',
  )
  return Part(
    'A phase diagram',
    (
      'Two features, one dimension. The second feature may be dropped, may get the '
      'dimension to itself, or both may share it as opposites. Which of these is best '
      'changes all at once along a line, as between ice and water. At equal importance '
      'sharing pays where each feature is present less than 4/7 of the time.',
    ),
    (picture,),
    ('antipodal_share', 'phases', 'phase_agreement'),
  )


def _plateaus(many: Found, config: Settings) -> Part:
  size = config.many
  picture = Picture(
    'dimensionality',
    pictures.dimensionality(experiments.inverse_densities(config), many['W']),
    alt='Points that gather at one half, and fall to the right',
    caption='Every point is one feature that is represented. Dashed, the fractions of '
    'regular shapes: tetrahedron 3/4, triangle 2/3, pair 1/2, pentagon 2/5, square '
    'antiprism 3/8.',
  )
  return Part(
    'Large models choose shapes, too',
    (
      f'{size.features} equally important features in {size.dimensions} dimensions '
      'could share them in any way. They split into small groups that use dimensions '
      'of their own, and each group is a regular shape: over a range of sparsities '
      'nearly all features have exactly half a dimension, as one of an antipodal pair.',
    ),
    (picture,),
    (
      'half_dimensionality',
      'half_share',
      'two_thirds_share',
      'dense_dimensions',
      'sparse_dimensions',
    ),
  )


def _loss() -> Part:
  return Part(
    'The loss, exactly',
    (
      'Small models are trained on the expected loss itself, summed over all sets of '
      'features that may be present, so no luck of the draw enters. It is compared '
      'with 64 million draws. For the linear model there is a formula; a form of it '
      'that is often quoted, and said to hold for the ReLU model, is far off even for '
      'the linear one.',
    ),
    (),
    ('linear_loss_error', 'quoted_loss_ratio', 'quadrature_error'),
  )


def _sure() -> Part:
  return Part(
    'How sure we are',
    (
      'What could have fooled us: choosing the nicest of many models (all instances '
      'count here); looking only at the mean of the dimensionality, which is m/n '
      'for every tight frame (below, random frames have exactly the right mean and no '
      'geometry, and an irregular frame has 2/5 for each of five features without '
      'being a pentagon); and a measure that finds shapes in anything (random weights '
      'have none).',
      'The phases are the best of several restarts, as in the paper, because a single '
      'run may end in a worse optimum.',
    ),
    (),
    (
      'irregular_frame_error',
      'random_pentagons',
      'random_antipodal_share',
      'random_half_share',
      'tight_frame_half_share',
      'tight_frame_mean',
    ),
  )
