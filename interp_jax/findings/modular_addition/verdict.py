"""What must be true for the finding to hold: every bound, in one table.

Measured while the recipe was made. On nine networks: memorised at 100 updates, grokked
at 850 to 1950, another one at 3050; three to five key frequencies; leads of 400 to 950
and 100 to 350 updates. On five, one of them settled three times: of the neurons, 0.26
to 0.82 explained before it settles and 0.86 to 0.99 after it; logit variance 0.94 to
0.97, excluded loss 5.4 to 6.0, restricted loss 0.24 to 0.67 of the loss, unread weights
0.08 to 0.12, readout 0.93 to 0.97; embedding at key frequencies from 0.91, Gini from
0.53. Controls: none explained before training (Gini 0.04) and when memorised (test
accuracy 0.01 to 0.22, excluded loss 0.1 to 1.0); other frequencies 5.0 to 6.5
restricted, below 0.001 of cost. Shuffled answers: test accuracy 0.008, none explained.
Formula: 1.0, narrow 0.81 to 0.91.
"""

from collections.abc import Mapping, Sequence
import math
from typing import Any, NamedTuple

from interp_jax.findings.finding import Quantity

UNIFORM = math.log(113)


class Row(NamedTuple):
  """A quantity and its bounds."""

  name: str
  meaning: str
  at_least: float | None = None
  at_most: float | None = None
  paper: str = ''
  headline: bool = False
  control: bool = False


TABLE: tuple[Row, ...] = (
  # It generalises, long after it knows the training questions by heart.
  Row('train_accuracy', 'training questions answered rightly', 0.999),
  Row('test_accuracy', 'test questions answered rightly', 0.99, None, '1.0', True),
  Row('memorised', 'updates until 99 % of the training questions are known'),
  Row('grokked', 'updates until 99 % of the test questions are answered'),
  Row('delay', 'how many times as long the test takes as the training', 3.0),
  # How it answers.
  Row('key_frequencies', 'number of key frequencies', 3.0, 8.0, '5'),
  Row(
    'neurons_explained',
    'neurons of which one frequency explains over 85 %',
    0.85,
    None,
    '0.846',
    True,
  ),
  Row(
    'plain_neurons_explained',
    'the same before the network was trained on until it settles',
    headline=True,
  ),
  Row(
    'logit_variance',
    'variance of the logits in cos(w(a + b - c)) at the key frequencies',
    0.9,
    None,
    '0.95',
    True,
  ),
  Row(
    'excluded_loss',
    'training loss without the key frequencies, nats (guessing: 4.73)',
    UNIFORM,
    None,
    '5.27',
    True,
  ),
  Row('full_loss', 'loss over all questions, nats'),
  Row('restricted_loss', 'loss with nothing but the key frequencies, nats'),
  Row(
    'restricted_over_full',
    'loss with nothing but the key frequencies, over the loss',
    None,
    1.0,
    'about 0.5',
    True,
  ),
  Row('embedding_at_key', 'variance of the embedding at the key frequencies', 0.8),
  Row('gini', 'Gini coefficient of the waves in the embedding', 0.4),
  Row(
    'unread_weights',
    'norm of the map from neurons to logits outside two directions per key frequency',
    None,
    0.2,
    '0.0055',
  ),
  Row(
    'readout',
    'variance that waves of a + b explain along those directions',
    0.9,
    None,
    '0.93 to 0.98',
  ),
  # The measures move before the test loss does.
  Row('test_falls', 'updates until the test loss is below half of guessing'),
  Row('restricted_falls', 'updates until the restricted loss is'),
  Row('excluded_rises', 'updates until the excluded loss is above it'),
  Row(
    'restricted_lead',
    'updates by which the restricted loss falls before the test loss',
    100.0,
    headline=True,
  ),
  Row(
    'excluded_lead',
    'updates by which the excluded loss rises before the test loss falls',
    50.0,
    headline=True,
  ),
  # Controls: the same network before it found the rule.
  Row(
    'random_neurons_explained',
    'neurons explained before training',
    at_most=0.02,
    control=True,
    headline=True,
  ),
  Row('random_gini', 'Gini coefficient before training', at_most=0.1, control=True),
  Row(
    # Three tenths of them are training questions with the numbers exchanged.
    'memorised_test_accuracy',
    'test questions answered when the training questions are known by heart',
    at_most=0.4,
    control=True,
  ),
  Row(
    'memorised_neurons_explained',
    'neurons explained when the training questions are known by heart',
    at_most=0.05,
    control=True,
    headline=True,
  ),
  Row(
    'memorised_excluded_loss',
    'excluded loss when the training questions are known by heart, nats',
    at_most=UNIFORM / 2,
    control=True,
  ),
  # Controls: other frequencies, as many of them.
  Row(
    'other_restricted_loss',
    'loss with nothing but as many other frequencies, nats',
    UNIFORM * 0.9,
    control=True,
  ),
  Row(
    'other_excluded_cost',
    'training loss that leaving out as many other frequencies costs, nats',
    at_most=0.01,
    control=True,
  ),
  Row(
    'other_logit_variance',
    'variance of the logits at as many other frequencies',
    at_most=0.02,
    control=True,
  ),
  # Controls: answers that follow no rule.
  Row('shuffled_train_accuracy', 'shuffled answers learned by heart', 0.99),
  Row(
    'shuffled_test_accuracy',
    'test questions with shuffled answers answered rightly (chance: 0.009)',
    at_most=0.03,
    control=True,
    headline=True,
  ),
  Row(
    'shuffled_neurons_explained',
    'neurons explained after training on shuffled answers',
    at_most=0.02,
    control=True,
  ),
  # The measures on a network that is known.
  Row('oracle_accuracy', 'questions that 500 neurons by formula answer', 1.0),
  Row(
    'oracle_narrow_accuracy',
    'questions that 50 neurons by formula answer, too few to cancel',
    0.7,
    0.97,
  ),
  Row('oracle_neurons_explained', 'neurons by formula explained, squares undone', 1.0),
  Row('oracle_frequencies_found', 'neurons by formula whose frequency is found', 1.0),
  Row('oracle_least_share', 'least share of a squared neuron (exactly 0.8)', 0.7999),
  Row('oracle_most_share', 'largest share (exactly 0.8)', None, 0.8001),
)


def quantities(measured: Sequence[Mapping[str, Any]]) -> tuple[Quantity, ...]:
  """The table with what was measured.

  Args:
    measured: Numbers by name, of each network and of what there is one of. A name that
      is in none of them is an error, for a claim would go unchecked.

  Raises:
    ValueError: if something in the table was not measured.
  """
  found = []
  for row in TABLE:
    values = tuple(float(one[row.name]) for one in measured if row.name in one)
    found.append(Quantity(values=values, **row._asdict()))
  return tuple(found)
