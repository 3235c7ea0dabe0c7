"""End to end: a dictionary judged by what the model predicts with it spliced in."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from interp_jax import edits
from interp_jax.core import Model, unknown
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.objective.forward import Forward
from interp_jax.dictionaries.objective.term import Scalar, Term

KINDS = ('kl', 'ce')


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Continuation:
  """A model that goes on from activations: the context of an end-to-end term.

  Attributes:
    model: The model, which takes `resid` and `start`.
    site: The site that outputs are spliced in at.
    layer: Its layer.
    layers: How many layers the model has.
    first: The first position that is spliced; those before keep their activations.
    params: The model's parameters.
    tokens: `[B, T]`.
    resid: `[B, T, D]`, the residual stream before the layer.
    acts: `[B, T, O]`, the activations at the site.
    log_probs: `[B, T, V]`, of the model as it is.
  """

  model: Model = dataclasses.field(metadata={'static': True})
  site: str = dataclasses.field(metadata={'static': True})
  layer: int = dataclasses.field(metadata={'static': True})
  layers: int = dataclasses.field(metadata={'static': True})
  first: int = dataclasses.field(metadata={'static': True})
  params: Any
  tokens: Any
  resid: Any
  acts: Any
  log_probs: Any

  def spliced(self, outputs: Float[Array, 'N O']) -> Float[Array, 'B T V']:
    """Log-probabilities with raw outputs in the place of activations."""
    value = outputs.reshape(self.acts.shape[0], -1, self.acts.shape[-1])
    value = jnp.concatenate([self.acts[:, : self.first], value], axis=1)
    here = jnp.arange(self.layers) == self.layer
    edit = {self.site: edits.Replace(value, here[:, None, None, None])}
    logits, _ = self.model.apply(
      {'params': self.params}, None, edit, resid=self.resid, start=self.layer
    )
    return jax.nn.log_softmax(logits.astype(jnp.float32))


@dataclasses.dataclass(frozen=True)
class EndToEnd(Term):
  """What the model loses when outputs stand in for activations (Braun et al. 2024).

      kl   coefficient * mean KL(p(. | model) || p(. | model, spliced))
      ce   coefficient * mean of -log p(next token | model, spliced)

  in nats, over the positions that are spliced (2405.12241). Train with `EndToEnd` and
  `SquaredError(0.0)` for the pure objective, or with both.

  Attributes:
    coefficient: Weight.
    kind: `'kl'` or `'ce'`.
  """

  coefficient: Scalar = 1.0
  kind: str = 'kl'
  name: ClassVar[str] = 'end_to_end'

  def check(self, config: DictionaryConfig) -> None:
    if self.kind not in KINDS:
      raise ValueError(unknown('kind of the end_to_end term', self.kind, KINDS))
    if len(config.out_shape) > 1 or None in (*config.reads, *config.writes):
      raise ValueError(
        'The term end_to_end splices one activation into a model: it is for '
        'autoencoders and transcoders with a site and a layer, not for '
        f'{config.wiring.name!r} at site {config.site!r}, layer {config.layer!r}.'
      )

  def __call__(self, forward: Forward) -> Float[Array, '']:
    here: Continuation = forward.context
    raw = forward.outputs / forward.scale['outputs']
    log_probs = here.spliced(raw)[:, here.first : -1]
    if self.kind == 'kl':
      clean = here.log_probs[:, here.first : -1]
      losses = jnp.sum(jnp.exp(clean) * (clean - log_probs), -1)
    else:
      following = here.tokens[:, here.first + 1 :, None]
      losses = -jnp.take_along_axis(log_probs, following, -1)
    return self.coefficient * jnp.mean(losses)


@dataclasses.dataclass(frozen=True)
class ModelSource:
  """From tokens to what a dictionary reads and writes, and the rest of the model.

  A batch is `{'tokens': [B, T], 'params': parameters of the model}`.

  Attributes:
    model: The model.
    reads: Site and layer of the inputs.
    writes: Site and layer of the targets.
    first: Positions before this one are left as they are: the first token is where
      attention rests, and its activation is far larger than others.
  """

  model: Model
  reads: tuple[Any, Any]
  writes: tuple[Any, Any]
  first: int = 1

  def __call__(self, batch: Any) -> tuple[Array, Array, Continuation]:
    """Inputs, targets and the continuation of a batch."""
    tokens: Int[Array, 'B T'] = batch['tokens']
    logits, acts = self.model.apply({'params': batch['params']}, tokens)
    rows = lambda place: acts[place[0]][place[1]]
    site, layer = self.writes
    context = Continuation(
      self.model,
      site,
      layer,
      acts[site].shape[0],
      self.first,
      batch['params'],
      tokens,
      acts['resid_pre'][layer],
      rows(self.writes),
      jax.nn.log_softmax(logits.astype(jnp.float32)),
    )
    flat = lambda x: x[:, self.first :].reshape(-1, x.shape[-1])
    held = jax.lax.stop_gradient(context)
    return flat(rows(self.reads)), flat(rows(self.writes)), held
