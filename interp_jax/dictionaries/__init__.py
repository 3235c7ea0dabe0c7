"""Sparse dictionaries: what an activation is made of, learned and measured.

A dictionary is three independent choices: a *wiring* (what it reads and writes), an
*activation* (from pre-activations to codes) and an *objective* (squared error plus
terms). All combinations train through one loop, on the rows of a store or any iterator
of arrays, and the result is a pytree that can be called and spliced into a model:

    config = DictionaryConfig(width=192, features=1536, activation=TopK(32))
    result = train_on_store(config, TrainerConfig(steps=2000), reader, workdir)
    result.dictionary.encode(x)                                    # [..., F]
    edits = {'resid_post': Splice(result.dictionary, layer=1)}
"""

from interp_jax.dictionaries.activation import (
  ACTIVATIONS,
  AbsTopK,
  BatchTopK,
  Gated,
  GroupMax,
  JumpReLU,
  Plan,
  ReLU,
  TopK,
)
from interp_jax.dictionaries.codes import (
  SparseCodes,
)
from interp_jax.dictionaries.combinations import (
  check,
)
from interp_jax.dictionaries.config import (
  DictionaryConfig,
)
from interp_jax.dictionaries.contexts import (
  Context,
  contexts,
)
from interp_jax.dictionaries.cross_layer import (
  CrossLayerTranscoder,
)
from interp_jax.dictionaries.density import (
  DensityHistogram,
  density_histogram,
  log10_density,
)
from interp_jax.dictionaries.detection import (
  Detection,
  detect,
)
from interp_jax.dictionaries.dictionary import (
  Dictionary,
  save,
)
from interp_jax.dictionaries.end_to_end import train_end_to_end
from interp_jax.dictionaries.export import (
  export_params,
  fold_norms,
)
from interp_jax.dictionaries.features import (
  Examples,
  clarity,
  clearest,
  promoted_tokens,
  strongest_examples,
)
from interp_jax.dictionaries.formats import (
  FORMATS,
  load,
  load_all,
  load_metadata,
  save_as,
)
from interp_jax.dictionaries.geometry import (
  Alikeness,
  Neighbours,
  compare,
  cosines,
  matched_cosine,
  max_cosine,
  neighbours,
  uniqueness,
)
from interp_jax.dictionaries.initial import (
  Init,
  InputScale,
  geometric_median,
  init_params,
  measure,
)
from interp_jax.dictionaries.matching_pursuit import (
  MatchingPursuit,
  matching_pursuit,
)
from interp_jax.dictionaries.metrics import (
  Metrics,
  evaluate,
  split,
)
from interp_jax.dictionaries.objective import (
  L0,
  L1,
  TERMS,
  AuxK,
  EndToEnd,
  GateReconstruction,
  Lp,
  Matryoshka,
  MultiTopK,
  PreActivation,
  SquaredError,
  Tanh,
  terms_from_dict,
)
from interp_jax.dictionaries.on_store import (
  array_names,
  sample_of,
  train_on_store,
)
from interp_jax.dictionaries.recipes import (
  RECIPES,
  recipe,
)
from interp_jax.dictionaries.recovered import (
  Recovered,
  recovered,
)
from interp_jax.dictionaries.resample import (
  Resample,
)
from interp_jax.dictionaries.rows import (
  Arranged,
)
from interp_jax.dictionaries.settings import (
  TrainerConfig,
)
from interp_jax.dictionaries.step import (
  DictionaryState,
  export,
  init_state,
  make_step,
)
from interp_jax.dictionaries.sweep import (
  SweepOfDictionaries,
  grid,
  train_sweep,
)
from interp_jax.dictionaries.temporal import (
  TemporalAutoencoder,
)
from interp_jax.dictionaries.trainer import TrainResult, dictionary_rules, train
from interp_jax.dictionaries.wiring import (
  Autoencoder,
  Crosscoder,
  Transcoder,
)
from interp_jax.dictionaries.wirings import (
  WIRINGS,
)
from interp_jax.training import ArrayBatches

__all__ = [
  'ACTIVATIONS',
  'FORMATS',
  'L0',
  'L1',
  'RECIPES',
  'TERMS',
  'WIRINGS',
  'AbsTopK',
  'Alikeness',
  'Arranged',
  'ArrayBatches',
  'Autoencoder',
  'AuxK',
  'BatchTopK',
  'Context',
  'CrossLayerTranscoder',
  'Crosscoder',
  'DensityHistogram',
  'Detection',
  'Dictionary',
  'DictionaryConfig',
  'DictionaryState',
  'EndToEnd',
  'Examples',
  'GateReconstruction',
  'Gated',
  'GroupMax',
  'Init',
  'InputScale',
  'JumpReLU',
  'Lp',
  'MatchingPursuit',
  'Matryoshka',
  'Metrics',
  'MultiTopK',
  'Neighbours',
  'Plan',
  'PreActivation',
  'ReLU',
  'Recovered',
  'Resample',
  'SparseCodes',
  'SquaredError',
  'SweepOfDictionaries',
  'Tanh',
  'TemporalAutoencoder',
  'TopK',
  'TrainResult',
  'TrainerConfig',
  'Transcoder',
  'array_names',
  'check',
  'clarity',
  'clearest',
  'compare',
  'contexts',
  'cosines',
  'density_histogram',
  'detect',
  'dictionary_rules',
  'evaluate',
  'export',
  'export_params',
  'fold_norms',
  'geometric_median',
  'grid',
  'init_params',
  'init_state',
  'load',
  'load_all',
  'load_metadata',
  'log10_density',
  'make_step',
  'matched_cosine',
  'matching_pursuit',
  'max_cosine',
  'measure',
  'neighbours',
  'promoted_tokens',
  'recipe',
  'recovered',
  'sample_of',
  'save',
  'save_as',
  'split',
  'strongest_examples',
  'terms_from_dict',
  'train',
  'train_end_to_end',
  'train_on_store',
  'train_sweep',
  'uniqueness',
]
