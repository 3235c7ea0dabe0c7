"""Probes: classifiers that read a property off activations, and how far to trust them.

Alain & Bengio 2016, arXiv:1610.01644. A sommelier says of each sip whether it is red,
white or rosé, and dry or sweet. Where in the nose is that known, and along which
direction? With `noses [L, N, D]`, what L layers make of N sips, `labels [N, 2]` (color
0, 1 or 2; sweetness 0 or 1; -1 where nobody wrote it down) and `bottles [N]`, the
bottle of each sip:

    result = train_probes(noses, labels, ProbeConfig(steps=500), groups=bottles)
    result.scores.accuracy          # [L, 2], on bottles that were never trained on
    result.scores.majority          # [2], what always saying 'red' gives
    result.probes.predict(noses)    # [L, N, 2]
    result.probes.directions(0, positive=1, negative=0)  # [L, D], from red to white

Sips of one bottle taste alike, so bottles are held out whole. All layers are trained in
one program, and questions are an axis of the weights.
"""

from interp_jax.probes.config import ProbeConfig
from interp_jax.probes.control import Selectivity, control_labels, selectivity
from interp_jax.probes.data import Features, split_groups
from interp_jax.probes.files import load_probes, save_probes
from interp_jax.probes.means import mean_probes
from interp_jax.probes.probe import Probes
from interp_jax.probes.scores import ProbeScores, auroc
from interp_jax.probes.train import ProbeResult, train_probes

__all__ = [
  'Features',
  'ProbeConfig',
  'ProbeResult',
  'ProbeScores',
  'Probes',
  'Selectivity',
  'auroc',
  'control_labels',
  'load_probes',
  'mean_probes',
  'save_probes',
  'selectivity',
  'split_groups',
  'train_probes',
]
