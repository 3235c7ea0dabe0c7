"""Families of published models, a page for each; `family.py` says how to add one."""

from interp_jax.core import unknown
from interp_jax.models.families.bert import BERT
from interp_jax.models.families.bloom import BLOOM
from interp_jax.models.families.falcon import FALCON
from interp_jax.models.families.family import Family
from interp_jax.models.families.fields import Fields
from interp_jax.models.families.gemma import GEMMA, GEMMA2, GEMMA3
from interp_jax.models.families.gpt2 import GPT2
from interp_jax.models.families.gpt_neo import GPT_NEO
from interp_jax.models.families.gpt_neox import GPT_NEOX
from interp_jax.models.families.llama import LLAMA, MISTRAL
from interp_jax.models.families.mixtures import MIXTRAL, QWEN3_MOE
from interp_jax.models.families.olmo2 import OLMO2
from interp_jax.models.families.opt import OPT
from interp_jax.models.families.phi3 import PHI3
from interp_jax.models.families.qwen import QWEN2, QWEN3

FAMILIES = (
  GPT2,
  GPT_NEO,
  GPT_NEOX,
  OPT,
  LLAMA,
  MISTRAL,
  MIXTRAL,
  QWEN2,
  QWEN3,
  QWEN3_MOE,
  GEMMA,
  GEMMA2,
  GEMMA3,
  PHI3,
  OLMO2,
  FALCON,
  BLOOM,
  BERT,
)


def find_family(model_type: str) -> Family:
  """The family of a config.json's `model_type`.

  Args:
    model_type: The field's value.

  Returns:
    The family.

  Raises:
    ValueError: if there is no page for it.
  """
  by_type = {kind: family for family in FAMILIES for kind in family.model_types}
  if model_type not in by_type:
    raise ValueError(
      'config.json: '
      + unknown('model_type', model_type, by_type)
      + ' interp_jax/models/families/family.py says how to add a family.'
    )
  return by_type[model_type]


__all__ = ['FAMILIES', 'Family', 'Fields', 'find_family']
