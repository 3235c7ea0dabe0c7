"""Data with known origins: text corpora, baselines for them, and tasks with answers.

`rasp` compiles programs to transformers whose circuits are known; `othello` is a game
whose moves are data.
"""

from interp_jax.tasks import othello, rasp
from interp_jax.tasks.ioi import IoiPrompts, ioi_prompts
from interp_jax.tasks.modular_addition import (
  ClosedForm,
  ModularAddition,
  closed_form,
  modular_addition,
)
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
from interp_jax.tasks.repeated import RepeatedBlocks
from interp_jax.tasks.two_clauses import ClausePrompts, TwoClauses

__all__ = [
  'ClausePrompts',
  'ClosedForm',
  'CompiledTask',
  'IoiPrompts',
  'KneserNey',
  'Location',
  'ModularAddition',
  'PackedTokens',
  'Pairs',
  'RepeatedBlocks',
  'SourceFile',
  'TwoClauses',
  'closed_form',
  'compiled',
  'compiled_names',
  'induction_pairs',
  'ioi_prompts',
  'list_files',
  'load_or_tokenize',
  'modular_addition',
  'othello',
  'rasp',
  'read_files',
  'sample_files',
  'split_of',
  'stdlib_root',
  'tokenize_files',
  'variable_pairs',
]
