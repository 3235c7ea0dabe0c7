"""What other libraries train, as configs of this one.

A recipe has the mathematics and the defaults of one architecture of SAELens 6,
dictionary_learning 0.1 or sparsify 1.3: for those who come from there, and for fair
comparisons.

    shape = {'width': 512, 'features': 8192, 'steps': 10_000}
    config, trainer = recipe('sae_lens/topk', **shape, k=32)
    result = train_on_store(config, trainer, reader, workdir)

With the same weights and the same batches, losses and gradients are the library's own
to float noise, and training stays with it. Each recipe's docstring says what it does
otherwise, under "Differs"; for all of them that is:

- Random numbers are other ones, and so are first weights and the order of rows.
- The centre and the scale of the data are measured on a sample before the first step,
  not on the first batches.
- SAELens's warm-up of the learning rate is one step ahead: its first step has rate
  `1 / warmup`, here it has 0. By default it has none.
- AuxK in dictionary_learning counts a batch before it asks which features are dead, so
  that a feature that comes back is left out one step sooner.

SAELens reads transcoders and temporal autoencoders, but does not train them. It trains
`matching_pursuit`, which needs no encoder; here matching pursuit is for inference, see
`matching_pursuit`.
"""

from collections.abc import Callable, Mapping
import dataclasses
import inspect
from typing import Any

from interp_jax.core import unknown
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.recipes import dictionary_learning, sae_lens, sparsify
from interp_jax.dictionaries.settings import TrainerConfig

Recipe = Callable[..., tuple[DictionaryConfig, TrainerConfig]]

RECIPES: Mapping[str, Recipe] = {
  f'{library}/{build.__name__}': build
  for library, builders in (
    ('sae_lens', sae_lens.BUILDERS),
    ('dictionary_learning', dictionary_learning.BUILDERS),
    ('sparsify', sparsify.BUILDERS),
  )
  for build in builders
}


def recipe(
  name: str, *, width: int, features: int, steps: int, **options: Any
) -> tuple[DictionaryConfig, TrainerConfig]:
  """The configs that equal another library's architecture with its defaults.

  Args:
    name: One of `RECIPES`, e.g. `'sae_lens/batchtopk'`.
    width: `D`, the width of the activations.
    features: `F`, how many features.
    steps: Number of updates.
    **options: Of the recipe (`k`, `l1`, `batch_size`, ...; `RECIPES[name]` documents
      them), or any field of `TrainerConfig` to be set instead of the library's default.

  Returns:
    What the dictionary computes, and how it is trained.

  Raises:
    ValueError: if there is no such recipe or option.
  """
  if name not in RECIPES:
    raise ValueError(unknown('recipe', name, RECIPES))
  build = RECIPES[name]
  shared = ('width', 'features', 'steps')
  own = [name for name in inspect.signature(build).parameters if name not in shared]
  valid = dict.fromkeys([*own, *(f.name for f in dataclasses.fields(TrainerConfig))])
  for option in options:
    if option not in valid:
      raise ValueError(unknown(f'option of {name!r}', option, valid))
  given = {key: value for key, value in options.items() if key in own}
  config, trainer = build(width, features, steps, **given)
  changes = {key: value for key, value in options.items() if key not in own}
  return config, dataclasses.replace(trainer, **changes)
