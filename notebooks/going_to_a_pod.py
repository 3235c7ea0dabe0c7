# %% [markdown]
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/interp-jax/interp_jax/blob/main/notebooks/going_to_a_pod.ipynb)
#
# # Going to a pod
#
# Everything in the other notebooks ran on one device. The same calls run on hundreds of
# chips, because a model here never hears of a mesh: **a program is sharded by placing
# its inputs**. And since placing is all there is to it, what a pod would do can be
# known without one:
#
# 1. **Simulate** eight devices on this CPU, and lay a model and a dictionary out on
#    them.
# 2. Check that **sharded = unsharded**.
# 3. Read **what is sent** between devices off the compiled program.
# 4. **Compile for real TPU topologies**, without a TPU: memory, roofline, collectives.

# %%
import importlib.util
import pathlib
import subprocess
import sys

if importlib.util.find_spec('interp_jax') is None:
  checkout = pathlib.Path('..' if pathlib.Path('../setup.py').exists() else '.')
  source = str(checkout) if (checkout / 'setup.py').exists() else 'interp_jax'
  subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', source], check=True)

# %% [markdown]
# ## Eight devices that are not there
#
# A CPU can pretend to be several devices. That must be said before jax makes its first
# array. (On a machine with real devices, leave this cell out: the rest stays the same.)

# %%
import os

# Read when jax and the TPU's compiler start: there is no TPU to look for.
os.environ['TPU_SKIP_MDS_QUERY'] = '1'
os.environ['ALLOW_MULTIPLE_LIBTPU_LOAD'] = '1'

from interp_jax.sharding import simulate_devices

simulate_devices(8)

# %%
import importlib.util
import json
import pathlib
import tempfile

from IPython.display import Markdown
import jax
import jax.numpy as jnp
import numpy as np

import interp_jax
from interp_jax import (
  circuits,
  dictionaries,
  programs,
  report,
  sharding,
  tasks,
  training,
)
from interp_jax.programs import report as tables
from interp_jax.sharding.collectives import find_collectives
from interp_jax.sharding.hlo import parse

# %matplotlib inline
# %config InlineBackend.figure_formats = ['retina']

# %% tags=["parameters"]
QUICK = os.environ.get('INTERP_JAX_QUICK') == '1'  # Small sizes, as tests run it.
STEPS = 10 if QUICK else 150  # Of training a dictionary.
TOPOLOGIES = ('v5e:4x4',) if QUICK else ('v5e:4x4', 'v5e:8x8')  # To compile for.
WIDTH, FEATURES = (256, 4096) if QUICK else (2048, 16_384)  # Of what is compiled.

# %% [markdown]
# ## A mesh, and rules
#
# A mesh has two axes: `data` (examples are split over it) and `model` (heads, neurons,
# vocabulary, features). Which parameter lies where is a table of patterns on their
# names. The first that fits decides, and one that fits nothing is an error: a weight
# that is silently on every device is noticed late.

# %%
model, params, tokenizer = interp_jax.load('stdlib-4l')
mesh = sharding.make_mesh(model=2)
print(dict(mesh.shape))
placed = sharding.place(mesh, sharding.TRANSFORMER_RULES, params)

leaves = jax.tree_util.tree_leaves_with_path(placed)
lines = ['| parameter | shape | split over | on each device |', '|---|---|---|---|']
for path, leaf in leaves:
  name = jax.tree_util.keystr(path, simple=True, separator='/')
  if name.endswith(('W_E', 'W_U', 'W_Q', 'W_O', 'W_in', 'W_out', 'ln1/w')):
    spec = ', '.join(str(axis or '–') for axis in leaf.sharding.spec) or 'nothing'
    mine = leaf.addressable_shards[0].data.shape
    lines.append(f'| `{name}` | {leaf.shape} | {spec} | {mine} |')
Markdown('\n'.join(lines))

# %%
whole = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
each = sum(leaf.addressable_shards[0].data.nbytes for _, leaf in leaves)
print(f'{whole / 2**20:.1f} MiB of parameters, {each / 2**20:.1f} MiB on each device')

# %% [markdown]
# ## Sharded = unsharded
#
# The same function, the same call. `jax.jit` carries the placement of the inputs
# through the program and adds the communication that it takes. The results differ by
# the rounding of float32 (sums are taken in another order), and by no more.

# %%
repeats = interp_jax.lenses.repeated_tokens(8, 2048, tokenizer.bos_id, periods=(8, 16))
tokens = jnp.asarray(repeats.tokens)


@jax.jit
def run(params, tokens):
  logits, acts = model.apply({'params': params}, tokens)
  return logits, acts['resid_post']


one = run(params, tokens)
spread = sharding.shard_batch(mesh, repeats.tokens)
eight = run(placed, spread)
for name, a, b in zip(('logits', 'resid_post'), one, eight, strict=True):
  apart, largest = np.abs(np.asarray(a) - np.asarray(b)).max(), np.abs(a).max()
  print(f'{name:>10}: largest difference {apart:.1e}, of values up to {largest:.0f}')

# %% [markdown]
# ## What is sent
#
# A sharded program is only as good as its communication, and that can be read off the
# compiled program. Designed is, along `model`: one sum behind the embedding, and in
# each layer one behind attention and one behind the MLP. Along `data` nothing is sent:
# the rows are independent. A test of the library fails on anything else.

# %%
compiled = run.lower(placed, spread).compile()
for collective in find_collectives(parse(compiled.as_text()), mesh):
  print(collective)

# %% [markdown]
# ## A sweep on a mesh
#
# `circuits.sweep` takes the mesh: the points of the grid are spread over `data`.

# %%
pairs = tasks.induction_pairs(4, 2048, tokenizer.bos_id, length=12, gap=(4, 8))
maps = [
  circuits.sweep(
    model,
    params,
    pairs.corrupted,
    pairs.clean,
    'z',
    ('layer', 'head'),
    metric=circuits.logit_difference(pairs.correct, pairs.wrong),
    logit_positions=[pairs.clean.shape[1] - 1],
    mesh=devices,
    progress=False,
  ).effect
  for devices in (None, sharding.make_mesh())
]
print(f'16 patches on 1 and on 8 devices: {np.abs(maps[0] - maps[1]).max():.0e} apart')

# %% [markdown]
# ## A dictionary on a mesh
#
# Features are split over `model`, each batch over `data`. TopK must find the largest of
# *all* features of a row; each device finds its own largest first, and only those are
# sent. Here the same training runs on one device and on 2 × 4; the two lines lie upon
# each other.

# %%
more = interp_jax.lenses.repeated_tokens(
  32, 2048, tokenizer.bos_id, periods=(32, 64), seed=1
)
_, stream = run(params, jnp.asarray(more.tokens))
rows = np.asarray(stream[1]).reshape(-1, model.cfg.width)  # Behind layer 1.
config = dictionaries.DictionaryConfig(model.cfg.width, 512, dictionaries.TopK(16))
trainer = dictionaries.TrainerConfig(steps=STEPS, batch_size=256, log_every=5)
folder = pathlib.Path(tempfile.mkdtemp())
losses = {}
for name, devices in (
  ('1 device', None),
  ('8 devices: data 2 × model 4', sharding.make_mesh(model=4)),
):
  result = dictionaries.train(
    config,
    trainer,
    dictionaries.ArrayBatches(rows, trainer.batch_size),
    rows,
    folder / name,
    mesh=devices,
    progress=False,
  )
  log = training.read_metrics(folder / name / 'metrics.jsonl', 'train')
  losses[name] = ([r['step'] for r in log], [r['fvu'] for r in log])
(_, one), (_, eight) = losses.values()
gap = np.abs(np.subtract(one, eight)).max()
print(f'largest difference of the error over {STEPS} steps: {gap:.0e}')
report.curves(
  losses, x_name='training step', y_name='FVU (fraction of variance)', from_zero=True
)

# %%
state = result.state.params
print('on each of the 8 devices:')
for name, leaf in sorted(state.items()):
  print(f'{name:>8}  {leaf.shape!s:<12} {leaf.addressable_shards[0].data.shape}')

# %% [markdown]
# ## Compile for a TPU pod
#
# The compiler of TPUs (`pip install 'interp_jax[tpu-compile]'`) needs no TPU. The very
# step that `dictionaries.train` runs is compiled from shapes alone, for chips that are
# named, and nothing of its size is allocated here. What comes out is what matters
# before one pays for a pod:
#
# - does it **fit** in the memory of a chip,
# - its **roofline**: the time that matrix products, main memory and network take at
#   their published rates; a step takes at least the longest,
# - every **collective**, along which axis, how many bytes.


# %%
def compile_for(topology, per_device=1024):
  """A TopK dictionary's training step, with as much for each chip on all topologies."""
  values = {
    'name': f'TopK autoencoder, D {WIDTH:,}, F {FEATURES:,}',
    'program': 'dictionary',
    'per_device': per_device,
    'mesh': {'model': 4},
    'dictionary': {
      'width': WIDTH,
      'features': FEATURES,
      'wiring': {'name': 'autoencoder'},
      'activation': {'name': 'topk', 'k': 64},
    },
    'trainer': {'steps': 10_000, 'compute_dtype': 'bfloat16', 'terms': {}},
  }
  return programs.compile_record(values, topology)


if importlib.util.find_spec('libtpu'):
  records = [compile_for(topology) for topology in TOPOLOGIES]
  shown = [tables.summary(records), tables.communication(records[-1])]
  if len(records) > 1:
    shown.insert(1, tables.scaling(records))
else:
  shown = ["No libtpu here: `pip install 'interp_jax[tpu-compile]'` brings it."]
Markdown('\n\n'.join(shown))

# %% [markdown]
# How to read it: a quarter of the features and a share of the rows are on each chip.
# Along `data` the gradients are summed, along `model` the outputs; of the codes, only
# each chip's own candidates for the top 64 travel. With four times the chips a step
# takes in four times the tokens in the same time, because what each chip sends does not
# grow: that is *weak scaling*.
#
# ## Rooflines of what people run
#
# The same for the sizes of the field, as kept in `benchmarks/results/compile_tpu.json`
# (made by `benchmarks/compile_tpu.py`; these take minutes each). The longest bar of a
# program binds. Where that is *compute*, chips are used for what they are for. Training
# a language model of GPT-2's size binds on memory: attention patterns are *sites* that
# can be read and edited, and so they are written out.

# %%
checkout = pathlib.Path(interp_jax.__file__).parents[1]
kept = checkout / 'benchmarks' / 'results' / 'compile_tpu.json'
records = json.loads(kept.read_text()) if kept.exists() else {}
times = {
  f'{record["name"]}, {record["topology"]}': {
    part: 1000 * seconds for part, seconds in record['seconds'].items()
  }
  for record in records.values()
  if record['topology'].endswith('16x16')
}
report.bars(
  times or {'no checkout here: see the repository': {'compute': 0}},
  x_name='milliseconds of a step on 256 chips, by published rates',
  width=10,
)

# %%
chosen = [record for key, record in records.items() if key.startswith('topk/v')]
Markdown(tables.summary(chosen))

# %% [markdown]
# ## On the pod itself
#
# The scripts in `launch/` run unchanged on one process or many: `--distributed` on TPU
# pods, GKE and under Slurm. The batches are the same for any number of processes; a run
# that was stopped goes on, on as many chips as there are then. BUILD.md has the
# commands from nothing, and `launch/compile_tpu.py` what this notebook did, for any
# configuration:
#
# ```bash
# python launch/compile_tpu.py --config=configs/compile/topk.py --topology=v5e:16x16
# python launch/compile_tpu.py --config=configs/compile/harvest.py --largest_batch
# ```
