"""Finds a circuit: the edges of a model that it needs for a task.

    python launch/discover_circuit.py --config=configs/circuits/compiled.py \
        --workdir=DIR

`DIR` gets `scores.json` and `circuit.json` (the format of EAP-IG and MIB), `curve.npz`
with the faithfulness of circuits of rising size, `summary.json`, and the pictures
`circuit.svg`, `circuit.png` and `faithfulness.svg`. ACDC keeps what it found at each
threshold in `DIR/acdc` and goes on from there when it is run again. It runs as one
process.

Any setting can be changed: `--config.method=edge-pruning --config.task.name=reverse`.
"""

import json
import pathlib
from typing import Any

from absl import app, flags
from ml_collections import config_flags
import numpy as np

import interp_jax
from interp_jax import circuits, core, report, tasks
from interp_jax.training import job
from interp_jax.training.stages import write_json

CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Configuration file, for example configs/circuits/compiled.py.'
)
WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run.', required=True)
flags.mark_flag_as_required('config')


def compiled_task(
  values: dict[str, Any], ablation: str
) -> tuple[circuits.Discovery, frozenset[str]]:
  """A compiled program, and its true edges."""
  task = tasks.compiled(values['name'])
  clean, corrupted = task.pairs(values['pairs'], values['seed'])
  question = circuits.make_discovery(
    task.model,
    task.params,
    clean,
    corrupted,
    ablation=ablation,
    loss=task.metric(clean),
  )
  return question, task.true_edges(ablation)


def induction_task(
  values: dict[str, Any], ablation: str
) -> tuple[circuits.Discovery, None]:
  """`A B ... A` on random tokens, against the same on other tokens."""
  model, params, tokenizer = interp_jax.load(values['model'])
  clean, corrupted = (
    tasks.induction_pairs(
      values['pairs'],
      model.cfg.vocab_size,
      tokenizer.bos_id,
      values['length'],
      (values['gap'], values['gap']),
      seed=seed,
    )
    for seed in (values['seed'], values['seed'] + 1)
  )
  question = circuits.make_discovery(
    model,
    params,
    clean.clean,
    corrupted.clean,
    ablation=ablation,
    metric=circuits.logit_difference(clean.correct, corrupted.correct),
    logit_positions=[-1],
  )
  return question, None


TASKS = {'compiled': compiled_task, 'induction': induction_task}


def make_question(
  config: dict[str, Any],
) -> tuple[circuits.Discovery, frozenset[str] | None]:
  """The question that a configuration asks, and the answer if it is known."""
  values = dict(config['task'])
  kind = values.pop('kind')
  if kind not in TASKS:
    raise ValueError(core.unknown('kind of task', kind, TASKS))
  return TASKS[kind](values, config['ablation'])


def resumable_acdc(
  question: circuits.Discovery, settings: dict[str, Any], folder: pathlib.Path
) -> circuits.EdgeScores:
  """ACDC at several thresholds, those that are done read from disk."""
  folder.mkdir(exist_ok=True)
  found: dict[float, circuits.Circuit] = {}
  guess = None
  for threshold in circuits.make_thresholds(question, **settings):
    path = folder / f'{threshold:.6e}.json'
    if not path.exists():
      guess = circuits.acdc(question, float(threshold), guess=guess).circuit
      partial = path.with_suffix('.partial')
      guess.save(partial)
      partial.rename(path)
    found[float(threshold)] = guess = circuits.Circuit.load(path)
  return circuits.threshold_scores(found)


def summarize(
  scores: circuits.EdgeScores,
  circuit: circuits.Circuit,
  curve: circuits.FaithfulnessCurve,
  faithfulness: float,
  truth: frozenset[str] | None,
) -> dict[str, Any]:
  """The numbers of a run."""
  summary = {
    'edges': int(scores.graph.edges.sum()),
    'circuit_edges': len(circuit),
    'circuit_faithfulness': faithfulness,
    'cpr': curve.cpr,
    'cmd': curve.cmd,
    'clean': curve.clean,
    'ablated': curve.ablated,
  }
  if truth is not None:
    true = scores.graph.select(truth)
    summary['true_edges'] = len(truth)
    summary['true_edges_in_circuit'] = int(circuit.edges[true].sum())
    summary['roc_auc'] = circuits.roc_auc(
      np.abs(scores.values), true, scores.graph.edges
    )
  return summary


def draw(
  workdir: pathlib.Path, circuit: circuits.Circuit, curve: circuits.FaithfulnessCurve
) -> None:
  """The pictures."""
  scores = circuit.scores
  assert scores is not None  # It was chosen by them.
  graph = circuit.graph
  edges = [
    (graph.senders[s], graph.receivers[r], scores[r, s])
    for r, s in np.argwhere(circuit.edges)
  ]
  if edges:
    picture = report.circuit_picture(edges)
    picture.savefig(workdir / 'circuit.svg')
    picture.savefig(workdir / 'circuit.png', dpi=160, facecolor='white')
  figure = report.faithfulness_picture(curve.shares, curve.faithfulness)
  figure.savefig(workdir / 'faithfulness.svg')


def check_same(path: pathlib.Path, config: dict[str, Any]) -> None:
  """Writes the configuration of a run down, or compares it with what is written.

  Raises:
    ValueError: if the file holds another configuration.
  """
  given = json.loads(json.dumps(config))  # As it is read: with lists for tuples.
  if path.exists() and json.loads(path.read_text(encoding='utf-8')) != given:
    raise ValueError(
      f'{path.parent} holds a run of another configuration; give another folder.'
    )
  write_json(path, given)


def run(config: dict[str, Any], workdir: pathlib.Path) -> dict[str, Any]:
  """Scores edges, chooses a circuit, tests and draws it.

  Raises:
    ValueError: if the folder holds a run of another configuration.
  """
  check_same(workdir / 'config.json', config)
  question, truth = make_question(config)
  settings = dict(config['settings'].get(config['method'], {}))
  if config['method'] == 'acdc':
    scores = resumable_acdc(question, settings, workdir / 'acdc')
  else:
    scores = circuits.discover_edges(question, config['method'], **settings)
  share = config['share'] or len(truth or ()) / int(question.graph.edges.sum())
  size = round(share * int(question.graph.edges.sum()))
  circuit = circuits.select_circuit(scores, size, config['selection'])
  curve = circuits.faithfulness_curve(
    question, scores, config['shares'], how=config['selection']
  )
  faithfulness = float(circuits.faithfulness(question, [circuit])[0])
  scores.save(workdir / 'scores.json')
  circuit.save(workdir / 'circuit.json')
  np.savez(
    workdir / 'curve.npz',
    shares=curve.shares,
    edges=curve.edges,
    metric=curve.metric,
    faithfulness=curve.faithfulness,
  )
  draw(workdir, circuit, curve)
  summary = summarize(scores, circuit, curve, faithfulness, truth)
  write_json(workdir / 'summary.json', summary)
  return summary


def work() -> bool:
  """Finds the circuit and says what it is worth."""
  print(json.dumps(run(CONFIG.value.to_dict(), pathlib.Path(WORKDIR.value))))
  return True


def main(argv: list[str]) -> int:
  """Runs it, in one process."""
  del argv
  return job.run_alone(work)


if __name__ == '__main__':
  app.run(main)
