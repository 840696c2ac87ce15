"""What the page's server answers: two tables of addresses, and what each gives.

Nothing a client sends names a file, and every request has a limit in size, and in time until it is there.
"""

import http.server
import io
import json
import os
import re
import shutil
import socket
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

from apps.stream.page import access

IDLE_S, BODY_BYTES = 20.0, 1024
JSON, JPEG = "application/json; charset=utf-8", "image/jpeg"
VIDEO = {".mp4": "video/mp4", ".avi": "video/x-msvideo"}
HEADERS = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection to a Server of apps/stream/page/web.py."""

    protocol_version, timeout = "HTTP/1.1", IDLE_S
    server: Any  # that Server; its file imports this one
    disable_nagle_algorithm = True

    def setup(self):
        http.server.BaseHTTPRequestHandler.setup(self)
        self._arriving = _Arriving(self.connection, self.timeout)
        self.rfile = io.BufferedReader(self._arriving)

    def handle_one_request(self):
        self._arriving.until = time.monotonic() + self.timeout
        http.server.BaseHTTPRequestHandler.handle_one_request(self)

    def do_GET(self):
        self._answer(GET)

    def do_POST(self):
        self._answer(POST)

    def version_string(self):
        return "edge-mpq"

    def log_message(self, *_):
        """Say nothing: the terminal belongs to the run."""

    def _answer(self, table):
        try:
            url = urlsplit(self.path)
            self.query = {name: values[0] for name, values in parse_qs(url.query).items()}
        except ValueError:
            return self._refuse(400, "this is no address")
        named = (self.headers.get(name) for name in ("Host", "Origin", "Sec-Fetch-Site", "Cookie"))
        asked = access.Asked(self.command, self.query.get("token", ""), *named)
        why = access.refusal(asked, self.server.token, self.server.server_port)
        if why:
            return self._refuse(403, why)
        if self.server.ended:
            return self._refuse(503, "the run has ended")
        if url.path not in table:
            return self._refuse(404, "there is nothing at this address")
        return table[url.path](self)

    def _send(self, status, body=b"", kind=JSON, **headers):
        self._head(status, len(body), kind, headers)
        self.wfile.write(body)

    def _head(self, status, size, kind, headers):
        self.send_response(status)
        if size:
            self.send_header("Content-Type", kind)
        if status != 204:
            self.send_header("Content-Length", str(size))
        for name, value in HEADERS + tuple((name.replace("_", "-"), value) for name, value in headers.items()):
            self.send_header(name, value)
        self.end_headers()

    def _refuse(self, status, why):
        # What may follow in the connection was not read, and is no next request.
        self.close_connection = True
        if "text/html" in self.headers.get("Accept", ""):  # a person reads it in the browser's window
            return self._send(status, why.encode(), "text/plain; charset=utf-8", Connection="close")
        return self._send(status, json.dumps({"error": why}).encode(), Connection="close")

    def _body(self):
        """The JSON object sent along, or None after it was refused."""
        length = _number(self.headers.get("Content-Length", ""))
        if length is None:
            return self._refuse(411, "send a JSON object with its Content-Length")
        if length > BODY_BYTES:
            return self._refuse(413, "send at most {} bytes".format(BODY_BYTES))
        try:
            body = json.loads(self.rfile.read(length).decode("utf-8"))
        except (ValueError, RecursionError):
            body = None
        return body if isinstance(body, dict) else self._refuse(400, "send a JSON object")

    def _page(self):
        headers = {"Content_Security_Policy": self.server.policy}
        if self.server.token:
            name = access.cookie_name(self.server.server_port)
            headers["Set_Cookie"] = "{}={}; Path=/; HttpOnly; SameSite=Lax".format(name, self.server.token)
        self._send(200, self.server.page, "text/html; charset=utf-8", **headers)

    def _figures(self):
        body = dict(self.server.live.figures(), recording_s=self.server.clips.seconds)
        self._send(200, json.dumps(body).encode())

    def _frame(self):
        seen = self.server.live.picture(_number(self.query.get("after", "")) or 0)
        if seen is None:
            return self._send(204)
        told = {"X_Frame": str(seen.number), "X_Answer": json.dumps(seen.answer)}
        return self._send(200, self.server.live.jpeg(seen), JPEG, **told)

    def _snapshot(self):
        jpeg = self.server.live.snapshot()
        if jpeg is None:
            return self._refuse(503, "there is no picture yet")
        return self._send(200, jpeg, JPEG, Content_Disposition=_attached("picture", ".jpg"))

    def _last(self):
        self._video(self.server.clips.last(), "last seconds")

    def _recorded(self):
        self._video(self.server.clips.recorded(), "recording")

    def _video(self, stream, what):
        if stream is None:
            return self._refuse(404, "there is no {} yet, or no room for it".format(what))
        with stream:
            extension = os.path.splitext(stream.name)[1]
            disposition = {"Content_Disposition": _attached(what.replace(" ", "-"), extension)}
            self._head(200, os.fstat(stream.fileno()).st_size, VIDEO[extension], disposition)
            return shutil.copyfileobj(stream, self.wfile)

    def _engine(self):
        body = self._body()
        if body is not None:
            role = body.get("role")
            known = isinstance(role, str) and self.server.live.switch.ask(role)
            return self._figures() if known else self._refuse(400, "there is no such engine")
        return None

    def _threshold(self):
        body = self._body()
        if body is not None:
            watched, threshold = body.get("watched"), body.get("threshold")
            typed = type(watched) is int and type(threshold) in (int, float)
            known = typed and self.server.live.watch(watched, threshold)
            return self._figures() if known else self._refuse(400, "there is no such class or threshold")
        return None

    def _recording(self):
        body = self._body()
        if body is not None:
            if type(body.get("on")) is not bool:
                return self._refuse(400, "'on' is true or false")
            (self.server.clips.start if body["on"] else self.server.clips.stop)()
            return self._figures()
        return None


GET = {
    "/": Handler._page,
    "/figures.json": Handler._figures,
    "/frame.jpg": Handler._frame,
    "/snapshot": Handler._snapshot,
    "/last": Handler._last,
    "/recorded": Handler._recorded,
}
POST = {"/engine": Handler._engine, "/threshold": Handler._threshold, "/recording": Handler._recording}


class _Arriving(io.RawIOBase):
    """What comes over ``connection`` until ``until``, of time.monotonic, however slowly: then socket.timeout.

    limit_s: of each sending, which is left as it is.
    """

    def __init__(self, connection, limit_s):
        io.RawIOBase.__init__(self)
        self._connection, self._limit_s, self.until = connection, limit_s, 0.0

    def readable(self):
        return True

    def readinto(self, buffer):
        left = self.until - time.monotonic()
        if left <= 0:
            raise socket.timeout("the request did not come in time")
        self._connection.settimeout(left)
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(self._limit_s)


def _number(text):
    """The whole number that ``text`` spells in at most fifteen digits, or None."""
    return int(text) if re.match(r"[0-9]{1,15}\Z", text) else None


def _attached(what, extension):
    return 'attachment; filename="{}-{}{}"'.format(what, time.strftime("%Y%m%d-%H%M%S"), extension)
