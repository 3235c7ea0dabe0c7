"""Turning a disc over in the model: edits along what a probe reads, and their effect.

If a probe's direction is what the model itself reads, moving the residual stream along
it must change what the model takes for legal, as if the disc were of the other colour
(Li et al. 2023, section 4; Nanda et al. 2023, arXiv:2309.00941). The likeliest n moves
are compared with the n that are legal on the board with that disc turned over; the
error counts those in one of the two sets only.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Int8
import numpy as np

from interp_jax import edits, models
from interp_jax.findings.othello.positions import Points
from interp_jax.findings.othello.recipe import as_tokens
from interp_jax.tasks import othello

# How many steps an edit may make: each brings a stream from where it is, on average,
# for discs of one side to where it is for discs of the other.
SCALES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)

PROBE, OTHER_SQUARE, RANDOM = 'the probe', "another square's probe", 'random directions'


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cases:
  """Discs to turn over, each at a point of a game, N of them.

  Attributes:
    moves: The games, `[N, V]`.
    t: After which move the disc is turned, `[N]`.
    square: Where it lies, `[N]`.
    mine: Whether it is of the player to move, `[N]`.
    legal: Whether each move is legal on the board as it is, `[N, V]`.
    legal_after: The same with the disc turned over, `[N, V]`.
  """

  moves: Any
  t: Any
  square: Any
  mine: Any
  legal: Any
  legal_after: Any

  def __len__(self) -> int:
    return len(self.t)


@dataclasses.dataclass(frozen=True)
class Effects:
  """Errors per case, by what was added to the streams.

  Attributes:
    floor: Errors of the model as it is, against the board as it is.
    before: Its errors against the board with the disc turned over.
    curves: By direction, the errors of the edited model for each of `SCALES`.
    layers: In how many layers the edit acts, from the first.
    scale: The number of steps that was chosen, one of `SCALES`.
    example: A case, as `Cases` of one.
    example_logits: Of its next move, before and after, `[2, V]`.
  """

  floor: float
  before: float
  curves: dict[str, Float[np.ndarray, ' scales']]
  layers: int
  scale: float
  example: Cases
  example_logits: Float[np.ndarray, '2 V']

  def after(self, direction: str) -> float:
    """Errors with the number of steps that was chosen."""
    return float(self.curves[direction][SCALES.index(self.scale)])


def find_cases(
  rules: othello.Rules,
  moves: Int8[np.ndarray, 'B V'],
  points: Points,
  count: int,
  seed: int,
) -> tuple[Cases, Cases]:
  """Discs, drawn at random, whose colour matters for what is legal next.

  Discs just placed are not among them, and there is a legal move after the change.

  Args:
    rules: The board.
    moves: The games.
    points: Points of them.
    count: The most cases to find, one at a point.
    seed: Of the draws.

  Returns:
    The cases, and the same with another disc of the same board as the one to turn, but
    still asking for what turning the first makes legal: a control.
  """
  rng = np.random.default_rng(seed)
  every = np.arange(len(points.t))
  discs = points.relative > othello.EMPTY
  square, other = np.argsort(rng.random(discs.shape) - discs, -1)[:, :2].T
  boards = othello.replay(rules, moves).relative()[points.game, points.t]
  mine = boards == othello.MINE
  turned = boards.copy()
  turned[every, square] = othello.MINE + othello.THEIRS - boards[every, square]
  legal, after = _legal(rules, boards), _legal(rules, turned)
  fit = np.flatnonzero((legal != after).any(-1) & after.any(-1))
  chosen = rng.permutation(fit)[:count]

  def cases(square: np.ndarray) -> Cases:
    parts = moves[points.game], points.t, square, mine[every, square], legal, after
    return Cases(*(part[chosen] for part in parts))

  return cases(square), cases(other)


def _legal(rules: othello.Rules, relative: np.ndarray) -> np.ndarray:
  own, other = (rules.pack(relative == who) for who in (othello.MINE, othello.THEIRS))
  return rules.unpack(rules.legal(own, other))[:, rules.square_of_token]


def flip(
  steps: Float[Array, 'L Q D'], cases: Cases, layers: Int[Array, ''], scale: Any
) -> edits.Edits:
  """The edit that turns over each case's disc.

  Args:
    steps: For each layer's `resid_post` and each square, a step from `THEIRS` to
      `MINE`.
    cases: The discs.
    layers: In how many layers to step, from the first.
    scale: How many steps to go.
  """
  sign = jnp.where(cases.mine, -scale, scale)
  value = sign[:, None] * steps[:, cases.square]
  here = jnp.arange(cases.moves.shape[1]) == cases.t[:, None]
  active = jnp.arange(len(steps)) < layers
  mask = active[:, None, None, None] & here[..., None]
  return {'resid_post': edits.steer(value[:, :, None], mask)}


def errors(
  logits: Float[Array | np.ndarray, '*w N V'], legal: Bool[Array | np.ndarray, 'N V']
) -> Int[np.ndarray, '*w N']:
  """Moves that are in one of two sets only: the legal ones, and as many likeliest."""
  rank = np.argsort(np.argsort(-np.asarray(logits), -1), -1)
  legal = np.asarray(legal)
  return ((rank < legal.sum(-1, keepdims=True)) ^ legal).sum(-1)


def measure(
  model: models.Transformer,
  params: Any,
  steps: Float[np.ndarray, 'L Q D'],
  cases: Cases,
  others: Cases,
  seed: int,
) -> Effects:
  """Edits in more and more layers, by more and more steps.

  In how many layers and by how many steps to edit is chosen on the first half of the
  cases, for the directions of the probes. All numbers are of the second half.

  Args:
    model: The model.
    params: Its parameters.
    steps: As in `flip`.
    cases: The cases.
    others: The same with other discs to turn.
    seed: Of the random directions.
  """
  run = _runner(model, params)
  half = len(cases) // 2
  trial, test = _rows(cases, slice(half)), _rows(cases, slice(half, None))
  depths = range(1, len(steps) + 1)
  tried = [(layers, scale) for layers in depths for scale in SCALES]
  found = errors(run(steps, trial, tried), trial.legal_after).mean(-1)
  layers, scale = tried[int(np.argmin(found))]
  worlds = [(layers, step) for step in SCALES]
  logits = {
    PROBE: run(steps, test, worlds),
    OTHER_SQUARE: run(steps, _rows(others, slice(half, None)), worlds),
    RANDOM: run(_random_like(steps, seed), test, worlds),
  }
  by_case = {name: errors(x, test.legal_after) for name, x in logits.items()}
  chosen, asis = SCALES.index(scale), SCALES.index(0.0)
  gain = by_case[PROBE][asis] - by_case[PROBE][chosen]
  shown = int(np.argmax(gain - by_case[PROBE][chosen]))
  return Effects(
    floor=float(errors(logits[PROBE][asis], test.legal).mean()),
    before=float(by_case[PROBE][asis].mean()),
    curves={name: found.mean(-1) for name, found in by_case.items()},
    layers=layers,
    scale=scale,
    example=_rows(test, slice(shown, shown + 1)),
    example_logits=logits[PROBE][np.array([asis, chosen]), shown],
  )


def _runner(model: models.Transformer, params: Any) -> Any:
  """`(steps, cases, worlds) -> logits [worlds, N, V]` of the move after the edit."""

  @jax.jit
  def run(params: Any, steps: Any, cases: Cases, layers: Any, scales: Any) -> Any:
    tokens = as_tokens(cases.moves)

    def one(world: Any) -> Any:
      edit = flip(steps, cases, *world)
      at = cases.t[:, None]
      return model.apply({'params': params}, tokens, edit, logit_positions=at)[0][:, 0]

    # One world after the other: together they would not fit into the cache.
    return jax.lax.map(one, (layers, scales))

  def go(
    steps: np.ndarray, cases: Cases, worlds: list[tuple[int, float]]
  ) -> np.ndarray:
    layers, scales = map(np.array, zip(*worlds, strict=True))
    given = jnp.asarray(steps, jnp.float32), jax.tree.map(jnp.asarray, cases)
    return np.asarray(run(params, *given, layers, scales.astype(np.float32)))

  return go


def _random_like(steps: np.ndarray, seed: int) -> np.ndarray:
  """Random directions of the same lengths."""
  drawn = np.random.default_rng(seed).normal(size=steps.shape)
  length = lambda x: np.linalg.norm(x, axis=-1, keepdims=True)
  return drawn / length(drawn) * length(steps)


def _rows(cases: Cases, rows: slice) -> Cases:
  return jax.tree.map(lambda x: x[rows], cases)
