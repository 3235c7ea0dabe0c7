"""A dictionary feature on one card: how often, what it writes, where it is active."""

from collections.abc import Sequence
import dataclasses

from jaxtyping import Float
from markupsafe import Markup
import numpy as np

from interp_jax.report import contexts
from interp_jax.report.tables import number, percent


@dataclasses.dataclass(frozen=True)
class FeatureCard:
  """What is known about one feature.

  Attributes:
    index: its number in the dictionary.
    density: fraction of tokens on which it is active.
    maximum: its largest activation in the data.
    promoted: tokens whose logits its direction raises most, strongest first.
    promoted_logits: how much, in logits per unit of activation.
    suppressed: tokens whose logits it lowers most, strongest first.
    suppressed_logits: how much; negative.
    snippets: its strongest contexts, strongest first.
    note: one line more, for example why it was chosen.
  """

  index: int
  density: float
  maximum: float
  promoted: Sequence[str]
  promoted_logits: Float[np.ndarray, ' n']
  suppressed: Sequence[str]
  suppressed_logits: Float[np.ndarray, ' n']
  snippets: Sequence[contexts.Snippet]
  note: str = ''


_CARD = Markup(
  '<article class="feature" aria-label="Feature {index}"><h3>Feature {index}</h3>'
  '<p class="facts">{facts}</p><div class="logits">'
  '<span>raises</span>{up}<span>lowers</span>{down}</div>'
  '<div class="snippets">{snippets}</div></article>'
)


def feature_card(feature: FeatureCard) -> Markup:
  """Writes a feature's card.

  Args:
    feature: what to show. All its contexts are tinted on the scale of its maximum.

  Returns:
    The element. All text is escaped.
  """
  facts = [
    f'active on {percent(feature.density, 2)} of tokens',
    f'largest activation {number(feature.maximum)}',
    *([feature.note] if feature.note else []),
  ]
  return _CARD.format(
    index=feature.index,
    facts=' · '.join(facts),
    up=contexts.chips(feature.promoted, feature.promoted_logits, kind='up'),
    down=contexts.chips(feature.suppressed, feature.suppressed_logits, kind='down'),
    snippets=Markup('').join(
      contexts.snippet(contexts.tidy(item), feature.maximum)
      for item in feature.snippets
    ),
  )
