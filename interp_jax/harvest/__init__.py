"""From a model to a dataset of its activations, or straight into training.

    corpus = tokenize(TextFiles('texts'), 'tokens', Layout(context=128), tokenizer)
    reader = harvest(
      model, params, corpus.sequences, 'activations', sites={'resid_post': (1, 2)}
    )

runs the model over all tokens once, truncated after the deepest layer that is asked
for, and writes a row for every token to a `store`. It can be killed at any moment;
the same calls continue, and return at once when they are finished.

    batches = stream(model, params, corpus.sequences, 4096, sites={'resid_post': (1,)})

gives shuffled batches of the same rows without writing anything.
"""

from interp_jax.harvest.corpus import Corpus, open_corpus, tokenize
from interp_jax.harvest.errors import Stopped
from interp_jax.harvest.identity import fingerprint
from interp_jax.harvest.packing import Layout
from interp_jax.harvest.rows import Sequences
from interp_jax.harvest.run import harvest
from interp_jax.harvest.sources import Document, JsonLines, TextFiles, TokenArrays
from interp_jax.harvest.stream import Stream, stream

__all__ = [
  'Corpus',
  'Document',
  'JsonLines',
  'Layout',
  'Sequences',
  'Stopped',
  'Stream',
  'TextFiles',
  'TokenArrays',
  'fingerprint',
  'harvest',
  'open_corpus',
  'stream',
  'tokenize',
]
