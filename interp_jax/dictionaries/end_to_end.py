"""Training through a model: batches of tokens, one forward pass, a term of its output.

terms = (EndToEnd(kind='kl'), SquaredError(0.0))
config = DictionaryConfig(width, features, site='resid_post', layer=1)
result = train_end_to_end(config, trainer, model, params, token_batches, workdir)
"""

from collections.abc import Mapping, Sequence
import functools
import os
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Int
import numpy as np

from interp_jax import training
from interp_jax.core import Model
from interp_jax.dictionaries import combinations
from interp_jax.dictionaries import trainer as trainer_lib
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.objective import ModelSource
from interp_jax.dictionaries.settings import TrainerConfig
from interp_jax.dictionaries.step import init_state, make_step
from interp_jax.sharding import DATA, keep_or_replicate, to_host


def train_end_to_end(
  config: DictionaryConfig,
  trainer: TrainerConfig,
  model: Model,
  params: Any,
  batches: training.BatchIterator,
  sample: Int[Array | np.ndarray, 'B T'],
  workdir: str | os.PathLike[str],
  *,
  first: int = 1,
  held_out: Any = None,
  mesh: Mesh | None = None,
  sinks: Sequence[training.Sink] = (),
  progress: bool = True,
) -> trainer_lib.TrainResult:
  """Trains a dictionary with the model in the loop, or goes on from a checkpoint.

  Each step runs the model once as it is and once with the outputs spliced in.

  Args:
    config: What the dictionary computes, with the site and layer that it reads (and
      writes).
    trainer: How it is trained; `batch_size` is the number of activations of a step,
      rows times `T - first`.
    model: The model.
    params: Its parameters; those that do not lie on the mesh are put on every device
      of it.
    batches: Endless iterator of tokens `[B, T]`, whose position can be saved
      (`ArrayBatches`).
    sample: Tokens to measure the centre and the scale on.
    workdir: As in `train`.
    first: Positions before this one are neither trained on nor spliced.
    held_out: Rows of activations to evaluate on, as in `train`.
    mesh: Devices, as in `train`.
    sinks: As in `train`.
    progress: Whether to show a progress bar.

  Returns:
    As `train`.

  Raises:
    ValueError: as `train`, and if the config names no place in the model.
  """
  if None in (*config.reads, *config.writes):
    raise ValueError(
      f'config reads {config.reads} and writes {config.writes}: give site and layer.'
    )
  combinations.check(config, trainer)
  source = ModelSource(model, config.reads, config.writes, first)
  params = jax.device_put(params) if mesh is None else keep_or_replicate(mesh, params)
  scale, rows = trainer_lib.measured(config, trainer, _sample(source, params, sample))
  state = init_state(config, trainer, scale, sample=rows)
  layout, batch_layout = trainer_lib.layout_of(config, state, mesh), None
  if mesh is not None:
    state = jax.device_put(state, layout)
    batch_layout = {
      'tokens': NamedSharding(mesh, P(DATA)),
      'params': jax.tree.map(lambda leaf: leaf.sharding, params),
    }
  step = make_step(config, trainer, trainer_lib.plan_of(trainer, mesh), source=source)
  result = training.fit(
    state,
    training.compile_step(step, mesh, layout, batch_sharding=batch_layout),
    batches,
    trainer_lib.loop_config(trainer),
    workdir,
    evaluate=trainer_lib.evaluator(config, held_out, mesh),
    place=functools.partial(_place, params, mesh),
    notes={
      'dictionary': config.to_dict(),
      'trainer': trainer.settings,
      'first': first,
    },
    sinks=sinks,
    progress=progress,
  )
  return trainer_lib.result_of(config, result, held_out, mesh)


def _place(params: Any, mesh: Mesh | None, tokens: Any) -> Mapping[str, Any]:
  """A batch on the devices, with the model's parameters, which are there already."""
  return {'tokens': training.place_batch(tokens, mesh), 'params': params}


def _sample(source: ModelSource, params: Any, tokens: Any) -> dict[str, np.ndarray]:
  """Activations of the sample."""
  rows = jax.jit(lambda batch: source(batch)[:2])
  inputs, targets = to_host(rows({'tokens': tokens, 'params': params}))
  return {'inputs': inputs, 'targets': targets}
