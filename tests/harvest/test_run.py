import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from interp_jax import sharding, store
from interp_jax.harvest import fingerprint, harvest, run
from interp_jax.models import Transformer, TransformerConfig, init_params

SITES = {'resid_post': (0, 1), 'z': (1,), 'pattern': (0,), 'embed': None}


@pytest.fixture(scope='module')
def tiny():
  cfg = TransformerConfig(
    vocab_size=23, width=12, layers=3, heads=2, head_dim=4, mlp_width=16, context=10
  )
  model = Transformer(cfg)
  shapes = jax.eval_shape(lambda: init_params(model))
  rng = np.random.default_rng(0)
  return model, jax.tree.map(lambda s: rng.normal(0, 0.3, s.shape).astype('f'), shapes)


@pytest.fixture(scope='module')
def tokens():
  return np.random.default_rng(0).integers(0, 23, (21, 10))


def collect(tiny, tokens, path, **options):
  defaults = {
    'sites': {'resid_post': (1,)},
    'batch_size': 4,
    'dtype': 'float32',
    'chunk_rows': 4,
    'shard_rows': 16,
    'progress': False,
  }
  return harvest(*tiny, tokens, path, **(defaults | options))


def contents(path: pathlib.Path) -> dict[str, bytes]:
  files = (file for file in path.rglob('*') if file.is_file())
  return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.fixture(scope='module')
def acts(tiny, tokens):
  """All activations of the whole model."""
  model, params = tiny
  return jax.jit(model.apply)({'params': params}, tokens)[1]


def test_rows_are_the_activations_of_the_whole_model(tiny, tokens, acts, tmp_path):
  reader = collect(tiny, tokens, tmp_path / 'd', sites=SITES, drop_first=0)
  assert reader.names == ('resid_post.0', 'resid_post.1', 'z.1', 'pattern.0', 'embed')
  direct = {
    'resid_post.0': acts['resid_post'][0],
    'resid_post.1': acts['resid_post'][1],
    'z.1': acts['z'][1],
    'pattern.0': np.swapaxes(acts['pattern'][0], 1, 2),
    'embed': acts['embed'],
  }
  for name, act in direct.items():
    rows = np.reshape(act, (-1, *act.shape[2:]))
    np.testing.assert_allclose(reader.numpy(name), rows, atol=1e-5)


def test_stored_as_bfloat16_a_row_is_the_rounded_activation(tiny, tokens, tmp_path):
  exact = collect(tiny, tokens, tmp_path / 'a').numpy()
  stored = collect(tiny, tokens, tmp_path / 'b', dtype='bfloat16').numpy()
  np.testing.assert_array_equal(stored, exact.astype(stored.dtype))


def test_the_final_norm_is_that_of_the_whole_model(tiny, tokens, acts, tmp_path):
  sites = {'ln_final.normalized': None, 'resid_post': (0,)}
  reader = collect(tiny, tokens, tmp_path / 'd', sites=sites, drop_first=0)
  np.testing.assert_allclose(
    reader.numpy('ln_final.normalized'),
    np.reshape(acts['ln_final.normalized'], (-1, 12)),
    atol=1e-5,
  )


def test_provenance_leads_back_to_the_token(tiny, tokens, tmp_path):
  reader = collect(tiny, tokens, tmp_path / 'd')
  assert len(reader) == 21 * 9
  document, position, token = reader.numpy('provenance').T
  np.testing.assert_array_equal(tokens[document, position], token)
  assert position.min() == 1


def test_sharded_over_eight_devices_the_rows_are_those_of_one(tiny, tokens, tmp_path):
  one = collect(tiny, tokens, tmp_path / 'one', sites=SITES, batch_size=8)
  mesh = sharding.make_mesh()
  assert mesh.shape['data'] == 8
  eight = collect(tiny, tokens, tmp_path / 'e', sites=SITES, batch_size=8, mesh=mesh)
  for name in (*one.names, 'provenance'):
    np.testing.assert_allclose(eight.numpy(name), one.numpy(name), atol=1e-5)
  with pytest.raises(ValueError, match='multiple of 8'):
    collect(tiny, tokens, tmp_path / 'f', batch_size=4, mesh=mesh)


class Stop(BaseException):
  """Ends the process in the eyes of the harvest."""


def test_stopped_after_any_batch_it_resumes_to_the_same_bytes(
  tiny, tokens, tmp_path, monkeypatch
):
  collect(tiny, tokens, tmp_path / 'whole', sites=SITES)
  whole = contents(tmp_path / 'whole')
  append = store.Writer.append
  for batches in range(6):
    left = [batches]

    def stopping(self, rows, provenance, left=left):
      left[0] -= 1
      if left[0] < 0:
        raise Stop
      append(self, rows, provenance)

    monkeypatch.setattr(store.Writer, 'append', stopping)
    with pytest.raises(Stop):
      collect(tiny, tokens, tmp_path / str(batches), sites=SITES)
    monkeypatch.undo()
    collect(tiny, tokens, tmp_path / str(batches), sites=SITES)
    assert contents(tmp_path / str(batches)) == whole


def test_a_finished_harvest_is_only_opened(tiny, tokens, tmp_path, monkeypatch):
  first = collect(tiny, tokens, tmp_path / 'd')
  before = contents(tmp_path / 'd')
  monkeypatch.setattr(run, '_stream', None)
  again = collect(tiny, tokens, tmp_path / 'd')
  assert contents(tmp_path / 'd') == before
  assert again.manifest.to_json() == first.manifest.to_json()


def test_other_weights_or_tokens_or_settings_are_refused(tiny, tokens, tmp_path):
  model, params = tiny
  collect(tiny, tokens, tmp_path / 'd')
  leaf = params['embed']['W_E'] + np.float32(1e-6)
  changed = {**params, 'embed': {**params['embed'], 'W_E': leaf}}
  with pytest.raises(store.StoreError, match=r'metadata\.harvest\.params: there'):
    collect((model, changed), tokens, tmp_path / 'd')
  other = tokens.copy()
  other[20, 9] += 1
  with pytest.raises(store.StoreError, match=r'metadata\.harvest\.data: there'):
    collect(tiny, other, tmp_path / 'd')
  with pytest.raises(
    store.StoreError, match=r'harvest\.drop_first: there 1, asked for 2'
  ):
    collect(tiny, tokens, tmp_path / 'd', drop_first=2)


def test_the_manifest_says_what_was_run(tiny, tokens, tmp_path):
  reader = collect(
    tiny, tokens, tmp_path / 'd', description='noise', metadata={'model': 'tiny'}
  )
  assert reader.manifest.description == 'noise'
  assert reader.manifest.metadata['model'] == 'tiny'
  config = reader.manifest.metadata['harvest']['config']
  assert TransformerConfig.from_dict(config) == tiny[0].cfg


def test_the_progress_bar_counts_rows(tiny, tokens, tmp_path, capsys):
  collect(tiny, tokens, tmp_path / 'd', progress=True)
  assert '189/189' in capsys.readouterr().err


def test_the_fingerprint_tells_places_and_signs_of_zero_apart():
  x = np.zeros((3, 4), np.float32)
  prints = {fingerprint({'w': jax.numpy.asarray(x)})}
  for value in (-0.0, 1.0):
    for place in np.ndindex(x.shape):
      y = x.copy()
      y[place] = value
      prints.add(fingerprint({'w': jax.numpy.asarray(y)}))
  assert len(prints) == 1 + 2 * 12
  a = jax.numpy.asarray(x)
  assert fingerprint({'w': a}) != fingerprint({'v': a}) != fingerprint({'w': a.T})


CHILD = """
import sys
import jax
import numpy as np
from interp_jax.harvest import harvest
from interp_jax.models import Transformer, TransformerConfig, init_params
cfg = TransformerConfig(
  vocab_size=23, width=12, layers=3, heads=2, head_dim=4, mlp_width=16, context=10
)
model = Transformer(cfg)
rng = np.random.default_rng(0)
shapes = jax.eval_shape(lambda: init_params(model))
params = jax.tree.map(lambda s: rng.normal(0, 0.3, s.shape).astype('f'), shapes)
tokens = np.random.default_rng(0).integers(0, 23, (4000, 10))
sites = {'resid_post': (1,), 'z': (0,)}
harvest(model, params, tokens, sys.argv[1], sites=sites, batch_size=4, shard_rows=128)
"""


@pytest.mark.slow
def test_killed_at_random_moments_it_resumes_to_the_same_bytes(tmp_path):
  def child(name):
    return subprocess.Popen(
      [sys.executable, '-c', CHILD, str(tmp_path / name)],
      cwd=pathlib.Path(__file__).parents[2],
    )

  assert child('whole').wait() == 0
  rng, killed = random.Random(0), 0
  progress = tmp_path / 'killed' / 'progress.json'
  for _ in range(3):
    before = progress.read_text() if progress.exists() else None
    process = child('killed')
    # A child takes seconds to start; its moments begin when it records a shard.
    while process.poll() is None and (
      not progress.exists() or progress.read_text() == before
    ):
      time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.3))
    process.send_signal(signal.SIGKILL)
    killed += process.wait() == -signal.SIGKILL
  assert killed >= 2
  assert child('killed').wait() == 0
  assert contents(tmp_path / 'killed') == contents(tmp_path / 'whole')
