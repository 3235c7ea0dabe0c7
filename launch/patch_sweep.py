"""Patches activations over grids and writes what each one does to the answer.

    python launch/patch_sweep.py --config=configs/sweeps/induction.py --workdir=DIR

`DIR/NAME.npz` gets each sweep (`circuits.SweepResult.load` reads it), `sweeps.json` the
same as numbers with the runs' metrics and the largest effects, `report.html` a page
with the pictures. Run again, it goes on behind the last chunk that is finished, however
it was ended; Ctrl-C or SIGTERM end it behind one, with the exit status 75.

Several processes share a sweep, each its worlds, through `DIR`, on storage that they
share: see BUILD.md. They need not know of each other, only which of them each is:
`--processes=4 --process=0`, and so on.

Any setting can be changed: `--config.pairs.pairs=64 --config.model=DIR`.
"""

from collections.abc import Callable
import pathlib
from typing import Any

from absl import app, flags
import jax
from ml_collections import config_flags
import numpy as np

import interp_jax
from interp_jax import circuits, report, sharding, tasks
from interp_jax.training import job, signals
from interp_jax.training.stages import write_json

CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Configuration file, for example configs/sweeps/induction.py.'
)
WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run.', required=True)
flags.mark_flag_as_required('config')

ALONE = job.Place(0, 1)

DIRECTIONS = ('denoising', 'noising')
METRICS = {
  'logit_difference': lambda pairs: circuits.logit_difference(
    pairs.correct, pairs.wrong
  ),
  'log_probability': lambda pairs: circuits.log_probability(pairs.correct),
}


def make_pairs(values: dict[str, Any], tokenizer: Any, seed: int) -> tasks.Pairs:
  """The pairs of prompts that a configuration names."""
  given = dict(values)
  kind = given.pop('kind')
  if kind == 'variable':
    return tasks.variable_pairs(tokenizer, seed=seed, **given)
  if kind != 'induction':
    known = ('induction', 'variable')
    raise ValueError(interp_jax.core.unknown('kind of pairs', kind, known))
  return tasks.induction_pairs(
    given.pop('pairs'), tokenizer.vocab_size, tokenizer.bos_id, seed=seed, **given
  )


def chosen(kind: str, name: str, allowed: Any) -> Any:
  """What stands under a name, or the name itself."""
  if name not in allowed:
    raise ValueError(interp_jax.core.unknown(kind, name, allowed))
  return allowed[name] if isinstance(allowed, dict) else name


def run(
  config: dict[str, Any],
  workdir: pathlib.Path,
  should_stop: Callable[[], bool],
  place: job.Place = ALONE,
) -> tuple[tasks.Pairs, dict[str, circuits.SweepResult], Any]:
  """Sweeps, or goes on doing so.

  Raises:
    Stopped: if it was told to stop.
  """
  model, params, tokenizer = interp_jax.load(config['model'])
  pairs = make_pairs(config['pairs'], tokenizer, config['seed'])
  base, source = pairs.corrupted, pairs.clean
  if chosen('direction', config['direction'], DIRECTIONS) == 'noising':
    base, source = source, base
  if config['source'] != 'pairs':
    source = config['source']
  metric = chosen('metric', config['metric'], METRICS)(pairs)
  devices = jax.local_devices()
  mesh = sharding.make_mesh(model=config['mesh']['model'], devices=devices)
  # Weights that the devices do not divide are whole on each.
  rules = sharding.fit_rules(mesh, sharding.TRANSFORMER_RULES, params)
  params = sharding.place(mesh, rules, params)
  results = {}
  for name, (site, *over) in config['sweeps'].items():
    results[name] = circuits.sweep(
      model,
      params,
      base,
      source,
      site,
      over,
      metric=metric,
      logit_positions=np.array([base.shape[1] - 1]),
      mesh=mesh,
      workdir=workdir / 'worlds' / name,
      share=place,
      should_stop=should_stop,
      progress=place.index == 0,
    )
    if place.index == 0:
      results[name].save(workdir / f'{name}.npz')
  return pairs, results, tokenizer


def known(result: circuits.SweepResult) -> bool:
  """Whether there is a source run, whose metric effects are measured against."""
  return bool(np.isfinite(result.source).all())


def numbers(config: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
  """The results as JSON types."""
  out = {}
  for name, result in results.items():
    out[name] = {
      'sites': list(result.sites),
      'axes': list(result.axes),
      'coordinates': {axis: list(at) for axis, at in result.coordinates.items()},
      'base': float(result.base),
      'source': float(result.source) if known(result) else None,
      'values': result.values.tolist(),
      'top': result.top(5) if known(result) else None,
    }
  return {'config': config, 'sweeps': out}


def page(
  config: dict[str, Any], pairs: tasks.Pairs, results: dict[str, Any], tokenizer: Any
) -> report.Page:
  """A page with a map of each sweep."""
  tokens = tokenizer.token_strings(pairs.clean[0].tolist())
  sections = [section(name, result, tokens) for name, result in results.items()]
  first = next(iter(results.values()))
  tiles = [report.Tile(f'{float(first.base):.3f}', 'base run', config['metric'])]
  if known(first):
    value = f'{float(first.source):.3f}'
    tiles.append(report.Tile(value, 'source run', config['metric']))
  lead = (
    f'{pairs.description}. {len(pairs)} pairs, {config["model"]}, '
    f'{config["direction"]}; put in the place of activations: {config["source"]}.',
  )
  return report.Page('Activation patching', lead, sections, tiles)


def section(name: str, result: circuits.SweepResult, tokens: Any) -> report.Section:
  """The map of a sweep over two axes; of more, the mean over the others."""
  values = result.effect if known(result) else result.values - result.base
  if values.ndim > 2:
    values = values.mean(tuple(range(2, values.ndim)))
  values = values if values.ndim == 2 else values[None]
  rows, columns = ('', *result.axes)[-2:] if len(result.axes) < 2 else result.axes[:2]
  by_token = columns == 'position' and values.shape[1] == len(tokens)
  labels = tokens if by_token else [str(i) for i in range(values.shape[1])]
  said = 'change of the metric'
  if known(result):
    said = 'share of the way to the source run'
  picture = report.heat_map(
    values,
    [str(i) for i in range(len(values))],
    labels,
    row_name=rows,
    column_name=columns,
    value_name=said,
    tokens=by_token,
  )
  place = np.unravel_index(np.abs(values).argmax(), values.shape)
  largest = f'{values[place]:.2f} at {rows} {place[0]}, {columns} {place[1]}'
  caption = f'{", ".join(result.sites)}: {said}. Largest: {largest}.'
  return report.Section(
    name, (), [report.figure(picture, alt=caption, caption=caption)]
  )


def write(
  config: dict[str, Any],
  pairs: tasks.Pairs,
  results: dict[str, circuits.SweepResult],
  tokenizer: Any,
  workdir: pathlib.Path,
) -> None:
  """Writes the results and says what they are."""
  write_json(workdir / 'sweeps.json', numbers(config, results))
  report.write(page(config, pairs, results, tokenizer), workdir / 'report.html')
  for name, result in results.items():
    values = result.values
    print(f'{name}: {values.size} points, {values.min():.3f} to {values.max():.3f}')
    if known(result):
      for point, effect in result.top(3):
        print(f'  {effect:+.3f} at {point}')
  print(f'{workdir / "report.html"}')


def work(place: job.Place) -> bool:
  """Sweeps and writes the results; returns whether all is done."""
  workdir, config = pathlib.Path(WORKDIR.value), CONFIG.value.to_dict()
  workdir.mkdir(parents=True, exist_ok=True)
  with signals.catch_interrupts() as interrupted:
    should_stop = lambda: interrupted.requested
    try:
      pairs, results, tokenizer = run(config, workdir, should_stop, place)
    except circuits.Stopped as stopped:
      if place.index == 0:
        print(f'Stopped: {stopped}. Run again to go on.')
      return False
  if place.index == 0:
    write(config, pairs, results, tokenizer, workdir)
  return True


def main(argv: list[str]) -> int:
  """Runs it in as many processes as the flags say."""
  del argv
  return job.run(work, apart=True)


if __name__ == '__main__':
  app.run(main)
