"""The page of the finding: what the model does, how, and how sure we are."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from interp_jax import circuits
from interp_jax.findings.finding import Part, Picture
from interp_jax.findings.ioi import methods, pictures
from interp_jax.findings.ioi.measures import Head
from interp_jax.findings.ioi.roles import ROLES
from interp_jax.findings.ioi.study import Study
from interp_jax.models import Transformer
from interp_jax.tasks import TwoClauses


def parts(
  found: Study, model: Transformer, params: Any, task: TwoClauses, seed: int
) -> tuple[Part, ...]:
  """The sections, in order.

  Args:
    found: What was found.
    model: The model.
    params: Its parameters.
    task: The task.
    seed: Of the prompt that is shown.

  Returns:
    The sections with their pictures.
  """
  prompt = task.prompts(1, seed)
  words = task.token_strings(prompt.tokens[0])
  answer = task.token_strings(prompt.answer)[0]
  return (
    _task(words, answer),
    _edges(found),
    _circuit(found),
    _roles(found, model, params, prompt.tokens, words),
    _backup(found),
    _certainty(found),
  )


def _task(words: Sequence[str], answer: str) -> Part:
  return Part(
    'The task',
    (
      f'“{" ".join(words[1:])} …”: who gets it? The name before “gave” is in one of '
      f'two clauses, and the answer is its partner there: {answer}. The w are words '
      'without meaning, so that names stand at other places in every prompt.',
      'To answer, a model has to find the subject again, see who shares the clause '
      'with it, and carry that to the end. Attention has to work over several layers: '
      'a bag of the names in the prompt does not hold the answer.',
      'In the corrupted prompt the subject is a fifth name. It has no answer, and all '
      'else is the same: what differs between the two runs is what the answer is made '
      'of.',
    ),
    quantities=(
      'accuracy',
      'logit_difference',
      'accuracy_new_pairs',
      'accuracy_new_layouts',
      'corrupted_share',
      'exchanged_heads_accuracy',
    ),
  )


def _edges(found: Study) -> Part:
  exact = found.scores[methods.EXACT]
  estimates = {
    'EAP-IG': found.scores[methods.EAP_IG].flat,
    'EAP': found.scores[methods.EAP].flat,
  }
  return Part(
    'Which edges matter?',
    (
      f'Heads read what earlier heads wrote: this model has {exact.flat.size} such '
      'edges. Exact patching corrupts one edge at a time and looks at the answer, a '
      'run for each. Attribution (EAP) estimates all of them by one gradient; EAP-IG '
      'averages gradients on the way from the corrupted prompt to the clean. ACDC '
      'takes edges away for good, one after the other.',
      'Whether a method is right can be seen here, since every edge was measured: '
      'beside the correlation stand circuits of the best edges of each method, on '
      'prompts that no method has seen. CMD is how far they are from doing what the '
      'model does, over all sizes; 0 is best. Exact patching need not have the lowest: '
      'it corrupts one edge at a time, and what edges do together is not the sum. In '
      'models as small as this, it and EAP-IG lie within a few hundredths.',
    ),
    (
      Picture(
        'edges',
        pictures.scatter(exact.flat, estimates),
        'Estimated effects of all edges against measured effects, for EAP-IG and EAP.',
        'Each point is an edge. On the line, the estimate is what was measured.',
      ),
      Picture(
        'faithfulness',
        pictures.faithfulness(
          {_NAMES[m]: found.compared[m] for m in methods.METHODS}, found.shuffled
        ),
        'Faithfulness of circuits of rising size, for four methods and at random.',
        'How much of the answer circuits of the best edges give. Random edges give '
        'nothing until nearly all are there.',
      ),
    ),
    (
      'pearson_eap_ig',
      'pearson_eap',
      'pearson_shuffled',
      'top_overlap_eap_ig',
      'top_overlap_eap',
      'cmd_exact',
      'cmd_eap_ig',
      'cmd_eap',
      'cmd_acdc',
      'cmd_random',
      'cmd_random_ratio',
      'cmd_random_ratio_acdc',
      'cmd_in_published_order',
    ),
  )


_NAMES = {
  methods.EXACT: 'exact patching',
  methods.EAP_IG: 'EAP-IG',
  methods.EAP: 'EAP',
  methods.ACDC: 'ACDC',
}


def _circuit(found: Study) -> Part:
  tests, count = found.tests, len(found.circuit)
  worst = ', '.join(tests.greedy_set) or 'no set'
  return Part(
    'The circuit',
    (
      f'The circuit is every edge whose EAP-IG score is at least 0.5 % of the '
      f'answer, '
      f'{count} of {found.circuit.graph.edges.sum()}; all others carry what they carry '
      f'on the corrupted prompt. It gives {tests.faithfulness:.0%} of the logit '
      'difference on prompts that it was not found on.',
      'Faithful is not enough (Wang et al.): complete means that circuit and model '
      'change alike when the same heads are taken from both, and minimal that every '
      f'head counts. The worst set for completeness is {worst}: without it, they '
      f'differ by {tests.greedy:.0%} of the logit difference.',
    ),
    (
      Picture(
        'circuit',
        pictures.circuit(found.circuit, found.roles),
        f'The {count} edges of the circuit, from the input up to the logits.',
        'Heads by layer, the input at the bottom; the colour says what an edge is read '
        'as, the width how much it counts.',
      ),
    ),
    (
      'circuit_edges',
      'circuit_faithfulness',
      'random_circuit_faithfulness',
      'incompleteness_random',
      'incompleteness_greedy',
      'minimality',
    ),
  )


def _roles(
  found: Study, model: Transformer, params: Any, tokens: Any, words: Sequence[str]
) -> Part:
  shown: list[Picture] = []
  head = _shown_head(found)
  if head is not None:
    _, acts = circuits.reference_run(
      model, params, tokens, circuits.logit_difference([0], [0]), ('pattern',)
    )
    pattern = np.asarray(acts['pattern'])[head[0], 0, head[1]]
    shown.append(
      Picture(
        'attention',
        pictures.attention(pattern, words, head),
        f'Attention of head {head[0]}.{head[1]} on one prompt.',
        'Where the head that writes most for the answer looks: the top row is the last '
        'token, which has to say the answer.',
      )
    )
  listed = [
    f'{role} ({what}): {", ".join(f"{a}.{b}" for a, b in found.roles[role]) or "none"}.'
    for role, what in ROLES.items()
  ]
  return Part(
    'What the heads do',
    (
      'The classes of the paper, found by measures: where a head attends, what it '
      'writes at the last token, and by what (query, key, value) later heads use it. A '
      'head may be in several classes, and a class may be empty: this model is not '
      'GPT-2, and solves the task in its own way.',
      *listed,
    ),
    tuple(shown),
    tuple(f'heads_{_snake(role)}' for role in ROLES),
  )


def _shown_head(found: Study) -> Head | None:
  """The head that writes most for the answer."""
  return found.first_mover.knocked_out[0] if found.first_mover else None


def _backup(found: Study) -> Part:
  one = found.first_mover
  if one is None:
    return Part('Who takes over', ('No head writes for the answer by itself.',))
  layer, head = one.knocked_out[0]
  others = one.by_heads
  best = np.unravel_index(others.argmax(), others.shape)
  return Part(
    'Who takes over',
    (
      f'Head {layer}.{head} writes most for the answer: {one.given:.1f} logits by '
      f'itself. Knocked out, it leaves a logit difference of {one.without:.1f} of '
      f'{one.whole:.1f}: {one.repaired:.0%} of what it gave is made up for.',
      f'The final norm makes up for {one.by_norm:.0%}: it divides by less when less is '
      f'written. Of the other heads, {best[0]}.{best[1]} takes over most, '
      f'{others.max():.0%}. A head can only react to what is knocked out in an earlier '
      'layer; what it writes more than before is backup, as in GPT-2.',
    ),
    (
      Picture(
        'backup',
        pictures.backup(one),
        'Direct effects of all heads before and after the knockout.',
        'What each head writes for (up) or against (down) the answer.',
      ),
    ),
    ('repaired', 'repaired_by_norm', 'repaired_by_heads', 'repaired_all_movers'),
  )


def _certainty(found: Study) -> Part:
  known = found.behaviour['known']
  return Part(
    'How sure we are',
    (
      'What would have fooled us: a model that knows pairs by heart (so some never '
      'shared a clause in training), or places (so some layouts never occurred); a '
      'metric that is high anyway (on corrupted prompts it is '
      f'{known.corrupted:.2f}); circuits that are tested where they were found (these '
      'are tested on other prompts); any circuit of this size doing as well (random '
      'ones do not); heads being all alike (exchanged, they fail).',
      'What stays open: one trained model says little of others, so seeds are drawn '
      'anew for each reproduction. Which edges matter depends on what ablated edges '
      'carry, here the corrupted prompt. The published circuit of GPT-2 small is '
      'looked for only where its weights are given (`--model`).',
    ),
  )


def _snake(role: str) -> str:
  return role.replace(' ', '_').replace('-', '_').lower()
