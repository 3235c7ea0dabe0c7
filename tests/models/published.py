"""Tiny models of every family, with every option that the family has.

A `Case` (`cases/case.py`) is a config.json. `now` makes those that transformers 5
completes with its own defaults; `then` those that are given word for word, as files on
the hub have them that older versions wrote, with the tensors' names of that time.

To cover a new option of a family, add a case to its list and run
`python -m tests.models.make_golden CASE`.
"""

from collections.abc import Mapping

from tests.models.cases.bert import BERT
from tests.models.cases.case import LENGTH, Case, draw, tokens_of, write_checkpoint
from tests.models.cases.falcon import BLOOM, FALCON
from tests.models.cases.gemma import GEMMA, GEMMA2, GEMMA3
from tests.models.cases.gpt import GPT2, GPT_NEO, GPT_NEOX, OPT
from tests.models.cases.lens import LENS
from tests.models.cases.llama import LLAMA, MISTRAL, MIXTRAL
from tests.models.cases.phi import OLMO2, PHI3
from tests.models.cases.qwen import QWEN2, QWEN3, QWEN3_MOE

FAMILIES: Mapping[str, list[Case]] = {
  'gpt2': GPT2,
  'gpt_neo': GPT_NEO,
  'gpt_neox': GPT_NEOX,
  'opt': OPT,
  'llama': LLAMA,
  'mistral': MISTRAL,
  'mixtral': MIXTRAL,
  'qwen2': QWEN2,
  'qwen3': QWEN3,
  'qwen3_moe': QWEN3_MOE,
  'gemma': GEMMA,
  'gemma2': GEMMA2,
  'gemma3_text': GEMMA3,
  'phi3': PHI3,
  'olmo2': OLMO2,
  'falcon': FALCON,
  'bloom': BLOOM,
  'bert': BERT,
}
CASES = {case.name: case for cases in FAMILIES.values() for case in cases}

__all__ = [
  'CASES',
  'FAMILIES',
  'LENGTH',
  'LENS',
  'Case',
  'draw',
  'tokens_of',
  'write_checkpoint',
]
