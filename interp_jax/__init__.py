"""Mechanistic interpretability, as one pure function under JAX transforms.

A model is a function that returns every intermediate activation and accepts an edit
to each of them:

    model, params, tokenizer = interp_jax.load('stdlib-4l')
    logits, acts = model.apply({'params': params}, tokens, edits)

The rooms of the package are its submodules; each is imported when it is first used,
so that `import interp_jax` is instant, starts no backend and loads no plotting.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from interp_jax.models import list_models, load

__version__ = '0.1.0'

# Attributes of this package that live in a room: name -> room.
_EXPORTS = {'load': 'models', 'list_models': 'models'}


def _rooms() -> frozenset[str]:
  """Names of the subpackages."""
  return frozenset(module.name for module in pkgutil.iter_modules(__path__))


def __getattr__(name: str) -> Any:
  if name in _EXPORTS:
    return getattr(importlib.import_module(f'{__name__}.{_EXPORTS[name]}'), name)
  if name in _rooms():
    return importlib.import_module(f'{__name__}.{name}')
  raise AttributeError(
    f'module {__name__!r} has no attribute {name!r}; it has {", ".join(__dir__())}.'
  )


def __dir__() -> list[str]:
  return sorted({'__version__', *_EXPORTS, *_rooms()})


__all__ = ['__version__', 'list_models', 'load']
