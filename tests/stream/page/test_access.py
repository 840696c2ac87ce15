"""Who is let in: a table of requests."""

import pytest

from apps.stream.page import access
from apps.stream.page.access import Address, Asked
from edge_mpq.errors import UsageError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", Address("127.0.0.1", 8080, False)),
        ("9000", Address("127.0.0.1", 9000, True)),
        (":9000", Address("127.0.0.1", 9000, True)),
        ("0.0.0.0", Address("0.0.0.0", 8080, False)),
        ("nano-2.local:0", Address("nano-2.local", 0, True)),
        ("[::1]:80", Address("::1", 80, True)),
    ],
)
def test_addresses(text, address):
    assert access.parse(text) == address


@pytest.mark.parametrize(
    "text", ["out/", ":", "a:b", "65536", "host:99999", "-x:1", "::1", "http://localhost:80", "a b", "1\n"]
)
def test_what_is_no_address(text):
    with pytest.raises(UsageError, match="write HOST:PORT"):
        access.parse(text)


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("127.3.2.1", True), ("::1", True), ("LocalHost", True)]
    + [("0.0.0.0", False), ("::", False), ("10.0.0.2", False), ("localhost.evil.example", False), ("127.1", False)],
)
def test_the_loopback(host, own):
    assert access.is_loopback(host) is own


TOKEN, PORT = "t0ken", 8080
OWN = {"host": "board:8080", "origin": "http://board:8080"}


@pytest.mark.parametrize(
    ("asked", "token", "why"),
    [
        (Asked("GET", host="localhost:1"), "", ""),
        (Asked("GET", host="[::1]:8080"), "", ""),
        (Asked("GET"), "", "loopback"),
        (Asked("GET", host="evil.example"), "", "loopback"),
        (Asked("GET", host="evil.example", token=TOKEN), "", "loopback"),
        (Asked("GET", host="any", token=TOKEN), TOKEN, ""),
        (Asked("GET", host="any", cookie="a=b; edge_mpq_8080=t0ken"), TOKEN, ""),
        (Asked("GET", host="any", cookie="edge_mpq_8081=t0ken"), TOKEN, "token"),
        (Asked("GET", host="any", cookie="edge_mpq_8080=t0kenn"), TOKEN, "token"),
        (Asked("GET", host="any"), TOKEN, "token"),
        (Asked("POST", host="127.0.0.1:8080", origin="http://127.0.0.1:8080"), "", ""),
        (Asked("POST", host="127.0.0.1:8080", origin="https://127.0.0.1:8080"), "", ""),
        (Asked("POST", host="127.0.0.1:8080", origin="http://localhost:8080"), "", "Origin"),
        (Asked("POST", host="127.0.0.1:8080", site="same-origin"), "", ""),
        (Asked("POST", host="127.0.0.1:8080", site="same-site"), "", "Origin"),
        (Asked("POST", host="127.0.0.1:8080", origin="http://evil", site="same-origin"), "", "Origin"),
        (Asked("POST", host="127.0.0.1:8080"), "", "Origin"),
        (Asked("POST", cookie="edge_mpq_8080=t0ken", **OWN), TOKEN, ""),
        (Asked("POST", cookie="edge_mpq_8080=t0ken", host="board:8080"), TOKEN, "Origin"),
        (Asked("POST", **OWN), TOKEN, "token"),
        (Asked("POST", token=TOKEN), TOKEN, ""),
    ],
)
def test_who_is_let_in(asked, token, why):
    told = access.refusal(asked, token, PORT)
    assert why in told if why else told == ""
