"""Points in held-out games: what the model makes of them, and what is true there."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Int8
import numpy as np

from interp_jax import models
from interp_jax.findings.othello.recipe import as_tokens
from interp_jax.tasks import othello

# Moves at either end of a game that are left out, as Li et al. do: boards there are
# nearly empty, or nearly the same for all.
MARGIN = 5

# Where a square has no label, because its disc was just placed: whose it is needs no
# board to know.
NO_LABEL = -1

# Games that the model runs on at once.
_GAMES = 256


@dataclasses.dataclass(frozen=True)
class Points:
  """Points after a move and before the next, N of them.

  Attributes:
    game: Which game each is of.
    t: After which move of it, from 0.
    last_moves: A number for the last two moves.
    relative: What each square holds for the player to move; `NO_LABEL` at the disc that
      was just placed.
    absolute: The same by colour.
    turned: Whether the disc on a square is no longer of the colour that was placed.
  """

  game: Int[np.ndarray, ' N']
  t: Int[np.ndarray, ' N']
  last_moves: Int[np.ndarray, ' N']
  relative: Int8[np.ndarray, 'N Q']
  absolute: Int8[np.ndarray, 'N Q']
  turned: Bool[np.ndarray, 'N Q']

  def __getitem__(self, rows: Any) -> 'Points':
    """Some of the points."""
    fields = dataclasses.fields(self)
    return Points(**{field.name: getattr(self, field.name)[rows] for field in fields})


def find_points(rules: othello.Rules, moves: Int8[np.ndarray, 'B V']) -> Points:
  """The points of games that are not at their ends, while somebody is to move."""
  found = othello.replay(rules, moves)
  inside = np.zeros(moves.shape, bool)
  inside[:, MARGIN : moves.shape[1] - MARGIN] = True
  game, t = np.nonzero(inside & (found.to_move != othello.NOBODY))
  just = rules.square_of_token[moves[game, t]]
  first = _first_colours(rules, found.boards)[game, t]
  absolute = found.boards[game, t]
  relative = found.relative()[game, t]
  turned = (absolute != first) & (absolute != othello.EMPTY)
  for labels in (absolute, relative):
    labels[np.arange(len(game)), just] = NO_LABEL
  turned[np.arange(len(game)), just] = False
  last_moves = moves[game, t - 1].astype(int) * rules.vocab_size + moves[game, t]
  return Points(game, t, last_moves, relative, absolute, turned)


def _first_colours(
  rules: othello.Rules, boards: Int8[np.ndarray, 'B T Q']
) -> Int8[np.ndarray, 'B T Q']:
  """The colour of the disc that was placed on each square, from then on."""
  start = rules.start(1)
  black, white = rules.unpack(start.black), rules.unpack(start.white)
  first = othello.BLACK * black + othello.WHITE * white
  placed = np.empty_like(boards)
  for t in range(boards.shape[1]):
    first = np.where(first == othello.EMPTY, boards[:, t], first)
    placed[:, t] = first
  return placed


def read_streams(
  model: models.Transformer, params: Any, moves: Int8[np.ndarray, 'B V'], at: Points
) -> Float[np.ndarray, 'S N D']:
  """The residual stream at some points: as embedded, and after each layer.

  Args:
    model: The model.
    params: Its parameters.
    moves: The games.
    at: The points of them.
  """

  @jax.jit
  def run(params: Any, tokens: Any) -> Any:
    acts: Any = model.apply({'params': params}, tokens)[1]
    return jnp.concatenate((acts['resid_pre'][:1], acts['resid_post']))

  streams = []
  for start in range(0, len(moves), _GAMES):
    here = (at.game >= start) & (at.game < start + _GAMES)
    part = np.full((_GAMES, moves.shape[1]), othello.NO_MOVE, np.int8)
    part[: len(moves) - start] = moves[start : start + _GAMES]
    found = np.asarray(run(params, as_tokens(part)))
    streams.append(found[:, at.game[here] - start, at.t[here]])
  return np.concatenate(streams, 1)
