"""What ends the work of this room before it is done."""


class Stopped(Exception):
  """The work was told to stop, and everything that is complete is on disk.

  The same call goes on from there.
  """
