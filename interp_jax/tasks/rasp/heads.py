"""Heads: what selects, and what is moved from there.

Scores are `sharpness` where the predicate holds and 0 elsewhere. BOS scores half of it,
so that a query that selects nothing attends to BOS, where there is nothing to move. A
selector width lets BOS score as much as what is selected and moves its mark: among n
selected positions, BOS is attended with weight 1 / (n + 1).
"""

import dataclasses

from jaxtyping import Float
import numpy as np

from interp_jax.tasks.rasp.layout import BOS, Layout
from interp_jax.tasks.rasp.program import Aggregate, Select, SelectorWidth


@dataclasses.dataclass(frozen=True)
class Head:
  """The weights of a head, each as wide as it needs to be.

  Attributes:
    query: Residual stream to queries, `[D, k]`.
    query_bias: Added to them, `[k]`.
    key: Residual stream to keys, `[D, k]`; scores are query · key.
    value: Residual stream to values, `[D, v]`.
    out: Values to residual stream, `[v, D]`.
  """

  query: Float[np.ndarray, 'D k']
  query_bias: Float[np.ndarray, ' k']
  key: Float[np.ndarray, 'D k']
  value: Float[np.ndarray, 'D v']
  out: Float[np.ndarray, 'v D']


def make_head(
  layout: Layout, expression: Aggregate | SelectorWidth, sharpness: float
) -> Head:
  """The head that computes an aggregate, or the reciprocal of a selector width.

  Args:
    layout: The plan.
    expression: What to compute.
    sharpness: Score of what is selected, above what is not.

  Returns:
    The head.
  """
  select = expression.select
  of_queries, of_keys = factor(layout, select)
  rank = of_queries.shape[1]
  query = np.zeros((layout.width, rank + 1))
  key = np.zeros_like(query)
  query[layout.spaces[select.queries].dims, :rank] = of_queries
  key[layout.spaces[select.keys].dims, :rank] = sharpness * of_keys
  width = isinstance(expression, SelectorWidth)
  key[layout.spaces[BOS].dims, rank] = sharpness if width else sharpness / 2
  bias = np.zeros(rank + 1)
  bias[rank] = 1
  source = layout.spaces[BOS if width else expression.of]
  target = layout.spaces[(BOS, expression) if width else expression]
  eye = np.eye(layout.width)
  return Head(query, bias, key, eye[:, source.dims], eye[target.dims])


def factor(
  layout: Layout, select: Select
) -> tuple[Float[np.ndarray, 'Q r'], Float[np.ndarray, 'S r']]:
  """A predicate as a product: `queries @ keys.T` is 1 where it holds, else 0.

  Values that the predicate cannot tell apart have equal rows.

  Args:
    layout: The plan.
    select: The selection.

  Returns:
    A row for each value of the queries, and one for each value of the keys.
  """
  values = layout.values
  holds = np.array(
    [
      [float(bool(select.predicate(key, query))) for key in values[select.keys]]
      for query in values[select.queries]
    ]
  ).reshape(len(values[select.queries]), len(values[select.keys]))
  by_key, by_query = _classes(holds.T), _classes(holds)
  if by_key.shape[1] <= by_query.shape[1]:
    members = by_key.argmax(0)  # One key of each class stands for all.
    return holds[:, members], by_key
  members = by_query.argmax(0)
  return by_query, holds[members].T


def _classes(rows: Float[np.ndarray, 'n m']) -> Float[np.ndarray, 'n c']:
  """Which of the different rows each is; rows of zeros are none. At least one class."""
  different, which = np.unique(rows, axis=0, return_inverse=True)
  onehot = np.eye(len(different))[which.reshape(-1)]
  onehot = onehot[:, different.any(1)]
  return onehot if onehot.shape[1] else np.zeros((len(rows), 1))
