"""What is installed is all of the package, and the files about it agree."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

import pytest

import interp_jax

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = (
  'interp_jax',
  'setup.py',
  'pyproject.toml',
  'requirements.txt',
  'README.md',
  'LICENSE',
  'MANIFEST.in',
)


def run(*command, cwd, **env):
  clean = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
  done = subprocess.run(
    [sys.executable, *map(str, command)],
    cwd=cwd,
    env=clean | env,
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout.strip()


@pytest.fixture(scope='module')
def built(tmp_path_factory):
  """The package built from a source distribution: what a wheel holds."""
  pytest.importorskip('setuptools')
  folder = tmp_path_factory.mktemp('package')
  tree = folder / 'tree'
  tree.mkdir()
  for name in SOURCES:
    if (ROOT / name).is_dir():
      ignored = shutil.ignore_patterns('__pycache__')
      shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    else:
      shutil.copy(ROOT / name, tree)
  run('setup.py', '-q', 'sdist', '--dist-dir', folder, cwd=tree)
  (archive,) = folder.glob('*.tar.gz')
  with tarfile.open(archive) as tar:
    tar.extractall(folder / 'unpacked', filter='data')
  (source,) = (folder / 'unpacked').iterdir()
  run('setup.py', '-q', 'build', '--build-lib', folder / 'lib', cwd=source)
  return folder / 'lib'


def test_every_file_of_the_package_is_built(built):
  def files(folder):
    package = folder / 'interp_jax'
    return {
      str(path.relative_to(package))
      for path in package.rglob('*')
      if path.is_file() and '__pycache__' not in path.parts
    }

  assert files(built) == files(ROOT)


def test_the_built_package_works_outside_the_repository(built, tmp_path):
  code = """
import interp_jax
print(interp_jax.__file__)
for name in interp_jax.list_models():
  model, params, tokenizer = interp_jax.load(name)
  tokenizer.encode('import os')
"""
  out = run('-W', 'error', '-c', code, cwd=tmp_path, PYTHONPATH=str(built))
  assert out == str(built / 'interp_jax' / '__init__.py')


def test_setup_reads_the_version_of_the_package():
  pytest.importorskip('setuptools')
  assert run('setup.py', '--version', cwd=ROOT) == interp_jax.__version__


def test_requirements_are_floors_in_alphabetical_order():
  lines = (ROOT / 'requirements.txt').read_text(encoding='utf-8').splitlines()
  lines = [line for line in lines if line and not line.startswith('#')]
  for line in lines:
    assert re.fullmatch(r'[\w-]+>=\d+(\.\d+)*', line), line
  assert lines == sorted(lines)


@pytest.mark.parametrize('name', ['quickstart', 'test'])
def test_the_readme_has_the_commands_that_ci_runs(name):
  readme = (ROOT / 'README.md').read_text(encoding='utf-8')
  (command,) = re.findall(rf'<!-- command: {name} -->\n```bash\n(.+)\n```', readme)
  assert command.startswith('python3 -m venv .venv && .venv/bin/pip install -e ')
  for script in re.findall(r'launch/\w+\.py', command):
    assert (ROOT / script).is_file(), script
