"""The training step of a dictionary, as `dictionaries.train` runs it."""

import math
from typing import Any

import jax
from jax.sharding import Mesh

from interp_jax.dictionaries import (
  AuxK,
  DictionaryConfig,
  TopK,
  TrainerConfig,
  combinations,
  trainer,
)
from interp_jax.programs.program import Allowed, Program
from interp_jax.sharding import DATA, MODEL

# Bytes of a number that is sent, at most.
_WIDE = 4


def dictionary_step(
  config: DictionaryConfig,
  settings: TrainerConfig,
  mesh: Mesh,
  input_dtype: str = 'bfloat16',
) -> Program:
  """The step of any wiring, activation and objective.

  Args:
    config: The dictionary's.
    settings: How it is trained; `batch_size` rows a step.
    mesh: The batch is split over `data`, the features over `model`.
    input_dtype: Of the rows, as a store has them.

  Returns:
    The program. One row is a token.

  Raises:
    ValueError: if the parts do not make sense together, or do not divide over the mesh.
  """
  combinations.check(config, settings)
  state = trainer.state_shapes(config, settings)
  rows = jax.ShapeDtypeStruct((settings.batch_size, *config.in_shape), input_dtype)
  batch = rows
  if not config.wiring.reconstructs:
    targets = (settings.batch_size, *config.out_shape)
    batch = {'inputs': rows, 'targets': jax.ShapeDtypeStruct(targets, input_dtype)}
  step: Any = trainer.compiled_step(config, settings, state, mesh)
  return Program(
    mesh,
    lambda: step.lower(state, batch),
    settings.batch_size,
    'tokens',
    dense_flops(config, settings.batch_size),
    design(config, settings, mesh),
  )


def weights(config: DictionaryConfig) -> tuple[int, int]:
  """How many weights the encoder and the decoder have."""
  shapes = config.wiring.shapes(config.width, config.features)
  size = lambda tree: sum(
    math.prod(shape)
    for shape in jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, tuple))
  )
  return size(shapes.get('W_enc', shapes['W_dec'])), size(shapes['W_dec'])


def dense_flops(config: DictionaryConfig, rows: int) -> float:
  """The five products of a step: two with the encoder, three with the decoder.

  Forwards one each; backwards the gradients of both weights and that of the codes. The
  inputs are data, and have none.

  Args:
    config: The dictionary's.
    rows: The batch.
  """
  encoder, decoder = weights(config)
  return 2.0 * rows * (2 * encoder + 3 * decoder)


def design(
  config: DictionaryConfig, settings: TrainerConfig, mesh: Mesh
) -> tuple[Allowed, ...]:
  """What a step sends: never weights, never pre-activations.

  Over `model`, an output and the few candidates of a top-k; over `data`, gradients. The
  term for dead features fetches the weights of those that take part.
  """
  model = mesh.shape[MODEL]
  rows = settings.batch_size // settings.microbatches // mesh.shape[DATA]
  width = math.prod(config.out_shape)
  encoder, decoder = weights(config)
  gradients = max(encoder, decoder) // model
  rules = [
    Allowed('outputs, summed', 'all-reduce', (MODEL,), rows * width * _WIDE),
    Allowed('gradients, summed', 'all-reduce', (DATA,), gradients * _WIDE),
  ]
  if isinstance(config.activation, TopK):
    own = min(config.activation.k, config.features // model)
    candidates = rows * own * model * _WIDE
    rules.append(Allowed('candidates of the top-k', 'all-gather', (MODEL,), candidates))
  for term in settings.objective:
    if isinstance(term, AuxK):
      rules.extend(_dead(config, term))
  return tuple(rules)


def _dead(config: DictionaryConfig, term: AuxK) -> list[Allowed]:
  """What the term for dead features sends: which they are, and their weights."""
  layers = math.prod(config.code_shape[:-1])
  k = term.k or max(config.width // 2, 1)
  pool = min(term.pool or k, config.features)
  encoder, decoder = weights(config)
  each = max(encoder, decoder) // math.prod(config.code_shape)
  counters = math.prod(config.code_shape) * _WIDE
  rows = layers * pool * each * _WIDE
  return [
    Allowed('counters of idle features', 'all-gather', (MODEL,), counters),
    Allowed('weights of dead features', 'all-reduce', (MODEL,), rows),
  ]
