"""From a model to a dataset of its activations.

    reader = harvest(model, params, tokens, path, sites={'resid_post': (1, 2)})

runs the model over all tokens once, truncated after the deepest layer that is asked
for, and writes a row for every token to a `store`. It can be killed at any moment;
the same call continues, and returns at once when the dataset is finished.
"""

from interp_jax.harvest.identity import fingerprint
from interp_jax.harvest.run import harvest

__all__ = ['fingerprint', 'harvest']
