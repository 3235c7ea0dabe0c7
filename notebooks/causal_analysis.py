# %% [markdown]
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/interp-jax/interp_jax/blob/main/notebooks/causal_analysis.ipynb)
#
# # Causal analysis: from a sweep to a circuit
#
# [A first look](first_look.ipynb) found that the model `stdlib-4l` repeats what it has
# read: after `A B … A` it says `B`. It also found three heads without which it cannot.
# This notebook asks *how they do it together*, and how sure we can be:
#
# 1. **Activation patching** (a sweep): where is the answer held, layer by layer?
# 2. **Attribution patching**: the same from one gradient, and how far it can be
#    trusted.
# 3. **Edge attribution** (EAP-IG): which connections carry it?
# 4. **Faithfulness**: is that circuit *enough* to do what the model does?
# 5. **Ablation against controls**: is it *needed*, and are others not?
#
# Each method alone has fooled people. What convinces is that they agree.

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

import numpy as np

import interp_jax
from interp_jax import circuits, edits, lenses, report, tasks

# %matplotlib inline
# %config InlineBackend.figure_formats = ['retina']

# %% tags=["parameters"]
QUICK = os.environ.get('INTERP_JAX_QUICK') == '1'  # Small sizes, as tests run it.
PAIRS = 4 if QUICK else 64  # Pairs of texts.
STEPS = 2 if QUICK else 10  # Points on the way of integrated gradients.
SHARES = (0.01, 0.03, 0.1, 1) if QUICK else (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1)
ROWS = 4 if QUICK else 32  # Rows of random tokens that repeat.
DRAWS = 2 if QUICK else 10  # Random controls.

# %% [markdown]
# ## A question with an answer that can be measured
#
# Causal analysis compares two runs that differ in *one* thing. Here are rows of random
# tokens in which one token, A, comes twice. In the **clean** text B follows the first
# A; in the **corrupted** text another token stands in its place, and nothing else
# differs. Whether the model goes on with B is the **logit difference**: the logit of B
# less that of the other token.

# %%
model, params, tokenizer = interp_jax.load('stdlib-4l')
cfg = model.cfg
layers = [str(layer) for layer in range(cfg.layers)]
heads = [str(head) for head in range(cfg.heads)]

pairs = tasks.induction_pairs(
  PAIRS, cfg.vocab_size, tokenizer.bos_id, length=20, gap=(6, 10), seed=0
)
length, place = pairs.clean.shape[1], int(pairs.changed[0])
roles = ['<|bos|>', *['…'] * (length - 1)]
roles[place - 1], roles[place], roles[-1] = 'A', 'B', 'A'
for name, row in (('clean', pairs.clean[0]), ('corrupted', pairs.corrupted[0])):
  near = [*row[place - 2 : place + 3].tolist(), int(row[-1])]
  *shown, last = map(report.visible, tokenizer.token_strings(near))
  print(f'{name:>9}:  …  {"  ".join(shown)}  …  {last}')

# %% [markdown]
# ## 1. Where is the answer held? Activation patching
#
# Run the model on the corrupted text, but replace one activation by what it was on the
# clean text. If the answer comes back, what decides it passes through there. The sweep
# does so for every layer and position; 1 means that the clean answer is restored
# completely, 0 that nothing changed.
#
# Read the map from the bottom up. The answer starts at B. It stays there for two
# layers, while nothing at the last position knows it. In layer 2 it jumps to the end of
# the text.

# %%
difference = circuits.logit_difference(pairs.correct, pairs.wrong)
last_position = [length - 1]


def sweep(site, over):
  return circuits.sweep(
    model,
    params,
    pairs.corrupted,
    pairs.clean,
    site,
    over,
    metric=difference,
    logit_positions=last_position,
    progress=False,
  )


stream = sweep('resid_pre', ('layer', 'position'))
print(f'logit difference: {stream.source:+.2f} clean, {stream.base:+.2f} corrupted')
report.heat_map(
  stream.effect,
  layers,
  roles,
  row_name='before layer',
  column_name='position',
  value_name='share restored',
  tokens=True,
  limit=1,
)

# %% [markdown]
# Something in layer 2 carries it over. Something that moves information between
# positions is a head, and the same sweep over heads names them:

# %%
by_head = sweep('z', ('layer', 'head'))
report.heat_map(
  by_head.effect,
  layers,
  heads,
  row_name='layer',
  column_name='head',
  value_name='share restored',
  limit=1,
)

# %% [markdown]
# Heads 2.1 and 2.3. But where is head 1.2, without which the first notebook's model
# forgot the word? This sweep cannot see it: clean and corrupted text differ only in
# *what* B is, and head 1.2 is about *where* it is. A method answers the question that
# its pair of texts asks, and no other. So we ask another one: now the first A is
# replaced, and B stays. In the corrupted text nothing says that B should follow.

# %%
rows = np.arange(PAIRS)
elsewhere = np.array(pairs.clean)
elsewhere[rows, place - 1] = np.roll(pairs.correct, 1)

by_place = circuits.sweep(
  model,
  params,
  elsewhere,
  pairs.clean,
  'z',
  ('layer', 'head'),
  metric=circuits.log_probability(pairs.correct),
  logit_positions=last_position,
  progress=False,
)
report.heat_map(
  by_place.effect,
  layers,
  heads,
  row_name='layer',
  column_name='head',
  value_name='share restored',
  limit=1,
)

# %% [markdown]
# There it is. Head 1.2 writes at B "the token before me was A", and this is what heads
# 2.1 and 2.3 look for when they stand at the second A.
#
# ## 2. All of it from one gradient: attribution patching
#
# A sweep runs the model once for every point. To first order, the effect of each patch
# is the difference of the two activations times the gradient of the answer, and one
# backward pass gives it for all activations at once (Nanda, 2023). On large models that
# is the difference between an hour and a second. Is it right here?

# %%
guess = circuits.attribution_patching(
  model,
  params,
  pairs.corrupted,
  pairs.clean,
  difference,
  sites=('z',),
  logit_positions=last_position,
)['z'].over('layer', 'head')
exact = by_head.values - by_head.base
print(circuits.agreement(guess, exact, k=4))
report.heat_map(
  guess / float(by_head.source - by_head.base),
  layers,
  heads,
  row_name='layer',
  column_name='head',
  value_name='estimated share restored',
  limit=1,
)

# %% [markdown]
# ## 3. Which connections? A circuit by EAP-IG
#
# Heads do not act alone: they read what others wrote. The model is a graph in which
# every head and MLP reads the sum of what all earlier ones wrote, at its query, its key
# and its value. That makes 479 edges. **EAP** scores them all by gradients, and
# **EAP-IG** (Hanna et al., 2024) takes the mean gradient on the way from the corrupted
# to the clean text, which is right where the slope at one end is not.
#
# In the corrupted text both A and B are others now, so that finding the place *and*
# copying what stands there are asked for.

# %%
corrupted = np.array(pairs.corrupted)
corrupted[rows, place - 1] = elsewhere[rows, place - 1]
question = circuits.make_discovery(
  model,
  params,
  pairs.clean,
  corrupted,
  metric=difference,
  loss=difference,
  logit_positions=last_position,
)
scores = circuits.discover_edges(question, 'eap-ig-inputs', steps=STEPS, progress=False)
for edge, score in scores.top(6):
  print(f'{score:+.2f}  {edge}')

# %% [markdown]
# ## 4. Is it enough? Faithfulness
#
# A circuit of the best k edges is tested by running it *alone*: all other edges carry
# what they carry on the corrupted text. **Faithfulness** is the share of the model's
# answer that is left. Good scores reach far with few edges. The comparison says whether
# it took a method at all: random scores stay at nothing until most edges are in.

# %%
plain = circuits.discover_edges(question, 'eap', progress=False)
noise = np.random.default_rng(0).normal(size=scores.values.shape)
random_scores = circuits.EdgeScores(question.graph, noise * question.graph.edges)
lines = {}
for name, some in (('EAP-IG', scores), ('EAP', plain), ('random', random_scores)):
  curve = circuits.faithfulness_curve(
    question, some, SHARES, how='greedy', progress=False
  )
  lines[name] = (curve.shares, curve.faithfulness)
report.curves(
  lines,
  x_name='share of the edges that stay',
  y_name='faithfulness',
  log_x=True,
  levels={'the whole model': 1.0},
)

# %% [markdown]
# EAP and EAP-IG hardly differ here, as the slope at one end was right already; with the
# smallest circuits EAP even chooses better. Where it is not (confident models,
# attention that is nearly one-hot) EAP-IG finds edges that EAP misses. The circuit
# below is the smallest of these that gives about two thirds of the answer.

# %%
shares, values = lines['EAP-IG']
enough = np.flatnonzero(values >= 0.65)
total = int(question.graph.edges.sum())
size = round(total * shares[enough[0] if enough.size else -2])
circuit = circuits.select_circuit(scores, size, 'greedy')
faithful = circuits.faithfulness(question, [circuit])[0]
print(f'{len(circuit)} of {total} edges alone: {faithful:.0%} of the answer')

report.circuit_picture(
  [(*edge.split('->'), scores[edge]) for edge in circuit.names],
  notes={'a1.h2': 'previous token', 'a2.h1': 'induction', 'a2.h3': 'induction'},
)

# %% [markdown]
# This is the circuit that Elhage et al. (2021) found in models of two layers, in a
# model of four that was trained on real text. MLP 0 acts as a second embedding: nearly
# everything reads the token from it. The previous-token head 1.2 feeds the *keys* of
# the induction heads, which look for "the token before me was A". The token B goes into
# their *values*, and they write it to the logits.
#
# ## 5. Is it needed? Ablation against controls
#
# A circuit that is enough need not be the only way. So take its edges away and leave
# all others, on texts that were not used to find it: random tokens that repeat, with
# another period in every row. On the first copy nothing can be known; the second copy
# is where the circuit should matter. The control takes away as many random other edges.

# %%
repeats = lenses.repeated_tokens(
  ROWS, cfg.vocab_size, tokenizer.bos_id, periods=(16, 32), seed=1
)
regions = np.stack([repeats.first_copy[:, 1:], repeats.second_copy[:, 1:]])
ablation = circuits.ablate_edges(
  model, params, repeats.tokens, regions, circuit, draws=DRAWS, seed=0
)
gain = lambda losses: losses[..., 0] - losses[..., 1]
others = gain(ablation.controls)
gains = {
  'the whole model': gain(ablation.intact),
  f'without the circuit, {len(circuit)} edges': gain(ablation.ablated),
  f'without {len(circuit)} others, mean of {DRAWS}': others.mean(),
  f'without {len(circuit)} others, worst of {DRAWS}': others.min(),
}
report.bars(
  {name: {'gain': number} for name, number in gains.items()},
  x_name='loss on the first copy less that on the second (nats per token)',
)

# %% [markdown]
# The gain is what the model gets out of having read the tokens before. Without these
# few edges nothing is left of it. Without as many others nearly all of it is, on
# average.
#
# The same for heads, token by token. Ablated to their *mean* here, which takes away
# what a head says and leaves its constant part in place:

# %%
mean = circuits.mean_z(model, params, repeats.tokens)
shape = (cfg.layers, cfg.heads)
found = [(1, 2), (2, 1), (2, 3)]
others = circuits.draw_others(found, shape, draws=DRAWS, seed=0)


def losses_without(some):
  mask = circuits.head_mask(some, shape)[:, None, None, :, None]
  todo = {'z': edits.mean_ablate(mean, mask)}
  return circuits.token_losses(model, params, repeats.tokens, todo)


# Each row is read from where its own second copy begins; entry t of the losses is of
# predicting token t + 1.
starts = repeats.periods + repeats.bos - 1
window = np.arange(-12, 15)


def aligned(losses):
  parts = [row[at + window] for row, at in zip(losses, starts, strict=True)]
  return window, np.mean(parts, 0)


controls = np.mean([losses_without(some) for some in others], 0)
report.curves(
  {
    'the model': aligned(losses_without([])),
    'without 1.2, 2.1, 2.3': aligned(losses_without(found)),
    f'without three others (mean of {len(others)})': aligned(controls),
  },
  x_name='token, counted from where the text begins to repeat',
  y_name='loss (nats)',
  from_zero=True,
)

# %% [markdown]
# ## Is it only random tokens?
#
# Random tokens isolate the mechanism; real text is what the model is for. Here it reads
# Python in which a loop's variable must be named again, and the corrupted text names
# another variable. The heads that restore the answer:

# %%
loops = tasks.variable_pairs(tokenizer, 'loop', pairs=PAIRS, seed=0)
print(loops.description)
in_code = circuits.sweep(
  model,
  params,
  loops.corrupted,
  loops.clean,
  'z',
  ('layer', 'head'),
  metric=circuits.logit_difference(loops.correct, loops.wrong),
  logit_positions=[loops.clean.shape[1] - 1],
  progress=False,
)
report.heat_map(
  in_code.effect,
  layers,
  heads,
  row_name='layer',
  column_name='head',
  value_name='share restored',
  limit=1,
)

# %% [markdown]
# ## What we know, and what we do not
#
# Three methods that work differently (patching, gradients, ablation) name the same
# heads and edges, the last on texts that were not used to find them, and controls of
# the same size do not. That is as sure as causal analysis gets.
#
# It is a statement about *this task*: what else these heads do is open, and on code
# other heads help, as the last map shows. A circuit is also relative to what ablated
# edges carry; another choice (zero, the mean) is another question.
#
# - The same from the command line: `launch/patch_sweep.py`,
#   `launch/discover_circuit.py`.
# - Other methods, one argument away: `discover_edges(question, 'acdc')`, `'exact'`,
#   `'edge-pruning'`; further tests: `completeness`, `minimality`, `scrub`.
# - The induction circuit in models that are trained for it, as it forms, over seeds:
#   `launch/reproduce.py --finding=induction`.
# - Next: [what the stream says, in features](dictionary.ipynb).
