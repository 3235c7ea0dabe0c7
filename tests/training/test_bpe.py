"""Tokenizers: every text comes back, the same texts give the same tokenizer."""

import random

import pytest

from interp_jax.training import bpe

CODE = """
class Thing(Base):

    def __init__(self, value=None):
        self._value = value  # a comment

    def add(self, other):
        if other is not None:
            return self._value + other._value + 1234
"""
TEXTS = [CODE * 20]


@pytest.fixture(scope='module')
def tokenizer():
  return bpe.train_tokenizer(TEXTS, 320)


def round_trip(tokenizer, text):
  return tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False)


@pytest.mark.parametrize(
  'text',
  [
    '',
    ' ',
    '\n',
    'x\r\n\ty\r',
    '  \n\n   \t\n',
    'naïve café — \N{GRINNING FACE}',
    'a' * 1000,
    '\x00\x7f\ufeff',
    'a<|bos|>b',
    CODE,
  ],
)
def test_every_text_comes_back(tokenizer, text):
  assert round_trip(tokenizer, text) == text


def test_random_text_comes_back(tokenizer):
  draw = random.Random(0)
  alphabet = ' \t\n\r_.()09azAZé\u3000\u2028\N{GRINNING FACE}"#'
  for _ in range(200):
    text = ''.join(draw.choices(alphabet, k=draw.randint(1, 40)))
    assert round_trip(tokenizer, text) == text


def test_the_same_texts_give_the_same_tokenizer(tokenizer):
  assert bpe.train_tokenizer(TEXTS, 320).to_str() == tokenizer.to_str()


def test_the_size_and_the_first_token_are_as_asked(tokenizer):
  assert tokenizer.get_vocab_size() == 320
  assert tokenizer.token_to_id(bpe.BOS) == bpe.BOS_ID == 0


def test_a_line_end_and_the_indentation_after_it_are_one_token(tokenizer):
  tokens = tokenizer.encode('value\n        self').tokens
  assert tokens == ['value', 'Ċ' + 8 * 'Ġ', 'self']


def test_digits_are_single(tokenizer):
  assert tokenizer.encode('1234').tokens == list('1234')


def test_a_vocabulary_without_room_for_bytes_is_refused():
  with pytest.raises(ValueError, match='at least 257'):
    bpe.train_tokenizer(TEXTS, 256)
