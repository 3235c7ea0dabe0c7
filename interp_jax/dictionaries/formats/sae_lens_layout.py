"""SAELens's names: of files, architectures, tensors and options."""

from interp_jax.dictionaries.activation import JumpReLU, ReLU
from interp_jax.dictionaries.config import DictionaryConfig
from interp_jax.dictionaries.formats.format import TRANSPOSED, Row, rows

CONFIG, WEIGHTS = 'cfg.json', 'sae_weights.safetensors'
TRANSCODERS = {
  'transcoder': (ReLU, False),
  'skip_transcoder': (ReLU, True),
  'jumprelu_transcoder': (JumpReLU, False),
  'jumprelu_skip_transcoder': (JumpReLU, True),
}
PLAIN = {
  'relu': 'standard',
  'gated': 'gated',
  'jumprelu': 'jumprelu',
  'topk': 'topk',
  'abstopk': 'abstopk',
}
BATCHTOPK = ('batchtopk', 'matryoshka_batchtopk')
NORMALIZE = {
  'none': 'none',
  'layer_norm': 'layer_norm',
  'constant_norm_rescale': 'constant_norm',
  'expected_average_only_in': 'none',
}


def weight_rows(config: DictionaryConfig) -> list[Row]:
  """The tensors of an encoder and a decoder; the skip's is transposed."""
  skip = 'W_skip' in config.shapes()
  names = [name for name in config.shapes() if name != 'W_skip']
  return [*rows(' '.join(names)), *([Row('W_skip', 'W_skip', TRANSPOSED)] * skip)]
