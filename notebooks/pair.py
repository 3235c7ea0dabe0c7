"""Keeps each notebook and its Python file the same, and runs them.

    python notebooks/pair.py [NAME ...]              # NAME.py → NAME.ipynb
    python notebooks/pair.py --execute [NAME ...]    # the same, with new outputs
    python notebooks/pair.py --quick [NAME ...]      # runs NAME.ipynb, writes nothing

The Python file (jupytext's percent format) is the one to edit. The notebook keeps its
outputs where no code has changed; else it must be executed. Needs the extra `notebook`.
"""

import argparse
from collections.abc import Sequence
import os
import pathlib
import re
import time
from typing import Any

import jupytext
import nbclient
import nbformat

FOLDER = pathlib.Path(__file__).resolve().parent
NAMES = ('first_look', 'causal_analysis', 'dictionary', 'going_to_a_pod')

# Where the notebooks are published: all badges are made of it.
REPOSITORY = 'interp-jax/interp_jax'
BRANCH = 'main'

# The first code of every notebook. It installs from the checkout that a notebook lies
# in, or else what pip finds, and does nothing where the package is installed.
INSTALL = """\
import importlib.util
import pathlib
import subprocess
import sys

if importlib.util.find_spec('interp_jax') is None:
  checkout = pathlib.Path('..' if pathlib.Path('../setup.py').exists() else '.')
  source = str(checkout) if (checkout / 'setup.py').exists() else 'interp_jax'
  subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', source], check=True)"""

BADGE = re.compile(r'\[!\[Open in Colab\]\(.*?\)\]\(.*?\)')
# What the tests' own process, or a user's shell, may have set for other programs.
_FOREIGN = (
  'JAX_DISABLE_MOST_OPTIMIZATIONS',
  'JAX_NUM_CPU_DEVICES',
  'MPLBACKEND',
  'PJRT_NPROC',
  'XLA_FLAGS',
)
_METADATA = {
  'jupytext': {'formats': 'ipynb,py:percent'},
  'kernelspec': {'display_name': 'Python 3', 'language': 'python', 'name': 'python3'},
  'language_info': {'name': 'python'},
}


def badge(name: str) -> str:
  """The Markdown of the badge that opens a notebook in Colab."""
  colab = 'https://colab.research.google.com'
  address = f'{colab}/github/{REPOSITORY}/blob/{BRANCH}/notebooks/{name}.ipynb'
  return f'[![Open in Colab]({colab}/assets/colab-badge.svg)]({address})'


def script(name: str) -> pathlib.Path:
  """The Python file of a notebook."""
  return FOLDER / f'{name}.py'


def page(name: str) -> pathlib.Path:
  """The notebook itself."""
  return FOLDER / f'{name}.ipynb'


def read_script(name: str) -> Any:
  """The Python file as a notebook without outputs."""
  book = jupytext.read(script(name), fmt='py:percent')
  for index, cell in enumerate(book.cells):
    cell['id'] = f'{name}-{index}'
  book.metadata.clear()
  book.metadata.update(_METADATA)
  book.nbformat, book.nbformat_minor = 4, 5
  return book


def read_page(name: str) -> Any:
  """The notebook with its outputs."""
  return nbformat.read(page(name), as_version=4)


def sources(book: Any, kind: str = '') -> list[tuple[str, str]]:
  """The cells of a notebook: kind and text; of one kind, `'code'` say, or all."""
  cells = [(cell.cell_type, cell.source) for cell in book.cells]
  return [cell for cell in cells if not kind or cell[0] == kind]


def execute(book: Any, quick: bool = False) -> float:
  """Runs a notebook from top to bottom in a fresh kernel; it gets the outputs.

  Args:
    book: The notebook.
    quick: Whether in the form for tests.

  Returns:
    The seconds that it took.

  Raises:
    nbclient.exceptions.CellExecutionError: where a cell raises.
    RuntimeError: where a cell warns.
  """
  env = {key: value for key, value in os.environ.items() if key not in _FOREIGN}
  env['PYTHONPATH'] = str(FOLDER.parent) + os.pathsep + env.get('PYTHONPATH', '')
  env['INTERP_JAX_QUICK'] = '1' if quick else '0'
  started = time.monotonic()
  client = nbclient.NotebookClient(
    book,
    timeout=900,
    kernel_name='python3',
    record_timing=False,
    resources={'metadata': {'path': str(FOLDER)}},
  )
  client.execute(env=env)
  took = time.monotonic() - started
  for cell in book.cells:
    for one in cell.get('outputs', ()):
      if one.get('name') == 'stderr' and 'Warning' in one.text:
        raise RuntimeError(f'A cell warns: {one.text}\n\n{cell.source}')
  return took


def tidy(book: Any) -> None:
  """Keeps of outputs what a reader wants: no progress bars, no notes of the kernel."""
  for cell in book.cells:
    if cell.cell_type != 'code':
      continue
    cell.metadata.pop('execution', None)
    shown = [one for one in cell.outputs if one.get('name') != 'stderr']
    cell['outputs'] = shown


def with_outputs(book: Any, old: Any) -> bool:
  """Gives a notebook the outputs of an older one; False where the code is another."""
  if sources(book, 'code') != sources(old, 'code'):
    return False
  ran = iter([cell for cell in old.cells if cell.cell_type == 'code'])
  for cell in book.cells:
    if cell.cell_type == 'code':
      done = next(ran)
      cell['outputs'] = done.outputs
      cell['execution_count'] = done.execution_count
  return True


def pair(name: str, run: bool) -> None:
  """Writes the notebook of a Python file."""
  text = script(name).read_text(encoding='utf-8')
  script(name).write_text(BADGE.sub(badge(name), text), encoding='utf-8')
  book = read_script(name)
  if run:
    print(f'{name}: {execute(book):.0f} s')
    tidy(book)
  elif not (page(name).exists() and with_outputs(book, read_page(name))):
    print(f'{name}: the code is new, so there are no outputs; run it with --execute')
  nbformat.validate(book)
  nbformat.write(book, page(name))


def main(arguments: Sequence[str] | None = None) -> None:
  """Pairs or runs the notebooks that are named, or all."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('names', nargs='*', metavar='NAME', help=', '.join(NAMES))
  how = parser.add_mutually_exclusive_group()
  how.add_argument('--execute', action='store_true', help='run, and keep the outputs')
  how.add_argument('--quick', action='store_true', help='run in quick form; keep none')
  given = parser.parse_args(arguments)
  for name in given.names or NAMES:
    if name not in NAMES:
      parser.error(f'there is no notebook {name!r}; there are {", ".join(NAMES)}')
    if given.quick:
      print(f'{name}: {execute(read_page(name), quick=True):.0f} s', flush=True)
    else:
      pair(name, given.execute)


if __name__ == '__main__':
  main()
