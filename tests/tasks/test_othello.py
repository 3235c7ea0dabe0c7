"""Othello: against the rules written down plainly, and known numbers of games."""

import numpy as np
import pytest

from interp_jax.tasks import othello
from interp_jax.tasks.othello import BLACK, EMPTY, NO_MOVE, NOBODY, WHITE

AROUND = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if r or c]


class PlainGame:
  """One game on a list of lists, by the letter of the rules."""

  def __init__(self, size):
    self.size = size
    self.board = [[EMPTY] * size for _ in range(size)]
    self.to_move = BLACK
    low, high = size // 2 - 1, size // 2
    self.board[low][low] = self.board[high][high] = WHITE
    self.board[low][high] = self.board[high][low] = BLACK

  def turned(self, player, row, column):
    """The discs that a move turns."""
    if self.board[row][column] != EMPTY:
      return []
    found = []
    for down, right in AROUND:
      line, r, c = [], row + down, column + right
      while 0 <= r < self.size and 0 <= c < self.size:
        if self.board[r][c] == EMPTY:
          break
        if self.board[r][c] == player:
          found += line
          break
        line.append((r, c))
        r, c = r + down, c + right
    return found

  def legal(self, player):
    every = [(r, c) for r in range(self.size) for c in range(self.size)]
    return {place for place in every if player and self.turned(player, *place)}

  def play(self, row, column):
    turned = self.turned(self.to_move, row, column)
    assert turned
    for r, c in [*turned, (row, column)]:
      self.board[r][c] = self.to_move
    opponent = BLACK + WHITE - self.to_move
    if self.legal(opponent):
      self.to_move = opponent
    elif not self.legal(self.to_move):
      self.to_move = NOBODY


def perft(rules, depth):
  """How many games of 1, 2, ..., `depth` moves there are."""
  now, counts = rules.start(1), []
  for _ in range(depth):
    legal = rules.unpack(rules.legal(now.own, now.other))
    game, square = np.nonzero(legal & (now.to_move != NOBODY)[:, None])
    counts.append(len(game))
    now = othello.Positions(now.black[game], now.white[game], now.to_move[game])
    now = rules.play(now, np.uint64(1) << square.astype(np.uint64))
  return counts


def test_games_on_the_usual_board_are_as_many_as_is_known():
  assert perft(othello.Rules(8), 6) == [4, 12, 56, 244, 1396, 8200]


@pytest.mark.parametrize('size', [4, 6, 8])
def test_boards_players_and_legal_moves_are_those_of_the_plain_rules(size):
  rules = othello.Rules(size)
  moves = othello.random_games(rules, 25, seed=size)
  found = othello.replay(rules, moves)
  for game, row in enumerate(moves):
    plain = PlainGame(size)
    for t, token in enumerate(row):
      if token != NO_MOVE:
        plain.play(*divmod(int(rules.square_of_token[token]), size))
      np.testing.assert_array_equal(found.boards[game, t], np.ravel(plain.board))
      assert found.to_move[game, t] == plain.to_move
      legal = rules.square_of_token[found.legal[game, t]]
      expected = {r * size + c for r, c in plain.legal(plain.to_move)}
      assert set(legal.tolist()) == expected


def test_games_have_passes_and_early_ends():
  """Else the test above would prove little."""
  rules = othello.Rules(4)
  moves = othello.random_games(rules, 25, seed=4)
  to_move = othello.replay(rules, moves).to_move
  passes = (to_move[:, 1:] == to_move[:, :-1]) & (to_move[:, 1:] != NOBODY)
  assert passes.any()
  assert (moves[:, -1] == NO_MOVE).any()


def test_random_games_draw_evenly_from_the_legal_moves():
  rules = othello.Rules(6)
  moves = othello.random_games(rules, 4000, seed=0)
  tokens, counts = np.unique(moves[:, 0], return_counts=True)
  names = {rules.square_name(rules.square_of_token[token]) for token in tokens}
  assert names == {'c2', 'b3', 'e4', 'd5'}
  np.testing.assert_allclose(counts, 1000, atol=140)  # Five standard deviations.


def test_games_belong_to_their_seed():
  rules = othello.Rules(4)
  games = [othello.random_games(rules, 8, seed) for seed in (1, 1, 2)]
  np.testing.assert_array_equal(games[0], games[1])
  assert (games[0] != games[2]).any()


def test_tokens_are_all_squares_but_the_centre():
  rules = othello.Rules(6)
  assert rules.vocab_size == 32
  assert [rules.square_name(q) for q in (0, 5, 35)] == ['a1', 'f1', 'f6']
  np.testing.assert_array_equal(
    rules.token_of_square[rules.square_of_token], np.arange(32)
  )
  assert set(np.flatnonzero(rules.token_of_square == NO_MOVE)) == {14, 15, 20, 21}


def test_the_relative_board_is_the_board_with_the_colours_of_the_player_to_move():
  boards = np.array([[EMPTY, BLACK, WHITE]] * 2, np.int8)
  seen = othello.relative(boards, np.array([BLACK, WHITE], np.int8))
  mine, theirs = othello.MINE, othello.THEIRS
  np.testing.assert_array_equal(seen, [[EMPTY, mine, theirs], [EMPTY, theirs, mine]])


def test_an_illegal_move_is_named():
  rules = othello.Rules(6)
  with pytest.raises(ValueError, match='Game 1: move 1, to a1, is not legal'):
    othello.replay(rules, np.array([[rules.token_of_square[8]], [0]], np.int8))


def test_a_board_of_another_size_is_refused():
  with pytest.raises(ValueError, match='size=5'):
    othello.Rules(5)


def test_boards_are_packed_and_unpacked_without_loss():
  rules = othello.Rules(8)
  squares = np.random.default_rng(0).random((5, 3, 64)) < 0.5
  np.testing.assert_array_equal(rules.unpack(rules.pack(squares)), squares)
