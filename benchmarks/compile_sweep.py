"""Does a sweep compile once, at any depth, and keep only what is asked for?

    python benchmarks/compile_sweep.py [--json=FILE]

32 patches of `resid_pre`, as one `vmap`ped program that returns a logit difference, are
compiled for models of 4 and of 24 layers, scanned and laid out one after the other.
Prints the seconds, the temporary memory of the program by `memory_analysis()`, and the
bytes of all the activations that the 32 runs pass through. Nothing is executed, so the
sizes are those of a real model.
"""

import json
import time

from absl import app, flags
import jax
import jax.numpy as jnp
import numpy as np

from interp_jax import edits
from interp_jax.core import site_shape
from interp_jax.models import Transformer, TransformerConfig, init_params

JSON = flags.DEFINE_string('json', '', 'File to write the numbers to.')
WORLDS = 32
BATCH, LENGTH = 1, 64
REPEATS = 3


def make_model(layers: int, unroll: bool) -> Transformer:
  """A model of GPT-2's options at a sixth of its width."""
  cfg = TransformerConfig(
    vocab_size=1000,
    width=128,
    layers=layers,
    heads=4,
    head_dim=32,
    mlp_width=512,
    context=LENGTH,
    act='gelu_tanh',
  )
  return Transformer(cfg, unroll=unroll)


def measure(layers: int, unroll: bool) -> dict[str, float]:
  """Seconds to compile (the least of `REPEATS`), and memory."""
  model = make_model(layers, unroll)
  shape = site_shape('resid_pre', model.cfg, BATCH, LENGTH)

  def one(params, tokens, value, mask):
    todo = {'resid_pre': edits.Replace(value, mask)}
    last = jnp.array([LENGTH - 1])
    logits, _ = model.apply({'params': params}, tokens, todo, logit_positions=last)
    return (logits[:, 0, 1] - logits[:, 0, 2]).mean()

  abstract = (
    jax.eval_shape(lambda: init_params(model)),
    jax.ShapeDtypeStruct((BATCH, LENGTH), jnp.int32),
    jax.ShapeDtypeStruct(shape, jnp.float32),
    jax.ShapeDtypeStruct((WORLDS, layers, 1, LENGTH, 1), bool),
  )
  seconds = []
  for _ in range(REPEATS):
    jax.clear_caches()
    start = time.perf_counter()
    sweep = jax.vmap(one, in_axes=(None, None, None, 0))
    compiled = jax.jit(sweep).lower(*abstract).compile()
    seconds.append(time.perf_counter() - start)
  acts = jax.eval_shape(lambda p, t: model.apply({'params': p}, t)[1], *abstract[:2])
  kept = sum(np.prod(a.shape) * a.dtype.itemsize for a in acts.values())
  memory = compiled.memory_analysis()
  if memory is None:
    raise RuntimeError(f'{jax.default_backend()} does not tell its memory.')
  return {
    'seconds': min(seconds),
    'temporary_mib': memory.temp_size_in_bytes / 2**20,
    'all_activations_mib': float(WORLDS * kept / 2**20),
  }


def main(argv: list[str]) -> None:
  """Prints the table."""
  del argv
  rows = {
    f'{layers} layers, {"unrolled" if unroll else "scanned"}': measure(layers, unroll)
    for layers in (4, 24)
    for unroll in (False, True)
  }
  print(f'{"":20} {"compile s":>10} {"temporary MiB":>14} {"all acts MiB":>13}')
  for name, row in rows.items():
    print('{:20} {:10.2f} {:14.1f} {:13.1f}'.format(name, *row.values()))
  ratio = rows['24 layers, scanned']['seconds'] / rows['4 layers, scanned']['seconds']
  print(f'Compile time of 24 layers over 4, scanned: {ratio:.2f}')
  if JSON.value:
    with open(JSON.value, 'w', encoding='utf-8') as file:
      json.dump({'versions': {'jax': jax.__version__}, 'rows': rows}, file, indent=2)


if __name__ == '__main__':
  app.run(main)
