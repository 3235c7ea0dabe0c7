from concurrent import futures
import pathlib

import jax
import numpy as np
import pytest

from interp_jax import sharding, store
from interp_jax.harvest import Sequences, Stopped, fingerprint, harvest, run
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


def test_heads_are_those_of_the_whole_model(tiny, tokens, acts, tmp_path):
  sites = {'z': (1,), 'pattern': (0,)}
  options = {'sites': sites, 'drop_first': 0, 'heads': {'z': (1,)}}
  one = collect(tiny, tokens, tmp_path / 'a', **options)
  flat = collect(tiny, tokens, tmp_path / 'b', flat=True, **options)
  z = np.reshape(acts['z'][1], (-1, 2, 4))
  np.testing.assert_allclose(one.numpy('z.1'), z[:, 1:], atol=1e-5)
  np.testing.assert_allclose(flat.numpy('z.1'), z[:, 1], atol=1e-5)
  np.testing.assert_array_equal(
    flat.numpy('pattern.0'), one.numpy('pattern.0').reshape(-1, 20)
  )


def test_computed_in_bfloat16_rows_are_near_and_not_the_same(tiny, tokens, tmp_path):
  exact = collect(tiny, tokens, tmp_path / 'a').numpy()
  options = {'compute_dtype': 'bfloat16', 'dtype': 'bfloat16'}
  rough = collect(tiny, tokens, tmp_path / 'b', **options).numpy().astype('f')
  error = np.linalg.norm(rough - exact) / np.linalg.norm(exact)
  assert 2**-9 < error < 0.05


def test_stored_in_eight_bits_rows_are_near(tiny, tokens, tmp_path):
  exact = collect(tiny, tokens, tmp_path / 'a').numpy()
  rough = collect(tiny, tokens, tmp_path / 'b', dtype='int8').numpy()
  limit = np.abs(exact).max(axis=1, keepdims=True) / 127
  assert (np.abs(rough - exact) <= limit).all()
  assert not np.array_equal(rough, exact)


def test_sequences_bring_what_arrays_are_given_beside_tokens(tiny, tokens, tmp_path):
  mask = tokens % 3 > 0
  documents = np.arange(21) * 2
  beside = {'mask': mask, 'documents': documents, 'positions': tokens % 7}
  collect(tiny, tokens, tmp_path / 'a', **beside)
  collect(tiny, Sequences(tokens, **beside), tmp_path / 'b')
  assert contents(tmp_path / 'a') == contents(tmp_path / 'b')
  both = {'mask': mask, 'positions': tokens}
  with pytest.raises(ValueError, match='mask, positions: the Sequences'):
    collect(tiny, Sequences(tokens), tmp_path / 'c', **both)


@pytest.mark.parametrize('processes', [2, 3, 20])
def test_several_processes_write_the_bytes_of_one(tiny, tokens, tmp_path, processes):
  options = {'sites': SITES, 'mask': tokens % 4 > 0}
  collect(tiny, tokens, tmp_path / 'one', **options)

  def one_of_them(index):
    who = {'process_index': index, 'process_count': processes}
    return collect(tiny, tokens, tmp_path / 'all', **options, **who)

  with futures.ThreadPoolExecutor(processes) as threads:
    readers = list(threads.map(one_of_them, range(processes)))
  assert {len(reader) for reader in readers} == {len(store.Reader(tmp_path / 'one'))}
  assert contents(tmp_path / 'all') == contents(tmp_path / 'one')


@pytest.mark.parametrize('token', [-1, 23])
def test_tokens_outside_the_vocabulary_are_refused(tiny, tokens, tmp_path, token):
  wrong = tokens.copy()
  wrong[20, 9] = token
  with pytest.raises(ValueError, match=r'the model has tokens 0\.\.22'):
    collect(tiny, wrong, tmp_path / 'd')
  assert not (tmp_path / 'd').exists()


def test_told_to_stop_it_stops_and_goes_on_to_the_same_bytes(tiny, tokens, tmp_path):
  collect(tiny, tokens, tmp_path / 'whole')
  asked = iter([False, True])
  with pytest.raises(Stopped, match='rows up to 72'):
    collect(tiny, tokens, tmp_path / 'a', should_stop=lambda: next(asked))
  with pytest.raises(store.UnfinishedError):
    store.Reader(tmp_path / 'a')
  collect(tiny, tokens, tmp_path / 'a')
  assert contents(tmp_path / 'a') == contents(tmp_path / 'whole')


def test_the_device_is_given_work_before_rows_are_fetched(
  tiny, tokens, tmp_path, monkeypatch
):
  events = []
  run_batch, fetch = run.Forward.run, run._fetch

  def dispatched(*args):
    events.append('run')
    return run_batch(*args)

  def fetched(*args):
    events.append('fetch')
    return fetch(*args)

  monkeypatch.setattr(run.Forward, 'run', dispatched)
  monkeypatch.setattr(run, '_fetch', fetched)
  collect(tiny, tokens, tmp_path / 'a', batch_size=3)
  ahead = np.cumsum([1 if event == 'run' else -1 for event in events])
  assert ahead[-1] == 0
  # Never idle until the last batch is out, and never more than a few waiting.
  assert ahead[: -ahead.max()].min() >= 1
  assert ahead.max() == 3


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
