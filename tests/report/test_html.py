"""The page as a whole: complete in itself, accessible, impossible to break out of."""

from html.parser import HTMLParser
import itertools

from markupsafe import Markup
import numpy as np
import pytest

from interp_jax import report
from interp_jax.report.glossary import WORDS

VOID = {'meta', 'img', 'br', 'wbr', 'link', 'input', 'hr'}
EVIL = '</title></style><script>alert(1)</script>'


class Outline(HTMLParser):
  """Elements with their attributes, and whether every tag is closed in order."""

  def __init__(self):
    super().__init__()
    self.elements, self.open, self.crossed = [], [], []

  def handle_starttag(self, tag, attrs):
    self.elements.append((tag, dict(attrs)))
    if tag not in VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.elements.append((tag, dict(attrs)))

  def handle_endtag(self, tag):
    if not self.open or self.open.pop() != tag:
      self.crossed.append(tag)


def outline(text):
  parser = Outline()
  parser.feed(text)
  return parser


def a_tour(evil=EVIL):
  rng = np.random.default_rng(0)
  tokens = ['def', ' f', '(', evil, ')', ':', '\n    ', 'return', ' x']
  snippets = [report.window(tokens, rng.random(9), 3, source=evil)]
  card = report.FeatureCard(
    index=3,
    density=0.01,
    maximum=1.0,
    promoted=[evil, ' x'],
    promoted_logits=np.array([0.5, 0.4]),
    suppressed=['\n', evil],
    suppressed_logits=np.array([-0.5, -0.4]),
    snippets=snippets,
    note=evil,
  )
  view = report.PatchingView(
    name=evil,
    question=evil,
    clean=tokens,
    corrupt=[*tokens[:-1], ' y'],
    clean_answer=evil,
    corrupt_answer=' y',
    pairs=4,
    clean_difference=2.0,
    corrupt_difference=-2.0,
    positions=rng.normal(size=(2, 9)),
    heads=rng.normal(size=(2, 3)),
  )
  return report.Tour(
    model={'name': evil, 'layers': 2},
    data={'site': evil, 'tokens': 1000},
    training={'features': 64, 'k': 4},
    history={'fvu': ([0, 10], [1.0, 0.3]), 'dead_fraction': ([0, 10], [0.0, 0.1])},
    evaluation={
      'fvu': 0.3,
      'l0': 4.0,
      'dead_fraction': 0.02,
      'ce_recovered': 0.9,
      'ce_clean': 2.0,
      'ce_spliced': 2.3,
      'ce_zero': 5.0,
      'ce_mean': 4.0,
      'ce_recovered_mean': 0.85,
      'kl_recovered': 0.9,
      'dense_fraction': 0.01,
      'l1': 12.0,
      'cosine': 0.95,
      'shrinkage': 0.97,
      'relative_reconstruction_bias': 0.99,
      'tokens': 500,
    },
    densities=np.append(rng.random(63), 0.0),
    features=[card],
    ranking=evil,
    patching=[view],
    seconds={'harvest': 1.0, 'train': 2.0},
    setup={'command': evil},
  )


@pytest.fixture(scope='module')
def page():
  return report.render(report.tour_page(a_tour()))


def test_text_from_outside_cannot_break_out(page):
  tags = {tag for tag, _ in outline(page).elements}
  assert 'script' not in tags
  assert EVIL not in page


def test_every_element_is_closed_in_order(page):
  parsed = outline(page)
  assert not parsed.crossed
  assert not parsed.open


def test_nothing_is_loaded_from_elsewhere(page):
  for tag, attributes in outline(page).elements:
    assert tag not in ('script', 'link', 'iframe', 'object', 'embed')
    for name in ('src', 'href', 'xlink:href', 'srcset', 'action', 'poster'):
      target = attributes.get(name) or '#'
      assert target.startswith(('#', 'data:image/png;base64,')), (tag, target)
  style = page[page.index('<style>') : page.index('</style>')]
  assert 'url(' not in style
  assert '@import' not in style
  assert "default-src 'none'" in page


def test_every_picture_has_an_alt_text(page):
  parsed = outline(page)
  pictures = [(t, a) for t, a in parsed.elements if t in ('svg', 'img')]
  assert len(pictures) == 5
  for tag, attributes in pictures:
    said = attributes.get('alt') if tag == 'img' else attributes.get('aria-label')
    assert said
    assert said.strip()
  assert sum(tag == 'figure' for tag, _ in parsed.elements) == len(pictures)
  assert sum(tag == 'figcaption' for tag, _ in parsed.elements) == len(pictures)


def test_the_page_has_one_title_headings_in_order_and_a_language(page):
  parsed = outline(page)
  tags = [tag for tag, _ in parsed.elements]
  assert tags.count('h1') == 1
  assert tags.count('main') == 1
  levels = [int(t[1]) for t in tags if t in ('h1', 'h2', 'h3')]
  assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
  assert ('html', {'lang': 'en'}) in parsed.elements


def test_every_id_is_unique_and_every_link_leads_somewhere(page):
  parsed = outline(page)
  ids = [a['id'] for _, a in parsed.elements if 'id' in a]
  assert len(ids) == len(set(ids))
  links = [a['href'] for t, a in parsed.elements if t == 'a']
  assert links
  assert {link[1:] for link in links} <= set(ids)


def test_the_measures_are_defined_on_the_page(page):
  for word in ('FVU', 'L0', 'dead feature', 'CE recovered'):
    assert f'<dt>{word}</dt>' in page
    assert word in WORDS


def test_every_section_opens_with_words(page):
  for section in report.tour_page(a_tour()).sections:
    assert section.intro
    assert all(len(str(text)) > 20 for text in section.intro)


def test_markup_is_taken_as_it_is_and_text_is_escaped():
  section = report.Section('One', ['a < b', Markup('<em>c</em>')])
  text = report.render(report.Page('t', [], [section]))
  assert 'a &lt; b' in text
  assert '<em>c</em>' in text


def test_sections_that_would_share_an_address_are_refused():
  sections = [report.Section('A b', ['x']), report.Section('a, B', ['x'])]
  with pytest.raises(ValueError, match='different titles'):
    report.render(report.Page('t', [], sections))


def test_a_page_is_written_whole(tmp_path):
  path = report.write(report.tour_page(a_tour('x')), tmp_path / 'report.html')
  assert path.read_text(encoding='utf-8').rstrip().endswith('</html>')
  assert [p.name for p in tmp_path.iterdir()] == ['report.html']


def test_a_word_that_is_not_defined_is_refused():
  with pytest.raises(ValueError, match='not in the glossary'):
    report.glossary(['FVU', 'vibes'])
