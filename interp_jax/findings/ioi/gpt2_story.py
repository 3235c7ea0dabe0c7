"""The verdict and the page for GPT-2 small, where its weights are given."""

from collections.abc import Mapping

import numpy as np

from interp_jax import report
from interp_jax.findings.finding import Part, Picture, Quantity
from interp_jax.findings.ioi.gpt2 import Gpt2Values

# Published numbers and how far from them a reproduction may be. Templates are ours, so
# that they cannot be met to the digit. These were set from the paper alone.
LOGIT_DIFFERENCE = (2.5, 4.6)  # Published: 3.56.
IO_ABOVE_SUBJECT = 0.97  # Published: .993.
FAITHFULNESS = (0.7, 1.3)  # Published: .87.
MOVED = 0.5  # A circuit of other heads gives at most so much of the difference.
NAME_MOVERS_LEAVE = 0.75  # Published: .95, since others take over.
MISLED = 0.7  # The indirect object comes twice as well; published: 1.23 of 3.64.


def quantities(found: Gpt2Values) -> tuple[Quantity, ...]:
  """The paper's numbers, with bounds."""
  whole = found.logit_difference
  return (
    Quantity(
      'logit_difference',
      'logit of the indirect object less that of the subject, mean over prompts',
      [whole],
      *LOGIT_DIFFERENCE,
      paper='3.56',
      headline=True,
    ),
    Quantity(
      'io_above_subject',
      'share of the prompts where the indirect object has the higher logit',
      [found.io_above_subject],
      IO_ABOVE_SUBJECT,
      paper='.993',
      headline=True,
    ),
    Quantity(
      'io_probability',
      'probability of the indirect object, mean',
      [found.io_probability],
      paper='.49',
    ),
    Quantity(
      'circuit_faithfulness',
      'logit difference of the 26 heads alone, as a share of the model’s',
      [found.faithfulness],
      *FAITHFULNESS,
      paper='.87',
      headline=True,
    ),
    Quantity(
      'naive_faithfulness',
      'the same without negative and backup name movers',
      [found.naive / whole],
    ),
    Quantity(
      'moved_faithfulness',
      'the same of as many other heads of the same layers at the same positions',
      [max(found.moved / whole)],
      at_most=MOVED,
      control=True,
    ),
    Quantity(
      'without_name_movers',
      'logit difference that is left without the three name movers, as a share',
      [found.without['name mover'] / whole],
      NAME_MOVERS_LEAVE,
      paper='.95',
    ),
    Quantity(
      'incompleteness',
      'the most that circuit and model differ without the same class, in logits',
      [max(found.incompleteness.values())],
      paper='up to 3.09 for the worst set',
    ),
    Quantity(
      'minimality',
      'what the least important head of the circuit changes, as a share',
      [float(found.minimality.min() / abs(whole))],
      paper='≥ .01',
    ),
    Quantity(
      'misled',
      'logit difference where the indirect object comes twice too, as a share of that'
      ' where somebody else is mentioned',
      [found.mention_io / found.mention_other],
      at_most=MISLED,
      control=True,
      paper='.34',
    ),
  )


def parts(found: Gpt2Values) -> tuple[Part, ...]:
  """The sections of the page."""
  return (
    Part(
      'The task',
      (
        '“When Mary and John went to the store, John gave a drink to …”: 15 templates, '
        'each with the indirect object before and behind the subject, names, places '
        'and objects drawn at random. The templates follow the paper’s in form and are '
        'not its own.',
      ),
      quantities=('logit_difference', 'io_above_subject', 'io_probability'),
    ),
    Part(
      'The circuit of 26 heads',
      (
        'Every head outside of the circuit, and those inside at other positions than '
        'theirs, has its mean over prompts of the same template about three unrelated '
        'names. What is left is what the 26 heads do.',
      ),
      (
        Picture(
          'classes',
          _classes(found.without, found.incompleteness, found.logit_difference),
          'Logit difference without each class of heads, in model and circuit.',
          'Taking a class away: what the model has left, and how far the circuit is '
          'from it.',
        ),
      ),
      (
        'circuit_faithfulness',
        'naive_faithfulness',
        'moved_faithfulness',
        'without_name_movers',
        'incompleteness',
        'minimality',
      ),
    ),
    Part(
      'How sure we are',
      (
        'Means of ablation come from other prompts than those that are measured. '
        'Circuits of other heads, as many in each layer and at each position, are the '
        'control. A sentence that names the indirect object once more misleads a model '
        'that looks for the name that comes twice.',
      ),
      quantities=('misled',),
    ),
  )


def _classes(
  without: Mapping[str, float], gaps: Mapping[str, float], whole: float
) -> report.figures.Figure:
  names = list(without)
  values = np.array([[without[name] for name in names], [gaps[name] for name in names]])
  return report.heat_map(
    values / whole,
    ('model', 'gap to circuit'),
    names,
    row_name='',
    column_name='class of heads taken away',
    value_name='share of the logit difference',
    tokens=True,
  )
