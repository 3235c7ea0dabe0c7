"""What is trained: small attention-only models on random tokens that repeat.

The recipe of the two-layer models is made for a short plateau before the transition:

- Positions reach queries and keys only ('shortformer', as in the models of Elhage et
  al. 2021). They begin as sinusoids (Vaswani et al. 2017), of which a step back is a
  rotation: one head of few dimensions can look one back everywhere. Of random vectors a
  head learns a few positions only.
- Heads are narrower than the vocabulary, and there are more of them than the circuit
  needs: so it leaves some heads over to compare with. Of eight heads of 16 dimensions,
  a model makes up to all eight into induction heads; of ten of 12, up to seven.
- After the transition, training goes on. The loss has little to gain then, but the
  model comes to rely on its induction heads: without them, one of nine models was still
  better than chance after 1,000 updates, and none after 2,000.
- Blocks are short, so that rows are short: a step takes milliseconds on a CPU.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from interp_jax import lenses, models, tasks, training
from interp_jax.findings.induction import measures
from interp_jax.findings.run import Run, Trained


@dataclasses.dataclass(frozen=True)
class Settings:
  """Sizes and lengths of everything.

  Attributes:
    seeds: Models of each kind.
    symbols: Tokens that blocks are drawn from, V.
    length: Tokens in a training row.
    periods: The periods in training.
    test_periods: Shortest and longest period in all measurements; none was in training,
      but shorter ones and longer ones were: a head that looks one back learns to do so
      over the length of the blocks that there are.
    seen_periods: Shortest and longest of a range of periods that were in training.
    constant_period: The one period that a control is trained on.
    width: Of the residual stream.
    heads: In a layer, H.
    head_dim: Width of a head.
    position_size: Amplitude of the sinusoids that positions begin as; an entry of a
      token's normed vector has a deviation of 1.
    position_base: Ratio of their longest wavelength to the shortest.
    rows: In a batch.
    learning_rate: At its peak.
    warmup: Updates before it.
    steps: Updates of the two-layer models, and of the one-layer ones.
    absolute_steps: Updates of the models with absolute positions.
    constant_steps: Updates of the models that see one period.
    measure_every: Updates between measurements.
    test_rows: Rows of every measurement.
  """

  seeds: int = 3
  symbols: int = 32
  length: int = 33
  periods: tuple[int, ...] = (6, 7, 8, 12, 13, 14, 15, 16)
  test_periods: tuple[int, int] = (9, 11)
  seen_periods: tuple[int, int] = (12, 16)
  constant_period: int = 13
  width: int = 64
  heads: int = 10
  head_dim: int = 12
  position_size: float = 0.5
  position_base: float = 30.0
  rows: int = 32
  learning_rate: float = 4e-3
  warmup: int = 50
  steps: int = 2000
  absolute_steps: int = 1200
  constant_steps: int = 500
  measure_every: int = 50
  test_rows: int = 64


def settings(quick: bool) -> Settings:
  """The settings, or those of a quick look at the same."""
  if not quick:
    return Settings()
  return Settings(
    seeds=2, steps=600, absolute_steps=300, constant_steps=200, test_rows=32
  )


@dataclasses.dataclass(frozen=True)
class Kind:
  """A kind of model and what it is trained on.

  Attributes:
    name: Of its folder.
    layers: How many.
    positions: 'shortformer', or 'learned' for absolute positions in the stream.
    periods: Of the training rows.
    steps: Updates.
  """

  name: str
  layers: int
  positions: str
  periods: tuple[int, ...]
  steps: int


def kinds(config: Settings) -> dict[str, Kind]:
  """The models of the claim, and the three controls."""
  one = (config.constant_period,)
  every = (
    Kind('two_layers', 2, 'shortformer', config.periods, config.steps),
    Kind('one_layer', 1, 'shortformer', config.periods, config.steps),
    Kind('absolute', 2, 'learned', config.periods, config.absolute_steps),
    Kind('constant_period', 1, 'shortformer', one, config.constant_steps),
  )
  return {kind.name: kind for kind in every}


def make_model(config: Settings, kind: Kind) -> models.Transformer:
  """The transformer of a kind: attention only, RMSNorm, no biases."""
  cfg = models.TransformerConfig(
    vocab_size=config.symbols + 1,
    width=config.width,
    layers=kind.layers,
    heads=config.heads,
    head_dim=config.head_dim,
    context=config.length,
    norm='rmsnorm',
    positions=kind.positions,
    attn_only=True,
    qkv_bias=False,
    attn_out_bias=False,
  )
  return models.Transformer(cfg, unroll=True)


def initial(config: Settings, kind: Kind, seeds: list[int]) -> Mapping[str, Any]:
  """Parameters of one model for each seed, stacked, `[W, ...]`."""
  model = make_model(config, kind)
  worlds = [models.init_params(model, seed) for seed in seeds]
  params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *worlds)
  if kind.positions == 'shortformer':
    table = config.position_size * sinusoids(
      config.length, config.width, config.position_base
    )
    every = jnp.broadcast_to(table, (len(seeds), *table.shape))
    params = {**params, 'pos_embed': {'W_pos': every}}
  return params


def sinusoids(length: int, width: int, base: float) -> Float[Array, 'T D']:
  """Sines and cosines of positions, of wavelengths from `2 pi` to `2 pi base`.

  The vectors of two positions have a product that depends on their distance only.
  """
  waves = base ** -jnp.linspace(0, 1, width // 2)
  angles = jnp.arange(length)[:, None] * waves
  return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], 1)


def test_rows(
  config: Settings, periods: tuple[int, int], seed: int
) -> lenses.RepeatedTokens:
  """Rows to measure on: no token comes twice in a block, so there is one answer."""
  bos = config.symbols
  return lenses.repeated_tokens(config.test_rows, bos + 1, bos, periods, seed=seed)


def train(
  run: Run, config: Settings, kind: Kind, repeats: lenses.RepeatedTokens
) -> Trained:
  """Trains the models of a kind, one for each seed, as worlds of one program."""
  model = make_model(config, kind)
  task = tasks.RepeatedBlocks(config.symbols, config.length, kind.periods)

  def loss_fn(params: Any, key: jax.Array) -> tuple[Any, dict[str, Any]]:
    tokens = task.draw(key, config.rows)
    logits, _ = model.apply({'params': params}, tokens)
    return training.next_token_losses(logits, tokens).mean(), {}

  optimizer = training.OptimizerConfig(
    learning_rate=config.learning_rate, warmup=config.warmup
  )

  def measure(params: Any) -> dict[str, Any]:
    return measures.watch(model, params, repeats)._asdict()

  return run.train(
    kind.name,
    loss_fn,
    initial(config, kind, _weight_seeds(run, config, kind)),
    training.make_optimizer(optimizer, kind.steps),
    kind.steps,
    _data_seed(run, kind),
    settings=dataclasses.asdict(kind),
    measure=measure,
    measure_every=config.measure_every,
  )


def history(trained: Trained) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """Updates at each measurement, `[N]`, and what was measured, each `[N, W, ...]`."""
  steps = np.array([record['step'] for record in trained.measures])
  names = measures.Watch._fields
  return steps, {n: np.array([record[n] for record in trained.measures]) for n in names}


def seeds(run: Run, config: Settings) -> dict[str, list[int]]:
  """What the models of every kind were made from, and their data."""
  every = kinds(config).values()
  weights = {f'{k.name} weights': _weight_seeds(run, config, k) for k in every}
  return weights | {f'{k.name} data': [_data_seed(run, k)] for k in every}


def _weight_seeds(run: Run, config: Settings, kind: Kind) -> list[int]:
  return run.seeds(f'{kind.name} weights', config.seeds)


def _data_seed(run: Run, kind: Kind) -> int:
  return run.seeds(f'{kind.name} data', 1)[0]
