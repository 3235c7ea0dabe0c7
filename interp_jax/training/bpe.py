"""Training a byte-level BPE tokenizer for source code.

Every byte has a token, so every text can be encoded, and decoding gives it back. The
pattern decides which stretches of text may become one token: line ends together with
the indentation that follows, words with the space or the underscores before them,
single digits, runs of punctuation, runs of spaces.
"""

from collections.abc import Iterable

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

BOS = '<|bos|>'
BOS_ID = 0

PATTERN = '|'.join(
  (
    r'(?:\r?\n[ \t]*)+',  # line ends, blank lines, the next line's indentation
    r' ?_*\p{L}+',  # a word
    r'\p{N}',  # one digit: a number has one spelling
    r' ?[^\s\p{L}\p{N}_]+',  # punctuation
    r' ?_+',
    r'[^\S\r\n]+(?=[^\S\r\n])',  # spaces within a line, all but the last
    r'\s+',
  )
)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> tokenizers.Tokenizer:
  """Trains a tokenizer; the same texts give the same one.

  Args:
    texts: what to learn merges from.
    vocab_size: number of tokens in all: `<|bos|>` (id 0), 256 bytes, merges.

  Raises:
    ValueError: if there is no room for the bytes.
  """
  if vocab_size <= 256:
    raise ValueError(
      f'vocab_size is {vocab_size}. It must be at least 257: {BOS} and 256 bytes.'
    )
  tokenizer = tokenizers.Tokenizer(models.BPE())
  split = pre_tokenizers.Split(tokenizers.Regex(PATTERN), behavior='isolated')
  to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
  tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
  tokenizer.decoder = decoders.ByteLevel()
  trainer = trainers.BpeTrainer(
    vocab_size=vocab_size,
    special_tokens=[BOS],
    initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    show_progress=False,
  )
  tokenizer.train_from_iterator(texts, trainer)
  return tokenizer
