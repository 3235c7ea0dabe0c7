"""The same folder in transformers: logits, hidden states and attention patterns."""

import contextlib
import json
import pathlib
from typing import Any, NamedTuple

from jaxtyping import Bool, Float, Int
import numpy as np

from interp_jax.testing.double import double


def hush() -> None:
  """Keeps transformers, if it is installed, from telling of its progress."""
  try:
    import transformers
  except ImportError:
    return

  transformers.logging.set_verbosity_error()
  transformers.logging.disable_progress_bar()


class PeerRun(NamedTuple):
  """What a run of transformers gives, as numpy.

  Attributes:
    logits: Logits; of an encoder without a head, the last hidden state.
    hidden: The residual stream before each layer and, last, after the last one (and
      after the final norm, where there is one), `[L + 1, B, T, D]`.
    patterns: Attention patterns `[L, B, H, T, S]`.
  """

  logits: Float[np.ndarray, 'B T V']
  hidden: Float[np.ndarray, 'L1 B T D']
  patterns: Float[np.ndarray, 'L B H T S']


class Peer:
  """A model folder, read by transformers."""

  def __init__(self, folder: pathlib.Path, in_double: bool = False):
    """Reads the folder.

    Args:
      folder: It holds a config.json and safetensors.
      in_double: Whether to compute in float64 throughout, instead of float32.

    Raises:
      ImportError: if transformers is not installed.
    """
    import torch
    import transformers

    self._context = double if in_double else contextlib.nullcontext
    fields = json.loads((folder / 'config.json').read_text())
    names = fields.get('architectures') or ['AutoModelForCausalLM']
    reader = getattr(transformers, names[0])
    config = transformers.AutoConfig.from_pretrained(folder)
    if in_double and 'reorder_and_upcast_attn' in fields:
      config.reorder_and_upcast_attn = False  # It asserts that float32 is the wider.
    with self._context():
      self._model: Any = reader.from_pretrained(
        folder,
        config=config,
        dtype=torch.float64 if in_double else torch.float32,
        attn_implementation='eager',
        experts_implementation='eager',  # Others want aligned weights.
      ).eval()

  def run(
    self,
    tokens: Int[np.ndarray, 'B T'],
    mask: Bool[np.ndarray, 'B T'] | None = None,
  ) -> PeerRun:
    """Runs the model on tokens; the mask is False at padding."""
    import torch

    given: dict[str, Any] = {'input_ids': torch.tensor(tokens, dtype=torch.long)}
    if mask is not None:
      given['attention_mask'] = torch.tensor(mask, dtype=torch.long)
    with self._context(), torch.no_grad():
      out = self._model(**given, output_hidden_states=True, output_attentions=True)
    logits = out.logits if 'logits' in out else out.last_hidden_state
    stack = lambda parts: np.stack([part.numpy() for part in parts])
    return PeerRun(logits.numpy(), stack(out.hidden_states), stack(out.attentions))

  def generate(
    self, tokens: Int[np.ndarray, 'B T'], count: int
  ) -> Int[np.ndarray, 'B N']:
    """The most probable continuation, `count` tokens of it."""
    import torch

    prompt = torch.tensor(tokens, dtype=torch.long)
    self._model.generation_config.eos_token_id = None  # Or it may stop before.
    with self._context(), torch.no_grad():
      out = self._model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=count,
        do_sample=False,
        pad_token_id=0,
      )
    return out[:, tokens.shape[1] :].numpy()
