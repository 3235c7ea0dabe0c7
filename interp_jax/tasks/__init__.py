"""Data with known origins: text corpora, baselines for them, and tasks with answers.

`rasp` compiles programs to transformers whose circuits are known.
"""

from interp_jax.tasks import rasp
from interp_jax.tasks.ngram import KneserNey
from interp_jax.tasks.pairs import Pairs, induction_pairs, variable_pairs
from interp_jax.tasks.python_source import (
  Location,
  PackedTokens,
  SourceFile,
  list_files,
  load_or_tokenize,
  read_files,
  sample_files,
  split_of,
  stdlib_root,
  tokenize_files,
)
from interp_jax.tasks.rasp import CompiledTask, compiled, compiled_names

__all__ = [
  'CompiledTask',
  'KneserNey',
  'Location',
  'PackedTokens',
  'Pairs',
  'SourceFile',
  'compiled',
  'compiled_names',
  'induction_pairs',
  'list_files',
  'load_or_tokenize',
  'rasp',
  'read_files',
  'sample_files',
  'split_of',
  'stdlib_root',
  'tokenize_files',
  'variable_pairs',
]
