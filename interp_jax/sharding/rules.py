r"""From the names of parameters to their places on a mesh.

A table of rules is a tuple of pairs (regex, `PartitionSpec`). The path of a leaf is
its keys joined by `/`, e.g. `blocks/attn/W_Q`; the first rule whose regex is found in
the path decides. The same rules therefore place what an optimiser keeps of a parameter
(`opt_state/0/mu/blocks/attn/W_Q`).

A leaf that no rule matches is an error, because a silently replicated weight costs
memory on every device and is noticed late. To replicate the rest, end the table with
`('.*', PartitionSpec())`. To change a rule, put another before it:

    rules = ((r'embed/W_E$', PartitionSpec(None, 'model')), *TRANSFORMER_RULES)

An axis that the mesh does not divide is an error too: key/value heads that are fewer
than the `model` axis, say, or a vocabulary of 50,257. `fit_rules` makes a table that
replicates such leaves, and says which.
"""

from collections.abc import Iterator
import math
import re
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
import numpy as np

from interp_jax.core import unknown
from interp_jax.sharding.batch import from_here
from interp_jax.sharding.mesh import MODEL

Rules = tuple[tuple[str, P], ...]

# Layers are stacked, so everything in `blocks` leads with the layer axis L. Heads (H
# and G) and neurons (M) are split, so that attention and MLP need one all-reduce each,
# after W_O and W_out; of a mixture, the neurons of each expert: its rows are chosen by
# the router, and devices that hold whole experts would have to pass them around. The
# vocabulary (V) is split in W_E and W_U, and the embedding needs an all-reduce as well.
TRANSFORMER_RULES: Rules = (
  (r'(^|/)embed/W_E$', P(MODEL, None)),  # [V, D]
  (r'(^|/)unembed/W_U$', P(None, MODEL)),  # [D, V]
  (r'(^|/)unembed/b_U$', P(MODEL)),  # [V]
  (r'(^|/)attn/W_[QKV]$', P(None, MODEL)),  # [L, H or G, D, K]
  (r'(^|/)attn/b_[QKV]$', P(None, MODEL)),  # [L, H or G, K]
  (r'(^|/)attn/W_O$', P(None, MODEL)),  # [L, H, K, D]
  (r'(^|/)mlp/W_(in|gate)$', P(None, None, MODEL)),  # [L, D, M]
  (r'(^|/)mlp/b_(in|gate)$', P(None, MODEL)),  # [L, M]
  (r'(^|/)mlp/W_out$', P(None, MODEL)),  # [L, M, D]
  (r'(^|/)experts/W_(in|gate)$', P(None, None, None, MODEL)),  # [L, E, D, M]
  (r'(^|/)experts/W_out$', P(None, None, MODEL)),  # [L, E, M, D]
  # What is small is replicated: biases of the residual stream, positions, norms, the
  # router and BERT's heads.
  (r'(^|/)(attn/b_O|mlp/b_out)$', P()),  # [L, D]
  (r'(^|/)(pos_embed/W_pos|token_type_embed/W_type)$', P()),  # [T, D], [types, D]
  (r'(^|/)(ln\w*|[qk]_norm)/[wb]$', P()),  # [L, D], [L, M], [L, K], [L, H, K] or [D]
  (r'(^|/)experts/W_router$', P()),  # [L, D, E]
  (r'(^|/)(mlm_dense|pooler)/[Wb]$', P()),  # [D, D] and [D]
)

# Of a model in training. What an optimiser keeps besides its parameters is small, such
# as the coefficients of Muon's iteration.
STATE_RULES: Rules = (*TRANSFORMER_RULES, ('.*', P()))


def _leaves(tree: Any) -> Iterator[tuple[str, Any]]:
  """Each leaf with its path, keys joined by `/`."""
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    yield jax.tree_util.keystr(path, simple=True, separator='/'), leaf


def _first_match(rules: Rules, path: str, shape: tuple[int, ...]) -> tuple[str, P]:
  """The rule that decides about a leaf."""
  for pattern, spec in rules:
    if re.search(pattern, path):
      return pattern, spec
  tried = ', '.join(repr(pattern) for pattern, _ in rules)
  raise ValueError(
    f'No rule places {path!r} of shape {shape}. Tried, in this order: {tried}. Add a'
    " rule for it, or end the table with ('.*', PartitionSpec()) to replicate the rest."
  )


def _spec(rules: Rules, path: str, shape: tuple[int, ...]) -> P:
  """The spec of one leaf. There is nothing to split in a scalar."""
  if not shape:
    return P()
  pattern, spec = _first_match(rules, path, shape)
  if len(spec) > len(shape):
    raise ValueError(
      f'The rule {pattern!r} gives {path!r} the spec {spec} of {len(spec)} axes, but'
      f' its shape {shape} has {len(shape)}. Put a rule for it before that one.'
    )
  return spec


def spec_tree(rules: Rules, tree: Any) -> Any:
  """The partition spec of every leaf.

  Args:
    rules: The table. The first rule whose regex is found in the leaf's path decides.
    tree: A pytree of arrays or of `jax.ShapeDtypeStruct`.

  Returns:
    A pytree of the same structure with a `PartitionSpec` for each leaf. Scalars are
    replicated without a rule.

  Raises:
    ValueError: if no rule matches a leaf, or if the rule's spec has more axes than the
      leaf.
  """
  specs = [_spec(rules, path, np.shape(leaf)) for path, leaf in _leaves(tree)]
  return jax.tree.unflatten(jax.tree.structure(tree), specs)


def _names(entry: Any) -> tuple[str, ...]:
  """The mesh axes that a spec gives to one axis of a leaf."""
  return (entry,) if isinstance(entry, str) else tuple(entry or ())


def _misfit(
  mesh: Mesh, path: str, shape: tuple[int, ...], spec: P
) -> tuple[int, int, str] | None:
  """An axis that does not divide over its mesh axes, their product and their names."""
  for axis, entry in enumerate(spec):
    names = _names(entry)
    for name in names:
      if name not in mesh.shape:
        raise ValueError(f'{path!r}: {unknown("mesh axis", name, mesh.axis_names)}')
    parts = math.prod(mesh.shape[name] for name in names)
    if shape[axis] % parts:
      return axis, parts, ' × '.join(names)
  return None


def _check_fit(mesh: Mesh, path: str, shape: tuple[int, ...], spec: P) -> None:
  """Raises unless each axis of the leaf divides over the mesh axes it is given to."""
  misfit = _misfit(mesh, path, shape, spec)
  if misfit:
    axis, parts, names = misfit
    raise ValueError(
      f'{path!r} of shape {shape} cannot be split by {spec}: axis {axis} has size'
      f' {shape[axis]}, which the {parts} devices of the mesh axis {names} do not'
      ' divide. Choose a size that divides it, put a rule before this one, or let'
      ' `fit_rules` put one that replicates it.'
    )


def fit_rules(mesh: Mesh, rules: Rules, tree: Any) -> Rules:
  """The table for a tree and a mesh that need not divide each other.

  Each leaf that its rule cannot split gets a rule of its own, in front of the others,
  that replicates it: `fitted[: len(fitted) - len(rules)]` says which. What that costs:

  - Keys and values of G heads on a larger `model` axis: every device computes them for
    all G heads, and keeps `2 L G D K` numbers where it would keep a share of them. The
    queries stay split, and each device reads the heads that its own queries need.
    Nothing more is exchanged.
  - A vocabulary that does not divide (GPT-2's 50,257 = 29 · 1733): every device keeps
    `V D` numbers, 77 MB of GPT-2 in bfloat16, and computes all logits, but the sum over
    devices behind the embedding is saved. Vocabularies of larger models divide by 16 or
    more.

  Args:
    mesh: The mesh.
    rules: The table.
    tree: A pytree of arrays or of `jax.ShapeDtypeStruct`, e.g. a model's parameters.
      The result places what an optimiser keeps of them as well.

  Returns:
    The table, with rules in front of it.

  Raises:
    ValueError: as `spec_tree`, and if a rule names an axis that the mesh does not have.
  """
  added = []
  specs = jax.tree.leaves(spec_tree(rules, tree))
  for (path, leaf), spec in zip(_leaves(tree), specs, strict=True):
    if _misfit(mesh, path, np.shape(leaf), spec):
      added.append((f'(^|/){re.escape(path)}$', P()))
  return (*added, *rules)


def shardings(mesh: Mesh, rules: Rules, tree: Any) -> Any:
  """The sharding of every leaf, checked against the mesh.

  What `jax.jit` takes as `in_shardings` and `out_shardings`, and `jax.device_put` as
  the destination.

  Args:
    mesh: The mesh.
    rules: The table.
    tree: A pytree of arrays or of `jax.ShapeDtypeStruct`.

  Returns:
    A pytree of the same structure with a `NamedSharding` for each leaf.

  Raises:
    ValueError: as `spec_tree`, and if a rule names an axis that the mesh does not have
      or whose size does not divide the leaf's axis. The message names the leaf.
  """
  specs = spec_tree(rules, tree)
  for (path, leaf), spec in zip(_leaves(tree), jax.tree.leaves(specs), strict=True):
    _check_fit(mesh, path, np.shape(leaf), spec)
  return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)


def place(mesh: Mesh, rules: Rules, tree: Any) -> Any:
  """The tree with every leaf on the devices that the rules give it.

  Every process passes the same whole tree, and keeps its own shards of it.

  Args:
    mesh: The mesh.
    rules: The table.
    tree: A pytree of arrays, e.g. a model's parameters.

  Returns:
    The same values as global arrays.

  Raises:
    ValueError: as `shardings`.
  """
  return jax.device_put(from_here(mesh, tree), shardings(mesh, rules, tree))
