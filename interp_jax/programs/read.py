"""From the values of a configuration to a program."""

from collections.abc import Callable, Mapping
from typing import Any

from jax.sharding import Mesh

from interp_jax.core import unknown
from interp_jax.dictionaries import DictionaryConfig, TrainerConfig
from interp_jax.models import TransformerConfig, read_config
from interp_jax.programs.dictionary import dictionary_step
from interp_jax.programs.model import (
  harvest_forward,
  language_model_step,
  patching_sweep,
)
from interp_jax.programs.program import Program
from interp_jax.training import OptimizerConfig

Values = Mapping[str, Any]


def read_program(values: Values, mesh: Mesh, per_device: int) -> Program:
  """The program that a configuration describes; see configs/compile/.

  Args:
    values: `program` names what it is; the rest are its settings.
    mesh: What to compile it for.
    per_device: Rows, sequences or worlds of a step, for each device.

  Returns:
    The program.

  Raises:
    ValueError: if there is no such program, or its settings do not fit each other.
  """
  kind = values['program']
  if kind not in _READERS:
    raise ValueError(unknown('program', kind, _READERS))
  return _READERS[kind](values, mesh, per_device * mesh.size)


def _dictionary(values: Values, mesh: Mesh, batch: int) -> Program:
  config = DictionaryConfig.from_dict(values['dictionary'])
  settings = {'batch_size': batch} | dict(values['trainer'])
  return dictionary_step(config, TrainerConfig.from_dict(settings), mesh)


def _harvest(values: Values, mesh: Mesh, batch: int) -> Program:
  sites = {site: layers or None for site, layers in values['sites'].items()}
  return harvest_forward(_model(values), mesh, batch, values['context'], sites)


def _sweep(values: Values, mesh: Mesh, worlds: int) -> Program:
  return patching_sweep(
    _model(values),
    mesh,
    worlds,
    values['pairs'],
    values['context'],
    values['site'],
    tuple(values['over']),
  )


def _language_model(values: Values, mesh: Mesh, batch: int) -> Program:
  optimizer = OptimizerConfig(**values['optimizer'])
  cfg = _model(values)
  return language_model_step(cfg, optimizer, mesh, batch, values['microbatches'])


def _model(values: Values) -> TransformerConfig:
  """The model, by what its config.json says."""
  return read_config(values['model'], **values['options'])


_READERS: Mapping[str, Callable[[Values, Mesh, int], Program]] = {
  'dictionary': _dictionary,
  'harvest': _harvest,
  'sweep': _sweep,
  'language_model': _language_model,
}
