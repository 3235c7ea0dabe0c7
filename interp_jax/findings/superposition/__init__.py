"""Superposition: a network stores more features than it has dimensions.

Elhage et al. (2022) train a small autoencoder to keep sparse features in few
dimensions: it stores more of them than would fit, in regular shapes. Here are their
pentagons, the change from dense to sparse, the phase diagram of two features in one
dimension, and the plateaus in the dimensionality of a large model's features.

`recipe` trains, `experiments` says what, `measures` looks at weights of any origin,
`verdict` says what the claim rests on, with all `bounds` in one table, `checks` and
`losses` what could have fooled us, `pictures` and `page` show it.
"""

from interp_jax.findings.finding import Finding, Outcome
from interp_jax.findings.run import Run
from interp_jax.findings.superposition import checks, experiments, page, verdict
from interp_jax.findings.superposition.experiments import Settings, settings


def reproduce(run: Run, config: Settings) -> Outcome:
  """Trains all models, and judges them.

  Args:
    run: where.
    config: of the reproduction.
  """
  plane = experiments.plane(run, config)
  shapes = experiments.shapes(run, config)
  cells = experiments.phase_diagram(run, config)
  many = experiments.many(run, config)
  losses, controls = run.seeds('losses', 5), run.seeds('controls', 1)
  quantities = [
    *verdict.shape_quantities(plane['pentagons'], shapes),
    *verdict.sweep_quantities(plane['sweep'], plane['linear'], config),
    *verdict.phase_quantities(cells, config),
    *verdict.plateau_quantities(many, config),
    *checks.loss_quantities(plane['pentagons'], cells, losses, config),
    *checks.control_quantities(controls[0]),
  ]
  names = ('plane', 'antipodal pairs', 'square antiprism', 'phase', 'many')
  counts = (4, 2, 2, 2, 2)
  seeds = {n: run.seeds(n, count) for n, count in zip(names, counts, strict=True)}
  return Outcome(
    quantities=tuple(quantities),
    parts=page.parts(plane, cells, many, config),
    seeds=seeds | {'losses': losses, 'controls': controls},
  )


FINDING = Finding(
  name='superposition',
  title='Superposition: more features than dimensions',
  claim='A ReLU network stores more sparse features than it has dimensions, in regular '
  'shapes, and without the ReLU it does not.',
  paper='Elhage et al. (2022), Toy Models of Superposition',
  settings=settings,
  reproduce=reproduce,
)

__all__ = ['FINDING', 'Settings', 'reproduce', 'settings']
