"""Learning rates as functions of the step.

Both schedules rise linearly from 0 over `warmup` steps and end at `final * peak` when
`steps` steps are done.
"""

import optax


def warmup_cosine(
  peak: float, steps: int, warmup: int, final: float = 0.0
) -> optax.Schedule:
  """Linear warm-up, then half a cosine (Loshchilov & Hutter 2017, without restarts).

  Args:
    peak: the learning rate at the end of the warm-up.
    steps: length of the run.
    warmup: steps of warm-up.
    final: last learning rate, as a fraction of `peak`.

  Raises:
    ValueError: if the warm-up is not shorter than the run.
  """
  _check(steps, warmup, 0)
  cosine = optax.cosine_decay_schedule(peak, steps - warmup, alpha=final)
  return _after_warmup(cosine, peak, warmup)


def warmup_stable_decay(
  peak: float, steps: int, warmup: int, decay: int, final: float = 0.0
) -> optax.Schedule:
  """Linear warm-up, a plateau, then a linear decay (Hu et al. 2024, MiniCPM).

  Args:
    peak: the learning rate of the plateau.
    steps: length of the run.
    warmup: steps of warm-up.
    decay: steps of decay, at the end of the run.
    final: last learning rate, as a fraction of `peak`.

  Raises:
    ValueError: if warm-up and decay do not fit into the run.
  """
  _check(steps, warmup, decay)
  plateau = steps - warmup - decay
  rest = optax.linear_schedule(peak, final * peak, max(decay, 1), plateau)
  return _after_warmup(rest, peak, warmup)


def _after_warmup(rest: optax.Schedule, peak: float, warmup: int) -> optax.Schedule:
  if warmup == 0:
    return rest
  rise = optax.linear_schedule(0.0, peak, warmup)
  return optax.join_schedules([rise, rest], [warmup])


def _check(steps: int, warmup: int, decay: int) -> None:
  if min(warmup, decay) < 0 or warmup + decay > steps or warmup >= steps:
    raise ValueError(
      f'A run of {steps} steps cannot hold {warmup} steps of warm-up and {decay} of'
      ' decay. Make them shorter, or the run longer.'
    )
