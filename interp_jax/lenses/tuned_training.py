"""Training a tuned lens: all layers at once, by the library's own loop.

Belrose et al. 2023, arXiv:2303.08112. Each layer's map has its own loss, and the sum of
them is trained: no map can help another.
"""

from collections.abc import Callable
import dataclasses
import functools
import os
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Integer
import numpy as np
import optax

from interp_jax import training
from interp_jax.core import Model
from interp_jax.lenses.tuned_lens import (
  TunedLens,
  divergences,
  identity_lens,
  score_lens,
)
from interp_jax.lenses.unembed import Params
from interp_jax.sharding import replicate, to_host


def _adam() -> training.OptimizerConfig:
  return training.OptimizerConfig(
    learning_rate=3e-3, warmup=20, weight_decay=1e-3, b2=0.99
  )


@dataclasses.dataclass(frozen=True)
class TunedLensConfig:
  """How a tuned lens is trained.

  Weight decay is towards the identity. The paper's optimizer is SGD with momentum at a
  learning rate of 1; Adam needs no such rate, and fewer steps.

  Attributes:
    steps: Length of the run.
    batch_size: Rows of a batch.
    microbatches: In how many parts to take one.
    seed: Of the order of rows.
    optimizer: The optimizer; weight decay is of the matrices.
    log_every: Steps between records of the training loss.
    eval_every: Steps between evaluations, where there are held-out rows.
    checkpoint_every: Steps between checkpoints.
  """

  steps: int = 400
  batch_size: int = 8
  microbatches: int = 1
  seed: int = 0
  optimizer: training.OptimizerConfig = dataclasses.field(default_factory=_adam)
  log_every: int = 25
  eval_every: int = 200
  checkpoint_every: int = 100


@dataclasses.dataclass(frozen=True)
class TunedLensResult:
  """A trained lens.

  Attributes:
    lens: The lens.
    finished: Whether the run reached its last step (else a signal ended it).
    seconds: Time that it took, over all resumptions.
  """

  lens: TunedLens
  finished: bool
  seconds: float


def train_tuned_lens(
  model: Model,
  params: Params,
  rows: Integer[np.ndarray, 'rows T'],
  config: TunedLensConfig,
  workdir: str | os.PathLike[str],
  *,
  held_out: Integer[np.ndarray, 'held_out T'] | None = None,
  mesh: Mesh | None = None,
  progress: bool = True,
) -> TunedLensResult:
  """Trains a lens, or goes on from the checkpoint in `workdir`.

  A resumed run ends with the same bits as one never stopped. `workdir` gets
  `metrics.jsonl`, with each layer's divergence as `kl_0`, `kl_1`, ..., and
  `checkpoints/`.

  Args:
    model: The model.
    params: Its parameters; they stay as they are.
    rows: Text to train on, as tokens.
    config: How to train.
    workdir: Folder of the run.
    held_out: Rows to evaluate on.
    mesh: Devices to split batches over. None for one device.
    progress: Whether to show a progress bar.

  Returns:
    The lens.

  Raises:
    ValueError: if sizes do not fit, or `workdir` holds another run's checkpoint.
    DivergedError: if a loss is not finite.
  """
  layers, width = (
    params['blocks']['attn']['W_Q'].shape[0],
    params['embed']['W_E'].shape[1],
  )
  optimizer = training.make_optimizer(config.optimizer, config.steps)
  state = training.create_state(identity_lens(layers, width), optimizer)
  if mesh is not None:
    state = jax.device_put(state, NamedSharding(mesh, P()))
  evaluate = None
  if held_out is not None:
    evaluate = functools.partial(
      _evaluate, model, params, held_out, config.batch_size // config.microbatches
    )
  settings = dataclasses.asdict(config)
  for free in ('log_every', 'eval_every', 'checkpoint_every'):
    settings.pop(free)
  result = training.fit(
    state,
    make_lens_step(model, params, optimizer, mesh, config.microbatches),
    training.batches(rows, config.batch_size, config.seed),
    training.LoopConfig(
      steps=config.steps,
      log_every=config.log_every,
      eval_every=config.eval_every,
      checkpoint_every=config.checkpoint_every,
      units_per_step=config.batch_size * rows.shape[1],
      unit='tokens',
    ),
    workdir,
    evaluate=evaluate,
    place=functools.partial(training.place_batch, mesh=mesh),
    notes=settings | {'layers': layers, 'width': width},
    progress=progress,
  )
  lens = result.state.params if mesh is None else to_host(result.state.params)
  return TunedLensResult(lens, result.finished, result.seconds)


def make_lens_step(
  model: Model,
  params: Params,
  optimizer: optax.GradientTransformation,
  mesh: Mesh | None = None,
  microbatches: int = 1,
) -> training.StepFn:
  """A compiled step `(state, tokens) -> (state, metrics)` for `training.fit`.

  Args:
    model: The model.
    params: Its parameters. They are an argument of the compiled program, not part of
      it.
    optimizer: Turns gradients into updates.
    mesh: Devices to split the batch over. None for one device.
    microbatches: In how many parts to take the batch.

  Returns:
    The step. It may reuse the memory of the state that it is given.
  """

  def step(state: training.TrainState, tokens: Any, params: Any) -> Any:
    loss = _loss(model, params)
    return training.descend(loss, optimizer, state, tokens, microbatches)

  everywhere = None if mesh is None else NamedSharding(mesh, P())
  if mesh is not None:
    params = replicate(mesh, params)
  compiled = jax.jit(step, donate_argnums=0, out_shardings=everywhere)
  return lambda state, tokens: compiled(state, tokens, params)


def _loss(
  model: Model, params: Any
) -> Callable[[Any, Any], tuple[Any, dict[str, Any]]]:
  def loss(lens: TunedLens, tokens: Any) -> tuple[Any, dict[str, Any]]:
    each = divergences(model, params, lens, tokens.astype('int32'))
    return each.sum(), {f'kl_{layer}': kl for layer, kl in enumerate(each)}

  return loss


def _evaluate(
  model: Model, params: Params, rows: np.ndarray, size: int, state: Any
) -> dict[str, float]:
  scores = score_lens(model, params, rows, to_host(state.params), size)
  kl = {f'held_out_kl_{i}': float(kl) for i, kl in enumerate(scores.kl[:-1])}
  return kl | {'held_out_loss': float(scores.kl.sum())}
