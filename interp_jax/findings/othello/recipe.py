"""The model: a small transformer that is shown the moves of random games, nothing else.

Every training game is new. The board, the colours and the rules are never shown; what
the model knows of them it has from the order of the moves.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from interp_jax import models, training
from interp_jax.findings.run import Run, Stopped
from interp_jax.tasks import othello

# Of the run's files within the working folder.
FOLDER = 'model'


@dataclasses.dataclass(frozen=True)
class Recipe:
  """A model and its training.

  Attributes:
    board: Rows of the board.
    layers: Layers of the transformer.
    width: Width of its residual stream.
    heads: Heads of each layer.
    steps: Updates.
    batch_size: Games of an update.
    microbatches: Parts in which a batch is taken.
    learning_rate: Peak learning rate of Muon.
    warmup: Steps up to the peak.
    eval_games: Held-out games of an evaluation.
    eval_every: Steps between evaluations.
  """

  board: int = 6
  layers: int = 3
  width: int = 128
  heads: int = 4
  steps: int = 4400
  batch_size: int = 128
  microbatches: int = 4
  learning_rate: float = 4e-3
  warmup: int = 100
  eval_games: int = 256
  eval_every: int = 200


def make_model(recipe: Recipe) -> models.Transformer:
  """The transformer; its tokens are the moves, its context is a whole game."""
  rules = othello.Rules(recipe.board)
  config = models.TransformerConfig(
    vocab_size=rules.vocab_size,
    width=recipe.width,
    layers=recipe.layers,
    heads=recipe.heads,
    head_dim=recipe.width // recipe.heads,
    mlp_width=4 * recipe.width,
    context=rules.vocab_size,
    norm='rmsnorm',
    act='relu2',
    qkv_bias=False,
    attn_out_bias=False,
    mlp_bias=False,
  )
  return models.Transformer(config, unroll=True)


def as_tokens(moves: Any) -> Int[Array, 'B T']:
  """Moves as the model takes them; what follows the end of a game is any token."""
  return jnp.maximum(jnp.asarray(moves, jnp.int32), 0)


def make_loss(model: models.Transformer) -> training.LossFn:
  """The mean loss of the next move, over the moves that there are."""

  def loss_fn(params: Any, moves: Any) -> tuple[Any, dict[str, Any]]:
    tokens = as_tokens(moves)
    logits, _ = model.apply({'params': params}, tokens)
    losses = training.next_token_losses(logits, tokens)
    made = moves[:, 1:] != othello.NO_MOVE
    return jnp.where(made, losses, 0).sum() / made.sum(), {}

  return loss_fn


def illegal_share(
  logits: Float[Array, 'B T V'], legal: Bool[Array | np.ndarray, 'B T V']
) -> Float[Array, '']:
  """How often the likeliest next move is illegal, where there is a legal one."""
  best = jnp.argmax(logits, -1)
  fine = jnp.take_along_axis(jnp.asarray(legal), best[..., None], -1)[..., 0]
  asked = jnp.asarray(legal).any(-1)
  return (asked & ~fine).sum() / asked.sum()


def make_evaluation(
  model: models.Transformer, rules: othello.Rules, count: int, seed: int
) -> Callable[[Any], dict[str, float]]:
  """`params -> {'illegal', 'held_out_loss'}` on held-out games."""
  moves = othello.random_games(rules, count, seed)
  legal = othello.replay(rules, moves).legal
  loss_fn = make_loss(model)

  @jax.jit
  def run(params: Any, moves: Any, legal: Any) -> dict[str, Any]:
    logits, _ = model.apply({'params': params}, as_tokens(moves))
    loss, _ = loss_fn(params, moves)
    return {'illegal': illegal_share(logits, legal), 'held_out_loss': loss}

  def evaluate(params: Any) -> dict[str, float]:
    return {name: float(value) for name, value in run(params, moves, legal).items()}

  return evaluate


def train(recipe: Recipe, run: Run) -> Any:
  """The trained parameters.

  Args:
    recipe: The recipe.
    run: The working folder.

  Raises:
    Stopped: if a signal ended the training behind a checkpoint.
  """
  rules, model = othello.Rules(recipe.board), make_model(recipe)
  weights, games_seed, held_out = run.seeds('model', 3)
  config = training.OptimizerConfig(
    name='muon', learning_rate=recipe.learning_rate, warmup=recipe.warmup
  )
  optimizer = training.make_optimizer(config, recipe.steps)
  games = othello.random_games(rules, recipe.steps * recipe.batch_size, games_seed)
  evaluate = make_evaluation(model, rules, recipe.eval_games, held_out)
  with run.stages.clock.count(FOLDER):
    result = training.fit(
      training.create_state(models.init_params(model, weights), optimizer),
      training.make_train_step(
        make_loss(model), optimizer, microbatches=recipe.microbatches
      ),
      training.ArrayBatches(games, recipe.batch_size, games_seed),
      training.LoopConfig(
        steps=recipe.steps,
        log_every=recipe.eval_every,
        eval_every=recipe.eval_every,
        checkpoint_every=recipe.eval_every,
        units_per_step=recipe.batch_size,
        unit='games',
      ),
      run.workdir / FOLDER,
      evaluate=lambda state: evaluate(state.params),
      notes={'recipe': dataclasses.asdict(recipe), 'seed': run.seed},
      progress=run.progress,
    )
  if not result.finished:
    raise Stopped('The training was stopped; run again to go on.')
  return result.state.params


def training_curve(run: Run) -> dict[str, np.ndarray]:
  """The evaluations along the training: `step`, `illegal`, `held_out_loss`."""
  records = training.read_metrics(run.workdir / FOLDER / 'metrics.jsonl', 'eval')
  names = ('step', 'illegal', 'held_out_loss')
  return {name: np.array([record[name] for record in records]) for name in names}
