"""The network and how it is trained: Nanda et al. (2023), section 3 and appendix A.

One layer, no norms, full batch, AdamW with heavy weight decay; then, which is not in
the paper, small batches and some noise on the weights, which leave neurons of one
frequency.
The answer is read at the last position only, so only that position is run: what it
reads of the two numbers are their keys and values, and a number has only two of each,
one for each place. That is exact, and three times as fast.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np
import optax

from interp_jax import training
from interp_jax.core import unknown
from interp_jax.findings.modular_addition import measures
from interp_jax.findings.run import Run, Trained
from interp_jax.models import Transformer, TransformerConfig, init_params
from interp_jax.tasks import ModularAddition

# How to train until well after the clean-up. It is weight decay that cleans up, and
# AdamW's goes with the learning rate: at every update, the fast recipe takes away four
# times as much as the published one.
RECIPES: Mapping[str, Mapping[str, Any]] = {
  'fast': {
    'weight_decay': 2.0,
    'learning_rate': 2e-3,
    'steps': 2000,
    'snapshot_every': 50,
  },
  'published': {
    'weight_decay': 1.0,
    'learning_rate': 1e-3,
    'steps': 12_000,
    'snapshot_every': 200,
    'settling': (),
  },
}

# `(step, params)`, in the order of steps.
Snapshots = list[tuple[int, Any]]

# From this accuracy on, questions count as known.
KNOWN = 0.99


@dataclasses.dataclass(frozen=True)
class Settings:
  """Everything that the result depends on, besides seeds.

  Attributes:
    weight_decay: Decoupled, per unit of learning rate.
    learning_rate: Of AdamW, after the warm-up.
    steps: Updates of a network on the true answers.
    late_steps: Updates more of a network that has not generalised by then.
    batch: How much of the training questions an update sees after `steps`.
    settling: Stages behind that: the deviation of the noise on all weights, the weight
      decay in units of `weight_decay`, the number of updates.
    settling_rate: Learning rate then, in units of `learning_rate`.
    snapshot_every: Updates between the points of the curves.
    shuffled_steps: Updates of the control on shuffled answers.
    networks: How many networks are trained, each with its own weights and split.
    modulus: The number `P`.
    train_fraction: How much of all questions is for training.
    width: Of the residual stream.
    heads: Number of heads, each of `width / heads`.
    mlp_width: Number of neurons.
    warmup: Updates of linear warm-up.
  """

  weight_decay: float
  learning_rate: float
  steps: int
  snapshot_every: int
  late_steps: int = 2000
  batch: float = 0.25
  settling: tuple[tuple[float, float, int], ...] = (
    (0.0, 1.0, 1500),
    (0.03, 2.0, 400),
    (0.0, 2.0, 150),
  )
  settling_rate: float = 2.0
  shuffled_steps: int = 300
  networks: int = 1
  modulus: int = 113
  train_fraction: float = 0.3
  width: int = 128
  heads: int = 4
  mlp_width: int = 512
  warmup: int = 10


def settings(quick: bool, recipe: str = 'fast', networks: int = 1) -> Settings:
  """The settings of a recipe.

  Args:
    quick: Whether to stop when the training questions are known by heart.
    recipe: One of `RECIPES`.
    networks: How many networks to train.

  Raises:
    ValueError: if there is no such recipe.
  """
  if recipe not in RECIPES:
    raise ValueError(unknown('recipe', recipe, tuple(RECIPES)))
  full = Settings(**RECIPES[recipe], networks=networks)
  if not quick:
    return full
  few = tuple((noise, decay, 20) for noise, decay, _ in full.settling)
  return dataclasses.replace(
    full, steps=400, late_steps=0, shuffled_steps=200, settling=few
  )


def network(settings: Settings) -> Transformer:
  """The transformer, without parameters."""
  return Transformer(
    TransformerConfig(
      vocab_size=settings.modulus + 1,
      width=settings.width,
      layers=1,
      heads=settings.heads,
      head_dim=settings.width // settings.heads,
      mlp_width=settings.mlp_width,
      context=3,
      norm='none',
      final_norm=False,
      act='relu',
      qkv_bias=False,
      attn_out_bias=False,
    )
  )


def initial(settings: Settings, seed: int) -> dict[str, Any]:
  """Random parameters with the paper's deviations.

  They are one over the root of the stream's width for all weights but the unembedding,
  for which it is the number of tokens; the library's differ for what writes to the
  stream.
  """
  vocab_size = settings.modulus + 1

  def deviation(name: str) -> float:
    if not name.startswith('W_'):
      return 0.0
    return (vocab_size if name == 'W_U' else settings.width) ** -0.5

  return _draws(init_params(network(settings), seed), jax.random.key(seed), deviation)


def _draws(params: Any, key: Any, deviation: Callable[[str], float]) -> Any:
  """Normal numbers of the shapes of parameters, of a deviation by their name."""
  leaves, structure = jax.tree_util.tree_flatten_with_path(params)
  keys = jax.random.split(key, len(leaves))
  drawn = [
    deviation(path[-1].key) * jax.random.normal(own, leaf.shape)
    for (path, leaf), own in zip(leaves, keys, strict=True)
  ]
  return jax.tree.unflatten(structure, drawn)


def answer(
  model: Transformer, params: Any, pairs: Int[Array | np.ndarray, 'B 2']
) -> tuple[Float[Array, 'B V'], Float[Array, 'B M']]:
  """Logits and neurons at the last position of `a b =`.

  Args:
    model: A model of one layer.
    params: Its parameters.
    pairs: The numbers `a` and `b`.
  """
  variables, equals = {'params': params}, model.cfg.vocab_size - 1
  numbers = jnp.arange(equals)
  # Each number once at either place: a first layer's keys and values read nothing else.
  run: Any = functools.partial(model.apply, variables)
  _, acts = run(jnp.stack([numbers, numbers], 1))
  before = {
    site: jnp.stack([acts[site][:, pairs[:, at], at] for at in (0, 1)], 2)
    for site in model.restart_sites
  }
  last = jnp.full((len(pairs), 1), equals)
  logits, acts = run(last, before=before)
  return logits[:, 0], acts['post'][0, :, 0]


def small_losses(
  logits: Float[Array | np.ndarray, 'B V'], answers: Int[Array | np.ndarray, ' B']
) -> Float[Array, ' B']:
  """Cross-entropies in nats that float32 does not round to nothing.

  Near `-log(1)` float32 has steps of 6e-8, which is more than the training loss comes
  to. Its gradient is then noise, Adam makes steps of it, and the network is thrown out
  of its minimum time and again; the paper computes losses in float64 for that reason.
  The same loss as `log(1 + e^x)`, x being what the wrong answers have over the right
  one, is exact however small it is.
  """
  right = jax.nn.one_hot(answers, logits.shape[1], dtype=bool)
  wrong = jax.nn.logsumexp(jnp.where(right, -jnp.inf, logits), -1)
  own = jnp.take_along_axis(logits, answers[:, None], 1)[:, 0]
  return jax.nn.softplus(wrong - own)


def with_noise(params: Any, noise: float, key: Any) -> Any:
  """The parameters with normal noise of a deviation on every weight, biases without."""
  added = _draws(params, key, lambda name: noise if name.startswith('W_') else 0.0)
  return jax.tree.map(jnp.add, params, added)


def loss_on(
  model: Transformer, task: ModularAddition, batch: float = 1.0, noise: float = 0.0
) -> Callable[[Any, Any], tuple[Any, dict[str, Any]]]:
  """The mean cross-entropy in nats over training questions.

  Args:
    model: The network.
    task: What it is trained on.
    batch: How much of the training questions is drawn for every update; 1 is all.
    noise: Deviation of the noise on its weights, drawn anew at every update.
  """
  questions = jnp.asarray(task.pairs(task.train))
  right = jnp.asarray(task.answers[task.train])
  count = round(batch * len(questions))

  def loss_fn(params: Any, key: Any) -> tuple[Any, dict[str, Any]]:
    of_batch, of_noise = jax.random.split(key)
    pairs, answers = questions, right
    if count < len(questions):
      drawn = jax.random.choice(of_batch, len(questions), (count,), replace=False)
      pairs, answers = questions[drawn], right[drawn]
    moved = with_noise(params, noise, of_noise) if noise else params
    logits, _ = answer(model, moved, pairs)
    accuracy = jnp.mean(logits.argmax(-1) == answers)
    return small_losses(logits, answers).mean(), {'accuracy': accuracy}

  return loss_fn


def grok(
  run: Run, name: str, settings: Settings, task: ModularAddition, seed: int
) -> Snapshots:
  """A network trained until it generalises, if it does.

  Most do within `settings.steps`. Some go on knowing their questions by heart, more and
  more surely: the test accuracy of one was 0.04 by then. They are trained on with some
  of the questions at a time, which shakes them loose.

  Returns:
    `(step, params)`.
  """
  snapshots = train(run, name, settings, task, settings.steps, seed).snapshots
  knows = test_accuracy(settings, task, snapshots[-1][1]) >= KNOWN
  if knows or not settings.late_steps:
    return snapshots
  more = settings.late_steps
  return _go_on(run, f'{name}_late', settings, task, more, seed, snapshots)


def settle(
  run: Run,
  name: str,
  settings: Settings,
  task: ModularAddition,
  snapshots: Snapshots,
  seed: int,
) -> Snapshots:
  """A network that generalises, trained on until its neurons have one frequency.

  At first it still has memory in it, stray frequencies, and neurons that mix the key
  frequencies: a fifth to three quarters of all, weak ones. Decay takes that away in its
  own time: 31 % mixtures of one network were 24 % after 1,000 updates on half of the
  questions at a time, at the same learning rate. On a quarter of them and at twice the
  rate, 1,500 updates left 4 to 16 % in eight runs on three networks and 57 % in a
  ninth; the loss has bursts at that rate. It may be that Adam makes as large steps of
  the small gradients of what is weak as of any, as long as they agree, which those of
  other questions at every update do not; then decay wins.

  Some mixtures stay, where twice a key frequency is the sum or the difference of two
  others: neurons of that one carry the two others alike, which can take away what the
  kink puts at twice the frequency. In such a network (352291765; 2 * 34 = -19 - 26
  modulo 113) the neurons of 34 had 0.029 and 0.025 of their variance at 19 and 26, and
  0.001 at the last one; in a network without such frequencies it is 0.001 everywhere.
  It is left with 82 to 91 % explained, by the questions that were drawn. Weights that
  work under noise are weights that need few bits (Hinton & van Camp 1993), which so
  fine a balance is not; noise and twice the decay leave 86 to 89 % there, 88 and 91 %
  in two more such networks, and 98 and 99 % in two without such frequencies. More noise
  unmakes the answer: 0.04 took the logits' variance at the key frequencies of one
  network from 0.95 to 0.90. Without noise at last, it is sure again.

  Returns:
    `(step, params)`, those given first.
  """
  rate = settings.settling_rate * settings.learning_rate
  for index, (noise, decay, steps) in enumerate(settings.settling):
    stage = dataclasses.replace(
      settings, learning_rate=rate, weight_decay=decay * settings.weight_decay
    )
    leg = f'{name}_settling_{index}'
    snapshots = _go_on(run, leg, stage, task, steps, seed, snapshots, noise)
  return snapshots


def _go_on(
  run: Run,
  name: str,
  settings: Settings,
  task: ModularAddition,
  steps: int,
  seed: int,
  snapshots: Snapshots,
  noise: float = 0.0,
) -> Snapshots:
  """More training from the last snapshot on, with some questions at a time."""
  last, params = snapshots[-1]
  how = {'batch': settings.batch, 'noise': noise}
  more = train(run, name, settings, task, steps, seed, params=params, **how)
  return snapshots + [(last + step, later) for step, later in more.snapshots[1:]]


def test_accuracy(settings: Settings, task: ModularAddition, params: Any) -> float:
  """The share of the test questions that a network answers rightly."""
  logits, _ = observe(network(settings), params)
  return measures.accuracy(logits, task.answers, ~task.train)


def train(
  run: Run,
  name: str,
  settings: Settings,
  task: ModularAddition,
  steps: int,
  seed: int,
  params: Any = None,
  batch: float = 1.0,
  noise: float = 0.0,
) -> Trained:
  """A network trained on a task, with snapshots along the way.

  Args:
    run: The working folder.
    name: Of the training run in it.
    settings: The settings.
    task: What the network is trained on.
    steps: Updates.
    seed: Of its first weights and of the choice of questions.
    params: To begin with, in place of fresh ones.
    batch: How much of the training questions an update sees.
    noise: Deviation of the noise on its weights.
  """
  schedule = training.warmup_stable_decay(
    settings.learning_rate, steps, settings.warmup, decay=0, final=1.0
  )
  # The paper's decay is of everything, biases too.
  optimizer = optax.adamw(schedule, b1=0.9, b2=0.98, weight_decay=settings.weight_decay)
  return run.train(
    name,
    loss_on(network(settings), task, batch, noise),
    initial(settings, seed) if params is None else params,
    optimizer,
    steps,
    seed,
    settings=dataclasses.asdict(settings),
    worlds=False,
    steps_per_call=10,
    snapshot_every=settings.snapshot_every,
    log_every=50,
    checkpoint_every=500,
  )


@functools.partial(jax.jit, static_argnums=0)
def _answer_all(model: Transformer, params: Any) -> tuple[jax.Array, jax.Array]:
  modulus = model.cfg.vocab_size - 1
  pairs = jnp.stack(jnp.divmod(jnp.arange(modulus**2), modulus), 1)
  return answer(model, params, pairs)


def observe(
  model: Transformer, params: Any
) -> tuple[Float[np.ndarray, 'P P P'], Float[np.ndarray, 'P P M']]:
  """What the network computes on every question: logits of numbers, and neurons."""
  modulus = model.cfg.vocab_size - 1
  logits, neurons = jax.device_get(_answer_all(model, params))
  grid = lambda values: values.reshape(modulus, modulus, -1)
  return grid(logits[:, :modulus]), grid(neurons)
