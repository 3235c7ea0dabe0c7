"""The published circuit: 26 heads of GPT-2 small in 7 classes, each at one position.

Wang et al. 2023, "Interpretability in the Wild: a Circuit for Indirect Object
Identification in GPT-2 small" (arXiv:2211.00593). A node of the circuit is a head at
the position where its class does its work. Outside of the circuit a head's output is
its mean over prompts of the same template about unrelated names (mean ablation); MLPs
stay.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
from typing import Any

import jax
from jaxtyping import Bool
import numpy as np

from interp_jax import edits
from interp_jax.core import unknown
from interp_jax.tasks import IoiPrompts

Head = tuple[int, int]

CLASSES: Mapping[str, tuple[Head, ...]] = {
  'previous token': ((2, 2), (4, 11)),
  'duplicate token': ((0, 1), (3, 0), (0, 10)),
  'induction': ((5, 5), (6, 9), (5, 8), (5, 9)),
  'S-inhibition': ((7, 3), (7, 9), (8, 6), (8, 10)),
  'name mover': ((9, 9), (9, 6), (10, 0)),
  'negative name mover': ((10, 7), (11, 10)),
  'backup name mover': (
    (9, 0),
    (9, 7),
    (10, 1),
    (10, 2),
    (10, 6),
    (10, 10),
    (11, 2),
    (11, 9),
  ),
}
# The circuit as it was first told, without the classes that only knockouts showed.
NAIVE: tuple[Head, ...] = (
  *CLASSES['previous token'],
  *CLASSES['duplicate token'][:2],
  *CLASSES['induction'][:2],
  *CLASSES['S-inhibition'],
  *CLASSES['name mover'],
)
HEADS: tuple[Head, ...] = tuple(h for heads in CLASSES.values() for h in heads)
# Layers and heads of the model that it is a circuit of.
SHAPE = (12, 12)


def position_of(name: str, prompts: IoiPrompts) -> int:
  """Where the heads of a class work in some prompts.

  Args:
    name: The class.
    prompts: The prompts.

  Returns:
    The position: behind the subject's first mention, at its second, or the last.

  Raises:
    ValueError: if there is no such class.
  """
  if name not in CLASSES:
    raise ValueError(unknown('class of heads', name, CLASSES))
  if name == 'previous token':
    return prompts.subject_at + 1
  if name in ('duplicate token', 'induction'):
    return prompts.second_subject_at
  return prompts.tokens.shape[1] - 1


def nodes_mask(
  prompts: IoiPrompts, heads: Iterable[Head] = HEADS
) -> Bool[np.ndarray, 'L T H']:
  """A mask that holds at some heads of the circuit, each at its position.

  Args:
    prompts: The prompts.
    heads: The heads, of those in `HEADS`.

  Returns:
    The mask.

  Raises:
    ValueError: if a head is not in the circuit.
  """
  class_of = {head: name for name, some in CLASSES.items() for head in some}
  mask = np.zeros((SHAPE[0], prompts.tokens.shape[1], SHAPE[1]), bool)
  for head in heads:
    if head not in class_of:
      names = [f'{a}.{b}' for a, b in HEADS]
      raise ValueError(unknown('head of the circuit', f'{head[0]}.{head[1]}', names))
    layer, index = head
    mask[layer, position_of(class_of[head], prompts), index] = True
  return mask


def moved_mask(
  prompts: IoiPrompts, rng: np.random.Generator
) -> Bool[np.ndarray, 'L T H']:
  """The circuit with the heads of each layer permuted: the same size, other heads.

  Args:
    prompts: The prompts.
    rng: Draws the permutations, one a layer.

  Returns:
    The mask.
  """
  mask = nodes_mask(prompts)
  orders = rng.permuted(np.tile(np.arange(SHAPE[1]), (SHAPE[0], 1)), axis=1)
  return np.take_along_axis(mask, orders[:, None], axis=2)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KeepHeads:
  """Mask of heads at positions `[L, T, H]` → the edit that ablates all others.

  Attributes:
    value: What `z` becomes there, `[L, 1, T, H, K]`.
  """

  value: Any

  def __call__(self, kept: Bool[jax.Array | np.ndarray, 'L T H']) -> edits.Edits:
    return {'z': edits.Replace(self.value, ~kept[:, None, :, :, None])}


def knockouts(
  prompts: IoiPrompts, sets: Sequence[Sequence[Head]]
) -> tuple[Bool[np.ndarray, 'n L T H'], Bool[np.ndarray, 'n L T H']]:
  """The circuit, and the model, without sets of heads at their positions.

  Args:
    prompts: The prompts.
    sets: The sets K.

  Returns:
    What is kept of the circuit, `C - K`, and of the model, `M - K`.
  """
  circuit = nodes_mask(prompts)
  out = np.stack([nodes_mask(prompts, heads) for heads in sets])
  return circuit & ~out, ~out
