"""Othello on any even board up to 8 by 8: rules, random games, boards, legal moves.

A board is two bit sets, one per colour, in a uint64 of numpy, and a batch of games is
an array of them, so that every rule is a few shifts for all games at once. Square
`row * size + column` is bit number `square`. A game is written as the moves only, as in
Li et al. 2023 (arXiv:2210.13382): who has no legal move passes, which leaves no trace,
and the game ends when neither player has one. A move's token is its square, counted
without the four in the centre, which are taken from the start.
"""

import dataclasses
import functools

from jaxtyping import Bool, Int, Int8, UInt64
import numpy as np

# What stands in a row of moves after the end of its game.
NO_MOVE = -1

# Colours, as players. Black begins.
BLACK, WHITE, NOBODY = 1, 2, 0

# What a square holds: nothing, or a disc of BLACK or WHITE; for a player who looks at
# the board, a disc of one's own or of the opponent.
EMPTY, MINE, THEIRS = 0, 1, 2

# Games that are played side by side: their boards stay in the cache.
_SIDE_BY_SIDE = 8192

Bits = UInt64[np.ndarray, '*b']


@dataclasses.dataclass(frozen=True)
class Rules:
  """The board of one size, and what is legal on it.

  Attributes:
    size: Rows, and columns, of the board: 4, 6 or 8.
  """

  size: int

  def __post_init__(self):
    """Refuses boards that the game does not have."""
    if self.size not in (4, 6, 8):
      raise ValueError(f'size={self.size}: a board has 4, 6 or 8 rows.')

  @property
  def squares(self) -> int:
    """Number of squares `Q`."""
    return self.size**2

  @property
  def vocab_size(self) -> int:
    """Number of moves `V`, and the most that a game can have: all squares but four."""
    return self.squares - 4

  @functools.cached_property
  def square_of_token(self) -> Int[np.ndarray, ' V']:
    """The square of each token."""
    return np.setdiff1d(np.arange(self.squares), self._centre)

  @functools.cached_property
  def token_of_square(self) -> Int[np.ndarray, ' Q']:
    """The token of each square; `NO_MOVE` in the centre."""
    tokens = np.full(self.squares, NO_MOVE)
    tokens[self.square_of_token] = np.arange(self.vocab_size)
    return tokens

  def square_name(self, square: int | np.integer) -> str:
    """A square as players write it: column `a`, `b`, ..., then row from the top."""
    row, column = divmod(int(square), self.size)
    return f'{"abcdefgh"[column]}{row + 1}'

  def start(self, games: int) -> 'Positions':
    """The position before the first move, of so many games."""
    upper_left, upper_right, lower_left, lower_right = (
      np.uint64(1 << square) for square in self._centre
    )
    black = np.full(games, upper_right | lower_left)
    white = np.full(games, upper_left | lower_right)
    return Positions(black, white, np.full(games, BLACK, np.int8))

  def legal(self, own: Bits, other: Bits) -> Bits:
    """The squares to which the player with the discs `own` may move."""
    empty = ~(own | other)
    moves = np.zeros_like(own)
    for step in self._steps:
      moves |= step(self._lines(step, own, other)) & empty
    return moves

  def turned(self, own: Bits, other: Bits, move: Bits) -> Bits:
    """The discs of `other` that a move turns; none if it is not legal.

    Args:
      own: Discs of the player who moves.
      other: The opponent's.
      move: The bit of an empty square, or 0 for no move.
    """
    turned = np.zeros_like(own)
    for step in self._steps:
      lines = self._lines(step, move, other)
      turned |= np.where(step(lines) & own, lines, np.uint64(0))
    return turned

  def play(self, before: 'Positions', move: Bits) -> 'Positions':
    """The positions after a legal move of who is to move; 0 for no move.

    The opponent is to move next, or the same player again if the opponent has no legal
    move, or nobody.
    """
    own, other = before.own, before.other
    turned = self.turned(own, other, move)
    own, other = own | move | turned, other & ~turned
    again = self.legal(own, other) != 0
    moves_on = self.legal(other, own) != 0
    was_white = before.to_move == WHITE
    opponent = np.where(was_white, BLACK, WHITE)
    next_player = np.where(moves_on, opponent, np.where(again, before.to_move, NOBODY))
    black, white = np.where(was_white, other, own), np.where(was_white, own, other)
    to_move = np.where(move == 0, before.to_move, next_player).astype(np.int8)
    return Positions(black, white, to_move)

  def unpack(self, bits: Bits) -> Bool[np.ndarray, '*b Q']:
    """Sets as a truth value for each square."""
    places = np.arange(self.squares, dtype=np.uint64)
    return (bits[..., None] >> places & np.uint64(1)).astype(bool)

  def pack(self, squares: Bool[np.ndarray, '*b Q']) -> Bits:
    """Sets from a truth value for each square: the inverse of `unpack`."""
    places = np.arange(self.squares, dtype=np.uint64)
    return np.asarray((squares.astype(np.uint64) << places).sum(-1, dtype=np.uint64))

  @property
  def _centre(self) -> list[int]:
    first = (self.size // 2 - 1) * (self.size + 1)
    return [first, first + 1, first + self.size, first + self.size + 1]

  @functools.cached_property
  def _steps(self) -> tuple['_Step', ...]:
    """To the eight neighbours."""
    around = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]
    return tuple(_Step(self.size, rows, columns) for rows, columns in around)

  def _lines(self, step: '_Step', start: Bits, through: Bits) -> Bits:
    """The part of `through` that unbroken lines from `start` reach in a direction."""
    lines = step(start) & through
    for _ in range(self.size - 3):  # Between two discs there is room for no more.
      lines |= step(lines) & through
    return lines


@dataclasses.dataclass(frozen=True)
class Positions:
  """A batch of games, each at some point.

  Attributes:
    black: Black's discs.
    white: White's.
    to_move: Who moves next: `BLACK`, `WHITE`, or `NOBODY` when the game is over.
  """

  black: UInt64[np.ndarray, ' B']
  white: UInt64[np.ndarray, ' B']
  to_move: Int8[np.ndarray, ' B']

  @property
  def own(self) -> UInt64[np.ndarray, ' B']:
    """The discs of the player to move; Black's when the game is over."""
    return np.where(self.to_move == WHITE, self.white, self.black)

  @property
  def other(self) -> UInt64[np.ndarray, ' B']:
    """The discs of the other player."""
    return np.where(self.to_move == WHITE, self.black, self.white)


class _Step:
  """Takes all bits of a board to a neighbouring square; some leave the board."""

  def __init__(self, size: int, rows: int, columns: int):
    self._shift = rows * size + columns
    lands = np.ones((size, size), bool)
    if columns:  # Nothing lands where only the neighbouring row could come from.
      lands[:, 0 if columns > 0 else -1] = False
    self._lands = np.uint64(sum(1 << int(place) for place in np.flatnonzero(lands)))

  def __call__(self, bits: Bits) -> Bits:
    distance = np.uint64(abs(self._shift))
    moved = bits << distance if self._shift > 0 else bits >> distance
    return moved & self._lands


@dataclasses.dataclass(frozen=True)
class Replay:
  """What was on the board after each move of some games.

  Attributes:
    boards: What each square holds after move t: `EMPTY`, `BLACK` or `WHITE`.
    to_move: Who moves next; `NOBODY` after the end.
    legal: Whether each token is a legal next move.
  """

  boards: Int8[np.ndarray, 'B T Q']
  to_move: Int8[np.ndarray, 'B T']
  legal: Bool[np.ndarray, 'B T V']

  def relative(self) -> Int8[np.ndarray, 'B T Q']:
    """The boards as the player to move sees them: `EMPTY`, `MINE` or `THEIRS`."""
    return relative(self.boards, self.to_move)


def relative(
  boards: Int8[np.ndarray, '*b Q'], player: Int8[np.ndarray, '*b']
) -> Int8[np.ndarray, '*b Q']:
  """Boards as a player sees them: `EMPTY`, `MINE` or `THEIRS`."""
  swapped = (player == WHITE)[..., None] & (boards != EMPTY)
  return np.where(swapped, BLACK + WHITE - boards, boards).astype(np.int8)


def random_games(rules: Rules, count: int, seed: int) -> Int8[np.ndarray, 'B V']:
  """Games in which every move is drawn evenly from the legal ones.

  Args:
    rules: The board.
    count: Number of games.
    seed: Of the draws.

  Returns:
    Their moves as tokens, `NO_MOVE` after the end of a game.
  """
  rng = np.random.default_rng(seed)
  sizes = [_SIDE_BY_SIDE] * (count // _SIDE_BY_SIDE) + [count % _SIDE_BY_SIDE]
  return np.concatenate([_random_games(rules, size, rng) for size in sizes])


def _random_games(rules: Rules, count: int, rng: np.random.Generator) -> np.ndarray:
  moves = np.full((count, rules.vocab_size), NO_MOVE, np.int8)
  now = rules.start(count)
  for column in moves.T:
    legal = rules.unpack(_legal_next(rules, now))
    chosen = np.argmax(legal * (1 - rng.random(legal.shape, np.float32)), -1)
    going = now.to_move != NOBODY
    column[going] = rules.token_of_square[chosen[going]]
    now = rules.play(now, np.where(going, np.uint64(1) << chosen.astype(np.uint64), 0))
  return moves


def replay(rules: Rules, moves: Int8[np.ndarray, 'B T']) -> Replay:
  """Plays games again.

  Args:
    rules: The board.
    moves: Tokens of the moves, `NO_MOVE` after the end of a game.

  Raises:
    ValueError: if a move is not legal.
  """
  count, length = moves.shape
  boards = np.empty((count, length, rules.squares), np.int8)
  to_move = np.empty((count, length), np.int8)
  legal = np.empty((count, length, rules.vocab_size), bool)
  now = rules.start(count)
  allowed = _legal_next(rules, now)
  for t, tokens in enumerate(moves.T):
    bits = np.uint64(1) << rules.square_of_token[tokens].astype(np.uint64)
    bits = np.where(tokens == NO_MOVE, np.uint64(0), bits)
    _check_legal(rules, bits, allowed, t)
    now = rules.play(now, bits)
    allowed = _legal_next(rules, now)
    boards[:, t] = BLACK * rules.unpack(now.black) + WHITE * rules.unpack(now.white)
    to_move[:, t] = now.to_move
    legal[:, t] = rules.unpack(allowed)[:, rules.square_of_token]
  return Replay(boards, to_move, legal)


def _legal_next(rules: Rules, now: Positions) -> Bits:
  return np.where(now.to_move == NOBODY, 0, rules.legal(now.own, now.other))


def _check_legal(rules: Rules, move: Bits, allowed: Bits, t: int) -> None:
  wrong = np.flatnonzero(move & ~allowed)
  if len(wrong):
    square = int(np.flatnonzero(rules.unpack(move[wrong[:1]])[0])[0])
    raise ValueError(
      f'Game {wrong[0]}: move {t + 1}, to {rules.square_name(square)}, is not legal.'
    )
