"""The operations of training: sparse where that was measured to win, and the reference.

values, indices = encode_topk(x, b_dec, W_enc, b_enc, 32)  # [B, k] of F features
out = decode_topk(values, indices, W_dec)                  # [B, D]
"""

from interp_jax.dictionaries.kernels.batch_topk import (
  dense_encode_batch,
  dense_pairs,
  sparse_decode_pairs,
  sparse_encode_batch,
)
from interp_jax.dictionaries.kernels.choice import (
  IMPLS,
  resolve,
)
from interp_jax.dictionaries.kernels.largest import (
  select,
  select_by_index,
)
from interp_jax.dictionaries.kernels.listed import (
  Known,
  encode_all,
  encode_known,
  look,
)
from interp_jax.dictionaries.kernels.pairs import (
  Pairs,
  batch_topk_mask,
  select_pairs,
)
from interp_jax.dictionaries.kernels.rows import (
  scatter_dense,
)
from interp_jax.dictionaries.kernels.sharded import (
  decode_layers,
  largest_of_batch,
)
from interp_jax.dictionaries.kernels.topk import (
  decode_topk,
  dense_decode,
  dense_encode,
  encode_topk,
  sparse_decode,
  sparse_encode,
)

__all__ = [
  'IMPLS',
  'Known',
  'Pairs',
  'batch_topk_mask',
  'decode_layers',
  'decode_topk',
  'dense_decode',
  'dense_encode',
  'dense_encode_batch',
  'dense_pairs',
  'encode_all',
  'encode_known',
  'encode_topk',
  'largest_of_batch',
  'look',
  'resolve',
  'scatter_dense',
  'select',
  'select_by_index',
  'select_pairs',
  'sparse_decode',
  'sparse_decode_pairs',
  'sparse_encode',
  'sparse_encode_batch',
]
