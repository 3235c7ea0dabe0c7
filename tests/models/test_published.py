"""Folders of published models: padding, and what is refused and how."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from interp_jax import models
from tests.models import golden_files, published
from tests.slow import slow_but

BOUND = 1e-10
SHORT = 9  # Tokens of the shorter sequence of a batch.

# Every way to tell positions apart and each kind of mask; the others take their time.
QUICK = {
  'gpt2-plain',
  'gpt_neox-dynamic',
  'gpt_neo-plain',
  'opt-norms-after',
  'mixtral-window',
  'gemma3_text-capped',
  'bloom-plain',
  'bert-masked',
}
NAMES = slow_but(published.CASES, *QUICK)


@pytest.fixture
def folder(tmp_path):
  """A folder of a Llama."""
  return golden_files.make_checkpoint('llama-plain', tmp_path / 'llama')


def padded_batch(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The start of a row padded on the left and on the right, beside a full one."""
  pad = tokens.shape[1] - SHORT
  short = tokens[1, :SHORT]
  rows = np.stack([tokens[0], np.pad(short, (pad, 0)), np.pad(short, (0, pad))])
  mask = np.ones_like(rows, bool)
  mask[1, :pad] = mask[2, SHORT:] = False
  return rows, mask


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.usefixtures('float64')
def test_padding_on_either_side_changes_no_logits_and_no_residual_stream(
  name, tmp_path
):
  folder = golden_files.make_checkpoint(name, tmp_path)
  model, params, _ = models.load(folder, dtype='float64')

  @jax.jit
  def run(params, tokens, mask=None):
    logits, acts = model.apply({'params': params}, tokens, mask=mask)
    return logits, acts['resid_post']

  rows, mask = padded_batch(published.tokens_of(name))
  logits, streams = run(params, rows, mask)
  alone, streams_alone = run(params, rows[2:, :SHORT])
  for row in (1, 2):
    np.testing.assert_allclose(logits[row][mask[row]], alone[0], atol=BOUND)
    np.testing.assert_allclose(
      streams[:, row][:, mask[row]], streams_alone[:, 0], atol=BOUND
    )


def rewrite(folder, **fields):
  """Changes fields of a config.json."""
  file = folder / 'config.json'
  file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def edit_tensors(folder, edit):
  """Applies `edit` to the dict of a folder's tensors, in place."""
  file = folder / 'model.safetensors'
  tensors = safetensors.numpy.load_file(file)
  edit(tensors)
  safetensors.numpy.save_file(tensors, file)


def test_an_unknown_family_is_named_with_the_nearest_and_the_way_to_add_one(folder):
  rewrite(folder, model_type='lama')
  with pytest.raises(ValueError, match=r"model_type 'lama'.*llama.*family\.py"):
    models.load(folder)


def test_a_config_without_a_family_lists_those_that_are_read(folder):
  fields = json.loads((folder / 'config.json').read_text())
  del fields['model_type']
  (folder / 'config.json').write_text(json.dumps(fields))
  with pytest.raises(ValueError, match=r'no model_type.*GPT-2.*BERT'):
    models.load(folder)


def test_an_unknown_field_is_named_with_its_value_and_can_be_vouched_for(folder):
  rewrite(folder, attention_sink=4, warp=True)
  with pytest.raises(ValueError, match=r'attention_sink=4, warp=True.*ignore_fields'):
    models.load(folder)
  with pytest.raises(ValueError, match=r'warp=True(?!.*attention_sink=)'):
    models.load(folder, ignore_fields=['attention_sink'])
  model, _, _ = models.load(folder, ignore_fields=['attention_sink', 'warp'])
  assert model.cfg.layers == 3


@pytest.mark.parametrize(
  ('name', 'field', 'value'),
  [
    ('falcon-then', 'alibi', True),
    ('falcon-then', 'apply_residual_connection_post_layernorm', True),
    ('gpt2-plain', 'activation_function', 'mish'),
    ('gemma3_text-plain', 'attn_logit_softcapping', 5.0),
    ('qwen3_moe-plain', 'decoder_sparse_step', 2),
    ('qwen3_moe-plain', 'mlp_only_layers', [1]),
    ('bert-masked', 'position_embedding_type', 'relative_key'),
    ('opt-plain', 'word_embed_proj_dim', 10),
    ('gemma-plain', 'use_bidirectional_attention', True),
  ],
)
def test_a_field_with_a_value_that_nothing_computes_is_named(
  name, field, value, tmp_path
):
  folder = golden_files.make_checkpoint(name, tmp_path)
  rewrite(folder, **{field: value})
  with pytest.raises(ValueError, match=field):
    models.load(folder)


@pytest.mark.parametrize(
  ('rope', 'message'),
  [
    ({'rope_type': 'spiral'}, "rope_type 'spiral'.*linear"),
    ({'rope_type': 'linear', 'factr': 2.0}, "parameter 'factr'.*factor"),
    ({'partial_rotary_factor': 0.5}, 'partial_rotary_factor=0.5'),
  ],
)
def test_an_unknown_rotary_scaling_is_named(folder, rope, message):
  rewrite(folder, rope_parameters={'rope_theta': 1e4, **rope})
  with pytest.raises(ValueError, match=message):
    models.load(folder)


@pytest.mark.parametrize('file', ['pytorch_model.bin', 'model.pt'])
def test_pickled_weights_are_refused_with_the_way_to_convert_them(folder, file):
  (folder / 'model.safetensors').rename(folder / file)
  with pytest.raises(ValueError, match=rf'{file}.*safetensors'):
    models.load(folder)


def test_a_pickle_beside_safetensors_is_never_opened(folder):
  (folder / 'pytorch_model.bin').write_bytes(b'cos\nsystem\n(S"false"\ntR.')
  assert models.load(folder)[0].cfg.layers == 3


def test_quantized_weights_are_refused(folder):
  rewrite(folder, quantization_config={'quant_method': 'gptq', 'bits': 4})
  with pytest.raises(ValueError, match=r'quantization_config.*dequantize'):
    models.load(folder)


NORM = 'model.layers.1.input_layernorm.weight'


def test_a_missing_tensor_is_named(folder):
  edit_tensors(folder, lambda tensors: tensors.pop(NORM))
  with pytest.raises(ValueError, match=r'lacks layers\.1\.input_layernorm\.weight'):
    models.load(folder)


def test_a_tensor_beyond_those_of_the_family_is_named(folder):
  edit_tensors(folder, lambda tensors: tensors.update({'model.gate': np.ones(3)}))
  with pytest.raises(ValueError, match='it has gate beyond'):
    models.load(folder)


def test_a_tensor_of_a_wrong_shape_is_named_with_both_shapes(folder):
  edit_tensors(folder, lambda tensors: tensors.update({NORM: np.ones(29)}))
  with pytest.raises(ValueError, match=r'input_layernorm.*\(29,\).*\(30,\)'):
    models.load(folder)


@pytest.mark.parametrize('name', ['gpt2-then', 'mixtral-then', 'gemma3-then'])
def test_what_is_written_like_a_folder_loads_as_the_same_parameters(name, tmp_path):
  folder = golden_files.make_checkpoint(name, tmp_path / 'read')
  model, params, _ = models.load(folder)
  models.save_like(tmp_path / 'written', model, params, like=folder)
  again, params_again, _ = models.load(tmp_path / 'written')
  assert again.cfg == model.cfg
  jax.tree.map(np.testing.assert_array_equal, params_again, params)
