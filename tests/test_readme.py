"""What the README shows is true: its examples run, its table is the code's."""

import pathlib
import re

from interp_jax import core

README = (pathlib.Path(__file__).parent.parent / 'README.md').read_text()


def test_the_examples_run_one_after_the_other(capsys):
  blocks = re.findall(r'```python\n(.*?)```', README, re.S)
  assert len(blocks) > 5
  names = {}
  for block in blocks[1:]:  # The first is the one idea, not an example.
    exec(compile(block, 'README.md', 'exec'), names)
  assert names['losses'].shape == (16,)
  assert capsys.readouterr().out


def test_the_table_of_sites_is_the_table_of_the_code():
  assert core.site_table() in README
