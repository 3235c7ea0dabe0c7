"""The model: three layers of four heads without MLPs, trained on the spot."""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from interp_jax import training
from interp_jax.findings.run import Run
from interp_jax.models import Transformer, TransformerConfig, init_params
from interp_jax.tasks import TwoClauses


@dataclasses.dataclass(frozen=True)
class Recipe:
  """How the model is trained.

  Attributes:
    steps: Updates.
    batch: Prompts of an update.
    learning_rate: Its peak.
    warmup: Updates until it is reached.
    weight_decay: Of the matrices. With little, a model that has learned the task goes
      on growing surer, and its answer is less and less a sum of what edges do: on one
      seed EAP-IG's correlation with exact patching was .986 with 0.05, .996 with this.
    embedding_std: Initial deviation of embeddings, positions and unembedding. Small, so
      that they are learned in few updates; with 1 / sqrt(width), nothing is for long.
  """

  steps: int = 3000
  batch: int = 256
  learning_rate: float = 4e-3
  warmup: int = 100
  weight_decay: float = 0.3
  embedding_std: float = 0.02


def make_model(task: TwoClauses, *, width: int = 64, heads: int = 4) -> Transformer:
  """The model, which has no parameters yet.

  Layers are laid out one after the other: three are soon compiled, and train faster.
  """
  cfg = TransformerConfig(
    vocab_size=task.vocab_size,
    width=width,
    layers=3,
    heads=heads,
    head_dim=width // heads,
    context=task.length,
    norm='rmsnorm',
    positions='learned',
    attn_only=True,
    qkv_bias=False,
    attn_out_bias=False,
  )
  return Transformer(cfg, unroll=True)


def small_embeddings(params: Any, std: float) -> Any:
  """Parameters with embeddings, positions and unembedding of another deviation."""
  tables = {('embed', 'W_E'), ('pos_embed', 'W_pos'), ('unembed', 'W_U')}
  return {
    part: {
      name: leaf * (std / leaf.std()) if (part, name) in tables else leaf
      for name, leaf in leaves.items()
    }
    for part, leaves in params.items()
  }


def make_loss(
  model: Transformer, task: TwoClauses, batch: int
) -> Callable[[Any, jax.Array], tuple[Any, dict[str, Any]]]:
  """The loss of prompts that are drawn from a key: of the answer alone.

  Layouts and pairs that are held out have no weight.

  Args:
    model: The model.
    task: The task.
    batch: How many prompts to draw.

  Returns:
    `(params, key) -> (loss in nats, metrics)`.
  """
  layouts = task.layouts[~task.new_layouts]

  def loss_fn(params: Any, key: jax.Array) -> tuple[Any, dict[str, Any]]:
    prompts = task.draw(key, batch, layouts)
    last = jnp.array([-1])
    logits, _ = model.apply({'params': params}, prompts.tokens, logit_positions=last)
    scores = jax.nn.log_softmax(logits[:, 0])
    losses = -jnp.take_along_axis(scores, prompts.answer[:, None], 1)[:, 0]
    right = scores.argmax(-1) == prompts.answer
    weights = 1.0 - prompts.new_pair
    mean = lambda values: (values * weights).sum() / weights.sum()
    return mean(losses), {'accuracy': mean(right)}

  return loss_fn


def train(
  run: Run, task: TwoClauses, recipe: Recipe
) -> tuple[Transformer, Any, list[dict[str, Any]]]:
  """Trains the model in the run's folder, or goes on doing so.

  Args:
    run: Where.
    task: The task.
    recipe: How.

  Returns:
    Model, parameters and the records of training.
  """
  model = make_model(task)
  begin, data = run.seeds('weights', 1)[0], run.seeds('data', 1)[0]
  trained = run.train(
    'model',
    make_loss(model, task, recipe.batch),
    small_embeddings(init_params(model, begin), recipe.embedding_std),
    training.make_optimizer(
      training.OptimizerConfig(
        learning_rate=recipe.learning_rate,
        warmup=recipe.warmup,
        weight_decay=recipe.weight_decay,
      ),
      recipe.steps,
    ),
    recipe.steps,
    data,
    settings={'task': dataclasses.asdict(task), 'recipe': dataclasses.asdict(recipe)},
    worlds=False,
    log_every=50,
    checkpoint_every=500,
  )
  return model, trained.params, trained.records
