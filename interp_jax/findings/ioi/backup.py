"""Who takes over when the heads that write the answer are knocked out?

In GPT-2 small other heads write the name then (backup name movers), so that a knockout
costs far less than the heads gave. Measured here: what the heads gave by themselves,
what the answer loses without them, and who makes up the difference: the final norm,
which divides by less when less is written, or other heads.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from interp_jax import circuits, edits
from interp_jax.findings.ioi.measures import (
  Head,
  HeadValues,
  direct_effects,
  run_sites,
)
from interp_jax.models import Transformer
from interp_jax.tasks import ClausePrompts


@dataclasses.dataclass(frozen=True)
class Backup:
  """A knockout of heads at the last token, in logits of the answer less the subject.

  What was knocked out writes what it does on the corrupted prompts.

  Attributes:
    knocked_out: The heads.
    before: Direct effect of every head in the whole model, `[L, H]`.
    after: The same without the heads.
    after_fixed: The same, divided by the final norm of the whole model.
    whole: The logit difference of the model.
    without: The logit difference without the heads.
  """

  knocked_out: tuple[Head, ...]
  before: HeadValues
  after: HeadValues
  after_fixed: HeadValues
  whole: float
  without: float

  @property
  def given(self) -> float:
    """What the heads gave by themselves: the loss if nothing else changed."""
    chosen = circuits.head_mask(self.knocked_out, self.before.shape)
    return float((self.before - self.after_fixed)[chosen].sum())

  @property
  def repaired(self) -> float:
    """The share of this that the answer does not lose."""
    return 1 - (self.whole - self.without) / self.given

  @property
  def by_heads(self) -> HeadValues:
    """What each other head writes more than before, as a share of what was given."""
    chosen = circuits.head_mask(self.knocked_out, self.before.shape)
    return np.where(chosen, 0, self.after_fixed - self.before) / self.given

  @property
  def by_norm(self) -> float:
    """What the final norm makes of the same writing, as a share of what was given."""
    return float((self.after - self.after_fixed).sum() / self.given)


def knock_out(
  model: Transformer, params: Any, prompts: ClausePrompts, heads: Sequence[Head]
) -> Backup:
  """Knocks heads out at the last token, and measures what the others then write.

  Args:
    model: The model.
    params: Its parameters.
    prompts: The prompts.
    heads: The heads, (layer, head).

  Returns:
    What happens.
  """
  heads = tuple(heads)
  shape = (model.cfg.layers, model.cfg.heads)
  elsewhere = run_sites(model, params, prompts.corrupted)['z']
  here = np.arange(prompts.tokens.shape[1]) == prompts.tokens.shape[1] - 1
  mask = circuits.head_mask(heads, shape)[:, None, None, :, None] & here[:, None, None]
  out = {'z': edits.Replace(elsewhere, jnp.asarray(mask))}
  scale = run_sites(model, params, prompts.tokens)['ln_final.scale']
  effects = lambda *args: direct_effects(model, params, prompts.tokens, prompts, *args)
  metric = circuits.logit_difference(prompts.answer, prompts.subject)
  whole, without = (
    float(circuits.reference_run(model, params, prompts.tokens, metric, edits=e)[0])
    for e in (None, out)
  )
  return Backup(
    knocked_out=heads,
    before=effects(),
    after=effects(out),
    after_fixed=effects(out, scale),
    whole=whole,
    without=without,
  )
