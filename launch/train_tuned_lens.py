"""Trains a tuned lens for a language model of Python source and says what it sees.

    python launch/train_tuned_lens.py --config=configs/lenses/tuned.py --workdir=DIR

`DIR` gets `metrics.jsonl`, `checkpoints/` and, at the end, `lens/` (the folder that
`lenses.load_lens` reads), `scores.json` (divergence, agreement and loss by depth of the
tuned and of the logit lens, on held-out files) and `report.html`. Run again, it goes on
from the last checkpoint, bit for bit as if it had not been stopped; Ctrl-C or SIGTERM
stop it behind one, with the exit status 75. On several hosts, see BUILD.md.

Any setting can be changed: `--config.model=stdlib-4l-b --config.training.steps=1000`.
"""

import dataclasses
import pathlib
from typing import Any

from absl import app, flags
import jax
import jax.numpy as jnp
from ml_collections import config_flags
import numpy as np

import interp_jax
from interp_jax import lenses, report, training
from interp_jax.report import lenses as pictures
from interp_jax.sharding import make_mesh, processes
from interp_jax.tasks import python_source
from interp_jax.training import job
from interp_jax.training.stages import write_json

CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Configuration file, for example configs/lenses/tuned.py.'
)
WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run.', required=True)
flags.mark_flag_as_required('config')

EXAMPLE = 'for name in names:\n    print(name)\n\nfor name in'


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Which text; see `configs/lenses/tuned.py`."""

  root: str
  context: int
  rows: int
  held_out_rows: int
  held_out: float
  seed: int

  def tokens(self, split: str, tokenizer: Any, cache: pathlib.Path) -> np.ndarray:
    """Rows drawn from all over a split, which is tokenized once."""
    files = python_source.read_files(split, self.root or None, self.held_out)
    packed = python_source.load_or_tokenize(cache, files, tokenizer, self.context)
    most = self.rows if split == 'train' else self.held_out_rows
    return np.random.default_rng(self.seed).permutation(packed.tokens)[:most]


@dataclasses.dataclass(frozen=True)
class Scores:
  """Scores by depth on held-out text."""

  logit: lenses.LensScores
  tuned: lenses.LensScores

  def to_dict(self) -> dict[str, Any]:
    """As JSON."""
    return {
      field.name: {
        name: [float(x) for x in values]
        for name, values in getattr(self, field.name)._asdict().items()
      }
      for field in dataclasses.fields(self)
    }


def parse_config(values: dict[str, Any]) -> tuple[DataConfig, lenses.TunedLensConfig]:
  """Turns the values of a configuration file into frozen dataclasses."""
  settings = dict(values['training'])
  optimizer = training.OptimizerConfig(**settings.pop('optimizer'))
  return (
    DataConfig(**values['data']),
    lenses.TunedLensConfig(**settings, optimizer=optimizer),
  )


def train(
  values: dict[str, Any], loaded: tuple[Any, Any, Any], workdir: pathlib.Path
) -> tuple[lenses.TunedLensResult, Scores | None]:
  """Trains and, when the last step is done, scores and saves the lens."""
  model, params, tokenizer = loaded
  data, config = parse_config(values)
  rows, held_out = processes.after_first(
    lambda: [
      data.tokens(split, tokenizer, workdir / 'tokens')
      for split in python_source.SPLITS
    ]
  )
  result = lenses.train_tuned_lens(
    model,
    params,
    rows,
    config,
    workdir,
    held_out=held_out,
    mesh=mesh_of(values['mesh']['data']),
  )
  if not result.finished:
    return result, None
  score = lambda lens: lenses.score_lens(model, params, held_out, lens)
  scores = Scores(score(None), score(result.lens))
  if processes.is_first():
    how = {'model': values['model'], 'training': values['training']}
    lenses.save_lens(workdir / 'lens', result.lens, how)
    write_json(workdir / 'scores.json', scores.to_dict())
  return result, scores


def mesh_of(parts: int) -> Any:
  """Devices for so many parts of the batch; several processes use all they have."""
  if jax.process_count() > 1:
    return make_mesh()
  return None if parts == 1 else make_mesh(parts or None)


def make_page(
  loaded: tuple[Any, Any, Any], lens: lenses.TunedLens, scores: Scores, text: str
) -> report.Page:
  """A page with the scores, and what both lenses see in one text."""
  model, params, tokenizer = loaded
  tokens = np.array([tokenizer.encode(text, bos=True)])
  names = tokenizer.token_strings(tokens[0])
  run = jax.jit(lambda params: model.apply({'params': params}, tokens)[1])
  acts = run(params)
  depths = depth_names(len(scores.logit.kl) - 1)
  tables = {
    'logit lens': lenses.logit_lens(model, params, acts),
    'tuned lens': lenses.tuned_lens(model, params, lens, acts),
  }
  blocks = [_table_of(name, tables[name], tokenizer, names, depths) for name in tables]
  stream = jnp.concatenate([acts['resid_pre'], acts['resid_post'][-1:]])
  norms = report.figure(
    pictures.stream_norms(
      np.asarray(jnp.linalg.norm(stream[:, 0], axis=-1)), names, depths
    ),
    alt='Map of the length of the residual stream by layer and position.',
    caption='Length of the residual stream. Colours are on a logarithmic scale.',
  )
  patterns = np.asarray(acts['pattern'][:, 0])
  layers, heads = patterns.shape[:2]
  attention = report.figure(
    pictures.attention_patterns(
      patterns.reshape(-1, *patterns.shape[2:]),
      names,
      [f'{layer}.{head}' for layer in range(layers) for head in range(heads)],
      columns=heads,
    ),
    alt='Attention patterns of all heads, a row of maps for each layer.',
    caption='Where each head (layer.head) attends: queries go down, keys go right.',
  )
  return report.Page(
    title='What the layers predict',
    lead=('Predictions read off the residual stream before the model has finished.',),
    sections=(
      report.Section(
        'How near each layer is',
        (
          'A lens turns the residual stream before a layer into a prediction. The '
          'logit lens applies the last steps of the model as they are; the tuned lens '
          'first maps the stream by an affine map that was trained for the layer.',
        ),
        (_curves(scores), _score_table(scores, depths)),
      ),
      report.Section(
        'One text, layer by layer',
        (
          'A column is a position, a row a depth: read it upwards to see a prediction '
          'form. Darker cells are surer.',
        ),
        blocks,
      ),
      report.Section(
        'The stream itself',
        ('Layers add to the residual stream, which grows as it goes up.',),
        (norms,),
      ),
      report.Section(
        'Where heads attend',
        ('A row of a map is a query; its attention to itself and before sums to 1.',),
        (attention,),
      ),
    ),
  )


def depth_names(layers: int) -> list[str]:
  """Names of the depths at which a lens reads."""
  return [*(f'before {layer}' for layer in range(layers)), 'the model']


def _curves(scores: Scores) -> Any:
  depth = np.arange(len(scores.logit.kl))
  return report.figure(
    report.curves(
      {
        'logit lens': (depth, scores.logit.kl),
        'tuned lens': (depth, scores.tuned.kl),
      },
      x_name='layers that have run',
      y_name='KL to the model, nats per token',
      from_zero=True,
    ),
    alt='Divergence from the model by depth, of the logit lens and of the tuned lens.',
    caption='Divergence of each lens from the model, on held-out files.',
  )


def _score_table(scores: Scores, depths: list[str]) -> Any:
  pairs = zip(
    depths, np.transpose(scores.logit), np.transpose(scores.tuned), strict=True
  )
  return report.table(
    (
      'depth',
      'KL, logit lens',
      'KL, tuned lens',
      'agreement, logit lens',
      'agreement, tuned lens',
      'loss, logit lens',
      'loss, tuned lens',
    ),
    [
      (name, *(float(x) for pair in zip(logit, tuned, strict=True) for x in pair))
      for name, logit, tuned in pairs
    ],
    caption=(
      'On held-out files: KL from the model in nats per token, how often the first '
      'choice is the model’s, and the loss of the next token in nats.'
    ),
  )


def _table_of(
  name: str, logits: Any, tokenizer: Any, tokens: Any, depths: list[str]
) -> Any:
  probabilities = jax.nn.softmax(logits[:, 0], -1)
  best = np.asarray(probabilities.argmax(-1))
  return report.figure(
    pictures.prediction_table(
      [tokenizer.token_strings(row) for row in best],
      np.asarray(probabilities.max(-1)),
      tokens,
      depths,
    ),
    alt=f'Table of the {name}: the most likely next token by depth and position.',
    caption=f'{name.capitalize()}: the most likely next token. Bold where it is the '
    'one that the model gives in the end.',
  )


def work(values: dict[str, Any], workdir: pathlib.Path) -> bool:
  """Trains, saves, draws and prints the scores; returns whether all is done."""
  loaded = interp_jax.load(values['model'])
  result, scores = train(values, loaded, workdir)
  if scores is None:
    processes.say('Stopped behind a checkpoint. Run again to go on.')
    return False
  if not processes.is_first():
    return True
  report.write(make_page(loaded, result.lens, scores, EXAMPLE), workdir / 'report.html')
  print(f'{workdir / "lens"} after {report.duration(result.seconds)}')
  print('layers run   KL: logit lens  tuned lens   agreement: logit lens  tuned lens')
  for depth, (a, b) in enumerate(zip(scores.logit.kl, scores.tuned.kl, strict=True)):
    same = scores.logit.agreement[depth], scores.tuned.agreement[depth]
    print(f'{depth:10d} {a:16.3f} {b:11.3f} {same[0]:23.3f} {same[1]:11.3f}')
  return True


def main(argv: list[str]) -> int:
  """Runs it in as many processes as the flags say."""
  del argv
  values, workdir = CONFIG.value.to_dict(), pathlib.Path(WORKDIR.value)
  return job.run(lambda place: work(values, workdir))


if __name__ == '__main__':
  app.run(main)
