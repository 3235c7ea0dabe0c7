"""Indirect object identification: a circuit of attention heads, found by four methods.

Wang et al. 2023 found in GPT-2 small which heads give the bottle to Mary when Mary and
John went to the store. The same question is asked here of a model that is trained on
the spot, small enough to measure every edge between heads: two clauses of two names,
one of the four comes again, and its partner is the answer. So the methods that find
circuits can be judged against what they estimate, and the circuit by the paper's own
criteria. With GPT-2 small's weights, `--model`, the original circuit is measured too;
that branch has been run on random weights in its format only.
"""

import dataclasses
from typing import Any

from interp_jax import models
from interp_jax.findings.finding import Finding, Outcome
from interp_jax.findings.ioi import gpt2, gpt2_story, page, verdict
from interp_jax.findings.ioi.recipe import Recipe, train
from interp_jax.findings.ioi.study import study_model
from interp_jax.findings.run import Run
from interp_jax.tasks import TwoClauses


@dataclasses.dataclass(frozen=True)
class Settings:
  """Settings of the reproduction.

  Attributes:
    task: Names, words and what is held out.
    recipe: How the model is trained.
    prompts: Prompts that edges and circuits are measured on; accuracy is on ten times
      as many.
    model: Folder of GPT-2 small, which is then measured instead; '' for none.
    gpt2_prompts: Prompts of each of its templates and orders.
  """

  task: TwoClauses
  recipe: Recipe
  prompts: int
  model: str
  gpt2_prompts: int


def settings(quick: bool, model: str = '') -> Settings:
  """The settings.

  Args:
    quick: Fewer updates and prompts: the model does not learn the task, and the bounds
      on it are broken.
    model: Folder of GPT-2 small, in the format in which it was published.
  """
  recipe = Recipe(steps=400) if quick else Recipe()
  return Settings(TwoClauses(), recipe, 30 if quick else 100, model, 2 if quick else 16)


def reproduce(run: Run, settings: Settings) -> Outcome:
  """Trains and measures the model, or measures GPT-2 small where it is given."""
  if settings.model:
    return _published(run, settings)
  task = settings.task
  model, params, _ = train(run, task, settings.recipe)
  names = ('found_on', 'tested_on', 'draws', 'shown')
  seeds = dict(zip(names, run.seeds('prompts', len(names)), strict=True))
  plain = dataclasses.asdict(settings)

  def keep(work: Any) -> dict[str, Any]:
    return run.arrays('edges', plain, work)

  found = study_model(
    model, params, task, prompts=settings.prompts, seeds=seeds, keep=keep
  )
  return Outcome(
    verdict.quantities(found),
    page.parts(found, model, params, task, seeds['shown']),
    {'weights': run.seeds('weights', 1), 'data': run.seeds('data', 1)}
    | {name: [seed] for name, seed in seeds.items()},
  )


def _published(run: Run, settings: Settings) -> Outcome:
  """The 26 heads, in the model of a folder."""
  model, params, tokenizer = models.load(settings.model)
  gpt2.check_shape(model)
  seed = run.seeds('templates', 1)[0]
  arrays = run.arrays(
    'published',
    {'model': settings.model, 'prompts': settings.gpt2_prompts},
    lambda: gpt2.measure(
      model, params, tokenizer, settings.gpt2_prompts, seed, progress=run.progress
    ),
  )
  found = gpt2.values(arrays)
  return Outcome(
    gpt2_story.quantities(found), gpt2_story.parts(found), {'templates': [seed]}
  )


FINDING = Finding(
  name='ioi',
  title='Indirect object identification',
  claim=(
    'A few attention heads, each with a part of its own, tell who is given something; '
    'EAP-IG finds their connections as measuring every one of them does.'
  ),
  paper=(
    'Wang et al. 2023, Interpretability in the Wild: a Circuit for Indirect Object '
    'Identification in GPT-2 small, arXiv:2211.00593'
  ),
  settings=settings,
  reproduce=reproduce,
  options=('model',),
)
