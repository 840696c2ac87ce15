"""Alarms as JSON that is POSTed to an http or https address."""

import base64
import http.client
import json
import urllib.request
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit

from apps.stream.watch.masked import masked
from apps.stream.watch.outbox import Failed, Outbox
from edge_mpq.errors import UsageError

TIMEOUT_S = 5.0
# Too slow and too often are worth another try, and so is whatever is the server's own fault.
AGAIN = (408, 425, 429)


class Webhook(object):
    """The way out to ``url``; user and password in it are sent as basic authorization.

    say: told what is not delivered.  Raises UsageError for what is no such address.
    """

    def __init__(self, url, say):
        parts = check(url)
        self._headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "edge-mpq"}
        if parts.username is not None:
            pair = "{}:{}".format(unquote(parts.username), unquote(parts.password or ""))
            self._headers["Authorization"] = "Basic " + base64.b64encode(pair.encode("utf-8")).decode("ascii")
        self._url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path or "/", parts.query, ""))
        self._opener = urllib.request.build_opener(_NoRedirect())
        self._outbox = Outbox(masked(url), self._post, say)

    def tell(self, event):
        """Send ``event``, a dict of JSON values; never waits."""
        self._outbox.put(event)

    def close(self):
        """Send what is left."""
        self._outbox.close()

    def _post(self, event):
        body = json.dumps(event, allow_nan=False).encode("utf-8")
        request = urllib.request.Request(self._url, body, self._headers)
        try:
            self._opener.open(request, timeout=TIMEOUT_S).close()
        except HTTPError as error:
            error.close()
            raise Failed("HTTP status {}".format(error.code), error.code >= 500 or error.code in AGAIN) from error
        except URLError as error:
            raise Failed(str(error.reason)) from error
        # A time limit, a connection that broke, an answer that is no HTTP.
        except (OSError, http.client.HTTPException) as error:
            raise Failed(str(error) or type(error).__name__) from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would be followed with a GET, without the alarm: it is a failure."""

    def redirect_request(self, *_):
        return None


def check(url):
    """The parts of an http or https ``url``; UsageError, which keeps its secrets, where it is none."""
    try:
        parts = urlsplit(url)
        fits = bool(parts.hostname) and parts.port != 0 and url.isprintable() and " " not in url
        parts.netloc.encode("idna")
        parts.path.encode("ascii")
        parts.query.encode("ascii")
    except ValueError:  # a port or a name that is none
        fits = False
    if not fits:
        raise UsageError("{} is no address".format(masked(url)), "write http://HOST:PORT/PATH, percent-encoded")
    return parts
