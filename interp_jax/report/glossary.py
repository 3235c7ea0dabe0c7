"""The words of a report, in a sentence or two each: one source for every page."""

from collections.abc import Sequence

from markupsafe import Markup

from interp_jax.report import html

WORDS = {
  'activation': (
    'Any number inside the model while it reads a text. A feature’s activation says '
    'how strongly the feature is present at one token; 0 means absent.'
  ),
  'cross-entropy (CE)': (
    'How surprised the model is by the token that really comes next, in nats: the '
    'negative natural logarithm of the probability it gave to it. Lower is better.'
  ),
  'CE recovered': (
    'The model reads held-out text three times: as it is (CE clean), with the '
    'activations replaced by the dictionary’s reconstruction (CE spliced), and with '
    'them set to zero (CE zeroed). CE recovered = (CE zeroed − CE spliced) / (CE '
    'zeroed − CE clean). 100 % means that the reconstruction serves the model as well '
    'as the original; 0 % means no better than nothing.'
  ),
  'dead feature': (
    'A feature that was active on none of the tokens it was evaluated on. It takes up '
    'room and explains nothing.'
  ),
  'dictionary (sparse autoencoder)': (
    'A list of directions, the features, learned so that each activation vector is '
    'close to a sum of few of them. A model packs more concepts into its numbers than '
    'it has numbers; the dictionary tries to list them one by one.'
  ),
  'FVU': (
    'Fraction of variance unexplained: the squared error of the reconstruction, '
    'divided by the variance of the activations around their mean. 0 is perfect; 1 is '
    'no better than always answering the mean.'
  ),
  'L0': 'How many features are active on a token, on average.',
  'logit': (
    'The model’s raw score for a token as the next one, before scores are turned '
    'into probabilities. One logit more multiplies the odds by e ≈ 2.72.'
  ),
  'logit difference': (
    'The logit of the right answer minus the logit of the wrong one.'
  ),
  'patching': (
    'Running the model on one text while one activation is replaced by what it was on '
    'another text. If the answer follows the replacement, what decides it passes '
    'through there. It is an experiment, not a correlation.'
  ),
  'residual stream': (
    'The vector that each token carries through the model. Every layer reads it and '
    'adds to it; the last one is turned into the prediction of the next token.'
  ),
  'token': (
    'The unit of text the model reads: a word, part of a word, or whitespace. On this '
    'page · is a space and ↵ a line break.'
  ),
}


def glossary(words: Sequence[str] = tuple(WORDS)) -> Markup:
  """The definitions of some words as a list.

  Args:
    words: names in `WORDS`; all by default.

  Returns:
    The element.

  Raises:
    ValueError: when a word is not in the glossary.
  """
  strange = [word for word in words if word not in WORDS]
  if strange:
    raise ValueError(f'{strange} are not in the glossary; it has {list(WORDS)}')
  return html.definitions([(word, WORDS[word]) for word in words])
