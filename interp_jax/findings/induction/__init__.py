"""Induction heads: how a small attention-only model repeats what it has seen.

Elhage et al. 2021 found in two-layer attention-only models a circuit of two heads. The
first, a previous-token head, writes into every position which token came before. The
second, the induction head, looks for positions that carry its own token in that way,
and so attends to what followed the token last time; then it copies what it attends to.
Olsson et al. 2022 found that these heads form abruptly, together with the ability to
use a context.

Models are trained here on random tokens that repeat with a random period, and are
measured at periods that never came up in training. Three kinds of models that must not
pass are measured beside them, and the same heads are found in `stdlib-4l`, which was
trained on source code.
"""

import math

from interp_jax import lenses, models
from interp_jax.findings.finding import Finding, Outcome
from interp_jax.findings.induction import examine, page, recipe, verdict
from interp_jax.findings.induction.recipe import Settings, settings
from interp_jax.findings.run import Run


def reproduce(run: Run, config: Settings) -> Outcome:
  """Trains all kinds of models, measures them, and compares with the bounds."""
  seeds = run.seeds('rows', 4)
  repeats = recipe.test_rows(config, config.test_periods, seeds[0])
  one_period = (config.constant_period,) * 2
  trained_on = {
    'constant_period': recipe.test_rows(config, one_period, seeds[1]),
    'absolute': recipe.test_rows(config, config.seen_periods, seeds[2]),
  }
  kinds = recipe.kinds(config)
  trained = {
    name: recipe.train(run, config, kind, repeats) for name, kind in kinds.items()
  }
  model = recipe.make_model(config, kinds['two_layers'])
  steps, watched = recipe.history(trained['two_layers'])
  ends = {name: recipe.history(one)[1] for name, one in trained.items()}

  def circuit() -> examine.Arrays:
    params = trained['two_layers'].params
    return examine.each(lambda own: examine.circuit(model, own, repeats), params)

  def at_periods_of_training(name: str) -> examine.Arrays:
    own = recipe.make_model(config, kinds[name])
    signs = lambda: examine.signs(own, trained[name].params, trained_on[name])
    return run.arrays(f'{name}_seen', {}, signs)

  evidence = verdict.Evidence(
    chance=math.log(config.symbols),
    steps=steps,
    watched=watched,
    two_layers=run.arrays('circuit', {}, circuit),
    one_layer=examine.last(ends['one_layer']),
    absolute=examine.last(ends['absolute']),
    absolute_seen=at_periods_of_training('absolute'),
    constant=examine.last(ends['constant_period']),
    constant_seen=at_periods_of_training('constant_period'),
    embedded=run.arrays('embedded', {}, lambda: _embedded(config, seeds[3])),
  )
  return Outcome(
    verdict.quantities(evidence),
    page.parts(evidence, repeats),
    {'rows': seeds} | recipe.seeds(run, config),
  )


def _embedded(config: Settings, seed: int) -> examine.Arrays:
  """What the heads of `stdlib-4l` do, as one world."""
  model, params, tokenizer = models.load('stdlib-4l')
  repeats = lenses.repeated_tokens(
    config.test_rows // 2,
    model.cfg.vocab_size,
    tokenizer.bos_id,
    periods=(16, 48),
    seed=seed,
  )
  found = examine.heads(model, params, repeats)
  return {name: value[None] for name, value in found.items()}


FINDING = Finding(
  name='induction',
  title='Induction heads',
  claim=(
    'Two-layer attention-only models learn to continue repeated random tokens in one '
    'abrupt transition, by a previous-token head whose output an induction head reads '
    'as keys.'
  ),
  paper=(
    'Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Olsson '
    'et al. 2022, "In-context Learning and Induction Heads"'
  ),
  settings=settings,
  reproduce=reproduce,
)
