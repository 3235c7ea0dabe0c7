"""Trains a byte-level BPE tokenizer on the standard library of the running Python.

    python launch/train_tokenizer.py --output=DIR/tokenizer.json

Takes about 15 seconds. The same Python gives the same file.
"""

import pathlib
import time

from absl import app, flags

from interp_jax.tasks import python_source
from interp_jax.training import bpe

OUTPUT = flags.DEFINE_string(
  'output', None, 'Where to write the tokenizer (a .json file).', required=True
)
VOCAB_SIZE = flags.DEFINE_integer('vocab_size', 2048, 'Number of tokens in all.')
ROOT = flags.DEFINE_string(
  'root', None, 'Folder of Python files. By default, the standard library.'
)


def main(argv: list[str]) -> None:
  """Trains, saves, and says how well the tokenizer compresses held-out files."""
  del argv
  started = time.monotonic()
  texts = [file.text for file in python_source.read_files('train', ROOT.value)]
  tokenizer = bpe.train_tokenizer(texts, VOCAB_SIZE.value)
  path = pathlib.Path(OUTPUT.value)
  path.parent.mkdir(parents=True, exist_ok=True)
  tokenizer.save(str(path))
  held_out = ''.join(f.text for f in python_source.read_files('held_out', ROOT.value))
  tokens = len(tokenizer.encode(held_out).ids)
  print(
    f'{path}: {tokenizer.get_vocab_size()} tokens from {len(texts)} files,'
    f' {len(held_out.encode()) / max(tokens, 1):.2f} bytes per held-out token,'
    f' {time.monotonic() - started:.0f} s'
  )


if __name__ == '__main__':
  app.run(main)
