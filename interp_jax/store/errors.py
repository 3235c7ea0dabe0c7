"""What can be wrong with a dataset, one class per thing that a caller may handle."""


class StoreError(RuntimeError):
  """Something is wrong with a dataset of activations, or could not be written."""


class NotAStoreError(StoreError):
  """The folder holds no dataset."""


class UnfinishedError(StoreError):
  """The dataset was begun and never finished."""


class FinishedError(StoreError):
  """The dataset that was to be written is there already, finished."""


class FormatVersionError(StoreError):
  """The dataset was written in another version of the format."""


class DamagedError(StoreError):
  """Stored bytes are not those that were written."""
