"""What a finding is, as data: a claim, quantities with bounds, and a verdict.

A finding holds if every quantity is within its bounds for every seed, the negative
controls included: they are bounded from the other side. The verdict is computed from
the numbers and is written down nowhere else.
"""

from collections.abc import Callable, Sequence
import dataclasses
import math
from typing import Any

from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Quantity:
  """Something that was measured, once for each seed, and what it must be.

  Attributes:
    name: Unique in the finding, in snake case.
    meaning: One line for a newcomer, with the unit.
    values: Numbers, one for each seed or instance, or a single one; kept as a tuple.
    at_least: What every value must reach; None for no bound.
    at_most: What no value may exceed; None for no bound.
    control: Whether it is a negative control: within its bounds, it fails as it should.
    paper: The published number, as text; '' where there is none.
    headline: Whether it is one of the few numbers that tell the story.
  """

  name: str
  meaning: str
  values: Any
  at_least: float | None = None
  at_most: float | None = None
  control: bool = False
  paper: str = ''
  headline: bool = False

  def __post_init__(self):
    """Refuses a quantity that nothing was measured of."""
    values = tuple(float(value) for value in self.values)
    object.__setattr__(self, 'values', values)
    if not values:
      raise ValueError(f'Quantity {self.name!r} has no values; give at least one.')

  @property
  def bounded(self) -> bool:
    """Whether the verdict depends on it."""
    return self.at_least is not None or self.at_most is not None

  @property
  def holds(self) -> bool:
    """Whether every value is within the bounds; NaN is within none."""
    low = -math.inf if self.at_least is None else self.at_least
    high = math.inf if self.at_most is None else self.at_most
    return not self.bounded or all(low <= value <= high for value in self.values)

  @property
  def mean(self) -> float:
    """The mean over seeds."""
    return math.fsum(self.values) / len(self.values)

  @property
  def worst(self) -> float:
    """The value that is nearest to breaking a bound, or furthest beyond it."""

    def room(value: float) -> float:
      if math.isnan(value):
        return -math.inf
      low = -math.inf if self.at_least is None else self.at_least
      high = math.inf if self.at_most is None else self.at_most
      return min(value - low, high - value)

    return min(self.values, key=room)


@dataclasses.dataclass(frozen=True)
class Picture:
  """A figure for the page, also kept as a file of its own.

  Attributes:
    name: Of the file, without an ending.
    figure: What to show.
    alt: What it shows, for a reader who does not see it.
    caption: How to read it, for one who does.
  """

  name: str
  figure: Figure
  alt: str
  caption: str


@dataclasses.dataclass(frozen=True)
class Part:
  """A section of the page.

  Attributes:
    title: Its heading.
    text: Paragraphs of plain sentences for a newcomer.
    pictures: In order.
    quantities: Names of those whose table belongs here.
  """

  title: str
  text: tuple[str, ...] = ()
  pictures: tuple[Picture, ...] = ()
  quantities: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What a reproduction found.

  Attributes:
    quantities: All that was measured; names are unique.
    parts: The page, in order.
    seeds: What each seed was for, and the seeds.
  """

  quantities: tuple[Quantity, ...]
  parts: tuple[Part, ...] = ()
  seeds: dict[str, list[int]] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    """Refuses what would make the verdict or the page ambiguous."""
    names = [quantity.name for quantity in self.quantities]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
      raise ValueError(f'Quantities need different names; there are two of {twice}.')
    shown = {name for part in self.parts for name in part.quantities}
    if missing := sorted(shown - set(names)):
      raise ValueError(f'Parts show quantities that were not measured: {missing}.')
    if not any(quantity.bounded for quantity in self.quantities):
      raise ValueError('No quantity has a bound, so nothing was claimed.')

  @property
  def holds(self) -> bool:
    """Whether every quantity does."""
    return all(quantity.holds for quantity in self.quantities)

  def select(self, names: Sequence[str]) -> list[Quantity]:
    """The quantities of these names, in their order."""
    by_name = {quantity.name: quantity for quantity in self.quantities}
    return [by_name[name] for name in names]


@dataclasses.dataclass(frozen=True)
class Finding:
  """A result of the field, and how to get it again.

  Attributes:
    name: As the launch script is given it.
    title: A heading.
    claim: One sentence: what is found.
    paper: The citation.
    settings: `(quick, **options) -> settings`, a frozen dataclass of plain values.
    reproduce: `(run, settings) -> outcome`.
    options: Names of the options that `settings` takes besides `quick`.
  """

  name: str
  title: str
  claim: str
  paper: str
  settings: Callable[..., Any]
  reproduce: Callable[[Any, Any], Outcome]
  options: tuple[str, ...] = ()
