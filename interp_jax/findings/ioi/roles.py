"""Which heads do what: classes by where a head attends and what its writing does.

The classes are those of Wang et al. 2023 (arXiv:2211.00593) and two that small models
have in their place. They are found by measures alone: a model may lack some of them,
and a head may be in several. Only heads that matter are classed: those whose corruption
changes the answer.
"""

from collections.abc import Mapping
import dataclasses

import numpy as np

from interp_jax import circuits
from interp_jax.circuits.graph import QKV
from interp_jax.findings.ioi.measures import Head, HeadMeasures, HeadValues

# Attention that makes a class: the mean over prompts.
ATTENDS = 0.3
# A head matters if corrupting it changes the answer by this share, and writes for or
# against the answer if it does so by this share.
MATTERS, WRITES = 0.01, 0.05

# A head gathers names if so much of its attention goes to the other three names, and
# less than half as much to the subject as to each of them.
GATHERS = 0.5

ROLES: Mapping[str, str] = {
  'previous token': 'attends to the token before',
  'clause': 'attends from the second name of a clause to the first',
  'duplicate token': 'attends from the second subject to the first',
  'induction': 'attends from the second subject to what came behind the first',
  'name gatherer': 'attends from the second subject to the three other names, and not '
  'to the subject itself',
  'S-inhibition': 'attends from the last token to the second subject, and writes what '
  'later heads ask by (queries)',
  'subject mover': 'attends from the last token to the second subject, and writes for '
  'the answer that earlier heads put there',
  'name mover': 'attends from the last token to the answer, and writes for it',
  'negative name mover': 'writes against the answer',
}


@dataclasses.dataclass(frozen=True)
class Sent:
  """What a head's writing does, by what it is read as, `[L, H]` each.

  Shares of the logit difference that exact patching of the edges takes away, summed
  over the heads that read it.
  """

  q: HeadValues
  k: HeadValues
  v: HeadValues
  logits: HeadValues


def sent_by_heads(exact: circuits.EdgeScores, whole: float) -> Sent:
  """Sums exact edge effects by what the edges are read as.

  Args:
    exact: Scores of exact patching.
    whole: The logit difference of the model less that of the corrupted prompts.

  Returns:
    The shares.
  """
  graph = exact.graph
  shape = (graph.layers, graph.heads)
  heads = [graph.sender(f'a{layer}.h{head}') for layer, head in np.ndindex(shape)]
  lost = -exact.values[:, heads] / whole
  reads = np.array([name.partition('<')[2][:1] for name in graph.receivers])
  sums = {kind: lost[reads == kind].sum(0).reshape(shape) for kind in QKV}
  return Sent(**sums, logits=lost[reads == ''].sum(0).reshape(shape))


def find_roles(
  measures: HeadMeasures, sent: Sent, whole: float
) -> dict[str, tuple[Head, ...]]:
  """The heads of every class, in the order of `ROLES`.

  Args:
    measures: Of all heads.
    sent: What their writing does.
    whole: The logit difference of the model less that of the corrupted prompts.

  Returns:
    Class → heads (layer, head); no heads where there are none.
  """
  m, direct = measures, measures.direct / whole
  reader = m.reads_subject >= ATTENDS
  gathered = m.partner + 2 * m.others
  rules = {
    'previous token': m.previous >= ATTENDS,
    'clause': m.clause >= ATTENDS,
    'duplicate token': m.duplicate >= ATTENDS,
    'induction': m.induction >= ATTENDS,
    'name gatherer': (gathered >= GATHERS) & (m.duplicate < gathered / 6),
    'S-inhibition': reader & (sent.q >= WRITES),
    'subject mover': reader & (direct >= WRITES),
    'name mover': (m.reads_answer >= ATTENDS) & (direct >= WRITES),
    'negative name mover': direct <= -WRITES,
  }
  matters = np.abs(m.total) >= MATTERS * abs(whole)
  return {role: _heads(rules[role] & matters) for role in ROLES}


def writers(measures: HeadMeasures, whole: float) -> tuple[Head, ...]:
  """The heads that write for the answer, whatever they attend to, the most first."""
  found = _heads(measures.direct >= WRITES * whole)
  return tuple(sorted(found, key=lambda head: -measures.direct[head]))


def _heads(mask: np.ndarray) -> tuple[Head, ...]:
  return tuple((int(layer), int(head)) for layer, head in np.argwhere(mask))
