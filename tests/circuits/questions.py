"""Questions about a tiny random model, and about compiled programs."""

import numpy as np

from interp_jax import circuits, tasks
from interp_jax.testing import tiny_model


def make_question(seed: int = 0, **options) -> circuits.Discovery:
  """Two layers of two heads on three random rows."""
  model, params = tiny_model(seed, layers=2, heads=2, **options)
  rng = np.random.default_rng(seed)
  clean, corrupted = rng.integers(0, model.cfg.vocab_size, (2, 3, 5))
  return circuits.make_discovery(model, params, clean, corrupted)


def compiled_question(
  task: tasks.CompiledTask, ablation: str, pairs: int = 16
) -> tuple[circuits.Discovery, np.ndarray]:
  """A question about a compiled program, and the true edges."""
  clean, corrupted = task.pairs(pairs, seed=1)
  question = circuits.make_discovery(
    task.model,
    task.params,
    clean,
    corrupted,
    ablation=ablation,
    loss=task.metric(clean),
  )
  return question, question.graph.select(task.true_edges(ablation))
