"""The induction circuit of `stdlib-4l`: which edges complete `A B ... A` with B?

    python launch/discover_circuit.py --config=configs/circuits/induction.py \
        --workdir=DIR

Random tokens against other random tokens, so that everything about them is resampled;
judged by the logit of B less that of the other run's B, at the last position. By EAP-IG
on the inputs. `quick` takes seconds, most of them to compile.
"""

import ml_collections


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """The configuration.

  Args:
    arg: the variant: '' or 'quick'.

  Raises:
    ValueError: if there is no such variant.
  """
  if arg not in ('', 'quick'):
    raise ValueError(f"There is no variant {arg!r}. Valid: '', 'quick'.")
  config = ml_collections.ConfigDict()

  config.task = ml_collections.ConfigDict()
  config.task.kind = 'induction'
  config.task.model = 'stdlib-4l'
  config.task.pairs = 32
  config.task.length = 24
  config.task.gap = 10  # Positions between the two A.
  config.task.seed = 0

  config.ablation = 'resample'
  config.method = 'eap-ig-inputs'
  config.settings = ml_collections.ConfigDict()
  config.settings.acdc = ml_collections.ConfigDict({'count': 6, 'lowest': 1e-4})
  config.settings.exact = ml_collections.ConfigDict()
  config.settings['eap-ig-inputs'] = ml_collections.ConfigDict({'steps': 10})
  config.settings['eap-ig-activations'] = ml_collections.ConfigDict({'steps': 10})
  config.settings['edge-pruning'] = ml_collections.ConfigDict(
    {'target': 0.1, 'steps': 500}
  )

  config.share = 0.05
  config.selection = 'greedy'
  config.shares = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)

  if arg == 'quick':
    config.task.pairs = 4
    config.task.length = 14
    config.task.gap = 6
    config.settings['eap-ig-inputs'].steps = 2
    config.settings['edge-pruning'].steps = 10
    config.shares = (0.05, 0.2, 1.0)
  return config
