"""Every family and option against transformers, on tiny random models.

In float64 the numbers agree to 1e-10 and better: what is computed is the same formula.
In float32 they agree to what either library rounds.
"""

import functools
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

pytest.importorskip('transformers')
from interp_jax import models
from interp_jax.testing.peer import Peer, PeerRun
from tests.models import make_golden, published

pytestmark = [
  pytest.mark.peers,
  # Of torch and transformers.
  pytest.mark.filterwarnings('ignore::DeprecationWarning'),
  pytest.mark.filterwarnings('ignore::FutureWarning'),
  pytest.mark.filterwarnings('ignore::UserWarning'),
]

EXACT, ROUNDED = 1e-10, 5e-5
NEW_TOKENS = 4
SITES = (
  'resid_pre',
  'pattern',
  'resid_post',
  'ln2.normalized',
  'ln_final.normalized',
)
# A case of today and one of the past, in every family; the others take their time.
NOW = [cases[1] for cases in published.FAMILIES.values()]
THEN = [cases[-1] for cases in published.FAMILIES.values()]
QUICK = {case.name for case in NOW + THEN}
NAMES = [
  pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)
  for name in published.CASES
]
DECODERS = [
  pytest.param(case.name, marks=marks)
  for cases, marks in ((NOW, pytest.mark.slow), (THEN, ()))
  for case in cases
  if not case.is_encoder
]


class Pair(NamedTuple):
  """A case in both libraries, in float64."""

  name: str
  folder: pathlib.Path
  tokens: np.ndarray
  peer: Peer
  theirs: PeerRun
  model: models.Transformer
  params: dict[str, Any]
  logits: np.ndarray
  acts: dict[str, np.ndarray]


@functools.partial(jax.jit, static_argnums=0)
def run(model, params, tokens):
  """Logits, and what transformers has as well."""
  logits, acts = model.apply({'params': params}, tokens)
  return logits, {site: act for site, act in acts.items() if site in SITES}


@pytest.fixture(scope='module')
def read(tmp_path_factory):
  """A function from a case's name to the pair; it remembers the last one."""

  @functools.lru_cache(1)
  def make(name: str) -> Pair:
    folder = tmp_path_factory.mktemp(name)
    make_golden.make_checkpoint(published.CASES[name], folder)
    tokens = published.tokens_of(name)
    peer = Peer(folder, in_double=True)
    with jax.enable_x64(True):
      model, params, _ = models.load(folder, dtype='float64')
      logits, acts = run(model, params, tokens)
    acts = {site: np.asarray(act) for site, act in acts.items()}
    theirs = peer.run(tokens)
    return Pair(
      name, folder, tokens, peer, theirs, model, params, np.asarray(logits), acts
    )

  return make


@pytest.fixture(scope='module', params=NAMES)
def pair(request, read):
  """A case, made once for all tests of it."""
  return read(request.param)


def assert_within(bound: float, ours: Any, theirs: np.ndarray) -> None:
  assert np.shape(ours) == theirs.shape
  np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound)


def test_in_float64_logits_residual_streams_and_patterns_are_those_of_transformers(
  pair,
):
  acts, cfg = pair.acts, pair.model.cfg
  assert pair.theirs.logits.std() > 0.5  # Or anything would be near it.
  assert_within(EXACT, pair.logits, pair.theirs.logits)
  assert_within(EXACT, acts['resid_pre'], pair.theirs.hidden[:-1])
  assert_within(EXACT, acts['pattern'], pair.theirs.patterns)
  after = 'resid_post' if cfg.norm_placement != 'residual' else 'ln2.normalized'
  assert_within(EXACT, acts[after][:-1], pair.theirs.hidden[1:-1])
  # transformers' last hidden state is normed already, if the model norms it.
  normed = cfg.causal and cfg.final_norm
  last = acts['ln_final.normalized'] if normed else acts[after][-1]
  assert_within(EXACT, last, pair.theirs.hidden[-1])


def test_in_float32_logits_are_those_of_transformers_before_and_after_writing(
  pair, tmp_path
):
  model, params, _ = models.load(pair.folder)
  logits, _ = run(model, params, pair.tokens)
  theirs = Peer(pair.folder).run(pair.tokens).logits
  assert_within(ROUNDED, logits, theirs)
  models.save_like(tmp_path, model, params, like=pair.folder)
  np.testing.assert_array_equal(Peer(tmp_path).run(pair.tokens).logits, theirs)


@pytest.mark.parametrize('name', DECODERS)
@pytest.mark.usefixtures('float64')
def test_cached_greedy_tokens_are_those_of_transformers_and_of_an_uncached_run(
  name, read
):
  pair = read(name)
  generate = jax.jit(models.generate, static_argnums=(0, 3))
  new = generate(pair.model, pair.params, pair.tokens, NEW_TOKENS)
  np.testing.assert_array_equal(new.tokens, pair.peer.generate(pair.tokens, NEW_TOKENS))
  whole = np.concatenate([pair.tokens, new.tokens], 1)
  logits, _ = run(pair.model, pair.params, whole[:, :-1])
  uncached = np.asarray(logits)[:, published.LENGTH - 1 :]
  assert_within(EXACT, new.logits, uncached)
  np.testing.assert_array_equal(new.tokens, uncached.argmax(-1))


@pytest.mark.parametrize('name', ['gpt2-untied', 'llama-plain', 'mixtral-plain'])
def test_a_folder_of_many_shards_is_read_and_written_alike(name, read, tmp_path):
  import transformers

  pair = read(name)
  theirs = transformers.AutoModelForCausalLM.from_pretrained(pair.folder)
  theirs.save_pretrained(tmp_path / 'shards', max_shard_size='8KB')
  assert len(list((tmp_path / 'shards').glob('*.safetensors'))) > 3
  model, params, _ = models.load(tmp_path / 'shards')
  _, whole, _ = models.load(pair.folder)
  jax.tree.map(np.testing.assert_array_equal, params, whole)
  models.save_like(tmp_path / 'written', model, params, like=tmp_path / 'shards')
  logits = [
    Peer(folder).run(pair.tokens).logits
    for folder in (tmp_path / 'shards', tmp_path / 'written')
  ]
  np.testing.assert_array_equal(*logits)
