import itertools
import re

import numpy as np
import pytest

from interp_jax.harvest import Document, Layout, Stopped, corpus, open_corpus, tokenize


class Letters:
  """A token for every character."""

  bos_id = 0

  def encode(self, text):
    return [ord(letter) for letter in text]


TEXTS = ['one', '', 'three words here', 'x' * 40, 'fünf', 'six'] * 5
DOCUMENTS = [Document(f'file{i}', text) for i, text in enumerate(TEXTS)]


def make(path, layout=None, documents=DOCUMENTS, **options):
  given = {'tokenizer': Letters(), 'progress': False, **options}
  return tokenize(documents, path, layout or Layout(8), **given)


def contents(path):
  return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.mark.parametrize('packed', [True, False])
def test_provenance_leads_back_to_the_text(tmp_path, packed):
  made = make(tmp_path, Layout(8, packed))
  given = made.sequences
  text = np.asarray(given.positions) >= 0
  for document, position, token in zip(
    given.documents[text], given.positions[text], given.tokens[text], strict=True
  ):
    assert TEXTS[document][position] == chr(token)
    assert made.names[document] == f'file{document}'
  if packed:
    assert given.mask is None
  else:
    np.testing.assert_array_equal(given.mask, given.documents >= 0)
    assert text.sum() == sum(map(len, TEXTS))


def test_it_is_memory_mapped_and_any_numpy_reads_it(tmp_path):
  made = make(tmp_path)
  assert isinstance(made.sequences.tokens, np.memmap)
  np.testing.assert_array_equal(np.load(tmp_path / 'tokens.npy'), made.sequences.tokens)


class Stop(BaseException):
  """Ends the process in the eyes of the library."""


@pytest.mark.parametrize('packed', [True, False])
def test_stopped_in_any_document_it_goes_on_to_the_same_bytes(
  tmp_path, packed, monkeypatch
):
  monkeypatch.setattr(corpus, '_SAVE_TOKENS', 32)
  layout = Layout(8, packed)
  make(tmp_path / 'whole', layout)
  whole = contents(tmp_path / 'whole')

  def dying(before):
    yield from itertools.islice(DOCUMENTS, before)
    raise Stop

  class Dying:
    def __init__(self, before):
      self.before = before

    def __iter__(self):
      return dying(self.before)

  for before in (1, 2, 5, 17, 29):
    path = tmp_path / str(before)
    for _ in range(2):  # The second dies where the first did, having got no further.
      with pytest.raises(Stop):
        make(path, layout, Dying(before))
    # What was not flushed may be there in part.
    with (path / 'tokens.npy').open('ab') as file:
      file.write(b'rubbish')
    make(path, layout)
    assert contents(path) == whole


def test_told_to_stop_it_goes_on_with_the_next_document(tmp_path):
  make(tmp_path / 'whole')
  encoded = []

  class Counting(Letters):
    def encode(self, text):
      encoded.append(text)
      return super().encode(text)

  asked = iter([False, False, True])
  with pytest.raises(Stopped, match='3 documents'):
    make(tmp_path / 'a', should_stop=lambda: next(asked))
  with pytest.raises(FileNotFoundError, match='unfinished'):
    open_corpus(tmp_path / 'a')
  make(tmp_path / 'a', tokenizer=Counting())
  assert encoded == [TEXTS[0], *TEXTS[3:]]
  assert contents(tmp_path / 'a') == contents(tmp_path / 'whole')


def test_finished_it_is_only_opened(tmp_path):
  make(tmp_path)
  before = {f: f.stat().st_mtime_ns for f in tmp_path.iterdir()}
  make(tmp_path)
  assert {f: f.stat().st_mtime_ns for f in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
  ('changes', 'named'),
  [
    ({'layout': Layout(9)}, 'context: there 8, asked for 9'),
    ({'bos_id': 7}, 'bos_id: there 0, asked for 7'),
    ({'documents': DOCUMENTS[1:]}, 'first_document'),
    ({'max_tokens': 10}, 'max_tokens: there None, asked for 10'),
  ],
)
def test_a_corpus_of_other_settings_is_refused(tmp_path, changes, named):
  make(tmp_path)
  with pytest.raises(ValueError, match=re.escape(named)):
    make(tmp_path, **changes)


@pytest.mark.parametrize('tokens', [1, 8, 9, 100])
def test_max_tokens_are_the_first_sequences(tmp_path, tokens):
  whole = make(tmp_path / 'whole').sequences
  some = make(tmp_path / 'some', max_tokens=tokens).sequences
  count = -(-tokens // 8)
  assert len(some) == count
  np.testing.assert_array_equal(some.tokens, whole.tokens[:count])


def test_documents_of_tokens_need_no_tokenizer(tmp_path):
  documents = [Document('a', np.arange(20, dtype=np.uint16)), Document('b', [1, 2])]
  made = make(tmp_path, Layout(5, bos='none'), documents, tokenizer=None)
  np.testing.assert_array_equal(made.sequences.tokens, np.arange(20).reshape(4, 5))


@pytest.mark.parametrize(
  ('documents', 'message'),
  [
    ([Document('a', 'text')], 'a is text: give the tokenizer'),
    ([Document('a', [0.5])], 'a is neither text nor token ids'),
    ([Document('a', [1])], '1 documents do not fill one sequence of 5'),
  ],
)
def test_documents_that_give_nothing_are_refused(tmp_path, documents, message):
  with pytest.raises(ValueError, match=message):
    make(tmp_path, Layout(5, bos='none'), documents, tokenizer=None)
