"""An address for people, without what may be secret in it."""

from urllib.parse import urlsplit


def masked(url):
    """Scheme, host and port of ``url``: user, password, path and query may all let someone in.

    >>> masked("https://me:secret@hooks.example:8443/T0/B0/x?key=y")
    'https://hooks.example:8443/***'
    """
    scheme = url.partition(":")[0]
    try:
        parts = urlsplit(url)
        port = "" if parts.port is None else ":{}".format(parts.port)
    except ValueError:  # a password with signs that are not encoded reads as a port
        return scheme + "://***"
    host = "[{}]".format(parts.hostname) if ":" in (parts.hostname or "") else parts.hostname or ""
    return "{}://{}{}/***".format(scheme, host, port)
