"""The page of a running stream, asked by a client of the standard library."""

import base64
import contextlib
import hashlib
import http.client
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import pytest

from apps.stream import run
from apps.stream.page import access, web
from apps.stream.page.web_handler import Handler
from apps.stream.showing import STAGES
from edge_mpq.errors import SourceError, UsageError
from export import bundle_from_engine_inputs
from tests.stream.page_of import LOGITS, Page, pictures, pixels, served, write_engines, write_pictures
from tests.stream.scripted import ListSource, picture

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path):
    return write_engines(tmp_path / "bundle")


@pytest.fixture
def camera(tmp_path):
    return pictures(write_pictures(tmp_path / "pictures"))


@pytest.fixture
def page(folder, camera):
    with served(folder, camera) as opened:
        yield opened


def test_the_page_is_one_document_that_asks_no_one_else(page):
    reply = page.get("/")
    assert reply.status == 200 and reply.headers["Content-Type"] == "text/html; charset=utf-8"
    text = reply.body.decode()
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = reply.headers["Content-Security-Policy"]
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert "page.css */" not in text and "page.js */" not in text and ".engine {" in text
    # The name of a namespace is no address that is fetched.
    assert re.findall(r"https?://[^\"'`]+", text) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"\bsrc=|@import|url\(|<link rel=\"stylesheet", text)


def test_the_page_travels_to_the_board():
    travelling = {name for name, _ in bundle_from_engine_inputs.code()}
    assert {"apps/stream/page/page." + end for end in ("html", "css", "js")} <= travelling


def test_the_picture_moves_and_brings_its_answer(page):
    first = page.get("/frame.jpg")
    assert (first.status, first.headers["Content-Type"]) == (200, "image/jpeg")
    second = page.get("/frame.jpg?after=" + first.headers["X-Frame"])
    assert int(second.headers["X-Frame"]) > int(first.headers["X-Frame"])
    assert pixels(first.body).shape == pixels(second.body).shape == (240, 320, 3)
    levels = {int(pixels(page.get(f"/frame.jpg?after={number}").body)[200, 300, 0]) // 10 for number in range(12)}
    assert len(levels) > 1
    answer = json.loads(second.headers["X-Answer"])
    assert answer["label"] == "no fire" and not answer["watched"]
    assert 1 - answer["beside_rival"] == pytest.approx(answer["confidence"]) == pytest.approx(0.953, abs=1e-3)


def test_figures(page):
    figures = page.until(lambda told: told.get("frames", 0) > 40)
    assert (figures["title"], figures["engine"], figures["label"], figures["lost"]) == ("test", "model", "no fire", "")
    assert set(figures["stages_ms"]) == set(STAGES)
    assert 0 < figures["p50_ms"] <= figures["p99_ms"] and 0 < figures["fps"] < 101 and figures["age_s"] < 10
    assert (figures["torn"], figures["threshold"], figures["classes"]) == (0, 0.5, ["no fire", "fire"])
    assert [engine["name"] for engine in figures["engines"]] == ["fp32", "int8", "mixed"]
    assert [engine["mib"] is None for engine in figures["engines"]] == [True, True, False]
    assert figures["recording_s"] is None


def test_engines_change_while_the_stream_runs(page):
    before = page.until(lambda told: "label" in told)
    assert page.post("/engine", role="int8").status == 200
    after = page.until(lambda told: told["engine"] == "int8" and told["label"] == "fire")
    assert after["frames"] > before["frames"] and after["confidence"] == pytest.approx(0.982, abs=1e-3)
    page.post("/engine", role="fp32")
    page.until(lambda told: told["engine"] == "fp32" and told["confidence"] < 0.8)
    page.post("/engine", role="model")
    figures = page.until(lambda told: told["engine"] == "model" and told["label"] == "no fire")
    assert all(engine["p50_ms"] > 0 for engine in figures["engines"])
    assert page.post("/engine", role="plan").status == page.post("/engine", role=["int8"]).status == 400


def test_an_engine_that_does_not_open_is_told_and_the_other_goes_on(folder, camera):
    (folder / "int8.npz.json").unlink()
    with served(folder, camera) as page:
        page.post("/engine", role="int8")
        figures = page.until(lambda told: told["engines"][1]["fault"] and told.get("frames"))
        assert "no engine-card" in figures["engines"][1]["fault"]
        assert figures["engine"] == figures["asked"] == "model" and figures["opening"] is None
        seen = figures["frames"]
        page.until(lambda told: told["frames"] > seen + 5)


def test_the_threshold_turns_the_answer(page):
    page.post("/engine", role="fp32")  # fire at 73 %
    page.until(lambda told: told.get("label") == "fire")
    assert page.post("/threshold", watched=1, threshold=0.8).status == 200
    figures = page.until(lambda told: told["label"] == "no fire")
    assert figures["confidence"] == pytest.approx(0.269, abs=1e-3), "the engine's own probability"
    page.post("/threshold", watched=1, threshold=0.7)
    page.until(lambda told: told["label"] == "fire")
    wrong = [(2, 0.5), (-1, 0.5), (1, 0), (1, 1), (1, "0.5"), (True, 0.5), (None, 0.5), (1, float("nan"))]
    for watched, threshold in wrong:
        assert page.post("/threshold", watched=watched, threshold=threshold).status == 400
    assert page.figures()["threshold"] == 0.7


def test_a_snapshot_the_last_seconds_and_a_recording(folder, camera, tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "own"))
    with served(folder, camera) as page:
        _save(page, tmp_path)
        assert page.post("/recording", on=True).status == 200
    assert not list((tmp_path / "own").iterdir()), "no clip outlives its run"


def _save(page, folder):
    assert page.get("/last").status == page.get("/recorded").status == 404
    snapshot = page.get("/snapshot")
    assert snapshot.headers["Content-Disposition"].startswith('attachment; filename="picture-')
    assert pixels(snapshot.body).shape == (240, 320, 3)
    assert page.post("/recording", on=True).json()["recording_s"] is not None
    number = "0"
    for _ in range(8):
        number = page.get("/frame.jpg?after=" + number).headers["X-Frame"]
    assert page.get("/recorded").status == 404, "it still runs"
    assert page.post("/recording", on=False).json()["recording_s"] is None
    for path in ("/last", "/recorded"):
        reply = page.get(path)
        assert reply.status == 200 and reply.headers["Content-Type"].startswith("video/")
        name = folder / re.findall(r'filename="([\w-]+\.\w+)"', reply.headers["Content-Disposition"])[0]
        name.write_bytes(reply.body)
        video = cv2.VideoCapture(str(name))
        assert video.get(cv2.CAP_PROP_FRAME_COUNT) >= 5 and video.read()[1].shape == (240, 320, 3)
    assert page.post("/recording", on="yes").status == 400


@pytest.mark.parametrize(
    "path", ["/../etc/passwd", "/%2e%2e/bundle.json", "//etc/passwd", "/page.html", "/clips", "/x" * 999]
)
def test_no_address_names_a_file(page, path):
    assert page.get(path).status == 404 and page.ask("PUT", path).status == 501


def test_what_is_too_large_or_no_request_is_refused(page):
    own = {"Origin": f"http://127.0.0.1:{page.port}"}
    assert page.ask("POST", "/engine", b" " * 1025, **own).status == 413
    for body in (b"", b"[1]", b"{", b"\xff", b"[" * 1000):
        assert page.ask("POST", "/engine", body, **own).status == 400
    assert page.ask("POST", "/engine", b"{}", Content_Length="x", **own).status == 411
    assert page.get("/figures.json", X_Long="a" * 70000).status == 431
    assert page.get("/frame.jpg?after=" + "9" * 400).status == 200


def test_no_request_ends_without_an_answer(page, capsys):
    own = {"Origin": f"http://127.0.0.1:{page.port}"}
    with socket.create_connection(("127.0.0.1", page.port), timeout=10) as raw:
        raw.sendall(b"GET http://[ HTTP/1.1\r\n\r\n")
        assert raw.recv(99).startswith(b"HTTP/1.1 400 ")
    assert page.ask("POST", "/engine", b"{}", Content_Length="\xb2", **own).status == 411
    assert page.get("/frame.jpg?after=%C2%B2").status == 200
    assert page.post("/threshold", watched=1, threshold=10**403).status == 400
    assert capsys.readouterr().err == ""


def test_a_request_that_comes_byte_by_byte_has_an_end(page, monkeypatch):
    monkeypatch.setattr(Handler, "timeout", 0.3)
    with socket.create_connection(("127.0.0.1", page.port), timeout=10) as slow, pytest.raises(OSError):
        for _ in range(400):
            slow.sendall(b"G")
            time.sleep(0.05)


def test_on_the_loopback_only_its_own_names_are_answered_and_only_the_page_changes_things(page):
    for host in ("evil.example", f"evil.example:{page.port}", "127.0.0.1.evil.example", "", "192.168.1.9"):
        reply = page.get("/figures.json", Host=host)
        assert reply.status == 403 and "localhost" in reply.json()["error"]
    assert page.get("/", Host="localhost:9000").status == 200, "as through a tunnel"
    body = b'{"role": "int8"}'
    assert page.ask("POST", "/engine", body).status == 403
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{page.port + 1}"):
        assert page.ask("POST", "/engine", body, Origin=origin).status == 403
    assert page.until(lambda told: "engine" in told)["asked"] == "model"
    assert page.ask("POST", "/engine", body, Sec_Fetch_Site="same-origin").status == 200


def test_elsewhere_the_token_is_asked_for(folder, camera):
    with served(folder, camera, "0.0.0.0:0") as page:
        assert re.fullmatch(r"http://[\w.-]+:\d+/\?token=[\w-]{20,}", page.url)
        for path in ("/", "/figures.json", "/frame.jpg", "/?token=", "/?token=wrong", "/?token=%C3%A9"):
            reply = page.get(path)
            assert reply.status == 403 and "whole address" in reply.json()["error"]
        assert page.get("/", Accept="text/html,*/*").body.startswith(b"this page wants its token")
        assert page.get("/figures.json", Cookie=f"edge_mpq_{page.port}=wrong").status == 403
        cookie = page.get("/?" + page.query).headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Lax" in cookie
        page.cookie = "other=1; " + cookie.partition(";")[0]
        assert page.figures()["title"] == "test"
        assert page.ask("POST", "/engine", b'{"role": "int8"}').status == 403, "a cookie comes along from any site"
        assert page.post("/engine", role="int8").status == 200
        page.cookie = ""
        assert page.ask("POST", "/engine?" + page.query, b'{"role": "fp32"}').status == 200


def test_a_camera_that_vanishes_is_waited_for(folder):
    tries: list[int] = []

    def opened():
        tries.append(1)
        if len(tries) == 2:
            raise SourceError("there is no camera 0", "found: none")
        return ListSource([picture()] * 10**6 if len(tries) > 2 else [picture()] * 5, live=True, vanished=True)

    with served(folder, opened) as page:
        assert page.until(lambda told: told["lost"])["lost"] == "there is no camera 0"
        back = page.until(lambda told: not told["lost"] and told.get("frames", 0) > 5)
        assert back["age_s"] < 10 and len(tries) == 3


def test_a_port_that_is_taken(folder, camera, tmp_path):
    words = [str(folder), "--source", "synthetic", "--backend", "replay", "--frames", "3"]
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = [sys.executable, "-m", "edge_mpq", "run", *words, "--web", f"127.0.0.1:{port}"]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and done.stdout == ""
        (told,) = done.stderr.splitlines()
        assert f"UsageError: the page cannot be served at 127.0.0.1:{port}" in told and "name another" in told
    for address, mend in (("203.0.113.9:8080", "no address of this machine"), ("no.such.host.invalid:1", "check host")):
        with pytest.raises(UsageError, match=mend):
            run.main([*words, "--web", address])


def test_a_port_nobody_asked_for_may_be_taken(folder, monkeypatch, capsys):
    words = [str(folder), "--source", "synthetic", "--backend", "replay", "--frames", "3", "--web"]
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(access, "PORT", other.getsockname()[1])
        assert run.main(words) == 0
        (port,) = re.findall(r"the page: http://127\.0\.0\.1:(\d+)/\n", capsys.readouterr().err)
        assert int(port) != access.PORT


def test_connections_have_a_number(folder, camera, monkeypatch):
    monkeypatch.setattr(web, "THREADS", 3)
    with served(folder, camera) as page, contextlib.ExitStack() as idle:
        for _ in range(3):
            idle.enter_context(socket.create_connection(("127.0.0.1", page.port)))
        with socket.create_connection(("127.0.0.1", page.port), timeout=10) as fourth:
            assert fourth.recv(1) == b"", "closed without a thread"
        idle.close()
        for _ in range(200):
            with contextlib.suppress(OSError, http.client.HTTPException):
                if page.get("/").status == 200:
                    break
            time.sleep(0.02)
        assert page.get("/").status == 200


def test_the_verb_prints_where_the_page_is_and_ends_with_the_run(folder, capsys):
    words = [str(folder), "--source", "synthetic", "--backend", "replay", "--frames", "3", "--web", "--json"]
    assert run.main(words) == 0
    printed = capsys.readouterr()
    assert re.search(r"the page: http://127\.0\.0\.1:\d+/\n", printed.err)
    assert json.loads(printed.out)["frames"] == 3
    with pytest.raises(ConnectionError):
        Page(re.findall(r"http://\S+", printed.err)[0]).figures()


def test_a_segmenter_takes_its_threshold_a_pixel(tmp_path, camera):
    logits = [[[[-2.0] * 16] * 8 + [[1.0] * 16] * 8]]
    folder = write_engines(tmp_path / "segmenter", "segment", {"model": logits})
    with served(folder, camera) as page:
        seen = page.get("/frame.jpg")
        answer = json.loads(seen.headers["X-Answer"])
        assert (answer["label"], answer["share"], answer["beside_rival"]) == ("fire", 0.5, None)
        assert answer["facts"] == {"fire_share": pytest.approx(0.5, abs=0.05), "hot_spots": 1}
        page.post("/threshold", watched=1, threshold=0.9)
        page.until(lambda told: told["label"] == "no fire")
        page.post("/threshold", watched=1, threshold=0.05)
        page.until(lambda told: told["label"] == "fire" and told["confidence"] < 0.5)


def test_roles_are_those_of_the_bundle(tmp_path, camera):
    folder = write_engines(tmp_path / "small", logits={"model": LOGITS["model"]})
    with served(folder, camera) as page:
        assert [engine["role"] for engine in page.figures()["engines"]] == ["model"]
        assert page.post("/engine", role="fp32").status == 400
