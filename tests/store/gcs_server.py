"""As much of Google Cloud Storage's JSON interface as TensorStore asks for."""

import http.server
import json
import re
import threading
from urllib.parse import parse_qsl, unquote, urlparse


class Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = 'HTTP/1.1'
  objects: dict[str, bytes]

  def log_message(self, *_):
    pass

  def do_GET(self):
    path, query = self._asked()
    if '/o/' not in path:
      first, last = query.get('startOffset', ''), query.get('endOffset', '\x7f')
      names = [name for name in sorted(self.objects) if first <= name < last]
      items = [{'name': name, 'generation': '1'} for name in names]
      self._answer(200, json.dumps({'items': items}).encode())
      return
    data = self.objects.get(unquote(path.split('/o/')[1]))
    if data is None:
      self._answer(404, b'{}')
      return
    part = re.fullmatch(r'bytes=(\d*)-(\d*)', self.headers.get('Range', ''))
    if part is None:
      self._answer(200, data)
      return
    begin, end = part.groups()
    start = int(begin) if begin else len(data) - int(end)
    stop = int(end) + 1 if begin and end else len(data)
    place = f'bytes {start}-{min(stop, len(data)) - 1}/{len(data)}'
    self._answer(206, data[start:stop], {'Content-Range': place})

  def do_POST(self):
    _, query = self._asked()
    self.objects[query['name']] = self.rfile.read(int(self.headers['Content-Length']))
    self._answer(200, json.dumps({'name': query['name'], 'generation': '1'}).encode())

  def do_DELETE(self):
    path, _ = self._asked()
    found = self.objects.pop(unquote(path.split('/o/')[1]), None)
    self._answer(404 if found is None else 204, b'')

  def _asked(self) -> tuple[str, dict[str, str]]:
    url = urlparse(self.path)
    return url.path, dict(parse_qsl(url.query))

  def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None):
    self.send_response(status)
    self.send_header('Content-Length', str(len(body)))
    self.send_header('x-goog-generation', '1')
    for name, value in (headers or {}).items():
      self.send_header(name, value)
    self.end_headers()
    self.wfile.write(body)


def start() -> http.server.ThreadingHTTPServer:
  """A server in a thread, with no objects."""
  handler = type('Handler', (Handler,), {'objects': {}})
  server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
  threading.Thread(target=server.serve_forever, daemon=True).start()
  return server
