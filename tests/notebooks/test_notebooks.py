"""Notebooks are the same as their Python files, and run from top to bottom."""

import os
import pathlib
import re
import subprocess
import sys

import nbformat
import pytest

from notebooks import pair

ROOT = pathlib.Path(__file__).parents[2]
# Folders of one machine, as they would stand in an output.
PATHS = re.compile(r'(?:/(?:home|root|tmp|work|usr|Users|opt|content)/|[A-Z]:\\\\)\w+')
MOST_BYTES = 1_500_000


@pytest.fixture(params=pair.NAMES)
def name(request):
  return request.param


def outputs(book):
  return [one for cell in book.cells for one in cell.get('outputs', ())]


def test_every_notebook_has_a_name_in_the_list():
  found = {path.stem for path in pair.FOLDER.glob('*.ipynb')}
  assert found == set(pair.NAMES)


def test_a_notebook_is_what_its_python_file_says(name):
  assert pair.sources(pair.read_page(name)) == pair.sources(pair.read_script(name))


def test_a_notebook_begins_with_its_badge_and_installs_what_is_missing(name):
  book = pair.read_page(name)
  first, install = book.cells[:2]
  assert first.source.startswith(pair.badge(name))
  assert install.source == pair.INSTALL
  assert (ROOT / 'setup.py').exists()  # What the cell looks for, beside the folder.


def test_the_install_cell_does_nothing_where_the_package_is(monkeypatch):
  def refuse(*command, **options):
    raise AssertionError(f'ran {command}')

  monkeypatch.setattr(subprocess, 'run', refuse)
  exec(compile(pair.INSTALL, 'install cell', 'exec'), {})


def test_the_install_cell_takes_the_checkout_that_it_lies_in(monkeypatch):
  ran = []
  monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
  monkeypatch.setattr(subprocess, 'run', lambda command, check: ran.append(command))
  for folder, source in ((pair.FOLDER, '..'), (ROOT, '.'), (ROOT.parent, 'interp_jax')):
    monkeypatch.chdir(folder)
    exec(compile(pair.INSTALL, 'install cell', 'exec'), {})
    assert ran.pop()[-1] == source


def test_a_notebook_was_run_from_top_to_bottom_and_nothing_went_wrong(name):
  book = pair.read_page(name)
  nbformat.validate(book)
  code = [cell for cell in book.cells if cell.cell_type == 'code']
  counts = [cell.execution_count for cell in code]
  assert counts == list(range(1, len(code) + 1))
  kinds = {one.output_type for one in outputs(book)}
  assert kinds <= {'stream', 'display_data', 'execute_result'}
  assert sum('image/png' in one.get('data', {}) for one in outputs(book)) >= 2
  assert pair.page(name).stat().st_size < MOST_BYTES


def test_outputs_tell_nothing_of_a_machine(name):
  for one in outputs(pair.read_page(name)):
    texts = [one.get('text', ''), *map(str, one.get('data', {}).values())]
    shown = [text for text in texts if len(text) < 20_000]  # Not the pictures.
    assert not any(PATHS.search(text) or str(ROOT) in text for text in shown)


def test_the_links_between_notebooks_lead_somewhere(name):
  for _, source in pair.sources(pair.read_page(name), 'markdown'):
    for target in re.findall(r'\]\(([\w./-]+)\)', source):
      assert (pair.FOLDER / target).exists(), target


@pytest.mark.slow
def test_a_notebook_runs_in_a_fresh_kernel(name):
  done = subprocess.run(
    [sys.executable, pair.FOLDER / 'pair.py', '--quick', name],
    env=os.environ | {'INTERP_JAX_QUICK': ''},
    capture_output=True,
    text=True,
    timeout=600,
    check=False,
  )
  assert done.returncode == 0, done.stdout + done.stderr
