"""What counts as a number here: Python's and NumPy's alike."""

from collections.abc import Sequence

import numpy as np

Number = int | float | np.number
Numbers = Sequence[Number] | np.ndarray
