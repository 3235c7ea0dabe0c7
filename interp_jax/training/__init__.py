"""Training: state, compiled step, schedules, data order, loop, log, checkpoints.

Nothing here knows what is trained: language models, dictionaries and probes all go
through `fit`:

    step = make_train_step(loss_fn, optimizer, mesh)
    data = batches(rows, 32, seed=0)
    result = fit(state, step, data, LoopConfig(steps=1000), workdir)

`drawn` trains many small models at once on data drawn within the step.
`language_model` holds the next-token loss, `bpe` trains tokenizers, `stages` runs the
stages of a longer job, and `job` makes a launch script one of several processes.
"""

from interp_jax.training.checkpoints import Checkpoints, Restored
from interp_jax.training.data import ArrayBatches, OwnRows, batches
from interp_jax.training.drawn import (
  DrawnLossFn,
  Updates,
  make_drawn_step,
  worlds_state,
)
from interp_jax.training.language_model import (
  make_evaluation,
  make_loss,
  next_token_losses,
)
from interp_jax.training.loop import (
  BatchIterator,
  FitResult,
  LoopConfig,
  fit,
)
from interp_jax.training.metrics import (
  DivergedError,
  MetricLog,
  MetricWindow,
  read_metrics,
)
from interp_jax.training.optimizers import (
  OptimizerConfig,
  make_optimizer,
  make_schedule,
)
from interp_jax.training.schedules import warmup_cosine, warmup_stable_decay
from interp_jax.training.sinks import Sink, TensorBoard, WeightsAndBiases
from interp_jax.training.stages import Clock, Stages
from interp_jax.training.state import TrainState, abstract_state, create_state
from interp_jax.training.step import (
  LossFn,
  StepFn,
  compile_step,
  descend,
  gradient,
  make_train_step,
  place_batch,
)

__all__ = [
  'ArrayBatches',
  'BatchIterator',
  'Checkpoints',
  'Clock',
  'DivergedError',
  'DrawnLossFn',
  'FitResult',
  'LoopConfig',
  'LossFn',
  'MetricLog',
  'MetricWindow',
  'OptimizerConfig',
  'OwnRows',
  'Restored',
  'Sink',
  'Stages',
  'StepFn',
  'TensorBoard',
  'TrainState',
  'Updates',
  'WeightsAndBiases',
  'abstract_state',
  'batches',
  'compile_step',
  'create_state',
  'descend',
  'fit',
  'gradient',
  'make_drawn_step',
  'make_evaluation',
  'make_loss',
  'make_optimizer',
  'make_schedule',
  'make_train_step',
  'next_token_losses',
  'place_batch',
  'read_metrics',
  'warmup_cosine',
  'warmup_stable_decay',
  'worlds_state',
]
