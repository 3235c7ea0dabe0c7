"""Programs that run a language model: a harvest's, a sweep's, and training one."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from interp_jax import circuits, training
from interp_jax.circuits.ahead import lower_sweep
from interp_jax.harvest.forward import Sites, forward_of_shapes
from interp_jax.models import Transformer, TransformerConfig, init_params
from interp_jax.programs.program import Allowed, Program, place_shapes, placed
from interp_jax.sharding import DATA, MODEL, STATE_RULES, TRANSFORMER_RULES, shardings

_WIDE = 4


def param_shapes(model: Transformer) -> Any:
  """The shapes of a model's parameters."""
  return jax.eval_shape(lambda: init_params(model))


def laid_out(params: Any, mesh: Mesh) -> Any:
  """Shapes of parameters on a mesh, as the rules say."""
  return place_shapes(params, shardings(mesh, TRANSFORMER_RULES, params))


def layer_flops(cfg: TransformerConfig) -> float:
  """Of a layer's matrix products for one token, forwards; without scores and mixing."""
  attention = cfg.width * cfg.head_dim * 2 * (cfg.heads + cfg.kv_heads)
  return 2.0 * (attention + mlp_weights(cfg))


def mlp_weights(cfg: TransformerConfig) -> int:
  """How many weights of a layer's MLP a token meets."""
  if cfg.attn_only:
    return 0
  one = cfg.width * cfg.mlp_width * (3 if cfg.gated else 2)
  return one * (cfg.experts_per_token if cfg.experts else 1)


def _stream(rows: int, cfg: TransformerConfig) -> tuple[Allowed, ...]:
  """What a forward pass sends: sums into the residual stream, once a part."""
  most = rows * cfg.width * _WIDE
  return (
    Allowed('what heads, neurons and embedding add', 'all-reduce', (MODEL,), most),
  )


def harvest_forward(
  cfg: TransformerConfig,
  mesh: Mesh,
  batch: int,
  length: int,
  sites: Sites,
  dtype: str = 'bfloat16',
) -> Program:
  """The truncated model, as `harvest.harvest` runs it.

  Args:
    cfg: The whole model.
    mesh: Sequences are split over `data`, heads and neurons over `model`.
    batch: How many sequences.
    length: Their length.
    sites: Site → layers.
    dtype: In which activations are stored.

  Returns:
    The program.
  """
  model = Transformer(cfg)
  forward = forward_of_shapes(model, param_shapes(model), sites, dtype, (batch, length))
  params = laid_out(forward.params, mesh)
  tokens = placed((batch, length), jnp.int32, mesh, DATA)
  short = forward.program.model.cfg
  rows = batch * length
  return Program(
    mesh,
    lambda: forward.lower(params, tokens, None),
    rows,
    'tokens',
    rows * short.layers * layer_flops(short),
    _stream(rows // mesh.shape[DATA], short),
  )


def patching_sweep(
  cfg: TransformerConfig,
  mesh: Mesh,
  worlds: int,
  batch: int,
  length: int,
  site: str = 'resid_pre',
  over: tuple[str, ...] = ('layer', 'position'),
) -> Program:
  """A chunk of worlds, as `circuits.sweep` runs it, from the first layer on.

  Args:
    cfg: The model.
    mesh: Worlds are split over `data`, heads and neurons over `model`.
    worlds: How many worlds run at once.
    batch: How many pairs of prompts.
    length: Their length.
    site: The site to patch.
    over: The axes of the grid.

  Returns:
    The program. Its unit is a world.
  """
  model = Transformer(cfg)
  params = laid_out(param_shapes(model), mesh)
  answers = np.zeros(batch, np.int32)
  metric = circuits.logit_difference(answers, answers)
  tokens = placed((batch, length), jnp.int32, mesh)
  rows = worlds * batch * length
  return Program(
    mesh,
    lambda: lower_sweep(
      model,
      params,
      tokens,
      site,
      over,
      metric,
      worlds,
      mesh,
      logit_positions=np.array([length - 1]),
    ),
    worlds,
    'worlds',
    rows * cfg.layers * layer_flops(cfg),
    _stream(rows // mesh.shape[DATA], cfg),
  )


def language_model_step(
  cfg: TransformerConfig,
  optimizer: training.OptimizerConfig,
  mesh: Mesh,
  batch: int,
  microbatches: int = 1,
) -> Program:
  """A step of training a language model, as launch/train_lm.py takes it.

  Args:
    cfg: The model; sequences are of its `context`.
    optimizer: The optimiser.
    mesh: Sequences are split over `data`, heads, neurons and tokens over `model`.
    batch: How many sequences.
    microbatches: In how many parts they are taken.

  Returns:
    The program.
  """
  model = Transformer(cfg)
  update = training.make_optimizer(optimizer, 1000)
  create = lambda: training.create_state(init_params(model), update)
  state = jax.eval_shape(create)
  loss = training.make_loss(lambda params, x: model.apply({'params': params}, x)[0])
  step: Any = training.make_train_step(
    loss, update, mesh, shardings(mesh, STATE_RULES, state), microbatches=microbatches
  )
  tokens = jax.ShapeDtypeStruct((batch, cfg.context), jnp.int32)
  rows = batch * cfg.context
  forward = cfg.layers * layer_flops(cfg) + 2.0 * cfg.width * cfg.vocab_size
  weights = sum(leaf.size for leaf in jax.tree.leaves(state.params))
  here = rows // microbatches // mesh.shape[DATA]
  return Program(
    mesh,
    lambda: step.lower(state, tokens),
    rows,
    'tokens',
    3 * rows * forward,
    (
      *_stream(here, cfg),
      Allowed('gradients, summed', 'all-reduce', (DATA,), weights * _WIDE),
    ),
  )
