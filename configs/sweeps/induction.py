"""Where `stdlib-4l` holds the answer of an induction: random tokens, `A B ... A`.

    python launch/patch_sweep.py --config=configs/sweeps/induction.py --workdir=DIR

Clean activations are patched into corrupted runs (denoising) of 32 pairs: the residual
stream at every layer and position, each head's output. Takes half a minute on two CPU
cores. The heads of largest effect are those of layers 1 to 3 that `evaluate_lm` calls
induction heads. `quick` takes 4 short pairs and seconds, most of them to compile.
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
  config.model = 'stdlib-4l'  # A name in `interp_jax.list_models()`, or a folder.
  config.seed = 0

  config.pairs = ml_collections.ConfigDict()
  config.pairs.kind = 'induction'  # Or 'variable': see configs/sweeps/variable.py.
  config.pairs.pairs = 32
  config.pairs.length = 24  # Tokens of a prompt.
  config.pairs.gap = (6, 16)  # Shortest and longest distance of the two A.

  config.direction = 'denoising'  # 'noising' patches corrupted into clean runs.
  config.source = 'pairs'  # Or an ablation: 'zero', 'mean', 'resample'.
  config.metric = 'logit_difference'  # Or 'log_probability'.

  config.sweeps = ml_collections.ConfigDict()  # Name → site and axes.
  config.sweeps.positions = ('resid_pre', 'layer', 'position')
  config.sweeps.heads = ('z', 'layer', 'head')

  config.mesh = ml_collections.ConfigDict()
  config.mesh.model = 1  # Devices that share one copy of the model.

  if arg == 'quick':
    config.pairs.pairs = 4
    config.pairs.length = 12
    config.pairs.gap = (4, 8)
  return config
