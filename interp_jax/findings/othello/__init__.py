"""A model that is shown moves only holds the board, from the player's point of view.

Li et al. 2023 (arXiv:2210.13382) trained a transformer on the moves of random games of
Othello. It learned to name legal moves, and probes with a hidden layer could read the
board off its activations; linear probes could not. Nanda et al. 2023 (arXiv:2309.00941)
found that linear probes can, if they are asked whose a disc is instead of what colour
it has, and that adding a probe's direction turns a disc over: the model then takes for
legal what would be legal on the changed board.

`tasks.othello` is the game. `recipe` trains the model, `positions` finds points in
held-out games and reads the residual streams there, `probing` trains the probes and
their controls, `flips` edits the model, `study` does all of it, `verdict` holds the
bounds, `pictures` and `page` make the page.
"""

from interp_jax.findings.finding import Finding, Outcome
from interp_jax.findings.othello import page, study, verdict
from interp_jax.findings.othello.recipe import Recipe
from interp_jax.findings.othello.study import Settings
from interp_jax.findings.run import Run
from interp_jax.probes import ProbeConfig


def settings(quick: bool, board: int = 6) -> Settings:
  """How much is trained and measured.

  Args:
    quick: A minute's look.
    board: Rows of the board, 6 or 8.

  Raises:
    ValueError: if the board is not of one of these sizes.
  """
  if board not in (6, 8):
    raise ValueError(f'board={board}: choose 6 or 8; on 4 by 4 squares it is trivial.')
  linear = ProbeConfig(steps=600)
  mlp = ProbeConfig(kind='mlp', steps=1200, learning_rate=3e-3)
  if quick:
    linear = ProbeConfig(steps=100, batch_size=128)
    mlp = ProbeConfig(kind='mlp', steps=100, batch_size=128, learning_rate=3e-3)
    model = Recipe(board, width=64, steps=100, warmup=20, eval_every=20, eval_games=64)
    return Settings(model, games=128, linear=linear, mlp=mlp, cases=64)
  model = Recipe(board) if board == 6 else Recipe(board, layers=4, steps=10_000)
  return Settings(model, games=1500, linear=linear, mlp=mlp, cases=600)


def reproduce(run: Run, settings: Settings) -> Outcome:
  """Trains a model, reads its board, and turns discs over in it."""
  found = study.examine(run, settings)
  seeds = {'model': run.seeds('model', 3), 'measures': run.seeds('measurements', 4)}
  return Outcome(verdict.quantities(found), page.parts(found), seeds)


FINDING = Finding(
  name='othello',
  title='A board inside a model of moves',
  claim=(
    'A transformer that is trained on the moves of Othello, and nothing else, holds the'
    ' board as linear directions, as the player to move sees it, and uses them to tell'
    ' legal moves.'
  ),
  paper=(
    'Li et al. 2023, "Emergent World Representations"; Nanda et al. 2023, "Emergent'
    ' Linear Representations in World Models of Self-Supervised Sequence Models"'
  ),
  settings=settings,
  reproduce=reproduce,
  options=('board',),
)
