"""The circuit of a compiled program, whose true edges are known.

    python launch/discover_circuit.py --config=configs/circuits/compiled.py \
        --workdir=DIR

`sort`, edges resampled, by ACDC. `--config.task.name` takes any of
`interp_jax.tasks.compiled_names()`, `--config.method` any method that has settings
below. `quick` takes fewer inputs and thresholds.
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
  config.task.kind = 'compiled'
  config.task.name = 'sort'
  config.task.pairs = 64
  config.task.seed = 0

  config.ablation = 'resample'
  config.method = 'acdc'
  config.settings = ml_collections.ConfigDict()
  config.settings.acdc = ml_collections.ConfigDict({'count': 8, 'lowest': 1e-5})
  config.settings.exact = ml_collections.ConfigDict()
  config.settings['eap-ig-inputs'] = ml_collections.ConfigDict()
  config.settings['eap-ig-activations'] = ml_collections.ConfigDict()
  config.settings['edge-pruning'] = ml_collections.ConfigDict(
    {'price': 0.1, 'steps': 500}
  )

  config.share = 0.0  # Of all edges in the circuit; 0 for as many as are true.
  config.selection = 'top'
  config.shares = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0)

  if arg == 'quick':
    config.task.name = 'histogram'
    config.task.pairs = 16
    config.settings.acdc.count = 3
    config.settings['edge-pruning'].steps = 20
  return config
