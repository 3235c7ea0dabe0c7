"""The vocabulary of the house: sites, axes, helpful errors, and configs from elsewhere.

Everything else imports `core`; `core` imports nothing of ours.
"""

from interp_jax.core.errors import known, unknown
from interp_jax.core.fields import Fields
from interp_jax.core.protocol import Acts, Decomposable, Model, Parts, Tokens
from interp_jax.core.sites import (
  AXES,
  SITES,
  Site,
  get_site,
  site_names,
  site_shape,
  site_table,
)

__all__ = [
  'AXES',
  'SITES',
  'Acts',
  'Decomposable',
  'Fields',
  'Model',
  'Parts',
  'Site',
  'Tokens',
  'get_site',
  'known',
  'site_names',
  'site_shape',
  'site_table',
  'unknown',
]
