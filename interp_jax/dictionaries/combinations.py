"""Which wirings, activations and objectives make sense together.

Each part says for itself what it needs (`check`); here are the rules that are about
several. Everything that is not refused trains.
"""

from interp_jax.core import unknown
from interp_jax.dictionaries.activation import Gated, JumpReLU, ReLU
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.objective import L1, Tanh
from interp_jax.dictionaries.settings import DTYPES, OPTIMIZERS, TrainerConfig


def check(config: DictionaryConfig, trainer: TrainerConfig) -> None:
  """Raises ValueError, with the reason, where a combination cannot work.

  Args:
    config: What the dictionary computes.
    trainer: How it is to be trained.
  """
  for kind, given, allowed in (
    ('optimizer', trainer.optimizer, OPTIMIZERS),
    ('compute dtype', trainer.compute_dtype, DTYPES),
  ):
    if given not in allowed:
      raise ValueError(unknown(kind, given, allowed))
  if config.normalize != 'none':
    raise ValueError(
      f'normalize={config.normalize!r} is for dictionaries of other libraries, and '
      'nothing trains with it. TrainerConfig.normalize scales the inputs instead.'
    )
  names = [term.name for term in trainer.objective]
  if len(set(names)) < len(names):
    raise ValueError(f'The terms are {names}: name each once.')
  for term in trainer.objective:
    term.check(config)
  if trainer.resample is not None:
    trainer.resample.check(config)
    if trainer.optimizer != 'adam':
      raise ValueError(
        f'Resampling and optimizer={trainer.optimizer!r}: an average over the steps '
        "would keep what dead features were. Use 'adam'."
      )
  if 'end_to_end' in names and trainer.microbatches > 1:
    raise ValueError(
      'The term end_to_end is of whole sequences and cannot be taken in microbatches. '
      'Set microbatches=1, and a smaller batch_size.'
    )
  _check_sparsity(config, set(names))
  _check_norm(config, trainer)
  if getattr(config.wiring, 'tied', False):
    _check_tied(config)
  if trainer.batch_size % trainer.microbatches:
    raise ValueError(
      f'batch_size={trainer.batch_size} cannot be taken in microbatches='
      f'{trainer.microbatches} equal parts. Choose a divisor.'
    )


def _check_sparsity(config: DictionaryConfig, names: set[str]) -> None:
  """Something must make the codes sparse, and gates must learn."""
  activation = config.activation
  if isinstance(activation, ReLU | Gated) and not names & {'l1', 'lp', 'tanh'}:
    raise ValueError(
      f'Nothing makes a dictionary with activation {activation.name!r} sparse. Add the '
      'term l1, lp or tanh, or use the activation topk.'
    )
  if isinstance(activation, JumpReLU) and not names & {'l0', 'l1', 'lp', 'tanh'}:
    raise ValueError(
      "Nothing makes a dictionary with activation 'jumprelu' sparse. Add the term l0, "
      'or tanh.'
    )
  if isinstance(activation, Gated) and 'gate' not in names:
    raise ValueError(
      'Without the term gate nothing teaches gates to open. Add it to the terms.'
    )


def _check_norm(config: DictionaryConfig, trainer: TrainerConfig) -> None:
  """Norms of the decoder must be fixed, or paid for."""
  if trainer.unit_norm:
    if trainer.init.decoder == 'zero':
      raise ValueError(
        "init.decoder='zero' under unit_norm=True: rows of zeros have no direction. "
        'Set unit_norm=False.'
      )
    return
  if trainer.init.decoder == 'zero' and getattr(config.activation, 'by_norm', False):
    raise ValueError(
      f'The activation {config.activation.name!r} with by_norm=True and init.decoder='
      "'zero': times norms of 0 all features are equal. Set by_norm=False."
    )
  for term in trainer.objective:
    if isinstance(term, L1 | Tanh) and not term.by_norm:
      raise ValueError(
        f'The term {term.name} with by_norm=False and unit_norm=False is evaded by '
        'small codes and a large decoder. Set one of them to True.'
      )
    if term.name == 'lp':
      raise ValueError(
        'The term lp and unit_norm=False: it is evaded by small codes and a large '
        'decoder. Set unit_norm=True.'
      )


def _check_tied(config: DictionaryConfig) -> None:
  """A tied encoder has no weights of its own to fold norms into."""
  if getattr(config.activation, 'by_norm', False):
    raise ValueError(
      f'The activation {config.activation.name!r} with by_norm=True and a tied '
      'encoder: the norms could not be folded into its weights in the end. Set '
      'by_norm=False and unit_norm=True.'
    )
