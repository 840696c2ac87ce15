"""The page of a running stream, served by the standard library alone.

Each request has a thread of its own, of at most THREADS: the camera loop waits for none.
"""

import contextlib
import errno
import hashlib
import http.server
import pkgutil
import secrets
import socket
import socketserver
import sys
import threading
from base64 import b64encode
from typing import Any

from apps.stream.page import access
from apps.stream.page.clips import Clips, Kept
from apps.stream.page.live import Live
from apps.stream.page.web_handler import Handler
from edge_mpq.errors import UsageError

THREADS = 48


def document():
    """(the page with style and script inside, the policy that lets nothing else run or load)."""
    page, style, script = (_data("page." + end) for end in ("html", "css", "js"))
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src 'self' blob: data:; connect-src 'self'; style-src 'unsafe-inline'; "
        "script-src 'sha256-{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ).format(digest)
    return page.replace("/* page.css */", style).replace("/* page.js */", script).encode(), policy


def _data(name):
    # Of a folder, a wheel or the one file that runs on a board alike.
    data = pkgutil.get_data("apps.stream.page", name)
    assert data is not None
    return data.decode("utf-8")


@contextlib.contextmanager
def served(address, bundle, switch, capture, say):
    """The Live of a run whose page is served at ``address`` meanwhile; ``say`` is told where."""
    kept = Kept()
    live = Live(bundle, switch, capture, kept.add)
    with Clips(live, kept) as clips, Server(address, live, clips) as server:
        say("the page: {}".format(server.url))
        yield live


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """The page of ``live`` and ``clips`` at an Address, from entering a ``with`` block to leaving it.

    url: to open, with the token where there is one.  Raises UsageError where nothing can
    be bound to the address.
    """

    daemon_threads = True

    def __init__(self, address, live, clips):
        self.live, self.clips, self.ended = live, clips, False
        self.token = "" if access.is_loopback(address.host) else secrets.token_urlsafe(18)
        self.page, self.policy = document()
        self._free = threading.BoundedSemaphore(THREADS)
        try:
            found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
            where: Any = found[4]
            self.address_family = found[0]
            try:
                http.server.HTTPServer.__init__(self, where, Handler)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or address.given:
                    raise
                self.socket.close()
                http.server.HTTPServer.__init__(self, (where[0], 0) + where[2:], Handler)
        except OSError as error:
            raise _refused(address, error) from error
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), name="page", daemon=True)
        host = _reached(address.host)
        tail = "?token=" + self.token if self.token else ""
        self.url = "http://{}:{}/{}".format("[{}]".format(host) if ":" in host else host, self.server_port, tail)

    def server_bind(self):
        # HTTPServer's own asks a name server who it is, which on a board may take half a minute.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request, client_address):
        if self._free.acquire(False):
            socketserver.ThreadingMixIn.process_request(self, request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request, client_address):
        try:
            socketserver.ThreadingMixIn.process_request_thread(self, request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request, client_address):
        # A page that was closed while it was answered is no error.
        if not isinstance(sys.exc_info()[1], (ConnectionError, socket.timeout)):
            http.server.HTTPServer.handle_error(self, request, client_address)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.ended = True  # for connections that stay open
        self.shutdown()
        self.server_close()


def _reached(host):
    """What to call ``host`` in a URL; of an address that stands for all of this machine's, the one others reach."""
    if host not in ("0.0.0.0", "::"):
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent: it is asked which way it would go
            return probe.getsockname()[0]
        except OSError:
            return socket.gethostname()


def _refused(address, error):
    what = "the page cannot be served at {}:{} ({})".format(address.host, address.port, error.strerror or error)
    mends = {
        errno.EADDRINUSE: "another program has that port: name another, or --web alone for one that is free",
        errno.EACCES: "ports below 1024 belong to root: name a higher one",
        errno.EADDRNOTAVAIL: "that is no address of this machine: --web 0.0.0.0:PORT takes all it has",
    }
    return UsageError(what, mends.get(error.errno, "check host and port"))
