"""Who may ask the page for what: pure decisions over an address and the headers of a request.

On a loopback address everyone on this machine may look, and the Host header must name the
loopback: a foreign site whose name is made to point here (DNS rebinding) is refused.  On any
other address a token is asked for, at first in the URL and then as a cookie.  What changes
something must besides come from the page itself, or bring the token.
"""

import hmac
import ipaddress
import re
from typing import NamedTuple, Optional

from edge_mpq.errors import UsageError

LOOPBACK, PORT = "127.0.0.1", 8080


class Address(NamedTuple):
    """host: as given.  port: 0 for any that is free.  given: whether the port was asked for."""

    host: str
    port: int
    given: bool


class Asked(NamedTuple):
    """What a request says of itself: its method, the token in its URL or '', and headers, None where not sent."""

    method: str
    token: str = ""
    host: Optional[str] = None
    origin: Optional[str] = None
    site: Optional[str] = None
    cookie: Optional[str] = None


def parse(text):
    """The Address in ``HOST:PORT``, ``HOST``, ``PORT`` or ''; UsageError where it is none."""
    found = re.match(r"(\[[0-9A-Fa-f:.]+\]|(?:\w[\w.-]*)?)(?::(\d+))?\Z", text)
    host, port = ("", text) if text.isdigit() else found.groups() if found else ("", "")
    if not found or int(port or 0) > 65535:
        raise UsageError("--web is {!r}".format(text), "write HOST:PORT, such as 127.0.0.1:8080 or 0.0.0.0:8080")
    return Address((host or LOOPBACK).strip("[]"), int(port or PORT), bool(port))


def is_loopback(host):
    """Whether only this machine reaches ``host``."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def cookie_name(port):
    """What the cookie with the token is called: cookies know hosts, but no ports."""
    return "edge_mpq_{}".format(port)


def refusal(asked, token, port):
    """Why the request ``asked`` is refused, or ''.  token: of the server, '' where it is bound to the loopback."""
    shown = _same(asked.token, token)
    if token and not (shown or _same(_cookie(asked.cookie, cookie_name(port)), token)):
        return "this page wants its token: open the whole address that edge-mpq run printed"
    if not token and not is_loopback(_name(asked.host or "")):
        return "bound to the loopback, the page answers to localhost and 127.0.0.1 only; --web HOST:PORT opens it wider"
    if asked.method == "GET" or shown:
        return ""
    if asked.origin is not None:
        own = asked.origin in ("http://" + (asked.host or ""), "https://" + (asked.host or ""))
    else:
        own = asked.site == "same-origin"
    return "" if own else "this change does not come from the page: send its Origin header, or the token"


def _name(host):
    """The Host header without its port."""
    return re.sub(r":\d*\Z", "", host).strip("[]")


def _same(one, token):
    # Compared in the same time wherever they differ, so that nothing can be learned from it.
    return bool(token) and hmac.compare_digest(one.encode("utf-8", "replace"), token.encode("utf-8"))


def _cookie(header, name):
    for part in (header or "").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return ""
