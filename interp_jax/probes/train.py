"""Training probes: all layers and questions at once, by the library's own loop."""

import dataclasses
import hashlib
import os
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Integer
import numpy as np
import optax

from interp_jax import training
from interp_jax.probes.config import ProbeConfig
from interp_jax.probes.data import (
  Data,
  Features,
  check_data,
  standardization,
)
from interp_jax.probes.probe import Params, Probes, apply
from interp_jax.probes.scores import ProbeScores, score


@dataclasses.dataclass(frozen=True)
class ProbeResult:
  """Trained probes and how good they are.

  Attributes:
    probes: The probes.
    scores: On the held-out rows.
    held_out: Which rows these are, `[N]`.
    finished: Whether the run reached its last step (else a signal ended it).
    seconds: Time that it took, over all resumptions.
  """

  probes: Probes
  scores: ProbeScores
  held_out: Any
  finished: bool
  seconds: float


def train_probes(
  features: Features,
  labels: Integer[Array | np.ndarray, 'N Q'],
  config: ProbeConfig | None = None,
  *,
  groups: Integer[Array | np.ndarray, ' N'],
  classes: int | None = None,
  seed: int = 0,
  workdir: str | os.PathLike[str] | None = None,
  progress: bool = True,
) -> ProbeResult:
  """Trains a probe for each layer, or goes on from the checkpoint in `workdir`.

  All layers start from the same weights and see the same rows in the same order, in one
  program; each layer's probe is the one that would be trained alone.

  Args:
    features: Activations `[L, N, D]`, or for each layer an array or reader `[N, D]`.
    labels: The class of each row for each question; -1 where there is none.
    config: Which probe, and how to train it.
    groups: The game, document or sentence of each row. Groups are held out whole. Where
      rows are truly independent, `np.arange(N)`.
    classes: Number of classes C; None for as many as the labels name.
    seed: Of the split, the order of rows and the first weights of hidden layers.
    workdir: Folder of the run, for `metrics.jsonl` and `checkpoints/`; None for none.
    progress: Whether to show a progress bar.

  Returns:
    The probes with their scores on the held-out rows.

  Raises:
    ValueError: if sizes do not fit, a label is out of range, there are fewer than two
      groups, a question has fewer than two classes among the training rows, or
      `workdir` holds another run's checkpoint.
    DivergedError: if a loss is not finite.
  """
  config = ProbeConfig() if config is None else config
  data = check_data(features, labels, groups, classes, config.held_out, seed)
  if workdir is not None:
    return _train(data, config, seed, workdir, progress)
  with tempfile.TemporaryDirectory() as scratch:
    return _train(data, config, seed, scratch, progress)


def _train(
  data: Data,
  config: ProbeConfig,
  seed: int,
  workdir: str | os.PathLike[str],
  progress: bool,
) -> ProbeResult:
  batches = training.ArrayBatches(data.train, config.batch_size, seed)
  untrained = init_probes(data, config, seed)
  optimizer = training.make_optimizer(config.optimizer, config.steps)
  read = lambda state: dataclasses.replace(untrained, params=state.params)
  result = training.fit(
    training.worlds_state(untrained.params, optimizer),
    make_probe_step(optimizer, untrained.mean, untrained.scale),
    batches,
    training.LoopConfig(
      steps=config.steps,
      log_every=config.log_every,
      eval_every=config.eval_every,
      checkpoint_every=config.checkpoint_every,
      units_per_step=config.batch_size,
      unit='rows',
    ),
    workdir,
    evaluate=_evaluator(read, data) if config.eval_every else None,
    place=lambda rows: training.place_batch(data.batch(rows)),
    notes=config.settings | {'seed': seed, 'data': _digest(data, untrained)},
    progress=progress,
  )
  probes = read(result.state)
  return ProbeResult(
    probes, score(probes, data), data.held_out, result.finished, result.seconds
  )


def init_probes(data: Data, config: ProbeConfig, seed: int) -> Probes:
  """Probes before training: the same weights for each layer."""
  layers, width, dtype = len(data.features), data.width, data.dtype
  out = (data.labels.shape[1], data.classes)
  if config.kind == 'linear':
    params = {'W_out': jnp.zeros((width, *out), dtype)}
  else:
    first, second = jax.random.split(jax.random.key(seed))
    normal = jax.random.normal
    params = {
      'W_in': normal(first, (width, config.hidden), dtype) * (2 / width) ** 0.5,
      'b_in': jnp.zeros(config.hidden, dtype),
      'W_out': normal(second, (config.hidden, *out), dtype) * config.hidden**-0.5,
    }
  params['b_out'] = jnp.zeros(out, dtype)
  stack = lambda leaf: jnp.broadcast_to(leaf, (layers, *leaf.shape))
  mean, scale = np.zeros((layers, width)), np.ones((layers, width))
  if config.standardize:
    mean, scale = standardization(data)
  as_array = lambda x: jnp.asarray(x, dtype)
  return Probes(jax.tree.map(stack, params), as_array(mean), as_array(scale))


def make_probe_step(
  optimizer: optax.GradientTransformation, mean: Any, scale: Any
) -> training.StepFn:
  """A compiled step of all layers; its metrics are arrays `[L]`.

  Args:
    optimizer: Turns gradients into updates.
    mean: What is subtracted from activations, `[L, D]`.
    scale: What they are divided by, `[L, D]`.

  Returns:
    `(states, {'features': [L, B, D], 'labels': [B, Q]}) -> (states, metrics)`; it may
    reuse the memory of the states.
  """

  def one(state: training.TrainState, x: Any, labels: Any) -> Any:
    return training.descend(_loss, optimizer, state, (x, labels))

  def step(states: training.TrainState, batch: Any) -> Any:
    x = (batch['features'] - mean[:, None]) / scale[:, None]
    return jax.vmap(one, (0, 0, None))(states, x, batch['labels'])

  return training.compile_step(step)


def _loss(params: Params, batch: tuple[Any, Any]) -> tuple[Any, dict[str, Any]]:
  """Cross-entropy of the labelled rows, summed over questions.

  Summed, so that no question's gradient depends on how many others there are.
  """
  x, labels = batch
  logits = apply(params, x)
  labelled = labels >= 0
  losses = optax.softmax_cross_entropy_with_integer_labels(
    logits, jnp.maximum(labels, 0)
  )
  counts = jnp.maximum(labelled.sum(0), 1)
  each = (losses * labelled).sum(0) / counts
  return each.sum(), {'cross_entropy': each.mean()}


def _evaluator(read: Any, data: Data) -> Any:
  def evaluate(state: training.TrainState) -> dict[str, list[float]]:
    scores = score(read(state), data)
    return {
      'held_out_accuracy': np.nanmean(scores.accuracy, -1).tolist(),
      'held_out_cross_entropy': np.nanmean(scores.cross_entropy, -1).tolist(),
    }

  return evaluate


def _digest(data: Data, probes: Probes) -> str:
  """Of labels, split and a little of the features: is it the same data?"""
  some = data.gather(data.train[:16])
  arrays = (data.labels, data.held_out, some, probes.mean, probes.scale)
  content = b''.join(np.ascontiguousarray(array).tobytes() for array in arrays)
  return hashlib.sha256(content).hexdigest()[:16]
