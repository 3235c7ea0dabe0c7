"""Everything that is measured of one model, its broken versions included."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import jax
import numpy as np

from interp_jax import circuits
from interp_jax.findings.ioi import backup, circuit_tests, measures, methods, roles
from interp_jax.models import Transformer
from interp_jax.tasks import ClausePrompts, TwoClauses

# Draws of random scores, of random circuits and sets of nodes.
SHUFFLES, DRAWS = 5, 20
# Prompts on which accuracy is measured, which is cheap, for one of all else.
MORE = 40
# An edge is in the circuit if it alone changes the answer by this share.
SHARE = 0.005
# Prompts that ACDC sees.
ACDC_PROMPTS = 25


@dataclasses.dataclass(frozen=True)
class Study:
  """What was found in one model.

  Attributes:
    behaviour: On prompts of known pairs and layouts, of new pairs, and of new layouts.
    exchanged: Accuracy with the attention of heads exchanged within layers, `[draws]`.
    scores: Method → scores of edges.
    compared: Method → agreement with exact patching, and circuits on new prompts.
    shuffled: The same of scores dealt out at random.
    circuit: The edges of EAP-IG that count.
    tests: What the circuit passes.
    heads: Of every head.
    sent: What heads' writing does.
    roles: Class → heads.
    movers: All heads that write for the answer knocked out; None if none does.
    first_mover: The one that writes most.
    whole: Logit difference of the model less that of the corrupted prompts.
  """

  behaviour: dict[str, measures.Behaviour]
  exchanged: np.ndarray
  scores: dict[str, circuits.EdgeScores]
  compared: dict[str, methods.Compared]
  shuffled: list[methods.Compared]
  circuit: circuits.Circuit
  tests: circuit_tests.CircuitTests
  heads: measures.HeadMeasures
  sent: roles.Sent
  roles: dict[str, tuple[measures.Head, ...]]
  movers: backup.Backup | None
  first_mover: backup.Backup | None
  whole: float


def study_model(
  model: Transformer,
  params: Any,
  task: TwoClauses,
  *,
  prompts: int,
  seeds: Mapping[str, int],
  keep: Callable[[Callable[[], dict[str, np.ndarray]]], dict[str, np.ndarray]],
) -> Study:
  """Measures a model: what it does, which edges do it, and whether that is so.

  Edges are scored and heads are measured on some prompts; circuits are tested on
  others.

  Args:
    model: The model.
    params: Its parameters.
    task: The task.
    prompts: How many prompts of each kind.
    seeds: Seeds named `found_on`, `tested_on` and `draws`.
    keep: Given what makes the scores of all methods, returns them: made now, or kept
      from an earlier call.

  Returns:
    What was found.
  """
  found_on = task.prompts(prompts, seeds['found_on'])
  tested_on = task.prompts(prompts, seeds['tested_on'])
  question = measures.ask(model, params, found_on)
  test = measures.ask(model, params, tested_on)
  few = measures.ask(
    model, params, found_on.take(np.arange(min(ACDC_PROMPTS, prompts)))
  )

  def score() -> dict[str, np.ndarray]:
    return {k: s.values for k, s in methods.score_edges(question, few).items()}

  arrays = keep(score)
  scores = {
    method: circuits.EdgeScores(question.graph, arrays[method])
    for method in methods.METHODS
  }
  exact = scores[methods.EXACT]
  dealt = methods.shuffled(exact, SHUFFLES, seeds['draws'])
  names = [f'{i}' for i in range(SHUFFLES)]
  random = methods.compare(test, dict(zip(names, dealt, strict=True)), exact)
  on_found = measures.behaviour(model, params, found_on)
  whole = on_found.logit_difference - on_found.corrupted
  circuit = methods.choose_circuit(scores[methods.EAP_IG], whole, SHARE)
  heads = measures.measure_heads(model, params, found_on, question)
  sent = roles.sent_by_heads(exact, whole)
  writers = roles.writers(heads, whole)
  return Study(
    behaviour=behaviours(model, params, task, MORE * prompts, seeds['tested_on']),
    exchanged=exchanged_accuracy(model, params, tested_on, seeds['draws']),
    scores=scores,
    compared=methods.compare(test, scores, exact),
    shuffled=[random[name] for name in names],
    circuit=circuit,
    tests=circuit_tests.check_circuit(test, circuit, draws=DRAWS, seed=seeds['draws']),
    heads=heads,
    sent=sent,
    roles=roles.find_roles(heads, sent, whole),
    movers=_knocked_out(model, params, tested_on, writers),
    first_mover=_knocked_out(model, params, tested_on, writers[:1]),
    whole=whole,
  )


def behaviours(
  model: Transformer, params: Any, task: TwoClauses, count: int, seed: int
) -> dict[str, measures.Behaviour]:
  """What the model does on known prompts, and on those it cannot know by heart.

  Args:
    model: The model.
    params: Its parameters.
    task: The task.
    count: Prompts of each kind.
    seed: Of the draws.

  Returns:
    Kind of prompts → behaviour.
  """
  kinds = {
    'known': {},
    'new pairs': {'new_pairs': True},
    'new layouts': {'new_layouts': True},
  }
  return {
    name: measures.behaviour(model, params, task.prompts(count, seed, **kind))
    for name, kind in kinds.items()
  }


def exchanged_accuracy(
  model: Transformer, params: Any, prompts: ClausePrompts, seed: int, draws: int = 5
) -> np.ndarray:
  """Accuracy when every head attends as another one does.

  Args:
    model: The model.
    params: Its parameters.
    prompts: The prompts.
    seed: Of the permutations.
    draws: How many.

  Returns:
    The accuracies, `[draws]`.
  """
  rng = np.random.default_rng(seed)
  broken = [exchange_heads(params, rng) for _ in range(draws)]
  return np.array([measures.behaviour(model, p, prompts).accuracy for p in broken])


def exchange_heads(params: Any, rng: np.random.Generator) -> Any:
  """Gives each head the queries and keys of another head, of any layer.

  Those of one layer would not do: some have a twin there, and exchanged for it they
  leave the model as it was.

  Args:
    params: Parameters of a model.
    rng: Draws the permutations, none of which leaves a head in its place.

  Returns:
    The parameters; values and outputs are as they were.
  """
  attn = dict(params['blocks']['attn'])
  layers, heads = attn['W_Q'].shape[:2]
  order = methods.derangement(layers * heads, rng).reshape(layers, heads)
  for name in ('W_Q', 'W_K'):
    attn[name] = np.concatenate(attn[name])[order]
  blocks = {**params['blocks'], 'attn': attn}
  return jax.tree.map(np.asarray, {**params, 'blocks': blocks})


def _knocked_out(
  model: Transformer,
  params: Any,
  prompts: ClausePrompts,
  heads: tuple[measures.Head, ...],
) -> backup.Backup | None:
  return backup.knock_out(model, params, prompts, heads) if heads else None
