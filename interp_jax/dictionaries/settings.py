"""How a dictionary is trained, as plain, frozen data."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from interp_jax.core import known
from interp_jax.dictionaries import objective
from interp_jax.dictionaries.initial import Init
from interp_jax.dictionaries.resample import Resample

OPTIMIZERS = ('adam', 'signum')
DTYPES = ('float32', 'bfloat16', 'float64')


@dataclasses.dataclass(frozen=True)
class TrainerConfig:
  """How a dictionary is trained.

  Attributes:
    steps: Number of updates.
    batch_size: Examples of a batch, over all processes.
    learning_rate: At the end of the warm-up.
    warmup: Share of the run over which the rate rises from 0.
    decay: Share of the run, at its end, over which the rate falls linearly to 0.
    optimizer: `'adam'`; or `'signum'`, sparsify's: signs of the gradient, and what is
      exported is an average over the steps (schedule-free, Defazio et al. 2024,
      2405.15682; it needs neither warm-up nor decay).
    b1: Adam's first decay; of `'signum'`, how far gradients are taken at the average.
    b2: Adam's second decay.
    eps: Adam's epsilon (6.25e-10 in Gao et al. 2024).
    clip: Largest norm of the gradient; 0 for no limit. In runs of some thousand steps
      1.0 (SAELens's) found known features better, most of all with the term l1.
    terms: Terms of the objective. The squared error is added where it is not named.
    unit_norm: Whether the decoder's rows have norm 1.
    init: How the first weights are drawn.
    center: What `b_dec` starts at, as in `initial.measure`.
    normalize: How the data are scaled, as in `initial.measure`.
    resample: When and how dead features start again; None for never.
    microbatches: In how many parts to take a batch, one after the other: less memory.
      BatchTopK chooses in each part for itself, and terms that are not plain means
      over examples (l0 of shape `'relative'`, errors over a variance) are those of the
      parts, averaged.
    compute_dtype: Of the arithmetic; parameters and what the optimiser remembers are
      float32 (or float64).
    seed: Of the first weights, and of what is drawn in a step.
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
  optimizer: str = 'adam'
  b1: float = 0.9
  b2: float = 0.999
  eps: float = 6.25e-10
  clip: float = 0.0
  terms: tuple[objective.Term, ...] = (objective.AuxK(),)
  unit_norm: bool = True
  init: Init = Init()  # noqa: RUF009, it is frozen
  center: str = 'geometric_median'
  normalize: str = 'centered'
  resample: Resample | None = None
  microbatches: int = 1
  compute_dtype: str = 'float32'
  seed: int = 0
  log_every: int = 50
  eval_every: int = 500
  checkpoint_every: int = 500
  impl: str = 'auto'

  @property
  def objective(self) -> tuple[objective.Term, ...]:
    """All terms, the squared error among them."""
    return objective.with_error(self.terms)

  def to_dict(self) -> dict[str, Any]:
    """As plain data, for JSON."""
    fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    return fields | {
      'terms': objective.terms_to_dict(self.terms),
      'init': dataclasses.asdict(self.init),
      'resample': dataclasses.asdict(self.resample) if self.resample else None,
    }

  @classmethod
  def from_dict(cls, data: Mapping[str, Any]) -> 'TrainerConfig':
    """The config that `to_dict` wrote, or of a configuration file.

    Raises:
      ValueError: if a field is unknown.
    """
    given = known(cls, data, 'field of a trainer config')
    if isinstance(given.get('terms'), Mapping):
      given['terms'] = objective.terms_from_dict(given['terms'])
    for name, part in (('init', Init), ('resample', Resample)):
      if isinstance(given.get(name), Mapping):
        given[name] = part(**known(part, given[name], f'field of {name}'))
    return cls(**given)

  @property
  def settings(self) -> dict[str, Any]:
    """What the result depends on, for JSON: a resumed run must have the same."""
    free = ('log_every', 'eval_every', 'checkpoint_every', 'impl')
    return {key: value for key, value in self.to_dict().items() if key not in free}
