"""Tiny models and comparisons, for the tests of those who build on this library."""

from interp_jax.testing.checkpoints import random_checkpoint
from interp_jax.testing.tiny import assert_acts_close, random_params, tiny_model

__all__ = ['assert_acts_close', 'random_checkpoint', 'random_params', 'tiny_model']
