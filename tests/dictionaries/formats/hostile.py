"""Pickles that state dicts never are, and what they would do if they were run."""

import os
import pathlib
import pickle
import struct
import zipfile


class Calls:
  """Pickled, it calls something."""

  def __init__(self, function, *arguments):
    self.call = function, arguments

  def __reduce__(self):
    return self.call


def archive(file: pathlib.Path, program: bytes, **members: bytes) -> pathlib.Path:
  """A file as torch writes it, with any program."""
  with zipfile.ZipFile(file, 'w') as opened:
    opened.writestr('archive/data.pkl', program)
    for name, content in members.items():
      opened.writestr(f'archive/data/{name.removeprefix("_")}', content)
  return file


def text(value: str) -> bytes:
  return b'X' + struct.pack('<I', len(value)) + value.encode()


def integer(value: int) -> bytes:
  raw = value.to_bytes(9, 'little', signed=True)
  return b'\x8a' + bytes([len(raw)]) + raw


def tensor(
  shape=(2,),
  strides=(1,),
  offset=0,
  count=2,
  key='0',
  storage=b'ctorch\nFloatStorage\n',
) -> bytes:
  """The instructions of one tensor."""
  numbers = lambda values: b'(' + b''.join(map(integer, values)) + b't'
  reference = b'(' + text('storage') + storage + text(key) + text('cpu')
  reference += integer(count) + b'tQ'
  start = b'ctorch._utils\n_rebuild_tensor_v2\n(' + reference + integer(offset)
  end = b'\x89ccollections\nOrderedDict\n)RtR'
  return start + numbers(shape) + numbers(strides) + end


def program(instructions: bytes) -> bytes:
  """A program that puts what the instructions push under the name 'a'."""
  return b'\x80\x02}' + text('a') + instructions + b's.'


def calling(marker: pathlib.Path) -> dict[str, bytes]:
  """Programs that would make a file, were they run."""
  command = f'touch {marker}'
  source = f'open({str(marker)!r}, "w").close()'
  return {
    'posix.system': pickle.dumps({'a': Calls(os.system, command)}, 2),
    'builtins.eval': pickle.dumps({'a': Calls(eval, source)}, 4),
    'builtins.exec': pickle.dumps(Calls(exec, source), 5),
    'builtins.getattr': pickle.dumps(Calls(getattr, 1, 'real'), 4),
    'os.system': program(b'cos\nsystem\n' + text(command) + b'\x85R'),
    'torch.hub.load': program(b'ctorch.hub\nload\n' + text('x') + b'\x85R'),
    'torch._utils._rebuild_tensor': program(b'ctorch._utils\n_rebuild_tensor\n)R'),
  }
