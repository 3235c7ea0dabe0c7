"""The page: the story of one network in pictures, and how sure we are."""

from collections.abc import Mapping
from typing import Any

from interp_jax.findings.finding import Part, Picture
from interp_jax.findings.modular_addition import pictures


def parts(shown: Mapping[str, Any]) -> tuple[Part, ...]:
  """The page's sections.

  Args:
    shown: What `study.of_trained` gave for the network that is pictured.
  """
  key = [int(k) for k in shown['key']]
  return (
    _training(shown),
    _circles(shown, key),
    _neurons(shown),
    _votes(shown, key),
  ) + (_sure(),)


def _training(shown: Mapping[str, Any]) -> Part:
  prefix = 'curve_'
  curves = {
    name.removeprefix(prefix): values
    for name, values in shown.items()
    if name.startswith(prefix)
  }
  when = {name: float(shown[name]) for name in ('memorised', 'test_falls', 'grokked')}
  figure = pictures.phases(curves, when, len(shown['neuron']))
  return Part(
    'Knowing by heart, then understanding',
    (
      'The network sees three tenths of all questions, over and over. After a few '
      'hundred updates it answers every one of them, and nearly none of the others: '
      'the test loss is worse than that of guessing. Much later the test loss falls '
      'to nothing within a few hundred updates. That is called grokking. A network '
      'that has not come to it in the usual time is trained on with a quarter of the '
      'questions at an update, which shakes it loose.',
      'Two other losses tell what happens in between. The restricted loss is that of '
      'the network with nothing left in its logits but a few waves of a + b, those at '
      'the key frequencies, which are read off the finished network. The excluded loss '
      'is the training loss with exactly these taken away. Both move while the test '
      'loss stands still: the circuit is built gradually, beside the memory, and '
      'grokking is the moment when the memory is cleaned away.',
    ),
    (
      Picture(
        'phases',
        figure,
        'Losses over training, on a logarithmic axis. The training loss falls first, '
        'then the restricted loss while the excluded loss rises, then the test loss.',
        'Four losses of one network. Dashed: the progress measures. The restricted '
        'loss falls, and the excluded loss rises, before the test loss falls.',
      ),
    ),
    (
      'memorised',
      'grokked',
      'delay',
      'restricted_falls',
      'excluded_rises',
      'test_falls',
      'restricted_lead',
      'excluded_lead',
    ),
  )


def _circles(shown: Mapping[str, Any], key: list[int]) -> Part:
  return Part(
    'Numbers on circles',
    (
      'To add modulo 113 is to add angles: turn by the angle of a, then by that of b. '
      'The embedding of the finished network has each number as a point on a few '
      'circles. On the circle of frequency k, neighbours are k steps apart, so that '
      'the 113 numbers go around it k times.',
      'A random embedding has its variance in all 56 frequencies alike. This one has '
      'it in a handful; how uneven they are is the Gini coefficient, 0 for equal '
      'shares and 1 if one has all.',
    ),
    (
      Picture(
        'spectrum',
        pictures.spectrum(shown['embedding'], key),
        'Bars for the share of each frequency in the embedding. A few are tall.',
        'Where the variance of the embedding is. Key frequencies, which are chosen by '
        'the neurons alone, are in the second colour.',
      ),
      Picture(
        'circles',
        pictures.circles(shown['embedding'], key),
        'For each key frequency, the numbers as points on a circle.',
        'All 113 numbers, along the two directions of each key frequency; the colour '
        'is the angle at which a number should be.',
      ),
    ),
    ('key_frequencies', 'embedding_at_key', 'gini', 'random_gini'),
  )


def _neurons(shown: Mapping[str, Any]) -> Part:
  k = int(shown['neuron_frequency'])
  return Part(
    'Neurons multiply waves',
    (
      'The angle of a sum needs a product: cos(w(a + b)) = cos(wa) cos(wb) - '
      'sin(wa) sin(wb). The neurons make it. Nearly every neuron is at home in one '
      'frequency: over all 12,769 questions, the constant, cos and sin of that '
      'frequency in a, times the same in b, explain most of its variance.',
      'Not all neurons are there as soon as the test loss has fallen. Some still mix a '
      'few key frequencies, more in one network than in another; they are weak, hardly '
      'matter, and go by decay in their own time. To give it them, the network is '
      'trained on: on a quarter of the questions at an update and at twice the '
      'learning rate, then with a little noise on its weights and twice the decay, at '
      'last without noise. Both numbers are given, before and after; this page shows '
      'the network after it, and the curves above end before it.',
    ),
    (
      Picture(
        'neuron',
        pictures.neuron(shown['neuron'], shown['neuron_energy'], k),
        'A neuron as a pattern of waves in a and b, and its few Fourier components.',
        f'One neuron on every question, and where its variance is: at frequency {k}, '
        'in a, in b and in both (circles).',
      ),
    ),
    ('plain_neurons_explained', 'neurons_explained', 'readout', 'unread_weights'),
  )


def _votes(shown: Mapping[str, Any], key: list[int]) -> Part:
  return Part(
    'Votes that add up at the answer',
    (
      'At each key frequency, answer c gets a vote of cos(w(a + b - c)). Every such '
      'wave is highest at c = a + b, and the waves agree nowhere else, so that their '
      'sum has one clear peak.',
      'That is all that the network needs: with everything else taken out of its '
      'logits it does better, not worse. Without these waves it does worse than '
      'guessing, on the very questions that it was trained on.',
    ),
    (
      Picture(
        'votes',
        pictures.votes(shown['logits_by_sum'], shown['key']),
        'Logits by sum and answer: a bright diagonal with ripples beside it.',
        'Left: the mean logit of each answer for each sum. Right: the same by the '
        'distance of the answer from the sum, and the cosines of the key frequencies '
        'fitted to it.',
      ),
    ),
    (
      'logit_variance',
      'full_loss',
      'restricted_loss',
      'restricted_over_full',
      'excluded_loss',
    ),
  )


def _sure() -> Part:
  return Part(
    'How sure we are',
    (
      'What could fool us? Measures that find waves anywhere: before training, and '
      'when the training questions are known by heart, the same network shows none of '
      'them; a network that was trained on shuffled answers learns those by heart and '
      'shows none either. Frequencies that were picked to fit: they are chosen once, '
      'by the neurons, and as many others do nothing. Measures that are wrong: a '
      'network whose weights are a formula (Gromov 2023) adds without training, and '
      'every neuron of it is a square of two cosines, of whose variance exactly 0.8 is '
      'at its frequency; the measures find that frequency and that share. A mean over '
      'questions that the network was trained on: accuracy is of the others.',
      'What is not shown: that every network finds this circuit. Other primes, or '
      'less weight decay, give longer memories and less clean circuits.',
    ),
    (),
    (
      'random_neurons_explained',
      'memorised_test_accuracy',
      'memorised_neurons_explained',
      'memorised_excluded_loss',
      'other_restricted_loss',
      'other_excluded_cost',
      'other_logit_variance',
      'shuffled_train_accuracy',
      'shuffled_test_accuracy',
      'shuffled_neurons_explained',
      'oracle_accuracy',
      'oracle_narrow_accuracy',
      'oracle_neurons_explained',
      'oracle_frequencies_found',
      'oracle_least_share',
      'oracle_most_share',
    ),
  )
