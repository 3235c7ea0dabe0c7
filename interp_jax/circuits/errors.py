"""What can end a sweep besides bad input."""


class Stopped(Exception):
  """A sweep was told to stop. With a folder it goes on from there when called again."""
