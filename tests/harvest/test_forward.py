import jax
import numpy as np
import pytest

from interp_jax.harvest.forward import make_forward
from interp_jax.models import Transformer, TransformerConfig, init_params


@pytest.fixture(scope='module')
def model():
  return Transformer(
    TransformerConfig(
      vocab_size=23, width=12, layers=3, heads=2, head_dim=4, mlp_width=16, context=10
    )
  )


@pytest.fixture(scope='module')
def params(model):
  shapes = jax.eval_shape(lambda: init_params(model))
  return jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)


@pytest.mark.parametrize(
  ('sites', 'layers'),
  [
    ({'resid_post': (0,)}, 1),
    ({'resid_post': (1,), 'z': (0,)}, 2),
    ({'embed': None}, 1),
    ({'ln_final.scale': None, 'z': (0,)}, 3),
  ],
)
def test_only_the_layers_that_are_needed_are_run(model, params, sites, layers):
  forward = make_forward(model, params, sites, 'float32', (2, 5))
  assert {leaf.shape[0] for leaf in jax.tree.leaves(forward.params['blocks'])} == {
    layers
  }


def test_shapes_of_rows_follow_the_site(model, params):
  sites = {'z': (2,), 'pattern': (0,), 'ln1.scale': (1,), 'post': (0,)}
  forward = make_forward(model, params, sites, 'bfloat16', (2, 5))
  shapes = {spec.name: spec.shape for spec in forward.specs}
  assert shapes == {
    'z.2': (2, 4),
    'pattern.0': (2, 5),
    'ln1.scale.1': (1,),
    'post.0': (16,),
  }


def test_heads_are_chosen_and_laid_flat_as_asked(model, params):
  sites = {'z': (0,), 'k': (0,), 'pattern': (0,), 'resid_post': (0,)}

  def shapes(**options):
    forward = make_forward(model, params, sites, 'float32', (2, 5), **options)
    return [spec.shape for spec in forward.specs]

  assert shapes() == [(2, 4), (2, 4), (2, 5), (12,)]
  assert shapes(flat=True) == [(8,), (8,), (10,), (12,)]
  assert shapes(heads={'z': [1]}) == [(1, 4), (2, 4), (2, 5), (12,)]
  chosen = shapes(heads={'z': [1], 'pattern': (0,)}, flat=True)
  assert chosen == [(4,), (8,), (5,), (12,)]


@pytest.mark.parametrize(
  ('heads', 'message'),
  [
    ({'z': (2,)}, r"'z' has no head 2, only 0\.\.1"),
    ({'z': ()}, 'give each that is wanted once'),
    ({'z': (0, 0)}, 'give each that is wanted once'),
    ({'resid_post': (0,)}, "'resid_post' has no heads"),
    ({'q': (0,)}, "'q', which is not among the sites"),
  ],
)
def test_heads_that_are_not_there_are_refused(model, params, heads, message):
  sites = {'z': (0,), 'resid_post': (0,)}
  with pytest.raises(ValueError, match=message):
    make_forward(model, params, sites, 'float32', (2, 5), heads=heads)


def test_the_compute_dtype_is_that_of_parameters_and_activations(model, params):
  forward = make_forward(
    model, params, {'z': (0,)}, 'float32', (2, 5), compute_dtype='bfloat16'
  )
  assert {str(leaf.dtype) for leaf in jax.tree.leaves(forward.params)} == {'bfloat16'}
  assert forward.program.model.cfg.dtype == 'bfloat16'
  assert forward.specs[0].dtype == 'float32'


@pytest.mark.parametrize(
  ('sites', 'message'),
  [
    ({'resid_pots': (0,)}, "Unknown site 'resid_pots'. Did you mean 'resid_post'"),
    ({'rot_q': (0,)}, 'Unknown site'),
    ({'resid_post': (3,)}, r'no layer 3, only 0\.\.2'),
    ({'resid_post': (-1,)}, 'no layer -1'),
    ({'resid_post': None}, 'needs layers'),
    ({'resid_post': ()}, 'needs layers'),
    ({'embed': (0,)}, 'has no layers'),
    ({}, 'No sites'),
  ],
)
def test_sites_that_the_model_does_not_have_are_refused(model, params, sites, message):
  with pytest.raises(ValueError, match=message):
    make_forward(model, params, sites, 'float32', (2, 5))
