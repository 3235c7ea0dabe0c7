"""Trains a language model of Python source and exports it.

    python launch/train_lm.py --config=configs/stdlib_4l.py --workdir=DIR

`DIR` gets `metrics.jsonl`, `checkpoints/`, `tokenizer.json` and, at the end, `export/`:
the folder that `interp_jax.load` reads. Run again, it goes on from the last checkpoint,
bit for bit as if it had not been stopped; Ctrl-C or SIGTERM stop it behind one, with
the exit status 75. On several hosts, see BUILD.md: `DIR` must be on storage that they
share.

Any setting can be changed: `--config.steps=1000 --config.model.width=128`. On a CPU
under Linux, `GLIBC_TUNABLES=glibc.malloc.hugetlb=1` in the environment saves time.
"""

import dataclasses
import json
import pathlib
import platform
import shlex
import sys
from typing import Any

from absl import app, flags
import jax
from ml_collections import config_flags

from interp_jax import models, training
from interp_jax.sharding import (
  STATE_RULES,
  data_share,
  make_mesh,
  processes,
  shardings,
  to_host,
)
from interp_jax.tasks import python_source
from interp_jax.training import bpe, job

CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Configuration file, for example configs/stdlib_4l.py.'
)
WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run.', required=True)
flags.mark_flag_as_required('config')


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Which files, how they are split and tokenized; `''` stands for the default."""

  root: str
  tokenizer: str
  held_out: float
  seed: int


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """Sizes of the mesh; `data=0` for as many as the devices allow."""

  data: int
  model: int


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """A run; see `configs/stdlib_4l.py`."""

  name: str
  seed: int
  steps: int
  batch_size: int
  microbatches: int
  log_every: int
  eval_every: int
  eval_rows: int
  checkpoint_every: int
  keep: int
  unroll: bool
  model: models.TransformerConfig
  data: DataConfig
  optimizer: training.OptimizerConfig
  mesh: MeshConfig


@dataclasses.dataclass(frozen=True)
class Corpus:
  """The tokens of a run."""

  tokenizer: Any
  train: python_source.PackedTokens
  held_out: python_source.PackedTokens


def parse_config(values: dict[str, Any]) -> RunConfig:
  """Turns the values of a configuration file into frozen dataclasses."""
  parts: dict[str, Any] = {
    'model': models.TransformerConfig.from_dict(values['model']),
    'data': DataConfig(**values['data']),
    'optimizer': training.OptimizerConfig(**values['optimizer']),
    'mesh': MeshConfig(**values['mesh']),
  }
  return RunConfig(**(values | parts))


def load_corpus(config: RunConfig, workdir: pathlib.Path) -> Corpus:
  """Reads, tokenizes and packs the files, through a cache in `workdir`."""
  root = config.data.root or None
  train, held_out = (
    python_source.read_files(split, root, config.data.held_out)
    for split in ('train', 'held_out')
  )
  path = workdir / 'tokenizer.json'
  if config.data.tokenizer:
    path = pathlib.Path(config.data.tokenizer)
  elif not path.exists():
    texts = (file.text for file in train)
    bpe.train_tokenizer(texts, config.model.vocab_size).save(str(path))
  tokenizer = models.Tokenizer.from_file(path)
  if tokenizer.vocab_size > config.model.vocab_size:
    raise ValueError(
      f'{path} has {tokenizer.vocab_size} tokens, but model.vocab_size is'
      f' {config.model.vocab_size}. Make it at least as large.'
    )
  pack = lambda files: python_source.load_or_tokenize(
    workdir / 'tokens', files, tokenizer, config.model.context
  )
  return Corpus(tokenizer, pack(train), pack(held_out))


def train(config: RunConfig, corpus: Corpus, workdir: pathlib.Path) -> Any:
  """Trains to the last step, or until a signal; returns what `training.fit` does."""
  mesh = make_mesh(config.mesh.data or None, config.mesh.model)
  model = models.Transformer(config.model, unroll=config.unroll)
  optimizer = training.make_optimizer(config.optimizer, config.steps)

  def logits_fn(params: Any, tokens: Any) -> Any:
    return model.apply({'params': params}, tokens)[0]

  state = training.create_state(models.init_params(model, config.seed), optimizer)
  layout = shardings(mesh, STATE_RULES, state)
  loss_fn = training.make_loss(logits_fn)
  # Every so many rows, so that the evaluation sees files from all over the split.
  stride = max(1, len(corpus.held_out.tokens) // config.eval_rows)
  rows = corpus.held_out.tokens[::stride][: config.eval_rows]
  held_out_loss = training.make_evaluation(logits_fn, rows, config.batch_size, mesh)
  return training.fit(
    jax.device_put(state, layout),
    training.make_train_step(
      loss_fn, optimizer, mesh, layout, microbatches=config.microbatches
    ),
    training.batches(
      corpus.train.tokens, config.batch_size, config.data.seed, *data_share(mesh)
    ),
    training.LoopConfig(
      steps=config.steps,
      log_every=config.log_every,
      eval_every=config.eval_every,
      checkpoint_every=config.checkpoint_every,
      keep=config.keep,
      units_per_step=config.batch_size * config.model.context,
      unit='tokens',
    ),
    workdir,
    evaluate=lambda state: held_out_loss(state.params),
    place=lambda batch: training.place_batch(batch, mesh),
    notes=_settings(config),
  )


def _settings(config: RunConfig) -> dict[str, Any]:
  """The settings that the result depends on, as JSON types."""
  settings = json.loads(json.dumps(dataclasses.asdict(config)))
  free = ('name', 'log_every', 'eval_every', 'eval_rows', 'checkpoint_every', 'keep')
  return {key: value for key, value in settings.items() if key not in free}


def final_loss(config: RunConfig, corpus: Corpus, params: Any) -> dict[str, float]:
  """The loss over all held-out rows."""
  model = models.Transformer(config.model)
  evaluate = training.make_evaluation(
    lambda params, tokens: model.apply({'params': params}, tokens)[0],
    corpus.held_out.tokens,
    min(config.batch_size, len(corpus.held_out.tokens)),
  )
  return evaluate(params)


def make_card(
  config: RunConfig, corpus: Corpus, losses: dict[str, float], workdir: pathlib.Path
) -> dict[str, Any]:
  """What there is to know about the model: data, seed, command, losses."""
  log = workdir / 'metrics.jsonl'
  curves = {
    'train': [[r['step'], r['loss']] for r in training.read_metrics(log, 'train')],
    'held_out': [
      [r['step'], r['held_out_loss']] for r in training.read_metrics(log, 'eval')
    ],
  }
  return {
    'name': config.name,
    'description': 'A language model of Python source code.',
    'data': {
      'source': config.data.root
      or f'the standard library of CPython {platform.python_version()}',
      'split': 'by SHA-256 of the relative path',
      'held_out_fraction': config.data.held_out,
      'train_files': len(corpus.train.paths),
      'train_tokens': int(corpus.train.tokens.size),
      'held_out_files': len(corpus.held_out.paths),
      'held_out_tokens': int(corpus.held_out.tokens.size),
    },
    'seed': config.seed,
    'command': _command(),
    'versions': {'python': platform.python_version(), 'jax': jax.__version__},
    'config': dataclasses.asdict(config),
    **losses,
    'loss_unit': 'nats per token',
    'loss_curve': curves,
  }


def _command() -> str:
  """The command line, with the folder of the run left open."""
  words = iter(sys.argv)
  kept = []
  for word in words:
    name, equals, _ = word.lstrip('-').partition('=')
    if name == 'workdir':
      kept.append('--workdir=DIR')
      if not equals:
        next(words, None)  # Written as two words.
    else:
      kept.append(word)
  return shlex.join(['python', *kept])


def export(
  config: RunConfig, corpus: Corpus, params: Any, workdir: pathlib.Path
) -> None:
  """Writes the folder that `interp_jax.load` reads."""
  folder = workdir / 'export'
  models.save(folder, config.model, params, corpus.tokenizer)
  # The loss is that of the model that was written: rounded, and read back.
  losses = final_loss(config, corpus, models.load(folder)[1])
  card = make_card(config, corpus, losses, workdir)
  (folder / 'card.json').write_text(json.dumps(card, indent=2) + '\n')
  print(f'{folder}: held-out loss {losses["held_out_loss"]:.4f} nats per token')


def run(config: RunConfig, workdir: pathlib.Path) -> bool:
  """Trains and, when the last step is done, exports; returns whether it is."""
  workdir.mkdir(parents=True, exist_ok=True)
  corpus = processes.after_first(lambda: load_corpus(config, workdir))
  result = train(config, corpus, workdir)
  if not result.finished:
    processes.say(
      f'Stopped behind a checkpoint of step {result.step}. Run again to go on.'
    )
    return False
  params = to_host(result.state.params)
  if processes.is_first():
    export(config, corpus, params, workdir)
  return True


def main(argv: list[str]) -> int:
  """Runs it in as many processes as the flags say."""
  del argv
  config = parse_config(CONFIG.value.to_dict())
  return job.run(lambda place: run(config, pathlib.Path(WORKDIR.value)))


if __name__ == '__main__':
  app.run(main)
