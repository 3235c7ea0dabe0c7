"""The Othello finding: its measures on cases with known answers, and when it breaks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import findings, models, training
from interp_jax.findings.othello import (
  flips,
  positions,
  probing,
  recipe,
  study,
  verdict,
)
from interp_jax.findings.othello.probing import (
  BLACK_WHITE,
  BY_MOVES,
  MINE_THEIRS,
  RANDOM,
  SHUFFLED,
  TRAINED,
)
from interp_jax.probes import ProbeConfig
from interp_jax.tasks import othello

RULES = othello.Rules(6)
SMALL = recipe.Recipe(layers=2, width=16, heads=2, steps=4, batch_size=8, eval_every=2)
LINEAR = ProbeConfig(steps=150, batch_size=256, learning_rate=0.02)


@pytest.fixture(scope='module')
def moves():
  return othello.random_games(RULES, 120, seed=0)


@pytest.fixture(scope='module')
def points(moves):
  return positions.find_points(RULES, moves)


@pytest.fixture(scope='module')
def model():
  model = recipe.make_model(SMALL)
  return model, models.init_params(model, 0)


def test_points_are_labelled_as_the_games_are(moves, points):
  found = othello.replay(RULES, moves)
  assert points.t.min() == 5
  assert points.t.max() == 26
  every = np.arange(len(points.t))
  just = RULES.square_of_token[moves[points.game, points.t]]
  assert (points.relative[every, just] == positions.NO_LABEL).all()
  assert (points.absolute[every, just] == positions.NO_LABEL).all()
  known = points.relative != positions.NO_LABEL
  assert known.sum() == known.size - len(every)
  true = found.boards[points.game, points.t]
  np.testing.assert_array_equal(points.absolute[known], true[known])
  white = found.to_move[points.game, points.t] == othello.WHITE
  same = (points.relative == points.absolute).all(-1)
  np.testing.assert_array_equal(same, ~white)


def test_a_disc_has_turned_if_its_colour_is_not_that_of_who_placed_it(moves, points):
  found = othello.replay(RULES, moves)
  game = points.game[40]
  placed = {14: othello.WHITE, 15: othello.BLACK, 20: othello.BLACK, 21: othello.WHITE}
  player = othello.BLACK
  for t, token in enumerate(moves[game, : points.t[40] + 1]):
    placed[int(RULES.square_of_token[token])] = player
    player = found.to_move[game, t]
  board = found.boards[game, points.t[40]]
  just = int(RULES.square_of_token[moves[game, points.t[40]]])
  expected = [q in placed and q != just and board[q] != placed[q] for q in range(36)]
  np.testing.assert_array_equal(points.turned[40], expected)
  assert points.turned[40].any()


def test_the_illegal_share_counts_points_with_a_legal_move_only():
  logits = jnp.eye(4)[jnp.array([[0, 1], [2, 3]])]
  legal = np.zeros((2, 2, 4), bool)
  legal[0, 0, 0] = legal[0, 1, 0] = legal[1, 0, 1:3] = True  # [1, 1] is the end.
  assert float(recipe.illegal_share(logits, legal)) == pytest.approx(1 / 3)


def test_errors_count_moves_in_one_set_only():
  logits = np.array([[3.0, 2.0, 1.0, 0.0]] * 3)
  legal = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]], bool)
  np.testing.assert_array_equal(flips.errors(logits, legal), [0, 2, 4])


def test_cases_ask_for_the_legal_moves_of_the_board_with_one_disc_turned(moves, points):
  cases, others = flips.find_cases(RULES, moves, points, 50, seed=0)
  assert len(cases) == 50
  boards = othello.replay(RULES, cases.moves).relative()[np.arange(50), cases.t]
  for case in range(50):
    board, square = boards[case].copy(), cases.square[case]
    assert board[square] == (othello.MINE if cases.mine[case] else othello.THEIRS)
    assert others.square[case] != square
    assert board[others.square[case]] != othello.EMPTY
    board[square] = othello.MINE + othello.THEIRS - board[square]
    sides = (othello.MINE, othello.THEIRS)
    own, other = (RULES.pack(board[None] == who) for who in sides)
    legal = RULES.unpack(RULES.legal(own, other))[0, RULES.square_of_token]
    np.testing.assert_array_equal(cases.legal_after[case], legal)
  assert (cases.legal != cases.legal_after).any(-1).all()
  np.testing.assert_array_equal(others.legal_after, cases.legal_after)


def test_a_flip_moves_the_stream_of_one_position_by_the_steps_asked_for(
  moves, points, model
):
  model, params = model
  cases, _ = flips.find_cases(RULES, moves, points, 6, seed=0)
  cases = jax.tree.map(jnp.asarray, cases)
  steps = jax.random.normal(jax.random.key(0), (2, 36, 16))
  tokens = recipe.as_tokens(cases.moves)
  edit = flips.flip(steps, cases, jnp.asarray(1), 2.0)
  _, before = model.apply({'params': params}, tokens)
  _, after = model.apply({'params': params}, tokens, edit)
  moved = np.array(after['resid_post'] - before['resid_post'])
  sign = np.where(cases.mine, -2.0, 2.0)[:, None]
  here = np.arange(6), np.asarray(cases.t)
  np.testing.assert_allclose(
    moved[0][here], sign * steps[0, cases.square], rtol=1e-4, atol=1e-5
  )
  moved[0][here] = 0
  assert not moved[0].any()
  assert moved[1].any()  # What follows from it, not a step of its own.


def oracle(points, seed=0):
  """Streams in which the board is written as the player to move sees it, and noise."""
  rng = np.random.default_rng(seed)
  board = np.eye(3)[np.maximum(points.relative, 0)].reshape(len(points.t), -1)
  hidden = board @ rng.normal(size=(board.shape[1], 128)) / 6
  noise = rng.normal(size=(2, *hidden.shape))
  return np.stack([noise[0], hidden + 0.01 * noise[1]]).astype(np.float32)


@pytest.fixture(scope='module')
def readings(points):
  """Of streams that hold the board, and of streams that hold nothing."""
  noise = np.random.default_rng(1).normal(size=(2, len(points.t), 128))
  streams = {TRAINED: oracle(points), RANDOM: noise.astype(np.float32)}
  labels = probing.make_labels(points, seed=0)
  return probing.train_probes(streams, labels, points.game, LINEAR, seed=0)[0]


def test_probes_read_the_board_where_it_is_written_and_nowhere_else(readings):
  mine = readings.accuracy(TRAINED, MINE_THEIRS)
  assert mine[1] > 0.97
  assert mine[0] < readings.majority[MINE_THEIRS] + 0.03
  assert readings.disc_accuracy(TRAINED, MINE_THEIRS)[1] > 0.95
  # A colour is mine or theirs by turns.
  assert readings.accuracy(TRAINED, BLACK_WHITE)[1] < mine[1] - 0.2
  assert readings.best(TRAINED, SHUFFLED) < readings.majority[SHUFFLED] + 0.03
  assert readings.best(TRAINED, BY_MOVES) < mine[1] - 0.3
  assert readings.best(RANDOM, MINE_THEIRS) < readings.majority[MINE_THEIRS] + 0.03


def test_steps_lead_from_theirs_to_mine(points):
  streams = oracle(points)
  labels = {MINE_THEIRS: probing.make_labels(points, 0)[MINE_THEIRS]}
  _, result = probing.train_probes(
    {TRAINED: streams}, labels, points.game, LINEAR, seed=0
  )
  steps = probing.steps_along(result.probes, streams, points.relative)
  theirs = streams[1][points.relative[:, 3] == othello.THEIRS]
  moved = np.stack([streams[0][: len(theirs)], theirs + 2 * steps[1, 3]])
  read = np.asarray(result.probes.predict(moved))[1, :, 3]
  assert (read == othello.MINE).mean() > 0.95


def made_study(readings, illegal, after):
  """A study with these readings, and made-up numbers for the rest."""
  before = 2.4
  curve = lambda end: np.linspace(before, end, len(flips.SCALES))
  effects = flips.Effects(
    floor=1.0,
    before=before,
    curves={
      flips.PROBE: curve(after),
      flips.OTHER_SQUARE: curve(2.6),
      flips.RANDOM: curve(2.5),
    },
    layers=1,
    scale=flips.SCALES[-1],
    example=flips.Cases(*[None] * 6),
    example_logits=np.zeros((2, 32)),
  )
  turned = {TRAINED: readings.disc_accuracy(TRAINED, MINE_THEIRS)}
  board = np.zeros((1, 36), np.int8)
  sample = study.Sample(np.zeros(1, int), np.ones(1, int), board, board)
  parts = {'curve': {}, 'sample': sample, 'mlp': readings, 'turned': turned}
  return study.Study(
    6,
    illegal=illegal,
    untrained_illegal=0.85,
    linear=readings,
    effects=effects,
    **parts,
  )


def broken(found):
  return {q.name for q in verdict.quantities(found) if not q.holds}


def test_the_verdict_holds_for_streams_that_hold_the_board(readings):
  assert broken(made_study(readings, illegal=0.02, after=1.2)) == set()


def test_the_verdict_changes_if_probes_are_trained_on_shuffled_boards(readings):
  confusion = dict(readings.confusion)
  confusion[TRAINED, MINE_THEIRS] = confusion[TRAINED, SHUFFLED]
  found = broken(
    made_study(dataclasses.replace(readings, confusion=confusion), 0.02, 1)
  )
  assert {'mine_theirs', 'mine_theirs_turned', 'margin_over_black_white'} <= found
  assert {'margin_over_random_weights', 'margin_over_majority', 'selectivity'} <= found


def test_the_verdict_changes_if_the_random_model_is_read_as_well(readings):
  confusion = dict(readings.confusion)
  confusion[RANDOM, MINE_THEIRS] = confusion[TRAINED, MINE_THEIRS]
  found = dataclasses.replace(readings, confusion=confusion)
  assert broken(made_study(found, 0.02, 1.2)) == {'margin_over_random_weights'}


def test_the_verdict_changes_if_moves_are_illegal_or_edits_without_effect(readings):
  assert broken(made_study(readings, 0.05, 1.2)) == {'illegal_moves'}
  assert broken(made_study(readings, 0.02, 2.3)) == {'flip_errors_left'}


@pytest.mark.parametrize('quick', [False, True])
@pytest.mark.parametrize('board', [6, 8])
def test_the_warm_up_of_every_form_ends_before_its_training(quick, board):
  model = findings.get('othello').settings(quick, board=board).model
  assert 0 < model.warmup < model.steps / 2
  assert model.steps % model.eval_every == 0


def test_a_board_of_four_rows_is_refused():
  with pytest.raises(ValueError, match='board=4: choose 6 or 8'):
    findings.get('othello').settings(False, board=4)


@pytest.mark.slow
def test_a_model_of_moves_is_read_and_edited_and_a_random_one_is_not(tmp_path):
  """The whole path, on a model that was trained for seconds."""
  config = ProbeConfig(steps=150, batch_size=256)
  mlp = ProbeConfig(kind='mlp', steps=5, batch_size=256, warmup=1)
  settings = study.Settings(
    recipe.Recipe(layers=2, width=64, steps=300, batch_size=64, eval_every=100),
    games=200,
    linear=config,
    mlp=mlp,
    cases=200,
  )
  run = open_run(tmp_path / 'trained')
  found = study.examine(run, settings)
  assert found.curve['illegal'][-1] < 0.3
  assert found.illegal < found.untrained_illegal / 3
  mine = found.linear.best(TRAINED, MINE_THEIRS)
  assert mine > found.linear.best(TRAINED, BLACK_WHITE) + 0.02
  assert mine > found.linear.best(RANDOM, MINE_THEIRS) + 0.05
  effects = found.effects
  assert effects.after(flips.PROBE) < effects.before
  # Its heads exchanged for those of another layer, the model plays and is read worse.
  params = recipe.train(settings.model, run)
  attn = jax.tree.map(lambda x: x[::-1], params['blocks']['attn'])
  other = params | {'blocks': params['blocks'] | {'attn': attn}}
  worse = study.measure(other, found.curve, open_run(tmp_path / 'other'), settings)
  assert worse.illegal > 2 * found.illegal
  assert worse.linear.best(TRAINED, MINE_THEIRS) < mine - 0.02


def open_run(folder):
  return findings.Run(folder, 0, False, training.Stages(folder))
