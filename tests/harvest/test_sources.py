import gzip
import json

import numpy as np
import pytest

from interp_jax.harvest import JsonLines, TextFiles, TokenArrays


def contents(source):
  return [(document.name, document.content) for document in source]


def test_a_folder_is_walked_in_the_order_of_its_paths(tmp_path):
  for name in ('b.txt', 'a/z.txt', 'a/b/c.txt', 'a.txt', 'a/skip.md'):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(f'text of {name}')
  names = ['a.txt', 'a/b/c.txt', 'a/z.txt', 'b.txt']
  expected = [(name, f'text of {name}') for name in names]
  assert contents(TextFiles(tmp_path)) == expected
  assert contents(TextFiles(tmp_path)) == expected


def test_text_is_what_is_in_the_file_line_ends_and_all(tmp_path):
  (tmp_path / 'a.txt').write_bytes('é\r\nü\n\nz'.encode())
  assert contents(TextFiles(tmp_path / 'a.txt')) == [('a.txt', 'é\r\nü\n\nz')]
  assert contents(TextFiles(tmp_path, lines=True)) == [
    ('a.txt:1', 'é'),
    ('a.txt:2', 'ü'),
    ('a.txt:3', ''),
    ('a.txt:4', 'z'),
  ]


def test_compressed_files_are_unpacked_on_the_way(tmp_path):
  (tmp_path / 'a.jsonl.gz').write_bytes(gzip.compress(b'{"text": "one"}\n'))
  (tmp_path / 'b.jsonl').write_bytes(b'{"text": "two"}')
  assert contents(JsonLines(tmp_path)) == [
    ('a.jsonl.gz:1', 'one'),
    ('b.jsonl:1', 'two'),
  ]


def test_bytes_that_are_not_utf8_are_refused_or_replaced_as_asked(tmp_path):
  (tmp_path / 'a.txt').write_bytes(b'caf\xe9')
  with pytest.raises(ValueError, match=r"a\.txt is not UTF-8.*errors='replace'"):
    contents(TextFiles(tmp_path))
  assert contents(TextFiles(tmp_path, errors='replace')) == [('a.txt', 'caf\ufffd')]


def test_records_give_the_field_that_is_asked_for(tmp_path):
  records = [{'text': 'x', 'body': 'one'}, {'body': [3, 4]}]
  (tmp_path / 'a.jsonl').write_text('\n\n'.join(map(json.dumps, records)))
  source = JsonLines(tmp_path, field='body')
  assert contents(source) == [('a.jsonl:1', 'one'), ('a.jsonl:3', [3, 4])]


@pytest.mark.parametrize(
  ('line', 'message'),
  [
    ('{"body": 1}', r"a\.jsonl:2 has no field 'text'; it has \['body'\]"),
    ('[1]', r"a\.jsonl:2 has no field 'text'; it has list"),
    ('{"text": ', r'a\.jsonl:2 is not JSON'),
  ],
)
def test_a_record_that_does_not_fit_is_named(tmp_path, line, message):
  (tmp_path / 'a.jsonl').write_text('{"text": "fine"}\n' + line)
  with pytest.raises(ValueError, match=message):
    contents(JsonLines(tmp_path))


def test_arrays_are_documents_or_rows_of_them(tmp_path):
  np.save(tmp_path / 'a.npy', np.arange(3, dtype=np.uint16))
  np.save(tmp_path / 'b.npy', np.arange(4).reshape(2, 2))
  found = [
    (name, content.tolist()) for name, content in contents(TokenArrays(tmp_path))
  ]
  assert found == [('a.npy', [0, 1, 2]), ('b.npy:0', [0, 1]), ('b.npy:1', [2, 3])]


@pytest.mark.parametrize('array', [np.zeros(3), np.zeros((1, 1, 1), int)])
def test_arrays_that_are_no_tokens_are_refused(tmp_path, array):
  np.save(tmp_path / 'a.npy', array)
  with pytest.raises(ValueError, match='token ids are integers'):
    contents(TokenArrays(tmp_path))


def test_no_file_at_all_is_an_error(tmp_path):
  with pytest.raises(FileNotFoundError, match=r'no file \*\.txt'):
    contents(TextFiles(tmp_path))
