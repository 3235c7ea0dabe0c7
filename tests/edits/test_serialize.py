"""Edits on disk come back as they were, and nothing comes back as something else."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from interp_jax import edits
from interp_jax.core import site_shape
from interp_jax.testing import tiny_model

RNG = np.random.default_rng(0)
VALUE = RNG.normal(size=(2, 1, 4))
MASK = RNG.random((2, 1, 1)) < 0.5


@edits.register_callable
@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Affine:
  """`scale * x + shift`, written as a callable pytree."""

  scale: Any
  parts: Any = ()

  def __call__(self, x):
    return self.scale * x + sum(jax.tree.leaves(self.parts))


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Unregistered:
  scale: Any

  def __call__(self, x):
    return self.scale * x


EDITS = {
  'replace': edits.Replace(VALUE, MASK),
  'replace by a number': edits.Replace(0.5),
  'a jax array': edits.Add(jnp.asarray(VALUE, jnp.float32)),
  'a scalar array': edits.Add(jnp.array(2.0)),
  'a numpy scalar': edits.Scale(np.float32(0.1)),
  'bfloat16': edits.Add(jnp.asarray(VALUE, jnp.bfloat16)),
  'float16': edits.Add(VALUE.astype(np.float16)),
  'not contiguous': edits.Add(RNG.normal(size=(3, 4)).T),
  'interpolate': edits.Interpolate(VALUE, 0.25),
  'project out': edits.ProjectOut(np.eye(4)[:2], MASK),
  'clamp': edits.Clamp(-np.inf, VALUE, MASK),
  'clamp above': edits.Clamp(high=1.0),
  'splice': edits.Splice(
    Affine(VALUE, {'a': [np.ones(4), 2], 'b': (None, 'name', {'c': 3.0})}),
    layer=1,
    mask=MASK,
    error_of=Affine(1.0),
    keep_error=True,
  ),
  'splice at a traced layer': edits.Splice(Affine(1.0), jnp.array(2)),
}


def round_trip(todo, tmp_path):
  edits.save(tmp_path / 'edits.safetensors', todo)
  return edits.load(tmp_path / 'edits.safetensors')


def same(one, other):
  """Trees of the same classes with leaves of the same shape, dtype and value."""
  assert jax.tree.structure(one) == jax.tree.structure(other)
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
    assert np.shape(a) == np.shape(b)
    assert np.asarray(a).dtype == np.asarray(b).dtype
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize('name', EDITS)
def test_an_edit_comes_back_as_it_was(name, tmp_path):
  got = round_trip({'z': EDITS[name]}, tmp_path)['z']
  assert isinstance(got, tuple)
  assert len(got) == 1
  same(got[0], EDITS[name])


def test_all_kinds_of_edits_come_back_in_order(tmp_path):
  todo = {'z': tuple(EDITS.values()), 'embed': [edits.Add(1.0), edits.Scale(2.0)]}
  got = round_trip(todo, tmp_path)
  assert list(got) == ['z', 'embed']
  same(got, edits.as_tuples(todo))
  kinds = {type(edit) for edit in got['z']}
  assert {cls for cls in edits.Edit.__subclasses__()} == kinds


def test_no_edits_come_back_as_none(tmp_path):
  assert round_trip({}, tmp_path) == {}


def test_a_replayed_sweep_gives_the_same_logits(tmp_path):
  model, params = tiny_model()
  tokens = RNG.integers(0, 31, (2, 5))
  shape = site_shape('z', model.cfg, 2, 5)
  masks, _ = edits.grid('z', shape, ('layer', 'head'))
  sweep = {
    'z': edits.Replace(RNG.normal(size=(12, *shape)).astype(np.float32), masks),
    'mlp_out': edits.Splice(Affine(jnp.linspace(0, 1, 12)), jnp.full(12, 1)),
  }

  @jax.jit
  @jax.vmap
  def run(world):
    return model.apply({'params': params}, tokens, world)[0]

  replayed = run(round_trip(sweep, tmp_path))
  logits = run(edits.as_tuples(sweep))
  np.testing.assert_array_equal(replayed, logits)
  assert len(np.unique(np.round(logits[:, 0, 0, 0], 4))) == 12


@pytest.mark.parametrize('fn', [jnp.sin, lambda x: x, Unregistered(2.0)])
def test_a_callable_that_is_not_registered_is_refused(fn, tmp_path):
  with pytest.raises(TypeError, match=r'z/0/fn: .* edits.register_callable'):
    edits.save(tmp_path / 'edits', {'z': edits.Splice(fn, 0)})


def test_a_class_is_not_taken_for_another_of_the_same_name(tmp_path):
  def make():
    @dataclasses.dataclass
    class Scale:  # Not the edit of this name.
      factor: float

    return Scale

  with pytest.raises(TypeError, match='Scale cannot be written'):
    edits.save(tmp_path / 'edits', {'z': edits.Splice(make()(1.0), 0)})
  with pytest.raises(ValueError, match="the name 'Scale' is taken"):
    edits.register_callable(make())


def test_a_class_outside_functions_does_not_take_an_edits_name_either():
  Replace = dataclasses.make_dataclass('Replace', ['value'])
  with pytest.raises(ValueError, match="the name 'Replace' is taken"):
    edits.register_callable(Replace)


def test_registering_again_is_allowed_as_notebooks_do_it():
  assert edits.register_callable(Affine) is Affine


def test_what_is_not_a_dataclass_cannot_be_registered():
  with pytest.raises(TypeError, match='int is not a dataclass'):
    edits.register_callable(int)


def test_a_file_that_is_not_edits_is_refused(tmp_path):
  path = tmp_path / 'file'
  path.write_text('some text, in no format')
  with pytest.raises(ValueError, match='is not a safetensors file'):
    edits.load(path)
  save_file({'x': np.ones(2)}, path)
  with pytest.raises(ValueError, match=r"format is None, not 'interp_jax\.edits/1'"):
    edits.load(path)
  with pytest.raises(FileNotFoundError):
    edits.load(tmp_path / 'none')


def test_an_edit_of_an_unknown_class_is_refused(tmp_path, monkeypatch):
  edits.save(tmp_path / 'edits', {'z': edits.Splice(Affine(1.0), 0)})
  classes = dict(edits.serialize._CLASSES)
  del classes['Affine']
  monkeypatch.setattr('interp_jax.edits.serialize._CLASSES', classes)
  with pytest.raises(ValueError, match="Unknown class of edit 'Affine'"):
    edits.load(tmp_path / 'edits')
