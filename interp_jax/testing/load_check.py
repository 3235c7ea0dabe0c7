"""Is a folder of weights read right? Measured, beside the libraries that defined it.

`check_folder` loads a folder, runs it here and, where they are installed, in
transformers and in TransformerLens, and says how far the numbers are apart.
"""

from collections.abc import Callable, Iterable, Sequence
import dataclasses
import importlib.util
import json
import math
import os
import pathlib
import tempfile
from typing import Any

import jax
from jaxtyping import Bool, Float, Int
import numpy as np

from interp_jax import compat, models
from interp_jax.compat.export import processing_steps
from interp_jax.models.processing import process
from interp_jax.models.published import open_published
from interp_jax.testing.double import double
from interp_jax.testing.lens_peer import LensPeer
from interp_jax.testing.peer import Peer

FLOAT32_BOUND, FLOAT64_BOUND = 5e-5, 1e-10
_LENGTH, _SHORT = 13, 9


@dataclasses.dataclass(frozen=True)
class Check:
  """How far numbers are apart: largest absolute differences, None where not measured.

  Attributes:
    family: Its family's name.
    float32: Logits in float32, here and in the library that defined the folder:
      transformers, or TransformerLens for its own.
    float64: The same in float64.
    hooks: How many hooks were compared with TransformerLens, raw and processed, the
      logits of both among them.
    hook_error: The largest difference at any of them.
    processed: Log-probabilities before and after `process`.
    round_trip: What was read and is written and read again: logits of that library, or
      without it the parameters.
    padding: Logits of a sequence alone and in a batch that is padded, either side.
    notes: Why something was not measured.
  """

  family: str
  float32: float | None = None
  float64: float | None = None
  hooks: int | None = None
  hook_error: float | None = None
  processed: float | None = None
  round_trip: float | None = None
  padding: float | None = None
  notes: tuple[str, ...] = ()

  def above(self) -> list[str]:
    """The columns whose error is above its bound (or is not a number)."""
    names = ('float64', 'hook_error', 'processed', 'padding')
    bounds = {'float32': FLOAT32_BOUND, 'round_trip': 0.0}
    bounds |= dict.fromkeys(names, FLOAT64_BOUND)
    found = [(name, getattr(self, name), bound) for name, bound in bounds.items()]
    return [
      name for name, error, bound in found if error is not None and not error <= bound
    ]


def check_folder(
  path: str | os.PathLike,
  tokens: Int[np.ndarray, 'B T'] | None = None,
  ignore_fields: Iterable[str] = (),
) -> Check:
  """Compares a folder's model with what defined it.

  Runs in float64 as well, so that it takes three to four times the memory of the
  weights in float32.

  Args:
    path: A folder with config.json and safetensors.
    tokens: What to run it on, two rows at least; None for random ones.
    ignore_fields: As for `load`.

  Returns:
    What was measured.

  Raises:
    ValueError: if `load` cannot read it.
  """
  folder, ignore = pathlib.Path(path), tuple(ignore_fields)
  family = open_published(folder, ignore).family.name
  model, params, _ = models.load(folder, ignore_fields=ignore)
  tokens = random_tokens(model.cfg.vocab_size) if tokens is None else tokens
  here = logits_of(model, params, tokens)
  if not np.isfinite(here).all():
    raise ValueError(f'{folder}: logits are not finite in float32.')
  found: dict[str, Any] = {'notes': _missing()}
  with tempfile.TemporaryDirectory() as written:
    models.save_like(written, model, params, folder, ignore_fields=ignore)
    there = _logits_there(folder, tokens, in_double=False)
    if there is None:
      again = models.load(written, ignore_fields=ignore)[1]
      found['round_trip'] = max(map(_apart, *map(jax.tree.leaves, (again, params))))
    else:
      again = _logits_there(pathlib.Path(written), tokens, in_double=False)
      found |= {'float32': _apart(here, there), 'round_trip': _apart(again, there)}
  with jax.enable_x64(True):
    exact = _check_in_float64(folder, tokens, ignore)
  notes = found.pop('notes') + exact.pop('notes')
  return Check(family, **found, **exact, notes=notes)


def random_tokens(
  vocabulary: int, rows: int = 2, length: int = _LENGTH
) -> Int[np.ndarray, 'B T']:
  """Tokens to compare on, the same at every call."""
  draws = np.random.default_rng(0).integers(0, vocabulary, (rows, length))
  return draws.astype(np.int32)


def logits_of(
  model: models.Transformer,
  params: Any,
  tokens: Int[np.ndarray, 'B T'],
  mask: Bool[np.ndarray, 'B T'] | None = None,
) -> Float[np.ndarray, 'B T V']:
  """The logits (of an encoder without a head, the last residual stream)."""
  run = jax.jit(lambda params: model.apply({'params': params}, tokens, mask=mask)[0])
  return np.asarray(run(params))


def padding_error(
  model: models.Transformer, params: Any, tokens: Int[np.ndarray, 'B T']
) -> float:
  """How far padding on the left and on the right moves the logits of a sequence.

  Args:
    model: The model.
    params: Its parameters.
    tokens: Two rows at least; the start of the second is padded, beside the first.

  Returns:
    The largest difference from the sequence alone.
  """
  length = tokens.shape[1]
  count = min(_SHORT, length - 1)
  short, pad = tokens[1, :count], length - count
  rows = np.stack([tokens[0], np.pad(short, (pad, 0)), np.pad(short, (0, pad))])
  mask = np.ones_like(rows, bool)
  mask[1, :pad] = mask[2, count:] = False
  batch = logits_of(model, params, rows, mask)
  alone = logits_of(model, params, short[None])[0]
  return max(_apart(batch[row][mask[row]], alone) for row in (1, 2))


def _check_in_float64(
  folder: pathlib.Path, tokens: np.ndarray, ignore: Sequence[str]
) -> dict[str, Any]:
  model, params, _ = models.load(folder, dtype='float64', ignore_fields=ignore)
  here = logits_of(model, params, tokens)
  found: dict[str, Any] = {'padding': padding_error(model, params, tokens)}
  there = _logits_there(folder, tokens, in_double=True)
  if there is not None:
    found['float64'] = _apart(here, there)
  processed = logits_of(*process(model, params), tokens)
  has_head = model.cfg.head != 'none'
  view = _log_probabilities if has_head else lambda resid: resid
  found['processed'] = _apart(view(processed), view(here))
  hooks, notes = _hook_errors(model, params, tokens)
  if hooks:
    found |= {'hooks': len(hooks), 'hook_error': max(hooks.values())}
  return {**found, 'notes': notes}


def _logits_there(
  folder: pathlib.Path, tokens: np.ndarray, in_double: bool
) -> np.ndarray | None:
  """The logits of the library that defined the folder, if it is installed."""
  fields = json.loads((folder / 'config.json').read_text())
  if 'model_type' in fields:
    kind, library = Peer, 'transformers'
  else:
    kind, library = LensPeer, 'transformer_lens'
  return kind(folder, in_double).run(tokens).logits if _installed(library) else None


def _hook_errors(
  model: models.Transformer, params: Any, tokens: np.ndarray
) -> tuple[dict[str, float], tuple[str, ...]]:
  """Hook, raw or processed → difference; and why not, where that is not possible."""
  if not _installed('transformer_lens'):
    return {}, ()
  errors, notes = {}, []
  processed = process(model, params, **processing_steps(model.cfg))
  for mode, pair in (('raw', (model, params)), ('processed', processed)):
    with double():
      try:
        peer = compat.hooked_transformer(model, params, processed=mode == 'processed')
      except (AssertionError, KeyError, ValueError) as error:
        # What it cannot compute is a ValueError; its own steps raise the others.
        notes.append(f'There is no {mode} model of TransformerLens: {error}')
        continue
      found = compat.compare_hooks(*pair, peer, tokens)
    errors |= {f'{mode} {name}': error for name, error in found.items()}
  return errors, tuple(notes)


def _log_probabilities(
  logits: Float[np.ndarray, '*b V'],
) -> Float[np.ndarray, '*b V']:
  return np.asarray(jax.nn.log_softmax(logits, -1))


def _apart(one: Any, other: Any) -> float:
  return float(np.abs(np.asarray(one) - np.asarray(other)).max())


def _installed(name: str) -> bool:
  return importlib.util.find_spec(name) is not None


def _missing() -> tuple[str, ...]:
  return tuple(
    f'{name} is not installed; nothing is compared with it.'
    for name in ('transformers', 'transformer_lens')
    if not _installed(name)
  )


COLUMNS: dict[str, Callable[[Check], Any]] = {
  'family': lambda check: check.family,
  'float32 error': lambda check: check.float32,
  'float64 error': lambda check: check.float64,
  'hooks compared': lambda check: check.hooks,
  'largest hook error': lambda check: check.hook_error,
  'processed mode': lambda check: check.processed,
  'writer round trip': lambda check: check.round_trip,
  'padding': lambda check: check.padding,
}


def table(checks: Sequence[Check]) -> str:
  """The checks as a Markdown table, a row each."""
  lines = [' | '.join(COLUMNS), ' | '.join('---' for _ in COLUMNS)]
  for check in checks:
    lines.append(' | '.join(_cell(read(check)) for read in COLUMNS.values()))
  return '\n'.join(f'| {line} |' for line in lines)


def _cell(value: Any) -> str:
  if value is None:
    return '–'
  if isinstance(value, float):
    return '0' if value == 0 else f'{value:.0e}'
  return str(value)


def worst(checks: Sequence[Check]) -> Check:
  """One check for all models of a family: the largest of everything.

  Args:
    checks: Of models of one family.

  Returns:
    Their maximum, field by field, without notes.
  """
  numbers = [f.name for f in dataclasses.fields(Check)][1:-1]
  found = {}
  for name in numbers:
    known = [v for v in (getattr(check, name) for check in checks) if v is not None]
    # NaN is worse than any number.
    found[name] = max(known, key=lambda v: (math.isnan(v), v)) if known else None
  return Check(checks[0].family, **found)
