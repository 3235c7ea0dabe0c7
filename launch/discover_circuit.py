"""Finds a circuit: the edges of a model that it needs for a task.

    python launch/discover_circuit.py --config=configs/circuits/compiled.py \
        --workdir=DIR

`DIR` gets `scores.json` and `circuit.json` (the format of EAP-IG and MIB), `curve.npz`
with the faithfulness of circuits of rising size, `summary.json`, and the pictures
`circuit.svg`, `circuit.png` and `faithfulness.svg`. ACDC keeps what it found at each
threshold in `DIR/acdc` and goes on from there when it is run again.

Any setting can be changed: `--config.method=edge-pruning --config.task.name=reverse`.
"""

import json
import pathlib
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags
import numpy as np

import interp_jax
from interp_jax import circuits, core, report, tasks

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
  figure = report.curves(
    {'faithfulness': (curve.shares, curve.faithfulness)},
    x_name='share of edges',
    y_name='faithfulness',
    log_x=True,
    levels={'the whole model': 1.0},
  )
  figure.savefig(workdir / 'faithfulness.svg')


def run(config: dict[str, Any], workdir: pathlib.Path) -> dict[str, Any]:
  """Scores edges, chooses a circuit, tests and draws it.

  Raises:
    ValueError: if the folder holds a run of another configuration.
  """
  workdir.mkdir(parents=True, exist_ok=True)
  written, text = workdir / 'config.json', json.dumps(config, indent=1, sort_keys=True)
  if written.exists() and written.read_text(encoding='utf-8') != text:
    raise ValueError(
      f'{workdir} holds a run of another configuration; give another folder.'
    )
  written.write_text(text, encoding='utf-8')
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
  (workdir / 'summary.json').write_text(json.dumps(summary, indent=1), encoding='utf-8')
  return summary


def main(argv: list[str]) -> None:
  """Finds the circuit and says what it is worth."""
  del argv
  if not flags.FLAGS['verbosity'].present:
    logging.set_verbosity(logging.WARNING)  # Libraries tell much at INFO.
  summary = run(CONFIG.value.to_dict(), pathlib.Path(WORKDIR.value))
  print(json.dumps(summary))


if __name__ == '__main__':
  app.run(main)
