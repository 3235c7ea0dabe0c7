"""The quantities of the finding, and their bounds: the one place where they are."""

import dataclasses

import numpy as np

from interp_jax.findings.finding import Quantity
from interp_jax.findings.ioi.methods import ACDC, EAP, EAP_IG, EXACT
from interp_jax.findings.ioi.study import Study


@dataclasses.dataclass(frozen=True)
class Bounds:
  """What must hold; beside each, the worst of the five seeds of development."""

  accuracy: float = 0.98  # .996.
  new_accuracy: float = 0.95  # .990 for pairs, .996 for layouts.
  corrupted: float = 0.05  # .010.
  exchanged: float = 0.4  # .33; the others .16, worse than a guess among four.
  pearson: float = 0.98  # .992.
  # A few edges do most; around the twentieth, their effects differ by hundredths.
  overlap: float = 0.5  # .90, on a sixth seed .75; random scores have .10.
  shuffled_pearson: float = 0.3
  random_ratio: float = 2.0  # 2.3.
  random_ratio_acdc: float = 1.3  # 2.2.
  faithfulness: float = 0.8  # .92.
  other_circuits: float = 0.4
  minimality: float = 0.6  # .90.


BOUNDS = Bounds()


def quantities(found: Study) -> tuple[Quantity, ...]:
  """All quantities of a study of a model."""
  return (*_task(found), *_methods(found), *_circuit(found), *_heads(found))


def _task(found: Study) -> list[Quantity]:
  known = found.behaviour['known']
  new = {name: value.accuracy for name, value in found.behaviour.items()}
  return [
    Quantity(
      'accuracy',
      'share of new prompts whose answer gets the highest logit of all tokens',
      [known.accuracy],
      at_least=BOUNDS.accuracy,
      headline=True,
    ),
    Quantity(
      'logit_difference',
      'logit of the answer less that of the subject, mean',
      [known.logit_difference],
      paper='3.56 in GPT-2 small',
    ),
    Quantity(
      'accuracy_new_pairs',
      'the same where a clause holds a pair of names that never shared one in training',
      [new['new pairs']],
      at_least=BOUNDS.new_accuracy,
    ),
    Quantity(
      'accuracy_new_layouts',
      'the same where clauses begin at places that never occurred in training',
      [new['new layouts']],
      at_least=BOUNDS.new_accuracy,
    ),
    Quantity(
      'corrupted_share',
      'logit difference that is left when the second subject is a fifth name, as a'
      ' share of that on clean prompts',
      [abs(known.corrupted / known.logit_difference)],
      at_most=BOUNDS.corrupted,
      control=True,
    ),
    Quantity(
      'exchanged_heads_accuracy',
      'accuracy when every head attends as another one does, mean of draws',
      [found.exchanged.mean()],
      at_most=BOUNDS.exchanged,
      control=True,
      headline=True,
    ),
  ]


def _methods(found: Study) -> list[Quantity]:
  names = {EXACT: 'exact', EAP_IG: 'eap_ig', EAP: 'eap', ACDC: 'acdc'}
  agreed = {m: found.compared[m].agreement for m in names}
  cmd = {m: found.compared[m].curve.cmd for m in names}
  random = np.mean([one.curve.cmd for one in found.shuffled])
  correlation = np.mean([abs(one.agreement.pearson) for one in found.shuffled])
  paper = {EXACT: '.02', EAP_IG: '.03', EAP: '.03', ACDC: ''}
  return [
    Quantity(
      'pearson_eap_ig',
      'correlation of EAP-IG with exact patching over all edges',
      [agreed[EAP_IG].pearson],
      at_least=BOUNDS.pearson,
      headline=True,
    ),
    Quantity(
      'pearson_eap',
      'correlation of EAP, one gradient, with exact patching',
      [agreed[EAP].pearson],
    ),
    Quantity(
      'pearson_shuffled',
      'correlation of scores dealt out at random, absolute, mean of draws',
      [correlation],
      at_most=BOUNDS.shuffled_pearson,
      control=True,
    ),
    Quantity(
      'top_overlap_eap_ig',
      'share of the 20 strongest edges that are among the 20 strongest of EAP-IG',
      [agreed[EAP_IG].top_overlap],
      at_least=BOUNDS.overlap,
    ),
    Quantity(
      'top_overlap_eap',
      'share of the 20 strongest edges that are among the 20 strongest of EAP',
      [agreed[EAP].top_overlap],
    ),
    *(
      Quantity(
        f'cmd_{name}',
        f'distance of circuits from the model over all sizes (CMD), edges by {m}',
        [cmd[m]],
        paper=f'{paper[m]} in GPT-2 small (MIB)' if paper[m] else '',
        headline=m != ACDC,
      )
      for m, name in names.items()
    ),
    Quantity(
      'cmd_random',
      'the same with scores dealt out at random, mean of draws',
      [random],
      paper='.75 in GPT-2 small (MIB)',
      headline=True,
    ),
    Quantity(
      'cmd_random_ratio',
      'how many times as far from the model circuits of random edges are as those of'
      ' the worst of exact patching, EAP-IG and EAP',
      [random / max(cmd[EXACT], cmd[EAP_IG], cmd[EAP])],
      at_least=BOUNDS.random_ratio,
      control=True,
    ),
    Quantity(
      'cmd_random_ratio_acdc',
      'the same against ACDC, which ranks edges by three thresholds only',
      [random / cmd[ACDC]],
      at_least=BOUNDS.random_ratio_acdc,
      control=True,
    ),
    Quantity(
      'cmd_in_published_order',
      '1 if CMD rises from exact patching over EAP-IG to EAP',
      [float(cmd[EXACT] <= cmd[EAP_IG] <= cmd[EAP])],
      paper='1',
    ),
  ]


def _circuit(found: Study) -> list[Quantity]:
  tests = found.tests
  return [
    Quantity('circuit_edges', 'edges of the circuit', [len(found.circuit)]),
    Quantity(
      'circuit_faithfulness',
      'share of the logit difference that the circuit gives on new prompts',
      [tests.faithfulness],
      at_least=BOUNDS.faithfulness,
      paper='.87 in GPT-2 small',
      headline=True,
    ),
    Quantity(
      'random_circuit_faithfulness',
      'the same of circuits of as many random edges, mean of draws',
      [tests.random.mean()],
      at_most=BOUNDS.other_circuits,
      control=True,
      headline=True,
    ),
    Quantity(
      'incompleteness_random',
      'how far circuit and model differ without random halves of its heads, mean, as a'
      ' share of the logit difference',
      [tests.random_subsets.mean()],
    ),
    Quantity(
      'incompleteness_greedy',
      'the same for the worst set of heads that a greedy search finds',
      [tests.greedy],
      paper='3.09 of 3.56 logits in GPT-2 small',
    ),
    Quantity(
      'minimality',
      'share of the heads of the circuit that change the logit difference by 1 % of it'
      ' or more, alone or without one other head',
      [(tests.minimality >= 0.01).mean()],
      at_least=BOUNDS.minimality,
      paper='1 in GPT-2 small',
    ),
  ]


def _heads(found: Study) -> list[Quantity]:
  counts = [
    Quantity(
      f'heads_{role.replace(" ", "_").replace("-", "_").lower()}',
      f'heads of the class: {role}',
      [len(heads)],
    )
    for role, heads in found.roles.items()
  ]
  return counts + _backup(found)


def _backup(found: Study) -> list[Quantity]:
  one, all_movers = found.first_mover, found.movers
  nan = float('nan')
  return [
    Quantity(
      'repaired',
      'share of what the strongest name mover gave that is made up for when it is'
      ' knocked out',
      [one.repaired if one else nan],
      paper='.95 of the answer stays in GPT-2 small',
    ),
    Quantity(
      'repaired_by_norm',
      'the part of it that the final norm makes up for, dividing by less',
      [one.by_norm if one else nan],
    ),
    Quantity(
      'repaired_by_heads',
      'the part of it that other heads make up for, writing more: backup',
      [float(one.by_heads.sum()) if one else nan],
    ),
    Quantity(
      'repaired_all_movers',
      'the share made up for when all heads that write for the answer are knocked out',
      [all_movers.repaired if all_movers else nan],
    ),
  ]
