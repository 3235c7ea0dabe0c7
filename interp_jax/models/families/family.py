"""What a family of published models is: one page that says two things.

How a `config.json` becomes a `TransformerConfig`, and which tensor of the file is which
parameter. To add a family, write a page like `gpt_neo.py`:

1.  `_config(fields, names)` takes every field of the `config.json` that it understands
    (`fields.take`, `need`, `activation`), refuses the values that nothing computes
    (`fields.require`) and says which others change nothing (`fields.ignore`). What is
    left over is an error for the user, so nothing is passed over in silence.
2.  `_rows(cfg)` lists the tensors (see `interp_jax.models.conversion`). The same rows
    read and write.
3.  A `Family` joins the two, and `families/__init__.py` lists it.
4.  A tiny config in `tests/models/published.py` for every option of the family: the
    tests compare it with transformers, and `benchmarks/exactness.py` puts it into the
    README's table.
"""

from collections.abc import Callable, Mapping, Sequence, Set
import dataclasses
import re
from typing import Any

from interp_jax.models.config import TransformerConfig
from interp_jax.models.conversion import Row
from interp_jax.models.families.fields import Fields


@dataclasses.dataclass(frozen=True)
class Family:
  """How the models of one layout are read and written.

  Attributes:
    name: The family's name, for messages and tables.
    model_types: What `model_type` says in their config.json.
    config: From the config.json and the names of the tensors, the fields of a
      `TransformerConfig`.
    rows: From the config, the tensors.
    prefix: In front of the tensors' names in some files and not in others.
    head: The tensor of the unembedding. A file of a tied model may have it too, as a
      copy of the embedding.
    unused: Regexes of tensors that change nothing: buffers, other heads, copies.
    renamed: Regex → replacement, for names that older files have.
  """

  name: str
  model_types: tuple[str, ...]
  config: Callable[[Fields, Set[str]], dict[str, Any]]
  rows: Callable[[TransformerConfig], Sequence[Row]]
  prefix: str = ''
  head: str = 'lm_head.weight'
  unused: tuple[str, ...] = ()
  renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)

  def canonical(self, name: str) -> str:
    """The name that the rows have for a tensor of a file."""
    for old, new in self.renamed.items():
      name = re.sub(old, new, name)
    return name.removeprefix(self.prefix)

  def is_unused(self, name: str) -> bool:
    """Whether a tensor, by its canonical name, changes nothing."""
    patterns = (re.escape(self.head), *self.unused)
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def norm(source: str, target: str, bias: bool = True, plus: float = 0.0) -> list[Row]:
  """A norm's gain and, if it has one, its bias."""
  gain = Row(f'{source}.weight', f'{target}/w', 'd -> d', plus)
  return [gain, Row(f'{source}.bias', f'{target}/b', 'd -> d')] if bias else [gain]


def heads(source: str, kind: str, bias: bool) -> list[Row]:
  """A projection to queries, keys or values, `kind` one of Q, K, V."""
  w = Row(f'{source}.weight', f'blocks/attn/W_{kind}', '(h k) d -> h d k')
  b = Row(f'{source}.bias', f'blocks/attn/b_{kind}', '(h k) -> h k')
  return [w, b] if bias else [w]


def fused_heads(source: str, weight: str, bias: str | None = None) -> list[Row]:
  """Queries, keys and values in one tensor, by the axes of its weight and bias."""
  w = tuple(f'blocks/attn/W_{kind}' for kind in 'QKV')
  b = tuple(f'blocks/attn/b_{kind}' for kind in 'QKV')
  rows = [Row(f'{source}.weight', w, weight)]
  return [*rows, Row(f'{source}.bias', b, bias)] if bias else rows


def heads_out(source: str, bias: bool) -> list[Row]:
  """The projection from the heads."""
  w = Row(f'{source}.weight', 'blocks/attn/W_O', 'd (h k) -> h k d')
  return [w, Row(f'{source}.bias', 'blocks/attn/b_O', 'd -> d')] if bias else [w]


def linear(source: str, target: str, bias: bool) -> list[Row]:
  """A linear layer, `target` like 'blocks/mlp/{}_in', with W or b in the bracket."""
  w = Row(f'{source}.weight', target.format('W'), 'y x -> x y')
  b = Row(f'{source}.bias', target.format('b'), 'y -> y')
  return [w, b] if bias else [w]


def unembed(source: str, cfg: TransformerConfig) -> list[Row]:
  """The unembedding, where it is not the embedding's transpose."""
  if cfg.tied:
    return []
  return linear(source, 'unembed/{}_U', cfg.unembed_bias)
