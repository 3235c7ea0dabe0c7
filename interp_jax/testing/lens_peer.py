"""A folder of TransformerLens's own, in TransformerLens."""

from collections.abc import Mapping
import contextlib
import dataclasses
import json
import pathlib
from typing import Any, NamedTuple
import warnings

from jaxtyping import Float, Int
import numpy as np

from interp_jax.models.tensor_files import stored_tensors
from interp_jax.testing.double import double

_BUFFERS = ('mask', 'IGNORE', 'rotary_sin', 'rotary_cos')


class LensRun(NamedTuple):
  """What a run of TransformerLens gives, as numpy.

  Attributes:
    logits: The logits.
  """

  logits: Float[np.ndarray, 'B T V']


class LensPeer:
  """One of TransformerLens's own models, weights as they are in the file."""

  def __init__(self, folder: pathlib.Path, in_double: bool = False):
    """Reads the folder.

    Args:
      folder: It holds a config.json with TransformerLens's fields, and safetensors.
      in_double: Whether to compute in float64 throughout, instead of float32.

    Raises:
      ImportError: if transformer_lens is not installed.
    """
    import torch

    fields = json.loads((folder / 'config.json').read_text())
    self._context = double if in_double else contextlib.nullcontext
    with self._context():
      self._model = _hooked(fields, torch.float64 if in_double else torch.float32)
    stored = stored_tensors(folder)
    state = {
      name: torch.tensor(np.array(tensor.read(), np.float64)).to(self._model.cfg.dtype)
      for name, tensor in stored.items()
    }
    report = self._model.load_state_dict(state, strict=False)
    missing = [name for name in report.missing_keys if not name.endswith(_BUFFERS)]
    if missing or report.unexpected_keys:
      raise ValueError(
        f'{folder}: TransformerLens wants {missing} and has no place for '
        f'{report.unexpected_keys}.'
      )

  @staticmethod
  def shapes(fields: Mapping[str, Any]) -> dict[str, list[int]]:
    """Name → shape of the tensors of a model, without constants.

    Args:
      fields: Of the config.json.

    Returns:
      The shapes.
    """
    import torch

    state = _hooked(fields, torch.float32).state_dict()
    return {
      name: [*tensor.shape]
      for name, tensor in state.items()
      if not name.endswith(_BUFFERS)
    }

  def run(self, tokens: Int[np.ndarray, 'B T']) -> LensRun:
    """Runs the model on tokens."""
    import torch

    with self._context(), torch.no_grad():
      logits = self._model(torch.tensor(tokens, dtype=torch.long))
    return LensRun(logits.numpy())


def _hooked(fields: Mapping[str, Any], dtype: Any) -> Any:
  """The model; fields of the training are left out, as TransformerLens does."""
  import transformer_lens

  kind = transformer_lens.HookedTransformerConfig
  known = {field.name for field in dataclasses.fields(kind)}
  given = {name: value for name, value in fields.items() if name in known}
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # The class is deprecated, and says so.
    config = kind(**given, dtype=dtype, device='cpu')
    return transformer_lens.HookedTransformer(config, move_to_device=False).eval()
