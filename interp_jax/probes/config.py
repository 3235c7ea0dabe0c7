"""How probes are trained."""

import dataclasses
from typing import Any

from interp_jax import training
from interp_jax.core import unknown

KINDS = ('linear', 'mlp')


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
  """Which probe to train, and how.

  The optimizer is AdamW with a cosine schedule. Linear probes start at zero: their
  loss is convex.

  Attributes:
    kind: `'linear'`, or `'mlp'`: one hidden layer of ReLUs, which all questions share.
    hidden: Width of that layer.
    steps: Updates.
    batch_size: Rows of a batch.
    learning_rate: The highest learning rate.
    warmup: Steps of linear warm-up.
    weight_decay: Decoupled decay of the matrices, per unit of learning rate.
    b1: Decay of Adam's first moment.
    b2: Decay of Adam's second moment.
    held_out: The fraction of groups to score on and not to train on.
    standardize: Whether to bring each coordinate of each layer to mean 0 and standard
      deviation 1, as measured on the training rows.
    log_every: Steps between records of the training loss.
    eval_every: Steps between scores on held-out rows; 0 for at the end only.
    checkpoint_every: Steps between checkpoints.
  """

  kind: str = 'linear'
  hidden: int = 128
  steps: int = 1000
  batch_size: int = 512
  learning_rate: float = 0.01
  warmup: int = 20
  weight_decay: float = 0.01
  b1: float = 0.9
  b2: float = 0.99
  held_out: float = 0.2
  standardize: bool = True
  log_every: int = 100
  eval_every: int = 0
  checkpoint_every: int = 500

  def __post_init__(self):
    if self.kind not in KINDS:
      raise ValueError(unknown('kind of probe', self.kind, KINDS))
    for name in ('hidden', 'steps', 'batch_size'):
      if getattr(self, name) < 1:
        raise ValueError(f'{name} is {getattr(self, name)}; it must be at least 1.')
    if not 0 < self.held_out < 1:
      raise ValueError(
        f'held_out is {self.held_out}; it is a fraction of the groups, above 0 and '
        'below 1.'
      )

  @property
  def optimizer(self) -> training.OptimizerConfig:
    """The optimizer with its schedule."""
    return training.OptimizerConfig(
      learning_rate=self.learning_rate,
      warmup=self.warmup,
      weight_decay=self.weight_decay,
      clip=0.0,
      b1=self.b1,
      b2=self.b2,
    )

  @property
  def settings(self) -> dict[str, Any]:
    """All that changes what is trained."""
    free = ('log_every', 'eval_every', 'checkpoint_every')
    return {k: v for k, v in dataclasses.asdict(self).items() if k not in free}
