"""PyTorch code that rounds to float32 on its way, run in float64 throughout."""

from collections.abc import Iterator
import contextlib
import math
from typing import Any


@contextlib.contextmanager
def double() -> Iterator[None]:
  """A context in which PyTorch knows no float32.

  A model of transformers in float64 is not computed in float64: rotary frequencies,
  norms, the softmax of scores and of routers are cast to float32 by name, and what
  comes out agrees with an exact computation to 1e-7 and no further. To tell a wrong
  formula from such rounding, every cast to float32 in this context goes to float64, and
  tensors that name no dtype are made in float64. It must be open while a model is made
  or read, which is when rotary frequencies are computed, and while it runs. Casts to 16
  bits stay what they are: those are part of a model.

  BLOOM's GELU has a literal of that precision, 0.79788456 for the square root of 2/pi;
  it is exact here too.

  Yields:
    Nothing.

  Raises:
    ImportError: if PyTorch is not installed.
  """
  import torch

  class Double(torch.overrides.TorchFunctionMode):
    def __torch_function__(
      self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
      if func is torch.Tensor.float:
        return args[0].double()
      kwargs = {name: wider(value) for name, value in (kwargs or {}).items()}
      return func(*map(wider, args), **kwargs)

  def wider(value: Any) -> Any:
    if isinstance(value, float) and value == 0.79788456:
      return math.sqrt(2 / math.pi)
    return torch.float64 if value is torch.float32 else value

  before = torch.get_default_dtype()
  torch.set_default_dtype(torch.float64)
  try:
    with Double():
      yield
  finally:
    torch.set_default_dtype(before)
