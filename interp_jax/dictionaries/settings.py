"""How a dictionary is trained, as plain, frozen data."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from interp_jax.core import unknown
from interp_jax.dictionaries import objective


@dataclasses.dataclass(frozen=True)
class TrainerConfig:
  """How a dictionary is trained.

  Attributes:
    steps: Number of updates.
    batch_size: Examples of a batch, over all processes.
    learning_rate: Adam's, at the end of the warm-up.
    warmup: Share of the run over which the rate rises from 0.
    decay: Share of the run, at its end, over which the rate falls linearly to 0.
    b1: Adam's first decay.
    b2: Adam's second decay.
    eps: Adam's epsilon (6.25e-10 in Gao et al. 2024).
    clip: Largest norm of the gradient; 0 for no limit.
    terms: Terms of the objective, added to the squared error.
    unit_norm: Whether the decoder's rows have norm 1.
    center: What `b_dec` starts at, as in `initial.measure`.
    normalize: How inputs are scaled, as in `initial.measure`.
    seed: Of the initial directions.
    log_every: Steps between records of training metrics.
    eval_every: Steps between evaluations on held-out rows (0: at the end only).
    checkpoint_every: Steps between checkpoints (0: at the end only).
    impl: Which kernels to use, as in `kernels.resolve`.
  """

  steps: int
  batch_size: int = 2048
  learning_rate: float = 3e-3
  warmup: float = 0.05
  decay: float = 0.3
  b1: float = 0.9
  b2: float = 0.999
  eps: float = 6.25e-10
  clip: float = 0.0
  terms: tuple[objective.Term, ...] = (objective.AuxK(),)
  unit_norm: bool = True
  center: str = 'geometric_median'
  normalize: str = 'centered'
  seed: int = 0
  log_every: int = 50
  eval_every: int = 500
  checkpoint_every: int = 500
  impl: str = 'auto'

  def to_dict(self) -> dict[str, Any]:
    """As plain data, for JSON."""
    fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    return fields | {'terms': objective.terms_to_dict(self.terms)}

  @classmethod
  def from_dict(cls, data: Mapping[str, Any]) -> 'TrainerConfig':
    """The config that `to_dict` wrote, or of a configuration file.

    Raises:
      ValueError: if a field is unknown.
    """
    fields = [field.name for field in dataclasses.fields(cls)]
    for name in data:
      if name not in fields:
        raise ValueError(unknown('field of a trainer config', name, fields))
    given = dict(data)
    if isinstance(given.get('terms'), Mapping):
      given['terms'] = objective.terms_from_dict(given['terms'])
    return cls(**given)

  @property
  def settings(self) -> dict[str, Any]:
    """What the result depends on, for JSON: a resumed run must have the same."""
    free = ('log_every', 'eval_every', 'checkpoint_every', 'impl')
    return {key: value for key, value in self.to_dict().items() if key not in free}
