"""The page's story: what the model is, what it holds, and how sure we are."""

from interp_jax.findings.finding import Part, Picture
from interp_jax.findings.othello import pictures
from interp_jax.findings.othello.study import Study
from interp_jax.tasks import othello


def parts(found: Study) -> tuple[Part, ...]:
  """The parts of the page, in order."""
  return (_model(found), _board(found), _frame(found), _flips(found), _doubts(found))


def _model(found: Study) -> Part:
  size, last = found.size, found.curve['step'][-1]
  return Part(
    'A model that has never seen a board',
    (
      f'Othello is played on {size} by {size} squares. A move places a disc of one’s'
      ' own and turns all discs of the opponent that it closes in between two; a move'
      ' that turns none is not legal. So what is legal depends on the colour of every'
      ' disc on the board, and colours change all the time.',
      'A small transformer was given games in which both players move at random, as a'
      ' list of squares and nothing else, and learned to say which square comes next.'
      ' It was told neither the rules nor that there is a board. Since every training'
      ' game is new, and there are far more games than could be learned by heart, it'
      ' can only name legal moves if it works out what lies where.',
    ),
    (
      Picture(
        'training',
        pictures.training_curve(found),
        'The share of illegal moves falls along the training.',
        'How often the move that the model holds for likeliest is illegal, on games'
        f' held out, over {last} updates. The dashed line is a model with random'
        ' weights. The scale is logarithmic.',
      ),
    ),
    ('illegal_moves', 'illegal_moves_untrained'),
  )


def _board(found: Study) -> Part:
  return Part(
    'The board is inside',
    (
      'A probe is a linear function of the model’s activations, one for each square,'
      ' that is trained to say what the square holds: nothing, a disc of the player to'
      ' move, or one of the opponent. It is scored on games that it was not trained'
      ' on. The disc that was just placed is left out, as it needs no memory, and so'
      ' are the first and last five moves, as Li et al. do.',
      'Most squares are either empty or hold a disc that nobody touched since it was'
      ' placed. The hardest are the discs that have changed sides: to know them, one'
      ' has to have followed the game.',
    ),
    (
      Picture(
        'boards',
        pictures.boards_read(found),
        'Three boards of one game, and below each the board as the probes read it.',
        'One held-out game, early, in the middle and late. Blue discs are of the player'
        ' to move, orange ones of the opponent; a white dot is on the disc just placed,'
        ' which the probes are not asked about. Below: what they read in the layer that'
        ' is best on average. Crosses are mistakes.',
      ),
    ),
    ('mine_theirs', 'mine_theirs_discs', 'mine_theirs_turned'),
  )


def _frame(found: Study) -> Part:
  return Part(
    'Mine and theirs, not black and white',
    (
      'Li et al. asked linear probes for black and white, found little, and concluded'
      ' that the board is there in a form that only probes with a hidden layer can'
      ' read. Nanda et al. found that it had been the wrong question: the model speaks'
      ' of the player to move. As the players take turns, a colour is mine at one move'
      ' and theirs at the next, and no linear function can follow.',
      'The same probes on a model with random weights show what can be read off the'
      ' moves alone, without any model: which squares are empty, and little more.',
    ),
    (
      Picture(
        'layers',
        pictures.accuracy_by_layer(found),
        'Accuracy by layer of probes for mine or theirs, and of three others below it.',
        'Squares read right, by the number of layers before the probe; at 0 there is'
        ' only the last move. The dashed line says on each square what is most'
        ' frequent there. A hidden layer recovers part of what linear probes miss in'
        ' black and white.',
      ),
    ),
    (
      'black_white',
      'margin_over_black_white',
      'random_weights',
      'margin_over_random_weights',
      'majority',
      'margin_over_majority',
      'mlp_mine_theirs',
      'mlp_black_white',
      'mlp_random_weights',
    ),
  )


def _flips(found: Study) -> Part:
  effects = found.effects
  square = othello.Rules(found.size).square_name(int(effects.example.square[0]))
  layers = 'the first layer' if effects.layers == 1 else f'{effects.layers} layers'
  return Part(
    'Turning a disc over in the model',
    (
      'That something can be read does not show that the model uses it. So we write:'
      ' at the last move, the residual stream is moved along the direction of one'
      ' square’s probe, from mine to theirs or back. If the model reads its board'
      ' there, it must now take other moves for legal: those of a board on which this'
      ' disc, and no other, is turned over. Such a board need not occur in any game.',
      'The error counts moves that are in one of two sets only: those that are legal on'
      ' the changed board, and as many that the model holds for likeliest. The edit'
      f' acts after {layers} and goes {effects.scale:g} steps far, a step being the'
      ' distance between discs of the two sides. Both were chosen on other cases than'
      ' those that are counted.',
    ),
    (
      Picture(
        'flip',
        pictures.moves_before_and_after(found),
        'Likely moves before and after one disc is turned over in the model.',
        'Green is the chance of a move in percent, a dashed frame a legal move, the'
        f' ring the disc on {square} that is turned over. Left the board and the model'
        ' as they are; right the changed board, and the model after the edit. The case'
        ' is the one in which the edit helped most; the curves below are of all.',
      ),
      Picture(
        'errors',
        pictures.errors_by_steps(found),
        'Wrong moves by the size of the edit, for three kinds of directions.',
        'Wrong moves per changed board, by how far the streams were moved. Along the'
        ' probe’s own direction the errors fall towards those that the model makes on'
        ' boards that nobody touched (dashed); along others they do not.',
      ),
    ),
    (
      'flip_errors_before',
      'flip_errors_after',
      'flip_errors_floor',
      'flip_errors_left',
      'flip_errors_left_other_square',
      'flip_errors_left_random',
    ),
  )


def _doubts(found: Study) -> Part:
  return Part(
    'How sure we are',
    (
      'A probe can learn by itself what the model does not hold. Trained on the boards'
      ' of other points, probes are no better than the most frequent answer. In a'
      ' control task each pair of last moves has a board of its own, drawn at random;'
      ' what a probe learns of that it learned by heart. Selectivity is how much better'
      ' it is on the true board, and it stays high with a hidden layer, which could'
      ' learn more by heart.',
      'Points of one game resemble each other, so games are held out whole. Empty'
      ' squares are easy, so discs are counted on their own as well. On a board of 4 by'
      ' 4 squares all of this would be trivial.',
      'A strong push in any direction changes a model. So the same push along random'
      ' directions, and along the direction of another disc of the same board, are'
      ' counted against the same changed board: they must not help.',
      'The model is small and was trained for minutes. It still makes illegal moves,'
      ' and where it does not know the board, no probe can read it. One model was'
      ' trained for this page; its seed is fresh in every reproduction.',
    ),
    (
      Picture(
        'controls',
        pictures.table_by_layer(found),
        'A table of all probes and controls by layer.',
        'The share of squares that each probe reads right, less that of the most'
        ' frequent answer, by the number of layers before it. Controls must be near 0;'
        ' what is left with random weights is read off the moves alone.',
      ),
    ),
    ('shuffled_over_majority', 'selectivity', 'mlp_selectivity'),
  )
