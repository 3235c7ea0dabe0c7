# %% [markdown]
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/interp-jax/interp_jax/blob/main/notebooks/dictionary.ipynb)
#
# # A dictionary of what a model represents
#
# Between its layers a model holds vectors of 128 numbers, and no single number means
# anything. The idea of **sparse dictionary learning** (sparse autoencoders: Cunningham
# et al., 2023; Bricken et al., 2023) is that each vector is a sum of *few* out of
# *many* directions, and that these directions, **features**, can be named.
#
# This notebook does all of it in three minutes:
#
# 1. **Harvest** the model's activations on Python source, to a dataset on disk.
# 2. **Train** a dictionary: 1,024 features, of which 32 may be active at a time (TopK).
# 3. **Measure** it on files that neither model nor dictionary has seen.
# 4. **Read** features, by the text on which they are strongest.
# 5. **Splice** it into the model: does the model still work?
# 6. **Steer**: turn a feature up and see what the model writes.

# %%
import importlib.util
import pathlib
import subprocess
import sys

if importlib.util.find_spec('interp_jax') is None:
  checkout = pathlib.Path('..' if pathlib.Path('../setup.py').exists() else '.')
  source = str(checkout) if (checkout / 'setup.py').exists() else 'interp_jax'
  subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', source], check=True)

# %%
import os
import pathlib
import tempfile

from IPython.display import display
import jax
import jax.numpy as jnp
import numpy as np

import interp_jax
from interp_jax import dictionaries, edits, lenses, report, training
from interp_jax.harvest import harvest
from interp_jax.tasks import python_source

# %matplotlib inline
# %config InlineBackend.figure_formats = ['retina']

# %% tags=["parameters"]
QUICK = os.environ.get('INTERP_JAX_QUICK') == '1'  # Small sizes, as tests run it.
TOKENS = 4_096 if QUICK else 300_000  # To train on.
HELD_OUT = 1_024 if QUICK else 30_000  # To test on.
FEATURES, K = (256, 8) if QUICK else (1024, 32)
STEPS, BATCH = (40, 256) if QUICK else (800, 2048)
ROWS = 4 if QUICK else 64  # Held-out texts to steer on.
SITE, LAYER = 'resid_post', 1  # The stream between layers 1 and 2.
workdir = pathlib.Path(tempfile.mkdtemp())

# %% [markdown]
# ## 1. Harvest
#
# The text is the standard library of the Python that runs this. Files are split into
# train and held-out by their names, the same split that the model was trained with.
# `harvest` runs the model only as deep as it must and writes one row for each token,
# with where the token came from. It goes on where it was killed.

# %%
model, params, tokenizer = interp_jax.load('stdlib-4l')
cfg = model.cfg


def activations(split, count):
  rng = np.random.default_rng(0)
  files = python_source.read_files(split)
  files = python_source.sample_files(files, 6 * count, rng)
  packed = python_source.tokenize_files(files, tokenizer, cfg.context)
  rows = np.sort(rng.permutation(len(packed.tokens))[: -(-count // (cfg.context - 1))])
  tokens = packed.tokens[rows].astype(np.int32)
  reader = harvest(
    model,
    params,
    tokens,
    workdir / split,
    sites={SITE: (LAYER,)},
    batch_size=4 if QUICK else 32,
    documents=packed.documents(rows),
    positions=packed.positions(rows),
    progress=False,
  )
  return reader, tokens, packed.paths


reader, _, paths = activations('train', TOKENS)
test_reader, test_tokens, _ = activations('held_out', HELD_OUT)
print(f'{len(reader):,} rows to train on, {len(test_reader):,} to test on')

# %% [markdown]
# ## 2. Train
#
# A dictionary is three choices: how it is wired (`Autoencoder`), which activation
# function makes its codes sparse (`TopK`), and what else the objective asks for beside
# a small error (`AuxK` revives features that have died; Gao et al., 2024). All
# combinations train in the same loop.

# %%
config = dictionaries.DictionaryConfig(
  cfg.width, FEATURES, dictionaries.TopK(K), site=SITE, layer=LAYER
)
trainer = dictionaries.TrainerConfig(
  steps=STEPS,
  batch_size=BATCH,
  learning_rate=6e-3,
  b2=0.99,
  decay=0.4,
  terms=(dictionaries.AuxK(dead_after=50 * BATCH),),
  log_every=max(1, STEPS // 40),
  eval_every=0,
)
result = dictionaries.train_on_store(
  config, trainer, reader, workdir / 'training', progress=False
)
dictionary = result.dictionary
log = training.read_metrics(workdir / 'training' / 'metrics.jsonl', 'train')
steps = [record['step'] for record in log]
print(f'{STEPS} steps in {result.seconds:.0f} s')
report.curves(
  {
    'variance that is not explained (FVU)': (steps, [r['fvu'] for r in log]),
    'features that have died': (steps, [r['dead_fraction'] for r in log]),
  },
  x_name='training step',
  y_name='fraction',
  from_zero=True,
)

# %% [markdown]
# ## 3. Measure
#
# On held-out files: the **FVU** is the squared error over the variance (0 is perfect, 1
# is useless), **L0** the number of features that are active at a token. Most features
# are rare, as they should be. The few at the right, active on a third of all tokens,
# are unlikely to mean one thing.

# %%
scores = dictionaries.evaluate(
  dictionary, dictionaries.split(test_reader.numpy(), 4096)
)
print(f'FVU {scores.fvu:.3f}   L0 {scores.l0:.1f}   dead {scores.dead_fraction:.1%}')
density = np.asarray(scores.density)
alive = density[density > 0]
report.histogram(
  density,
  x_name='fraction of tokens on which a feature is active',
  y_name='features',
  log=True,
  marks={'median': float(np.median(alive))},
)

# %% [markdown]
# ## 4. Read
#
# What a feature means is read off the text on which it is strongest.
# `strongest_examples` streams over the dataset once for all features. Which to look at
# first? Those whose strongest examples are all of one token, and stand out (`clarity`):
# a formula that needs no reader, so that nobody picks the nice ones by hand.

# %%
examples = dictionaries.strongest_examples(dictionary, reader, n=12)
chosen = dictionaries.clearest(examples, 24)
unembedding = lenses.unembedding(params, cfg)


def card(index, contexts=6):
  """What is known of a feature: where it is strongest, and what it writes."""
  feature = int(examples.features[index])
  (up,), (up_by,) = dictionaries.promoted_tokens(dictionary, [feature], unembedding, 8)
  (down,), (down_by,) = dictionaries.promoted_tokens(
    dictionary, [feature], -unembedding, 8
  )
  found = dictionaries.contexts(dictionary, reader, examples, index, contexts)
  return report.FeatureCard(
    index=feature,
    density=float(examples.density[index]),
    maximum=float(examples.values[index, 0]),
    promoted=tokenizer.token_strings(up.tolist()),
    promoted_logits=up_by,
    suppressed=tokenizer.token_strings(down.tolist()),
    suppressed_logits=-down_by,
    snippets=[
      report.Snippet(tokenizer.token_strings(c.tokens.tolist()), c.values, c.peak)
      for c in found
    ],
  )


for index in chosen[:4]:
  display(report.feature_picture(card(index)))

# %% [markdown]
# Contexts stand below each other with the strongest token in one column. *Raises* and
# *lowers* are the tokens whose logits the feature's direction changes most when it is
# carried straight to the output. For a stream so early they say little: two layers are
# still to come, and what they make of a feature must be measured (section 6).
#
# ## 5. Splice
#
# A small error is not enough: it may fall on just what the model needs. So the
# reconstruction takes the place of the activation *inside the model*, and the model
# must predict held-out text with it. **CE recovered** is 1 if that costs nothing and 0
# if it is as bad as wiping the activation out (to zero, or to its mean, which is the
# harder comparison).

# %%
size = 4 if QUICK else 32
batches = [test_tokens[i : i + size] for i in range(0, len(test_tokens), size)]
spliced = dictionaries.recovered(
  model,
  params,
  dictionary,
  batches,
  site=SITE,
  layer=LAYER,
  layers=cfg.layers,
  mean=reader.statistics().mean,
  bos_id=tokenizer.bos_id,
)
for name, loss in spliced.ce.items():
  print(f'{name:>8}: {loss:.3f} nats per token')
for ablation in ('zero', 'mean'):
  print(f'CE recovered, against {ablation}: {spliced.ce_recovered(ablation):.1%}')

# %% [markdown]
# ## 6. Steer
#
# If a feature is more than a correlation, then adding it must change what the model
# does, and we know how: what *follows* in the texts where it is strongest should become
# likelier in texts that have nothing to do with it. So add its direction, as long as it
# is in its examples, to the stream at the last token of held-out texts. The control is
# random directions of the same length.

# %%
texts = test_tokens[:ROWS, :32]
here = edits.select(
  SITE, (cfg.layers, *texts.shape, cfg.width), layer=LAYER, position=31
)


@jax.jit
@jax.vmap
def log_chances(direction):
  """Mean log-probability of each next token, with a direction added."""
  todo = {SITE: edits.steer(direction, here)}
  logits, _ = model.apply({'params': params}, texts, todo)
  return jax.nn.log_softmax(logits[:, -1]).mean(0)


def what_follows(index):
  """The token on which a feature is strongest, and the one behind it, most often."""
  found = dictionaries.contexts(dictionary, reader, examples, index, 12, 0, 1)
  pairs = [tuple(c.tokens.tolist()) for c in found if len(c.tokens) == 2]
  return max(set(pairs), key=pairs.count)


tried = chosen[:8]
lengths = jnp.array([examples.values[index].mean() for index in tried])
rows = dictionary.params['W_dec'][tried]
noise = jax.random.normal(jax.random.key(0), (8, cfg.width))
noise /= jnp.linalg.norm(noise, axis=-1, keepdims=True)
before = log_chances(jnp.zeros((1, cfg.width)))[0]
own = np.asarray(log_chances(lengths[:, None] * rows) - before)  # [features, V]
others = np.stack([log_chances(length * noise).mean(0) for length in lengths]) - before
effects = {}
for place, index in enumerate(tried):
  pair = what_follows(index)
  on, then = map(report.visible, tokenizer.token_strings(pair))
  effects[f'feature {index}:  {on}  →  {then}'] = {
    'the feature added': own[place, pair[1]],
    'random directions': others[place, pair[1]],
  }
report.bars(effects, x_name='change of the log-probability of what follows (nats)')

# %% [markdown]
# One prediction was made for each feature before the model was asked, so the bars could
# have come out otherwise. In the run that is shown here, each of the eight moves what
# follows by more than random directions do.
#
# ## Which features made this prediction?
#
# The other direction: one prediction, split among features. What the stream adds to an
# answer's logit directly is a sum over features, exactly, and a residue that the
# dictionary does not explain.

# %%
text = 'with open(path) as f:\n    data = f.'
tokens = jnp.array([tokenizer.encode(text, bos=True)])
logits, acts = jax.jit(lambda t: model.apply({'params': params}, t))(tokens)
answer = int(logits[0, -1].argmax())
last = [tokens.shape[1] - 1]
codes = dictionary.encode(acts[SITE][LAYER][:, -1:])
parts = lenses.feature_attribution(
  params,
  cfg,
  acts,
  SITE,
  LAYER,
  codes,
  dictionary.params['W_dec'],
  last,
  correct=np.array([answer]),
  b_dec=dictionary.params['b_dec'],
)
effects = np.asarray(parts.features[0, 0])
print(f'{text!r} → {tokenizer.token_strings([answer])[0]!r}')
strongest = np.argsort(-np.abs(effects))[:3]
for feature in strongest:
  print(f'feature {feature:>4}: {effects[feature]:+.2f} logits')
report.feature_picture(card(int(strongest[0])))

# %% [markdown]
# ## What you have seen
#
# A dictionary from text to steering, and at each step a number that can disappoint:
# FVU, dead features, CE recovered, a random direction as a control. What is *not* shown
# is that features are the true parts of the model; other seeds find other ones. Measure
# how many agree: `dictionaries.compare`.
#
# - The same as a command with a report: `launch/quickstart.py`; architectures of the
#   field in `configs/dictionaries/`, eight at once with `train_sweep`.
# - `dictionaries.load` reads the dictionaries of SAELens, sparsify, Gemma Scope and
#   others.
# - Next: [the same training on a pod](going_to_a_pod.ipynb).
