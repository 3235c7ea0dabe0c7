"""One self-contained page out of sections: nothing is loaded from elsewhere.

The page carries its style, its pictures and its text; it runs no script, and its own
content policy forbids the browser to fetch anything. It can be mailed, kept beside the
data, and read in ten years.
"""

from collections.abc import Sequence
import dataclasses
import functools
import os
import pathlib
import re

import jinja2
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from interp_jax.report import svg


@dataclasses.dataclass(frozen=True)
class Tile:
  """A headline number: its value, its name, and what it means in a few words."""

  value: str
  name: str
  meaning: str = ''


@dataclasses.dataclass(frozen=True)
class Section:
  """A part of a page.

  Attributes:
    title: the heading; the section's address is made from it.
    intro: two or three plain sentences each: what was done, why, how to read it.
    blocks: figures, tables and text, as HTML.
  """

  title: str
  intro: Sequence[str | Markup]
  blocks: Sequence[Markup] = ()

  @property
  def anchor(self) -> str:
    return re.sub(r'[^a-z0-9]+', '-', self.title.lower()).strip('-')


@dataclasses.dataclass(frozen=True)
class Page:
  """A page: a title, the gist, headline numbers, and sections in order."""

  title: str
  lead: Sequence[str | Markup]
  sections: Sequence[Section]
  tiles: Sequence[Tile] = ()
  footer: str = ''


def figure(picture: Figure, *, alt: str, caption: str | Markup) -> Markup:
  """A picture with its alt text and its caption.

  Args:
    picture: drawn by `figures`.
    alt: what it shows, for a reader who does not see it.
    caption: how to read it, for one who does.

  Returns:
    The element, the picture inlined as SVG.

  Raises:
    ValueError: when `alt` is blank.
  """
  return Markup(
    '<figure><div class="scroll">{}</div><figcaption>{}</figcaption></figure>'
  ).format(svg.to_svg(picture, alt), caption)


def paragraph(text: str | Markup) -> Markup:
  """A paragraph; text is escaped, `Markup` is taken as it is."""
  return Markup('<p>{}</p>').format(text)


def heading(text: str) -> Markup:
  """A heading within a section."""
  return Markup('<h3>{}</h3>').format(text)


def definitions(items: Sequence[tuple[str, str | Markup]]) -> Markup:
  """A list of words and what they mean."""
  body = Markup('').join(
    Markup('<dt>{}</dt><dd>{}</dd>').format(word, meaning) for word, meaning in items
  )
  return Markup('<dl>{}</dl>').format(body)


def side_by_side(blocks: Sequence[Markup]) -> Markup:
  """Blocks next to each other where the page is wide enough."""
  body = Markup('').join(Markup('<div>{}</div>').format(block) for block in blocks)
  return Markup('<div class="columns">{}</div>').format(body)


def folded(summary: str, body: Markup) -> Markup:
  """A block that opens when its summary is clicked."""
  return Markup('<details><summary>{}</summary>{}</details>').format(summary, body)


def render(page: Page) -> str:
  """Writes a page as one HTML document.

  Args:
    page: what to write.

  Returns:
    The document.

  Raises:
    ValueError: when two sections would have the same address.
  """
  anchors = [section.anchor for section in page.sections]
  twice = sorted({a for a in anchors if anchors.count(a) > 1})
  if twice:
    raise ValueError(f'sections need different titles; these meet: {twice}')
  return _templates().get_template('page.html.j2').render(page=page)


def write(page: Page, path: str | os.PathLike) -> pathlib.Path:
  """Renders a page into a file, whole or not at all.

  Args:
    page: what to write.
    path: the file; its directory must exist.

  Returns:
    The path.
  """
  path = pathlib.Path(path)
  part = path.with_name(path.name + '.part')
  part.write_text(render(page), encoding='utf-8')
  part.replace(path)
  return path


@functools.cache
def _templates() -> jinja2.Environment:
  return jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent / 'templates'),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=lambda value: value if value is not None else escape(''),
  )
