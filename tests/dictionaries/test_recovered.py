import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_jax import edits
from interp_jax.dictionaries import Dictionary, TopK, recovered
from interp_jax.models import Transformer, TransformerConfig, init_params
from interp_jax.training import next_token_losses
from tests.dictionaries.planted import random_dictionary
from tests.dictionaries.test_metrics import identity

BOS, LAYERS, SITE = 0, 2, 'resid_post'


class Setting:
  """A tiny model with rows of tokens, each led by BOS."""

  def __init__(self):
    cfg = TransformerConfig(
      vocab_size=20,
      width=8,
      layers=LAYERS,
      heads=2,
      head_dim=4,
      mlp_width=16,
      positions='rotary',
      norm='rmsnorm',
    )
    self.model = Transformer(cfg)
    self.params = init_params(self.model, 0)
    variables = {'params': self.params}
    # Sharper than at initialisation, so that an ablation costs something.
    self.params['unembed']['W_U'] = self.params['unembed']['W_U'] * 20
    self.tokens = np.random.default_rng(0).integers(1, 20, (6, 9))
    self.tokens[:, 0] = BOS
    self.run = jax.jit(lambda edit: self.model.apply(variables, self.tokens, edit))
    _, acts = self.run(None)
    self.acts = np.asarray(acts[SITE][1])
    self.mean = self.acts[:, 1:].mean((0, 1))
    places = {'site': SITE, 'layer': 1, 'layers': LAYERS, 'mean': self.mean}
    self.places = places | {'bos_id': BOS}

  def score(self, dictionary, batches=None, **given):
    return recovered(
      self.model,
      self.params,
      dictionary,
      [self.tokens] if batches is None else batches,
      **(self.places | given),
    )

  def loss(self, edit):
    logits, _ = self.run(edit)
    return float(next_token_losses(logits, jnp.asarray(self.tokens)).mean())


@pytest.fixture(scope='module')
def setting():
  return Setting()


def test_the_losses_are_those_of_the_edited_models(setting):
  dictionary = random_dictionary(TopK(4))
  got = setting.score(dictionary)
  where = (setting.tokens != BOS)[..., None]
  here = np.arange(LAYERS)[:, None, None, None] == 1
  expected = {
    'clean': setting.loss(None),
    'spliced': setting.loss({SITE: edits.Splice(dictionary, layer=1, mask=where)}),
    'zero': setting.loss({SITE: edits.zero_ablate(here & where[None])}),
    'mean': setting.loss({SITE: edits.mean_ablate(setting.mean, here & where[None])}),
  }
  assert got.ce == pytest.approx(expected, rel=1e-5)
  assert got.tokens == 6 * 8
  share = (expected['zero'] - expected['spliced']) / (
    expected['zero'] - expected['clean']
  )
  assert got.ce_recovered() == pytest.approx(share, rel=1e-4)


def test_a_complete_basis_recovers_everything(setting):
  got = setting.score(identity())
  for ablation in ('zero', 'mean'):
    assert got.ce_recovered(ablation) == pytest.approx(1, abs=1e-4)
    assert got.kl_recovered(ablation) == pytest.approx(1, abs=1e-4)


def test_a_dictionary_that_is_the_ablation_recovers_nothing(setting):
  dictionary = random_dictionary(TopK(4))
  blank = {'W_dec': jnp.zeros((20, 8)), 'b_dec': jnp.asarray(setting.mean)}
  constant = Dictionary(dictionary.params | blank, dictionary.config)
  got = setting.score(constant)
  assert got.ce_recovered('mean') == pytest.approx(0, abs=1e-4)
  assert got.kl_recovered('mean') == pytest.approx(0, abs=1e-4)


def test_the_split_into_batches_changes_nothing(setting):
  dictionary = random_dictionary(TopK(4))
  whole = setting.score(dictionary).to_dict()
  parts = setting.score(dictionary, [setting.tokens[:3], setting.tokens[3:]]).to_dict()
  assert parts == pytest.approx(whole, rel=1e-4)


def test_padding_changes_nothing(setting):
  dictionary = random_dictionary(TopK(4))
  whole = setting.score(dictionary).to_dict()
  padded = np.pad(setting.tokens, ((0, 0), (0, 3)), constant_values=7)
  mask = np.arange(12) < 9
  mask = np.broadcast_to(mask, padded.shape)
  assert setting.score(dictionary, [(padded, mask)]).to_dict() == pytest.approx(
    whole, rel=1e-4
  )


def test_positions_of_bos_are_left_clean(setting):
  dictionary = random_dictionary(TopK(4))
  with_bos = setting.score(dictionary, bos_id=None)
  without = setting.score(dictionary)
  assert with_bos.ce['clean'] == pytest.approx(without.ce['clean'])
  assert with_bos.ce['spliced'] != pytest.approx(without.ce['spliced'], rel=1e-4)


def unchanged():
  return jax.tree_util.Partial(lambda x: x)


def mlp_of(params, layer):
  """The MLP of a layer as a transcoder: from its input to its output."""
  weights = jax.tree.map(lambda w: w[layer], params['blocks']['mlp'])

  def run(weights, x):
    hidden = jax.nn.gelu(x @ weights['W_in'] + weights['b_in'], approximate=False)
    return hidden @ weights['W_out'] + weights['b_out']

  return jax.tree_util.Partial(run, weights)


def test_a_transcoder_that_is_the_mlp_recovers_everything(setting):
  transcoder = {'site': 'ln2.normalized', 'write_site': 'mlp_out', 'layer': 0}
  got = setting.score(mlp_of(setting.params, 0), **transcoder)
  assert got.ce['spliced'] == pytest.approx(got.ce['clean'], abs=1e-5)
  assert got.kl['spliced'] == pytest.approx(0, abs=1e-5)
  wrong = setting.score(mlp_of(setting.params, 1), **transcoder)
  assert wrong.kl['spliced'] > 1e-3
  assert wrong.kl['zero'] == pytest.approx(got.kl['zero'])


def test_a_splice_in_place_is_the_replacement_by_its_output(setting):
  dictionary = random_dictionary(TopK(4))
  got = setting.score(dictionary).to_dict()
  # Several layers that are one: written from the acts of the clean run.
  one_of_many = jax.tree_util.Partial(lambda fn, x: fn(x), dictionary)
  mean = setting.mean[None]
  again = setting.score(one_of_many, layer=(1,), mean=mean).to_dict()
  assert again == pytest.approx(got, rel=1e-4)


def test_a_crosscoder_replaces_several_layers_at_once(setting):
  mean = np.stack([setting.mean, 2 * setting.mean])
  whole = setting.score(unchanged(), layer=(0, 1), mean=mean)
  assert whole.kl['spliced'] == pytest.approx(0, abs=1e-6)
  halved = jax.tree_util.Partial(lambda x: x * jnp.array([1.0, 0.5])[:, None])
  got = setting.score(halved, layer=(0, 1), mean=mean)
  where = (setting.tokens != BOS)[..., None]
  here = np.arange(LAYERS)[:, None, None, None] == 1
  expected = setting.loss({SITE: edits.Scale(0.5, here & where[None])})
  assert got.ce['spliced'] == pytest.approx(expected, rel=1e-5)
  by_layer = mean[:, None, None]
  expected = setting.loss({SITE: edits.Replace(by_layer, where[None])})
  assert got.ce['mean'] == pytest.approx(expected, rel=1e-5)


def test_errors_say_what_is_wrong(setting):
  with pytest.raises(ValueError, match='nothing to predict'):
    setting.score(random_dictionary(TopK(4)), [setting.tokens[:, :1]])
  with pytest.raises(ValueError, match='after it'):
    setting.score(unchanged(), write_layer=0)
  with pytest.raises(ValueError, match='mean activation of each'):
    setting.score(unchanged(), layer=(0, 1))
  with pytest.raises(ValueError, match='2 layers'):
    recovered(
      setting.model,
      setting.params,
      random_dictionary(TopK(4)),
      [setting.tokens],
      site=SITE,
      layer=2,
      layers=LAYERS,
      mean=setting.mean,
    )
