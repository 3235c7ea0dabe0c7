"""Tensors out of torch's pickles, without running anything.

A pickle is a program for a small machine, and one of the machine's instructions is to
call any function of any module: that is why opening a stranger's `.pt` file is as bad
as running a stranger's program. The machine here is another one. It knows the few
instructions that a state dict needs, resolves no name to anything, and calls nothing:
`torch._utils._rebuild_tensor_v2` is a word to it, upon which it writes down a shape and
an offset. All other instructions and names are refused, by name.

A `.pt` file is a zip archive, stored and not compressed, of the program (`data.pkl`)
and the bytes of each storage (`data/0`, `data/1`, ...), in which nothing is ever
extracted to disk. What the program says about sizes is checked against the archive
before it is believed, and bytes are mapped when a tensor is read. torch need not be
installed. Files of torch before 1.6 are not zip archives, and are refused.
"""

from collections.abc import Callable, Iterator
import io
import math
import pathlib
import pickletools
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from interp_jax.dictionaries.formats.archive import Archive
from interp_jax.dictionaries.formats.stored import Stored

# The program of a state dict is a few kilobytes; this is not a limit on weights.
MAX_PROGRAM_BYTES = 64 * 2**20
MAX_DEPTH = 32

STORAGES = {
  'DoubleStorage': np.dtype('<f8'),
  'FloatStorage': np.dtype('<f4'),
  'HalfStorage': np.dtype('<f2'),
  'BFloat16Storage': np.dtype(ml_dtypes.bfloat16),
  'LongStorage': np.dtype('<i8'),
  'IntStorage': np.dtype('<i4'),
  'ShortStorage': np.dtype('<i2'),
  'CharStorage': np.dtype('i1'),
  'ByteStorage': np.dtype('u1'),
  'BoolStorage': np.dtype('?'),
}
_CALLS = (
  'collections OrderedDict',
  'torch._utils _rebuild_tensor_v2',
  'torch._utils _rebuild_parameter',
)
NAMES = (*_CALLS, *(f'torch {storage}' for storage in STORAGES))


class _Name(NamedTuple):
  """A name that the program mentioned. It stands for nothing but itself."""

  text: str


class _Storage(NamedTuple):
  """The bytes of one or several tensors."""

  key: str
  dtype: np.dtype
  count: int


_MARK = object()


def read_pickle(file: pathlib.Path) -> Any:
  """What torch saved: dicts, lists and tuples of numbers, texts and tensors.

  Args:
    file: The `.pt`, `.pth` or `.bin` file.

  Returns:
    The object, with `Stored` in the place of tensors.

  Raises:
    ValueError: if the file is of torch before 1.6 or damaged, or if its program does
      anything but put tensors into dicts. Nothing of it has been run then.
  """
  archive = Archive(file)
  if archive.size('data.pkl') > MAX_PROGRAM_BYTES:
    raise ValueError(f'{file}: its program is too long for one of a state dict.')
  return _Machine(archive).run(bytes(archive.bytes('data.pkl')))


def read_state(file: pathlib.Path) -> dict[str, Any]:
  """A state dict, which may hold other things than tensors.

  Raises:
    ValueError: as `read_pickle`, and if it is no dict.
  """
  state = read_pickle(file)
  if not isinstance(state, dict):
    raise ValueError(f'{file} holds a {type(state).__name__}, not a state dict.')
  return state


def read_tensors(file: pathlib.Path) -> dict[str, Stored]:
  """A state dict of tensors alone.

  Raises:
    ValueError: as `read_state`, and if it holds something else.
  """
  state = read_state(file)
  others = sorted(str(n) for n, value in state.items() if not isinstance(value, Stored))
  if others:
    raise ValueError(f'{file} has entries that are no tensors: {others}.')
  return state


class _Machine:
  """Runs a pickle's program on a stack of plain data."""

  def __init__(self, archive: Archive):
    self._archive = archive
    self._stack: list[Any] = []
    self._memo: dict[int, Any] = {}

  def run(self, program: bytes) -> Any:
    """The object that the program leaves; raises ValueError if it may not run."""
    try:
      for name, argument in _instructions(program, self._archive.file):
        if name == 'STOP':
          return _plain(self._stack.pop(), self._archive.file)
        if name in _CONSTANTS:
          self._stack.append(_CONSTANTS[name]())
        elif name in _LITERALS:
          self._stack.append(argument)
        elif name in _ACTIONS:
          _ACTIONS[name](self, argument)
        else:
          raise self._refused(f'the instruction {name}')
    except (IndexError, KeyError, TypeError, AttributeError, RecursionError) as error:
      raise ValueError(
        f'{self._archive.file} is damaged: its program makes no sense ({error!r}).'
      ) from error
    raise ValueError(f'{self._archive.file} is cut off: its program has no end.')

  def _refused(self, what: str) -> ValueError:
    return ValueError(
      f'{self._archive.file} is a pickle with {what}, which no state dict needs, and '
      'which may be there to run code on your machine. It was not run. If you trust '
      'where the file comes from, load it with the library that wrote it, and save its '
      'tensors with safetensors.'
    )

  # Instructions

  def _mark(self, argument: Any) -> None:
    self._stack.append(_MARK)

  def _items(self) -> list[Any]:
    """What was pushed since the last mark."""
    at = len(self._stack) - 1
    while self._stack[at] is not _MARK:
      at -= 1
      if at < 0:
        raise IndexError('no mark')
    items = self._stack[at + 1 :]
    del self._stack[at:]
    return items

  def _memoize(self, argument: Any) -> None:
    self._memo[len(self._memo) if argument is None else argument] = self._stack[-1]

  def _recall(self, argument: Any) -> None:
    self._stack.append(self._memo[argument])

  def _global(self, argument: Any) -> None:
    if argument is None:
      name, module = self._stack.pop(), self._stack.pop()
      argument = f'{module} {name}'
    if argument not in NAMES:
      raise self._refused(f'the name {argument.replace(" ", ".")!r}')
    self._stack.append(_Name(argument))

  def _tuple(self, argument: Any) -> None:
    self._stack.append(tuple(self._items()))

  def _small_tuple(self, count: int) -> None:
    items = tuple(self._stack[-count:])
    if len(items) < count:
      raise IndexError('stack')
    del self._stack[-count:]
    self._stack.append(items)

  def _set_item(self, argument: Any) -> None:
    value, key = self._stack.pop(), self._stack.pop()
    self._put(self._stack[-1], key, value)

  def _set_items(self, argument: Any) -> None:
    items = self._items()
    for key, value in zip(items[::2], items[1::2], strict=True):
      self._put(self._stack[-1], key, value)

  def _put(self, into: Any, key: Any, value: Any) -> None:
    # Keys are texts and numbers only: the hash of a nested tuple can take for ever.
    if not isinstance(into, dict) or not isinstance(key, str | int):
      raise self._refused(f'a {type(key).__name__} as a key')
    into[key] = value

  def _append(self, argument: Any) -> None:
    value = self._stack.pop()
    _as_list(self._stack[-1]).append(value)

  def _appends(self, argument: Any) -> None:
    items = self._items()
    _as_list(self._stack[-1]).extend(items)

  def _call(self, argument: Any) -> None:
    arguments, name = self._stack.pop(), self._stack.pop()
    if not isinstance(name, _Name) or name.text not in _CALLS:
      raise self._refused('a call of something that is not a function')
    if name.text == 'collections OrderedDict':
      if arguments:
        raise self._refused('a dict with arguments')
      self._stack.append({})
    elif name.text == 'torch._utils _rebuild_parameter':
      self._stack.append(arguments[0])
    else:
      self._stack.append(self._tensor(*arguments[:4]))

  def _build(self, argument: Any) -> None:
    # The attributes of an OrderedDict: torch notes versions of modules there.
    self._stack.pop()
    if not isinstance(self._stack[-1], dict):
      raise self._refused('attributes of something that is not a dict')

  def _storage(self, argument: Any) -> None:
    reference = self._stack.pop()
    if not isinstance(reference, tuple) or len(reference) != 5:
      raise self._refused(f'the reference {reference!r}')
    kind, name, key, _, count = reference
    if kind != 'storage' or not isinstance(name, _Name) or not str(key).isdecimal():
      raise self._refused(f'the reference {(kind, name, key)!r}')
    dtype = STORAGES[name.text.removeprefix('torch ')]
    if self._archive.size(f'data/{key}') < _natural(count) * dtype.itemsize:
      raise ValueError(
        f'{self._archive.file} is cut off: data/{key} does not hold {count} numbers.'
      )
    self._stack.append(_Storage(key, dtype, count))

  def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any) -> Stored:
    """A tensor that lies within its storage, and is not larger than it."""
    if not isinstance(storage, _Storage):
      raise self._refused('a tensor without a storage')
    shape = tuple(map(_natural, shape))
    strides = tuple(map(_natural, strides))
    if len(strides) != len(shape):
      raise TypeError(f'strides {strides} of shape {shape}')
    count = math.prod(shape)
    last = sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if count and (count > storage.count or _natural(offset) + last >= storage.count):
      raise ValueError(
        f'{self._archive.file} is damaged: a tensor of shape {shape} does not fit in '
        f'its storage of {storage.count} numbers.'
      )

    def read() -> np.ndarray:
      if not count:
        return np.zeros(shape, storage.dtype)
      raw = self._archive.bytes(f'data/{storage.key}')
      flat = np.frombuffer(raw, storage.dtype, storage.count)[offset:]
      steps = [step * storage.dtype.itemsize for step in strides]
      return np.lib.stride_tricks.as_strided(flat, shape, steps, writeable=False)

    return Stored(shape, read)


_CONSTANTS: dict[str, Callable[[], Any]] = {
  'NONE': lambda: None,
  'NEWTRUE': lambda: True,
  'NEWFALSE': lambda: False,
  'EMPTY_DICT': dict,
  'EMPTY_LIST': list,
  'EMPTY_TUPLE': tuple,
}
_LITERALS = (
  'BININT',
  'BININT1',
  'BININT2',
  'LONG1',
  'BINFLOAT',
  'BINUNICODE',
  'SHORT_BINUNICODE',
)
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
  'PROTO': lambda machine, argument: None,
  'FRAME': lambda machine, argument: None,
  'MARK': _Machine._mark,
  'BINPUT': _Machine._memoize,
  'LONG_BINPUT': _Machine._memoize,
  'MEMOIZE': _Machine._memoize,
  'BINGET': _Machine._recall,
  'LONG_BINGET': _Machine._recall,
  'GLOBAL': _Machine._global,
  'STACK_GLOBAL': _Machine._global,
  'TUPLE': _Machine._tuple,
  'TUPLE1': lambda machine, argument: machine._small_tuple(1),
  'TUPLE2': lambda machine, argument: machine._small_tuple(2),
  'TUPLE3': lambda machine, argument: machine._small_tuple(3),
  'SETITEM': _Machine._set_item,
  'SETITEMS': _Machine._set_items,
  'APPEND': _Machine._append,
  'APPENDS': _Machine._appends,
  'REDUCE': _Machine._call,
  'BUILD': _Machine._build,
  'BINPERSID': _Machine._storage,
}


def _instructions(program: bytes, file: pathlib.Path) -> Iterator[tuple[str, Any]]:
  """The program's instructions; raises ValueError where one is cut off."""
  try:
    for opcode, argument, _ in pickletools.genops(io.BytesIO(program)):
      yield opcode.name, argument
  except ValueError as error:
    raise ValueError(f'{file} is damaged or cut off: {error}.') from error


def _natural(number: Any) -> int:
  if type(number) is not int or number < 0:
    raise TypeError(f'{number!r} is not a number of things')
  return number


def _as_list(value: Any) -> list[Any]:
  if not isinstance(value, list):
    raise TypeError(f'a {type(value).__name__} is not a list')
  return value


def _plain(value: Any, file: pathlib.Path) -> Any:
  """The value, of which every part is plain data, and no part is part of itself.

  Parts that are referred to twice are visited twice; so their number is counted, lest
  a short program unfold into an endless structure.
  """
  seen = 0

  def visit(part: Any, depth: int) -> None:
    nonlocal seen
    seen += 1
    if depth > MAX_DEPTH or seen > 10**6:
      raise ValueError(f'{file}: its program nests too deep for one of a state dict.')
    if isinstance(part, Stored) or part is None:
      return
    if isinstance(part, dict):
      part = list(part.values())
    if isinstance(part, list | tuple) and not isinstance(part, _Name | _Storage):
      for inner in part:
        visit(inner, depth + 1)
    elif not isinstance(part, str | int | float | bool):
      raise ValueError(f'{file}: its program leaves a {type(part).__name__}, no data.')

  visit(value, 0)
  return value
