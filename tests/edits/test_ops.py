"""Each edit does what its formula says, where its mask holds, and nowhere else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import edits

RNG = np.random.default_rng(0)
ACT = RNG.normal(size=(2, 3, 4)).astype(np.float32)
VALUE = RNG.normal(size=(2, 3, 4)).astype(np.float32)
ROWS = np.linalg.qr(RNG.normal(size=(4, 2)))[0].T.astype(np.float32)

# Edit of a mask → its formula.
FORMULAS = {
  'replace': (lambda m: edits.Replace(VALUE, m), VALUE),
  'zero': (edits.zero_ablate, 0 * ACT),
  'mean': (lambda m: edits.mean_ablate(VALUE.mean((0, 1)), m), VALUE.mean((0, 1))),
  'resample': (lambda m: edits.resample_ablate(VALUE, m), VALUE),
  'add': (lambda m: edits.Add(VALUE, m), ACT + VALUE),
  'steer': (lambda m: edits.steer(VALUE[0, 0], m), ACT + VALUE[0, 0]),
  'scale': (lambda m: edits.Scale(VALUE, m), ACT * VALUE),
  'project out': (lambda m: edits.ProjectOut(ROWS, m), ACT - ACT @ ROWS.T @ ROWS),
  'clamp': (lambda m: edits.Clamp(-0.5, VALUE, m), np.minimum(ACT.clip(-0.5), VALUE)),
  'clamp below': (lambda m: edits.Clamp(low=0.1, mask=m), ACT.clip(0.1)),
  'clamp above': (lambda m: edits.Clamp(high=0.1, mask=m), ACT.clip(None, 0.1)),
  'splice': (lambda m: edits.Splice(jnp.sin, mask=m), np.sin(ACT)),
}
MASKS = {
  'everywhere': None,
  'nowhere': np.zeros((1, 1, 1), bool),
  'a scalar': np.array(True),
  'a row': np.array([[[True]], [[False]]]),
  'positions': np.array([True, False, True])[:, None],
  'units': np.array([True, False, True, True]),
  'each': RNG.random((2, 3, 4)) < 0.5,
}


def apply(edit, act=ACT, layer=None):
  out = edit.apply(jnp.asarray(act), layer)
  assert out.shape == act.shape
  assert out.dtype == act.dtype
  return np.asarray(out)


@pytest.mark.parametrize('mask', MASKS)
@pytest.mark.parametrize('name', FORMULAS)
def test_an_edit_is_its_formula_where_its_mask_holds(name, mask):
  make, edited = FORMULAS[name]
  chosen = MASKS[mask]
  want = np.where(True if chosen is None else chosen, edited, ACT)
  np.testing.assert_allclose(apply(make(chosen)), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('weight', [0.0, 0.3, 1.0, np.array([0.0, 0.5, 1.0])[:, None]])
def test_interpolation_goes_a_share_of_the_way(weight):
  want = (1 - weight) * ACT + weight * VALUE
  np.testing.assert_allclose(
    apply(edits.Interpolate(VALUE, weight)), want, rtol=1e-5, atol=1e-6
  )


def test_a_share_of_none_is_no_edit_and_of_all_is_replacement():
  np.testing.assert_array_equal(apply(edits.Interpolate(VALUE, 0.0)), ACT)
  whole = apply(edits.Interpolate(VALUE, 1.0))
  np.testing.assert_allclose(whole, apply(edits.Replace(VALUE)), atol=1e-6)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
@pytest.mark.parametrize('name', FORMULAS)
def test_an_edit_keeps_the_dtype_of_the_activation(name, dtype):
  apply(FORMULAS[name][0](MASKS['each']), jnp.asarray(ACT, dtype))


FINITE = {
  'replace': lambda v, m: edits.Replace(v, m),
  'add': lambda v, m: edits.Add(v, m),
  'scale': lambda v, m: edits.Scale(v, m),
  'clamp': lambda v, m: edits.Clamp(v, v, m),
}


@pytest.mark.parametrize('bad', [np.nan, np.inf])
@pytest.mark.parametrize('name', FINITE)
def test_what_stands_behind_a_false_mask_reaches_no_value_and_no_gradient(name, bad):
  mask = MASKS['each']
  good = jnp.abs(VALUE) + 0.1

  def run(act, value):
    return jnp.sum(jnp.sin(FINITE[name](value, mask).apply(act, None)))

  want, want_grads = jax.value_and_grad(run, (0, 1))(ACT, good)
  spoiled = jnp.where(mask, good, bad)
  got, grads = jax.value_and_grad(run, (0, 1))(ACT, spoiled)
  assert got == want
  np.testing.assert_array_equal(grads[0], want_grads[0])
  np.testing.assert_array_equal(grads[1], want_grads[1])
  assert np.all(np.where(mask, 0, grads[1]) == 0)


def test_a_basis_behind_a_false_mask_reaches_no_value():
  bases = jnp.stack([ROWS, np.full_like(ROWS, np.nan)])[:, None]  # [B, 1, R, X]
  out = apply(edits.ProjectOut(bases, MASKS['a row']))
  assert np.isfinite(out).all()
  np.testing.assert_array_equal(out[1], ACT[1])


def test_projecting_out_leaves_the_orthogonal_complement():
  directions = RNG.normal(size=(2, 4)).astype(np.float32)
  out = apply(edits.project_out(directions))
  np.testing.assert_allclose(out @ directions.T, 0, atol=1e-5)
  # What was orthogonal stays, and projecting twice is projecting once.
  orthogonal = np.linalg.svd(directions)[2][2:]
  np.testing.assert_allclose(out @ orthogonal.T, ACT @ orthogonal.T, atol=1e-5)
  again = apply(edits.project_out(directions), out)
  np.testing.assert_allclose(again, out, atol=1e-5)


def test_the_length_of_a_direction_does_not_matter():
  direction = RNG.normal(size=4).astype(np.float32)
  one, other = (apply(edits.project_out(k * direction)) for k in (1.0, -7.0))
  np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
  'directions', [np.zeros(4), np.ones((2, 4)), np.eye(4)[[0, 1, 2, 3, 0]]]
)
def test_dependent_directions_are_refused(directions):
  with pytest.raises(ValueError, match='linearly dependent'):
    edits.project_out(directions)


def test_each_head_has_its_own_basis():
  act = RNG.normal(size=(2, 3, 5, 4)).astype(np.float32)  # [B, T, H, K]
  bases = np.linalg.qr(RNG.normal(size=(5, 4, 2)))[0].swapaxes(1, 2)  # [H, R, K]
  out = apply(edits.ProjectOut(bases.astype(np.float32)), act)
  for head in range(5):
    np.testing.assert_allclose(out[:, :, head] @ bases[head].T, 0, atol=1e-5)


def test_edits_apply_in_order():
  sequence = {'x': (edits.Add(1.0), edits.Scale(2.0))}
  out = edits.apply_all(sequence, 'x', jnp.asarray(ACT))
  np.testing.assert_allclose(out, (ACT + 1) * 2, rtol=1e-6)
  np.testing.assert_array_equal(edits.apply_all(sequence, 'y', jnp.asarray(ACT)), ACT)


@jax.tree_util.register_pytree_node_class
class Half:
  """A callable pytree: `share * x`."""

  def __init__(self, share):
    self.share = share

  def __call__(self, x):
    return self.share * x

  def tree_flatten(self):
    return (self.share,), None

  @classmethod
  def tree_unflatten(cls, aux, leaves):
    return cls(*leaves)


def test_a_splice_runs_at_its_layer_only():
  splice = edits.Splice(Half(0.5), 2)
  np.testing.assert_array_equal(apply(splice, layer=jnp.int32(1)), ACT)
  np.testing.assert_allclose(apply(splice, layer=jnp.int32(2)), ACT / 2)


@pytest.mark.parametrize('share', [0.0, 0.5, 1.0])
def test_with_its_error_a_splice_changes_nothing(share):
  out = apply(edits.Splice(Half(share), keep_error=True))
  np.testing.assert_allclose(out, ACT, rtol=1e-6, atol=1e-6)


def apply_half(share, act):
  return edits.Splice(Half(share), keep_error=True).apply(act, None)


def test_the_error_is_a_constant_to_gradients():
  gradient = jax.grad(lambda act: apply_half(0.25, act).sum())(ACT)
  np.testing.assert_allclose(gradient, 0.25)
  # The gradient with respect to what is spliced in is that of what it reconstructs.
  by_share = jax.grad(lambda share: apply_half(share, jnp.asarray(ACT)).sum())(0.25)
  np.testing.assert_allclose(by_share, ACT.sum(), rtol=1e-5)


def test_the_error_of_another_callable_can_be_kept():
  # fn(x) + x - error_of(x): what an edit of the dictionary alone changes.
  splice = edits.Splice(Half(0.5), error_of=Half(0.75), keep_error=True)
  np.testing.assert_allclose(apply(splice), 0.75 * ACT, rtol=1e-6)
  same = edits.Splice(Half(0.75), error_of=Half(0.75), keep_error=True)
  np.testing.assert_allclose(apply(same), ACT, rtol=1e-6)


def test_a_callable_that_changes_the_shape_is_refused():
  with pytest.raises(ValueError, match=r'shape \(2, 3\) for.*\(2, 3, 4\)'):
    apply(edits.Splice(lambda x: x.sum(-1)))


@pytest.mark.parametrize('layer', [None, 1])
def test_a_splice_says_whether_its_site_has_layers(layer):
  with pytest.raises(ValueError, match='Splice: layer is'):
    apply(edits.Splice(jnp.sin, layer), layer=None if layer else jnp.int32(0))


def test_edits_are_pytrees_whose_switches_are_static():
  splice = edits.Splice(Half(0.5), 2, keep_error=True)
  assert jax.tree.leaves(splice) == [0.5, 2]
  doubled = jax.tree.map(lambda x: 2 * x, splice)
  assert (doubled.fn.share, doubled.layer, doubled.keep_error) == (1.0, 4, True)
  assert jax.tree.leaves(edits.Replace(1.0)) == [1.0]
