"""Rows to train probes on, and settings that train in a second."""

import numpy as np

from interp_jax import probes

QUICK = probes.ProbeConfig(
  steps=80,
  batch_size=64,
  learning_rate=0.05,
  hidden=8,
  log_every=20,
  eval_every=40,
  checkpoint_every=20,
)


def some_rows(layers=3, rows=600, width=6, questions=2, classes=3):
  """Features `[L, N, D]`; labels linear in the middle layer; groups of ten rows."""
  rng = np.random.default_rng(0)
  features = rng.normal(2, 3, (layers, rows, width)).astype(np.float32)
  reading = rng.normal(size=(width, questions, classes))
  labels = np.einsum('nd,dqc->nqc', features[layers // 2] - 2, reading).argmax(-1)
  return features, labels, np.arange(rows) // 10


def some_probes(layers=3, width=6, questions=2, classes=3):
  """Linear probes that were not trained, of standardized activations."""
  rng = np.random.default_rng(1)
  params = {
    'W_out': rng.normal(size=(layers, width, questions, classes)),
    'b_out': rng.normal(size=(layers, questions, classes)),
  }
  mean, scale = rng.normal(size=(layers, width)), rng.uniform(0.5, 4, (layers, width))
  return probes.Probes(params, mean, scale)
