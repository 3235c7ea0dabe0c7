"""Is a language model worth studying? Its loss, and its induction heads.

    python launch/evaluate_lm.py --model=stdlib-4l [--json=FILE]

`--model` is the name of an embedded model, or a folder that `launch/train_lm.py` wrote.
Prints, on files of the standard library that were held out of training: the loss, that
of a trigram model on the same tokens, and the loss by position; and on random tokens
repeated with a random period: every head's prefix-matching and previous-token scores,
and what ablating the induction heads costs, against as many others of the same layers.
About two minutes on 2 CPU cores, in one process.
"""

from collections.abc import Sequence
import pathlib
from typing import Any

from absl import app, flags
import numpy as np

import interp_jax
from interp_jax import circuits, lenses
from interp_jax.tasks import ngram, python_source
from interp_jax.training import job
from interp_jax.training.stages import write_json

MODEL = flags.DEFINE_string('model', 'stdlib-4l', 'Name or folder of the model.')
JSON = flags.DEFINE_string('json', None, 'File to write the numbers to.')
ROOT = flags.DEFINE_string('root', None, 'Folder of Python files; None for stdlib.')
ROWS = flags.DEFINE_integer('rows', 256, 'Held-out rows to evaluate on.')
REPEATS = flags.DEFINE_integer('repeats', 32, 'Rows of repeated tokens.')
DRAWS = flags.DEFINE_integer('draws', 20, 'Random sets of other heads.')
THRESHOLD = flags.DEFINE_float('threshold', 0.4, 'Score of an induction head.')
SEED = flags.DEFINE_integer('seed', 0, 'Seed of all draws.')


def main(argv: Sequence[str]) -> int:
  """Runs it, in one process."""
  if len(argv) > 1:
    raise app.UsageError(f'{argv[1]!r} is not a flag.')
  return job.run_alone(evaluate)


def evaluate() -> bool:
  """Evaluates and prints."""
  model, params, tokenizer = interp_jax.load(MODEL.value)
  rows = held_out_rows(tokenizer, model.cfg.context)
  repeats = lenses.repeated_tokens(
    REPEATS.value,
    model.cfg.vocab_size,
    tokenizer.bos_id,
    periods=(16, min(64, (model.cfg.context - 1) // 2)),
    seed=SEED.value,
  )
  scores = lenses.score_heads(model, params, repeats)
  copying = lenses.copying_scores(params, model.cfg)
  numbers = {
    'model': MODEL.value,
    **text_numbers(model, params, rows),
    'trigram_loss': trigram_loss(tokenizer, model.cfg, rows),
    'prefix_matching': scores.prefix_matching.tolist(),
    'previous_token': scores.previous_token.tolist(),
    'copying': copying.tolist(),
  }
  numbers['cost_of_each_head'] = each_head(model, params, repeats).tolist()
  heads = induction_heads(scores.prefix_matching, THRESHOLD.value)
  numbers['induction_heads'] = heads
  if heads:
    numbers['ablation'] = ablation_numbers(model, params, repeats, rows, heads)
  show(numbers)
  if JSON.value:
    write_json(pathlib.Path(JSON.value), numbers)
  return True


def held_out_rows(tokenizer: Any, context: int) -> np.ndarray:
  """Rows drawn from the held-out files."""
  files = python_source.read_files('held_out', ROOT.value)
  tokens = python_source.tokenize_files(files, tokenizer, context).tokens
  rng = np.random.default_rng(SEED.value)
  chosen = rng.permutation(len(tokens))[: ROWS.value]
  return tokens[chosen].astype(np.int32)


def text_numbers(model: Any, params: Any, rows: np.ndarray) -> dict[str, Any]:
  """Loss on text, whole and by position."""
  losses = circuits.token_losses(model, params, rows)
  early, late = windows(losses.shape[1])
  return {
    'held_out_loss': float(losses.mean()),
    'loss_by_position': losses.mean(0).tolist(),
    'windows': [early, late],
    'in_context_score': circuits.in_context_score(losses, early, late),
  }


def windows(length: int) -> tuple[tuple[int, int], tuple[int, int]]:
  """An early and a late eighth of the predicted positions."""
  part = max(1, length // 8)
  return (part, 2 * part), (length - part, length)


def trigram_loss(tokenizer: Any, cfg: Any, rows: np.ndarray) -> float:
  """Loss of a trigram model, trained on the files that the model was trained on."""
  files = python_source.read_files('train', ROOT.value)
  train = python_source.tokenize_files(files, tokenizer, cfg.context).tokens
  # One long row: what was cut into rows for the model is one text for the counts.
  counts = ngram.KneserNey.fit(train.reshape(1, -1), cfg.vocab_size)
  return counts.held_out_loss(rows)


def induction_heads(scores: np.ndarray, threshold: float) -> list[tuple[int, int]]:
  """Heads that reach the threshold, best first, at most half of each layer."""
  most = scores.shape[1] // 2
  found = []
  for layer, row in enumerate(scores):
    best = np.argsort(-row)[:most]
    found += [(layer, int(h)) for h in best if row[h] >= threshold]
  return sorted(found, key=lambda head: -scores[head])


def each_head(model: Any, params: Any, repeats: lenses.RepeatedTokens) -> np.ndarray:
  """What mean-ablating each head alone costs on the second copy, in nats."""
  result = circuits.sweep(
    model,
    params,
    repeats.tokens,
    {'z': circuits.mean_z(model, params, repeats.tokens)},
    'z',
    ('layer', 'head'),
    metric=circuits.region_losses(repeats.tokens, repeats.second_copy[None, :, :-1]),
  )
  return (result.values - result.base)[..., 0]


def ablation_numbers(
  model: Any,
  params: Any,
  repeats: lenses.RepeatedTokens,
  rows: np.ndarray,
  heads: list[tuple[int, int]],
) -> dict[str, Any]:
  """What mean-ablating the heads costs where context helps and where it does not."""
  copies = np.stack([repeats.first_copy, repeats.second_copy])[:, :, :-1]
  early, late = windows(rows.shape[1] - 1)
  places = np.zeros((2, *rows[:, 1:].shape), bool)
  places[0, :, slice(*early)] = True
  places[1, :, slice(*late)] = True
  data = {'repeated': (repeats.tokens, copies), 'text': (rows[:64], places[:, :64])}
  out = {}
  for name, (tokens, regions) in data.items():
    compared = circuits.compare_ablations(
      model,
      params,
      tokens,
      regions,
      heads,
      shape=(model.cfg.layers, model.cfg.heads),
      value=circuits.mean_z(model, params, tokens),
      draws=DRAWS.value,
      seed=SEED.value,
    )
    out[name] = {
      'intact': compared.intact.tolist(),
      'ablated': compared.ablated.tolist(),
      'cost': compared.cost.tolist(),
      'control_costs': compared.control_costs.tolist(),
    }
  return out


def show(numbers: dict[str, Any]) -> None:
  """Prints the numbers for a reader."""
  better = numbers['trigram_loss'] - numbers['held_out_loss']
  print(f'held-out loss  {numbers["held_out_loss"]:.3f} nats a token')
  print(
    f'trigram        {numbers["trigram_loss"]:.3f}; the model is {better:.3f} better'
  )
  print(f'in-context score {numbers["in_context_score"]:+.3f}: loss by position')
  by_position = np.array(numbers['loss_by_position'])
  for part in np.array_split(np.arange(by_position.size), 8):
    print(f'  {part[0] + 1:4d} .. {part[-1] + 1:4d}  {by_position[part].mean():.3f}')
  titles = {
    'prefix_matching': 'Prefix matching',
    'previous_token': 'Previous token',
    'copying': 'Copying (eigenvalues of OV)',
    'cost_of_each_head': 'Loss on the second copy that ablating the head alone costs',
  }
  for name, title in titles.items():
    print(f'\n{title}: a row for each layer, a column for each head')
    for layer, row in enumerate(numbers[name]):
      print(f'  {layer}  ' + ' '.join(f'{score:5.2f}' for score in row))
  found = ', '.join(f'{layer}.{head}' for layer, head in numbers['induction_heads'])
  print(f'\ninduction heads (layer.head): {found or "none"}')
  places = {'repeated': ('first copy', 'second copy'), 'text': ('early', 'late')}
  for data, result in numbers.get('ablation', {}).items():
    for i, place in enumerate(places[data]):
      controls = np.array(result['control_costs'])[:, i]
      print(
        f'  {data}, {place}: loss {result["intact"][i]:.3f}; ablating them costs '
        f'{result["cost"][i]:+.3f}, others of their layers {controls.mean():+.3f} '
        f'(at most {controls.max():+.3f}; {controls.size} sets of heads)'
      )


if __name__ == '__main__':
  app.run(main)
