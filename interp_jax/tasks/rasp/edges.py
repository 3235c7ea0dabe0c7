"""The true circuit of a compiled program, for each way to ablate an edge.

An edge goes from a node that writes to the residual stream (`input`, `a0.h1`, `m0`) to
an input of a later one (`a1.h0<q>`, `a1.h0<k>`, `a1.h0<v>`, `m1`, `logits`). It is true
under an ablation if patching it alone can change the output. So there is not one truth:
an edge that carries the position, or the mark of BOS, carries the same in every input
of a length. To replace it by another run's value, or by a mean over runs, does nothing;
to replace it by zeros takes it away.
"""

from collections.abc import Iterator
from typing import Any

from jaxtyping import Float
import numpy as np

from interp_jax.core import unknown
from interp_jax.tasks.rasp.compiler import CompiledProgram
from interp_jax.tasks.rasp.interpreter import trace
from interp_jax.tasks.rasp.layout import BOS, INPUT, Space
from interp_jax.tasks.rasp.program import Select, SelectorWidth, Value, walk

ABLATIONS = ('zero', 'resample', 'mean')


def true_edges(
  compiled: CompiledProgram, ablation: str, inputs: list[tuple[Value, ...]]
) -> frozenset[str]:
  """The edges that matter, read off the program's data flow.

  Every subspace of the residual stream has one writer. The edge from it to what reads
  the subspace is true under zero ablation, unless zeros would do as well (keys that
  mark BOS where every query selects something, keys of a head that counts all
  positions). Under resample ablation, and under mean ablation with a mean for each
  position, it is true if what is read differs between inputs, which are all of one
  length.

  Args:
    compiled: The program.
    ablation: 'zero', 'resample' or 'mean'.
    inputs: The inputs that the truth is about.

  Returns:
    Names `sender->receiver`, for example 'input->a0.h0<q>' or 'm0->logits'.

  Raises:
    ValueError: if the ablation is unknown.
  """
  if ablation not in ABLATIONS:
    raise ValueError(unknown('ablation', ablation, ABLATIONS))
  idle = _idle_keys(compiled, inputs) if ablation == 'zero' else frozenset()
  found = set()
  for receiver, weights in _readers(compiled):
    for key, space in compiled.layout.spaces.items():
      rows = weights[space.dims]
      if ablation == 'zero':
        matters = rows.any() and (key, receiver) not in idle
      else:
        matters = space.varies and _differ(space, rows)
      if matters:
        found.add(f'{space.writer}->{receiver}')
  return frozenset(found)


def _readers(
  compiled: CompiledProgram,
) -> Iterator[tuple[str, Float[np.ndarray, 'D X']]]:
  """What reads the residual stream, and through which weights."""
  blocks: Any = compiled.params['blocks']
  for layer, head in compiled.layout.heads.values():
    for part in 'QKV':
      weights = np.asarray(blocks['attn'][f'W_{part}'][layer, head])
      yield f'a{layer}.h{head}<{part.lower()}>', weights
  for layer in set(compiled.layout.mlps.values()):
    yield f'm{layer}', np.asarray(blocks['mlp']['W_in'][layer])
  yield 'logits', np.asarray(compiled.params['unembed']['W_U'])


def _differ(space: Space, rows: Float[np.ndarray, 'n X']) -> bool:
  """Whether a reader can tell the values of a subspace apart."""
  if space.always and space.size > 1:
    return bool((rows != rows[0]).any())
  return bool(rows.any())


def _idle_keys(
  compiled: CompiledProgram, inputs: list[tuple[Value, ...]]
) -> frozenset[tuple[Any, str]]:
  """(Subspace, keys of a head) that could as well be zero.

  The mark of BOS, if every query selects something. And everything that a head reads
  which counts a selection of all positions, if it comes over one edge: keys of zeros
  are attended alike, BOS among them, as they were before.
  """
  layout, causal = compiled.layout, compiled.model.cfg.causal
  empty: set[Select] = set()
  partial: set[Select] = set()
  selects = [e for e in walk(compiled.program) if isinstance(e, Select)]
  for tokens in inputs:
    values = trace(compiled.program, tokens, causal)
    there_are = np.arange(1, len(tokens) + 1) if causal else len(tokens)
    for select in selects:
      widths = values[select].sum(1)
      empty |= {select} if (widths == 0).any() else set()
      partial |= {select} if (widths < there_are).any() else set()
  idle: set[tuple[Any, str]] = set()
  for expression, (layer, head) in layout.heads.items():
    select, keys = expression.select, f'a{layer}.h{head}<k>'
    if not isinstance(expression, SelectorWidth):
      idle |= set() if select in empty else {(BOS, keys)}
    elif select not in partial and layout.spaces[select.keys].writer == INPUT:
      idle |= {(BOS, keys), (select.keys, keys)}
  return frozenset(idle)
