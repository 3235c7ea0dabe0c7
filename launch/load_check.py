"""Is a folder of weights read right? Prints what agrees with what, and how closely.

    python launch/load_check.py --path=DIR [--ignore_fields=a,b]

DIR holds a config.json and safetensors, as Hugging Face has them. The row is the one of
the README's table: the largest differences from transformers in float32 and float64,
from TransformerLens at every hook (raw and processed), between raw and processed
weights, after writing the folder anew, and between padded and single runs. Without
transformers or TransformerLens (the extra `peers`) those columns stay empty. A model of
100 million parameters takes a minute.
"""

from collections.abc import Sequence

from absl import app, flags, logging

from interp_jax.testing import load_check
from interp_jax.testing.peer import hush

PATH = flags.DEFINE_string('path', None, 'Folder of the model.', required=True)
IGNORE = flags.DEFINE_list('ignore_fields', [], 'Fields of config.json to pass over.')


def main(argv: Sequence[str]) -> None:
  """Checks and prints; exits with 1 if something is above its bound."""
  if len(argv) > 1:
    raise app.UsageError(f'{argv[1]!r} is not a flag.')
  if not flags.FLAGS['verbosity'].present:
    logging.set_verbosity(logging.WARNING)  # Libraries tell much at INFO.
  hush()
  try:
    check = load_check.check_folder(PATH.value, ignore_fields=IGNORE.value)
  except ValueError as error:
    raise SystemExit(f'{PATH.value} is not read: {error}') from error
  print(load_check.table([check]))
  for note in check.notes:
    print(note)
  if check.above():
    raise SystemExit(
      f'Above the bounds ({load_check.FLOAT32_BOUND} in float32, '
      f'{load_check.FLOAT64_BOUND} in float64, nothing after writing): '
      f'{", ".join(check.above())}.'
    )


if __name__ == '__main__':
  app.run(main)
