# %% [markdown]
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/interp-jax/interp_jax/blob/main/notebooks/first_look.ipynb)
#
# # A first look inside a language model
#
# A language model is a function from text to a guess at what comes next. In between,
# it computes thousands of numbers for every word. This notebook opens one model,
# **reads** those numbers, **changes** them, and sees what the guess does.
#
# The model is `stdlib-4l`: four layers, 1.3 million parameters, trained on the source
# of Python's standard library. It is small enough to run anywhere, and it has learned
# what makes larger models interesting: it copies names that it has never seen before.
# By the end you will have found the two heads that do it, and switched them off.
#
# | you will meet | in the field's words |
# |---|---|
# | the stream of numbers that layers read and write | *residual stream* |
# | the parts that look back in the text | *attention heads* |
# | switching a part off | *ablation*, with a control |
# | adding a direction to the stream | *steering* |
# | reading the stream before the last layer | *logit lens* |
#
# It takes a minute on a laptop's CPU.

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

import jax
import jax.numpy as jnp
import numpy as np

import interp_jax
from interp_jax import circuits, edits, lenses, models, report
from interp_jax.report import lenses as pictures

# %matplotlib inline
# %config InlineBackend.figure_formats = ['retina']

# %% tags=["parameters"]
QUICK = os.environ.get('INTERP_JAX_QUICK') == '1'  # Small sizes, as tests run it.
ROWS = 2 if QUICK else 32  # Rows of random tokens to look for heads on.

# %% [markdown]
# ## Load
#
# `load` gives the model (a function), its parameters (a tree of arrays) and its
# tokenizer, which cuts text into the pieces that the model reads.

# %%
model, params, tokenizer = interp_jax.load('stdlib-4l')
cfg = model.cfg
count = sum(leaf.size for leaf in jax.tree.leaves(params))
print(f'{cfg.layers} layers, {cfg.heads} heads in each, width {cfg.width}')
print(f'{cfg.vocab_size:,} tokens, {count:,} parameters')

TEXT = 'import marsupial\n\nkoala = mars'
tokens = jnp.array([tokenizer.encode(TEXT, bos=True)])
pieces = tokenizer.token_strings(tokens[0].tolist())
print(pieces)

# %% [markdown]
# The word *marsupial* is in no file of the standard library, so it is cut into five
# pieces: `m`, `ar`, `s`, `up`, `ial`. The text stops in the middle of the
# word's second occurrence. What comes next?
#
# ## Read
#
# A model is **one pure function**: tokens and edits go in, logits and *every*
# intermediate activation come out. There is nothing to register or to clean up. Under
# `jax.jit`, activations that you do not return are not even computed.


# %%
@jax.jit
def run(tokens, todo=None):
  return model.apply({'params': params}, tokens, todo)


def guesses(logits, many=5):
  """The most likely next tokens as a line of text."""
  chances, ids = jax.lax.top_k(jax.nn.softmax(logits[0, -1]), many)
  names = map(report.visible, tokenizer.token_strings(ids.tolist()))
  pairs = zip(names, chances.tolist(), strict=True)
  return '   '.join(f'{name} {chance:.0%}' for name, chance in pairs)


logits, acts = run(tokens)
print(guesses(logits))

# %% [markdown]
# `up`: it goes on with *marsupial*. Nothing but the first line can have told it so.
#
# `acts` has everything that happened on the way, by name. The letters of the shapes:
# L layers, B texts, T tokens, H heads, S the tokens that are looked at.

# %%
for site, meaning in (
  ('resid_pre', 'the residual stream before each layer'),
  ('pattern', 'where each head looks, for every token: rows sum to 1'),
  ('z', 'what each head brings back from there'),
  ('mlp_out', 'what each MLP adds to the stream'),
  ('resid_post', 'the stream after each layer'),
):
  print(f'{site:>10}  {acts[site].shape!s:<22} {meaning}')

# %% [markdown]
# ### Where heads look
#
# Rows are the tokens that look, columns what they look at. Many heads rest on the first
# token when they have nothing to do. Head 1.2 (layer 1, head 2) looks one token back
# from everywhere. In the bottom rows of heads 2.1 and 2.3 is what we are after: the
# second `m`, `ar`, `s` look at what *followed* them the first time.

# %%
heads = ((1, 2), (2, 1), (2, 3))
pictures.attention_patterns(
  np.stack([acts['pattern'][layer, 0, head] for layer, head in heads]),
  pieces,
  [f'head {layer}.{head}' for layer, head in heads],
  columns=3,
)

# %% [markdown]
# ### What the stream says on the way
#
# Every layer adds to one stream, and only the last one is turned into a guess. The
# **logit lens** (nostalgebraist, 2020) turns the others into guesses as well: at each
# depth, what would the model say if it stopped there?

# %%
early = jax.nn.softmax(lenses.logit_lens(model, params, acts))[:, 0]  # [L + 1, T, V]
best = early.argmax(-1)
pictures.prediction_table(
  [tokenizer.token_strings(row.tolist()) for row in best],
  np.asarray(early.max(-1)),
  pieces,
  ['embedding', *(f'after layer {layer}' for layer in range(cfg.layers))],
)

# %%
answer = int(logits[0, -1].argmax())
name = tokenizer.token_strings([answer])[0]
for depth, chance in enumerate(early[:, -1, answer]):
  print(f'{depth} layers: {chance:8.4%} for {name!r}')

# %% [markdown]
# At the last token nothing speaks for `up` before layer 2 (the third), and then it is
# one of the likely words. Heads 2.1 and 2.3 are in layer 2.

# %% [markdown]
# ## Change
#
# Looking is not proof. To know whether a head *does* something, take it away and see.
# An edit says what to do to one activation on its way, and a mask says where. Here
# heads are **ablated**: what they bring back becomes 0.


# %%
def without(heads):
  """The edit that takes heads (layer, head) away."""
  mask = circuits.head_mask(heads, (cfg.layers, cfg.heads))
  return {'z': edits.zero_ablate(mask[:, None, None, :, None])}


for name, taken in (
  ('nothing', []),
  ('2.1 and 2.3', [(2, 1), (2, 3)]),
  ('2.0 and 2.2', [(2, 0), (2, 2)]),
  ('1.2', [(1, 2)]),
):
  changed, _ = run(tokens, without(taken))
  print(f'without {name:<12}', guesses(changed, 4))

# %% [markdown]
# Without heads 2.1 and 2.3 the model has forgotten the word: it now ends the name. The
# other two heads of the same layer make no such difference, which is the control that
# every ablation needs. And without head 1.2, one layer before, the word is gone too.
# [The next notebook](causal_analysis.ipynb) says why.
#
# ### All heads at once
#
# A sweep is `jax.vmap` over masks: one compiled program takes away each of the 16 heads
# in its turn. Where the answer's log-probability falls, the head was needed.


# %%
def log_chance(todo):
  logits, _ = model.apply({'params': params}, tokens, todo)
  return jax.nn.log_softmax(logits[0, -1])[answer]


masks, at = edits.grid('z', acts['z'].shape, ('layer', 'head'))
after = jax.jit(jax.vmap(lambda mask: log_chance({'z': edits.zero_ablate(mask)})))(
  masks
)
exact = np.asarray(after - log_chance({})).reshape(cfg.layers, cfg.heads)
layer_names = [str(layer) for layer in range(cfg.layers)]
head_names = [str(head) for head in range(cfg.heads)]
report.heat_map(
  exact,
  layer_names,
  head_names,
  row_name='layer',
  column_name='head',
  value_name='change of log-probability, nats',
)

# %% [markdown]
# ### All heads from one gradient
#
# The same to first order costs one backward pass: `jax.grad` of the answer with respect
# to a zero that is added to every head's output. Times minus the output, that is an
# estimate of the map above (**attribution**). It finds the heads, and it is not
# exact: a gradient sees small changes, and taking a head away is a large one.

# %%
slope = jax.grad(lambda delta: log_chance({'z': edits.Add(delta)}))
estimate = (slope(jnp.zeros_like(acts['z'])) * -acts['z']).sum((1, 2, 4))
report.heat_map(
  np.asarray(estimate),
  layer_names,
  head_names,
  row_name='layer',
  column_name='head',
  value_name='estimated change, nats',
)

# %% [markdown]
# ## Heads that repeat
#
# Is it only this word? Heads like 2.1 and 2.3 are called **induction heads** (Olsson et
# al., 2022): after `A B … A` they say `B`, whatever A and B are. The cleanest test is
# on random tokens that repeat, where nothing else can help. The *prefix-matching score*
# is how much a head looks at what followed the last occurrence of a token: 1 is a
# perfect induction head. The period is drawn anew for each row, so that a head which
# always looks equally far back does not pass for one.

# %%
repeats = lenses.repeated_tokens(
  ROWS, cfg.vocab_size, tokenizer.bos_id, periods=(16, 40), seed=0
)
scores = lenses.score_heads(model, params, repeats)
report.heat_map(
  scores.prefix_matching,
  layer_names,
  head_names,
  row_name='layer',
  column_name='head',
  value_name='prefix-matching score',
  limit=1,
)

# %%
losses = {
  name: circuits.token_losses(model, params, repeats.tokens, without(taken))
  for name, taken in (
    ('the model', []),
    ('without 2.1 and 2.3', [(2, 1), (2, 3)]),
    ('without 2.0 and 2.2', [(2, 0), (2, 2)]),
  )
}
# Each row is read from the start of its own second copy.
starts = repeats.periods + repeats.bos - 1  # Entry t is of predicting token t + 1.
window = np.arange(-12, 14)
report.curves(
  {
    name: (
      window,
      np.mean([row[at + window] for row, at in zip(loss, starts, strict=True)], 0),
    )
    for name, loss in losses.items()
  },
  x_name='token, counted from where the text begins to repeat',
  y_name='loss (nats)',
  from_zero=True,
  levels={'chance': float(np.log(cfg.vocab_size))},
)

# %% [markdown]
# Random tokens cannot be guessed. The model does worse than chance, as it takes them
# for Python. But within a token or two of the repetition its loss is half of what it
# was, and that is the work of two heads: without them it does not notice that anything
# repeats.
#
# ## Steer
#
# Edits can also add. Run the model on two texts, take the difference of their streams,
# and add it to a third text: a **steering vector**. This one leads from `return` to
# `raise`. Behind a `return`, it makes the model think of exceptions. (Direction and
# strength were chosen on this text; [the dictionary](dictionary.ipynb) finds directions
# without being told.)


# %%
def stream(text):
  ids = jnp.array([tokenizer.encode(text, bos=True)])
  return run(ids)[1]['resid_post'][1, 0, -1]


check = 'if not isinstance(value, int):\n    '
direction = stream(check + 'raise') - stream(check + 'return')
text = 'def check(name):\n    if name is None:\n        return'
prompt = jnp.array([tokenizer.encode(text, bos=True)])
here = edits.select(
  'resid_post',
  (cfg.layers, *prompt.shape, cfg.width),
  layer=1,
  position=prompt.shape[1] - 1,
)
for strength in (0, 1, 2):
  steered, _ = run(prompt, {'resid_post': edits.steer(strength * direction, here)})
  print(f'{strength} ×', guesses(steered, 5))

# %% [markdown]
# ## Generate
#
# Edits hold while the model writes, too. The same start, with and without heads:

# %%
for name, taken in (
  ('the model', []),
  ('without 2.1 and 2.3', [(2, 1), (2, 3)]),
  ('without 2.0 and 2.2', [(2, 0), (2, 2)]),
):
  new = models.generate(model, params, tokens, 6 if QUICK else 14, edits=without(taken))
  print(f'{name:<20}{TEXT + tokenizer.decode(new.tokens[0].tolist())!r}')

# %% [markdown]
# It copies the word, and then it copies itself: here the loop is the work of the same
# heads. Without them there is no loop, and no marsupial.
#
# ## What you have seen
#
# One function, and three of JAX's transforms: `jit` to read, `vmap` to sweep, `grad` to
# attribute. The rest of the library is made of them.
#
# - [causal_analysis](causal_analysis.ipynb): how heads 1.2, 2.1 and 2.3 work together,
#   found edge by edge, with controls.
# - [dictionary](dictionary.ipynb): what the stream between them *says*, in features
#   that can be named.
# - [going_to_a_pod](going_to_a_pod.ipynb): the same programs on hundreds of chips.
# - `launch/reproduce.py --list`: findings of the field, each found again by one
#   command, with its controls and a verdict.
#
# `interp_jax.load` also reads GPT-2, Pythia, Llama, Gemma, Qwen and more, from folders
# in Hugging Face's layout: everything above works on them unchanged.
