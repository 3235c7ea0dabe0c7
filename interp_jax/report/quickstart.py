"""The page of the quickstart, out of what its stages leave.

Stages leave plain data (what a JSON file holds). Here it becomes the views of `tour`,
with the words that are about these experiments.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from interp_jax.report import html
from interp_jax.report.cards import FeatureCard
from interp_jax.report.circuit_section import CircuitView
from interp_jax.report.contexts import window
from interp_jax.report.patching import PatchingView
from interp_jax.report.tour import Tour, tour_page
from interp_jax.report.types import Number

Json = Mapping[str, Any]

QUESTIONS = {
  'induction': (
    'Induction',
    'Random tokens, in which one, A, occurs twice: … A B … A. Nothing but the earlier '
    'place tells what comes next, so the model has to find it again and copy the B '
    'that followed. In the corrupt text another token stands in the place of B.',
  ),
}

RANKING = (
  'The clearest are those of the highest clarity: the probability that two of the 16 '
  'strongest examples are of one and the same token, times how far these examples '
  'stand out (1 − mean activation ÷ mean of the strongest). Features that are '
  'active on fewer than one token in 10,000 or more than one in 50 are left out, and '
  'of those with the same main token only the best is shown.'
)


def quickstart_page(
  config: Json,
  model: Json,
  results: Mapping[str, Json],
  seconds: Mapping[str, Number],
  environment: Json,
) -> html.Page:
  """Composes the page; `html.write` puts it into a file.

  Args:
    config: the values of `configs/quickstart.py`.
    model: the fields of the model's config, its `name` and number of `parameters`.
    results: what the stages left, by name.
    seconds: stage -> seconds of work.
    environment: name -> value: versions, devices, seed.

  Returns:
    The page.
  """
  harvested, trained = results['harvest'], results['train']
  trainer, steps = config['trainer'], results['train']['steps']
  tour = Tour(
    model={
      'name': model['name'],
      'layers': model['layers'],
      'width': model['width'],
      'heads': f'{model["heads"]} per layer',
      'vocabulary': f'{model["vocab_size"]:,} tokens',
      'context': f'{model["context"]} tokens',
      'parameters': model['parameters'],
    },
    data={
      'site': f'{config["harvest"]["site"]} of layer {config["harvest"]["layer"]}',
      'tokens': harvested['train']['tokens'],
      'files': harvested['train']['files'],
      'numbers_per_token': model['width'],
      'held_out_tokens': harvested['held_out']['tokens'],
      'held_out_files': harvested['held_out']['files'],
    },
    training={
      'features': trained['features'],
      'k': config['dictionary']['k'],
      'steps': trainer['steps'],
      'tokens_per_step': trainer['batch_size'],
      'learning_rate': trainer['learning_rate'],
    },
    history={key: (steps, trained[key]) for key in ('fvu', 'dead_fraction')},
    evaluation={k: v for k, v in results['evaluate'].items() if k != 'density'},
    densities=np.array(results['evaluate']['density']),
    features=[feature_view(found) for found in results['features']['features']],
    ranking=RANKING,
    patching=[patching_view(*item) for item in results['patch'].items()],
    circuit=circuit_view(results['circuit']),
    seconds=seconds,
    setup=environment,
  )
  return tour_page(tour)


def patching_view(name: str, found: Json, site: str = 'resid_pre') -> PatchingView:
  """A view for the page, out of what the patching stage left."""
  title, question = QUESTIONS.get(
    name,
    (
      f'A variable name ({name})',
      'Python source that names a variable and then has to name it again. In the '
      'corrupt text the variable has another name; all other tokens are the same.',
    ),
  )
  changed, labels = found['changed'], list(found['clean'])
  if name == 'induction':
    # The tokens are random and differ from pair to pair: only their roles are shared.
    labels = [labels[0], *['…'] * (len(labels) - 1)]
    labels[changed - 1], labels[changed], labels[-1] = 'A', 'B', 'A'
  else:
    labels[changed] = 'NAME'
  return PatchingView(
    name=title,
    question=question,
    clean=found['clean'],
    corrupt=found['corrupt'],
    clean_answer=found['answers'][0],
    corrupt_answer=found['answers'][1],
    pairs=found['pairs'],
    clean_difference=found['clean_difference'],
    corrupt_difference=found['corrupt_difference'],
    positions=np.array(found['positions']),
    heads=np.array(found['heads']),
    labels=labels,
    site=site,
  )


def circuit_view(found: Json) -> CircuitView:
  """A view for the page, out of what the circuit stage left."""
  return CircuitView(
    edges=[(sender, receiver, score) for sender, receiver, score in found['edges']],
    total=found['total'],
    faithfulness=found['faithfulness'],
    curve=(found['curve']['shares'], found['curve']['faithfulness']),
    losses={
      'the whole model': found['intact'],
      'without the circuit': found['ablated'],
      'without as many other edges (mean)': np.mean(found['controls'], 0).tolist(),
      'without as many other edges (worst)': np.max(found['controls'], 0).tolist(),
    },
  )


def circuit_summary(found: Json) -> dict[str, Any]:
  """The numbers of the circuit stage, for a summary.

  `gain` is the loss on the first copy of repeated tokens less that on the second, in
  nats: what the context is worth.
  """
  gain = lambda losses: float(losses[0] - losses[1])
  return {
    'edges': len(found['edges']),
    'total': found['total'],
    'faithfulness': found['faithfulness'],
    'cmd': found['curve']['cmd'],
    'gain': gain(found['intact']),
    'gain_without_circuit': gain(found['ablated']),
    'gain_without_others': gain(np.mean(found['controls'], 0)),
  }


def feature_view(found: Json) -> FeatureCard:
  """A card for the page, out of what the features stage left."""
  snippets = [
    window(c['tokens'], np.array(c['values']), c['peak'], source=c['source'])
    for c in found['contexts']
  ]
  return FeatureCard(
    index=found['index'],
    density=found['density'],
    maximum=found['maximum'],
    promoted=found['promoted'],
    promoted_logits=np.array(found['promoted_logits']),
    suppressed=found['suppressed'],
    suppressed_logits=np.array(found['suppressed_logits']),
    snippets=snippets,
    note=f'clarity {found["clarity"]:.2f}',
  )


def top_effects(found: Json, count: int = 3) -> dict[str, Any]:
  """The logit differences of a patching experiment and its strongest heads.

  Args:
    found: what the patching stage left of one kind of pairs.
    count: how many heads.

  Returns:
    Plain data, for a summary.
  """
  heads = np.array(found['heads'])
  order = np.argsort(-np.abs(heads), axis=None)[:count]
  places = np.stack(np.unravel_index(order, heads.shape), -1).tolist()
  return {
    'clean_difference': found['clean_difference'],
    'corrupt_difference': found['corrupt_difference'],
    'top_heads': [
      {'layer': layer, 'head': head, 'effect': float(heads[layer, head])}
      for layer, head in places
    ],
  }
