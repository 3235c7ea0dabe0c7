"""Reproducing a finding into a folder: once, resumable, with all that belongs to it."""

from collections.abc import Mapping
import dataclasses
import json
import os
import pathlib
import secrets
import time
from typing import Any

from interp_jax import report
from interp_jax.findings import page, results
from interp_jax.findings.finding import Finding
from interp_jax.findings.run import Run
from interp_jax.training.stages import Stages, write_json

Json = dict[str, Any]


def reproduce(
  finding: Finding,
  workdir: str | os.PathLike[str],
  *,
  quick: bool = False,
  seed: int | None = None,
  options: Mapping[str, Any] | None = None,
  progress: bool = True,
  commit: str = '',
) -> Json:
  """Reproduces a finding, or goes on doing so.

  The folder gets `result.json`, `report.html` and `figures/`, and what resuming needs.
  A finding that is finished there is not repeated.

  Args:
    finding: What to reproduce.
    workdir: The folder.
    quick: A quick look: the same, smaller, its verdict without weight.
    seed: What all seeds are derived from; by default a fresh one, which the folder
      remembers.
    options: Of the finding.
    progress: Whether to show progress.
    commit: Of the code, for the record.

  Returns:
    What `result.json` holds.

  Raises:
    ValueError: if the folder holds a reproduction with other settings, or the finding
      has no such option.
    Stopped: if a signal stopped it; called again, it goes on.
  """
  workdir = pathlib.Path(workdir)
  settings = finding.settings(quick, **(options or {}))
  plain = json.loads(json.dumps(dataclasses.asdict(settings)))
  record = _open(workdir, {'finding': finding.name, 'settings': plain}, seed)
  path = workdir / 'result.json'
  if path.exists():
    return json.loads(path.read_text(encoding='utf-8'))
  run = Run(workdir, record['seed'], progress, Stages(workdir))
  before = record.get('cpu_seconds', 0.0) - time.process_time()
  used = lambda: round(before + time.process_time(), 1)
  try:
    with run.stages.clock.count('total'):
      outcome = finding.reproduce(run, settings)
  finally:
    write_json(workdir / 'run.json', record | {'cpu_seconds': used()})
  result = results.to_json(
    finding,
    outcome,
    settings=plain,
    quick=quick,
    seed=record['seed'],
    seconds=run.stages.clock.seconds,
    cpu_seconds=used(),
    commit=commit,
  )
  results.write_pictures(outcome, workdir / 'figures')
  report.write(page.make_page(finding, outcome, result), workdir / 'report.html')
  write_json(path, result)
  return result


def _open(workdir: pathlib.Path, asked: Json, seed: int | None) -> Json:
  """What the folder says that it is of, if that is what was asked for."""
  path = workdir / 'run.json'
  if not path.exists():
    record = asked | {'seed': secrets.randbits(31) if seed is None else seed}
    write_json(path, record)
    return record
  record = json.loads(path.read_text(encoding='utf-8'))
  wanted = asked if seed is None else asked | {'seed': seed}
  differing = {
    name: (record.get(name), value)
    for name, value in wanted.items()
    if record.get(name) != value
  }
  if differing:
    was = {name: old for name, (old, _) in differing.items()}
    now = {name: new for name, (_, new) in differing.items()}
    raise ValueError(
      f'{workdir} holds another reproduction: it has {was}, now {now} was asked for. '
      'Give another folder, or delete this one.'
    )
  return record
