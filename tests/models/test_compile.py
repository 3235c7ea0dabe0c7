"""One program for a whole sweep: as long for deep models, and nothing kept unasked."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import edits
from interp_jax.core import SITES, site_names, site_shape
from interp_jax.models import Transformer, TransformerConfig
from interp_jax.testing import random_params

pytestmark = pytest.mark.usefixtures('optimized')

B, T, WORLDS = 2, 16, 32
CFG = TransformerConfig(
  vocab_size=64,
  width=32,
  layers=4,
  heads=4,
  head_dim=8,
  mlp_width=128,
  positions='rotary',
)
TOKENS = np.random.default_rng(0).integers(0, 64, (B, T))
SWEPT = {'resid_pre': ('layer', 'position'), 'z': ('layer', 'head')}


class Sweep:
  """A sweep of 32 vmapped patches at one site, which returns one metric of each."""

  def __init__(self, site, layers=4, **span):
    self.cfg = dataclasses.replace(CFG, layers=layers)
    self.model, self.traces = Transformer(self.cfg), 0
    shape = site_shape(site, self.cfg, B, T)
    masks, _ = edits.grid(site, shape, SWEPT[site])
    masks = np.resize(masks, (WORLDS, *masks.shape[1:]))
    self.inputs = random_params(self.model), TOKENS, jnp.ones(shape), masks, span
    self.run = jax.jit(functools.partial(self._run, site))

  def _run(self, site, params, tokens, value, masks, span):
    self.traces += 1

    def one(mask):
      patch = {site: edits.Replace(value, mask)}
      last = jnp.array([T - 1])
      logits, _ = self.model.apply(
        {'params': params}, tokens, patch, logit_positions=last, **span
      )
      return (logits[:, 0, 1] - logits[:, 0, 2]).mean()

    return jax.vmap(one)(masks)

  @functools.cached_property
  def lowered(self):
    return self.run.lower(*self.inputs)

  @functools.cached_property
  def compiled(self):
    return self.lowered.compile()


sweep = functools.cache(Sweep)


def kept_bytes(cfg, sites=None):
  """Bytes of the activations of these sites (all of them for None), float32."""
  shapes = (site_shape(site, cfg, B, T) for site in sites or site_names(cfg))
  return 4 * sum(map(math.prod, shapes))


def temporary_bytes(compiled):
  return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize('site', SWEPT)
def test_a_sweep_compiles_once_for_all_masks_values_and_tokens(site):
  swept = Sweep(site)
  params, tokens, value, masks, span = swept.inputs
  one = swept.run(params, tokens, value, masks, span)
  swept.run(params, tokens[::-1], 2 * value, masks[::-1].copy(), span)
  assert one.shape == (WORLDS,)
  assert swept.traces == 1
  assert swept.run._cache_size() == 1


@pytest.mark.parametrize('site', SWEPT)
def test_a_vmapped_sweep_equals_a_python_loop(site):
  swept = Sweep(site)
  params, tokens, value, masks, span = swept.inputs
  together = swept.run(params, tokens, value, masks, span)
  alone = [swept.run(params, tokens, value, masks[w : w + 1], span) for w in (0, 5, 31)]
  np.testing.assert_allclose(together[np.array([0, 5, 31])], np.ravel(alone), 1e-4)
  assert len(np.unique(np.round(together, 5))) > WORLDS // 4


@pytest.mark.parametrize('site', SWEPT)
def test_the_program_of_a_sweep_does_not_grow_with_depth(site):
  shallow, deep = sweep(site, 4), sweep(site, 24)
  lines = [len(s.lowered.as_text().splitlines()) for s in (shallow, deep)]
  assert lines[0] == lines[1]
  lines = [len(s.compiled.as_text().splitlines()) for s in (shallow, deep)]
  assert abs(lines[1] - lines[0]) <= 0.05 * lines[0]


@pytest.mark.parametrize('layers', [4, 24])
@pytest.mark.parametrize('site', SWEPT)
def test_a_sweep_keeps_no_activation_that_it_was_not_asked_for(site, layers):
  # All acts of the 32 worlds are 13 MB for 4 layers and 79 MB for 24. What the sweep
  # needs at any moment is part of one layer's (3.3 MB), however many layers there are.
  swept = sweep(site, layers)
  one_layer = WORLDS * kept_bytes(dataclasses.replace(CFG, layers=1))
  assert temporary_bytes(swept.compiled) < one_layer / 2
  assert one_layer / 2 < WORLDS * kept_bytes(swept.cfg) / 7
  assert swept.compiled.memory_analysis().output_size_in_bytes == 4 * WORLDS


def test_a_sweep_from_a_traced_layer_keeps_as_little():
  one_layer = WORLDS * kept_bytes(dataclasses.replace(CFG, layers=1))
  swept = sweep('resid_pre', 24)
  partial = Sweep('resid_pre', 24, start=jnp.int32(3), stop=jnp.int32(20))
  assert temporary_bytes(partial.compiled) < one_layer / 2
  for start, stop in ((3, 20), (0, 24)):
    span = {'start': jnp.int32(start), 'stop': jnp.int32(stop)}
    got = partial.run(*partial.inputs[:4], span)
  np.testing.assert_allclose(got, swept.run(*swept.inputs), rtol=1e-4, atol=1e-5)
  assert partial.traces == 1


def test_all_that_a_sweep_returns_is_in_memory_if_it_is_asked_for():
  # The measure measures: a sweep that returns the acts has them in its output.
  cfg = CFG
  model = Transformer(cfg)
  run = jax.jit(lambda params: model.apply({'params': params}, TOKENS)[1])
  memory = run.lower(random_params(model)).compile().memory_analysis()
  assert memory.output_size_in_bytes >= kept_bytes(cfg)


@pytest.mark.parametrize('partial', [False, True], ids=['all layers', 'some layers'])
@pytest.mark.parametrize('site', ['resid_post', 'z', 'ln1.scale'])
def test_harvesting_one_site_keeps_only_that_site(site, partial):
  cfg = dataclasses.replace(CFG, layers=24)
  model = Transformer(cfg)

  def harvest(params, tokens, stop):
    span = {'stop': stop} if partial else {}
    return model.apply({'params': params}, tokens, **span)[1][site]

  inputs = random_params(model), TOKENS, jnp.int32(20)
  compiled = jax.jit(harvest).lower(*inputs).compile()
  one_layer = kept_bytes(dataclasses.replace(cfg, layers=1))
  assert compiled.memory_analysis().output_size_in_bytes == kept_bytes(cfg, [site])
  assert temporary_bytes(compiled) < one_layer + kept_bytes(cfg, [site])


def test_gradients_with_respect_to_deltas_at_all_sites_do_not_grow_with_depth():
  def lines(layers):
    model = Transformer(dataclasses.replace(CFG, layers=layers))
    cfg = model.cfg
    zeros = {
      s: jnp.zeros(site_shape(s, cfg, B, T)) for s in SITES if s in site_names(cfg)
    }

    def loss(deltas, params):
      todo = {site: edits.Add(delta) for site, delta in deltas.items()}
      return model.apply({'params': params}, TOKENS, todo)[0].sum()

    lowered = jax.jit(jax.grad(loss)).lower(zeros, random_params(model))
    return len(lowered.as_text().splitlines())

  assert lines(4) == lines(24)
