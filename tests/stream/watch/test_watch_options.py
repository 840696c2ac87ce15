"""``edge-mpq run`` on a fire watch: views, tiles, alarm and recording from the command line."""

import json
import math

import cv2
import numpy as np
import pytest

from apps.stream import run
from edge_mpq.engines import inputs
from edge_mpq.errors import EdgeMpqError
from edge_mpq.records import report as report_record
from tests.stream.scripted import SIZE, write_bundle, write_video

LOG = "time_s,lat,lon,alt_m,heading\n0,46,7,100,0\n10,46.001,7,100,0\n"
# Of a segmenter that says nothing, then a fire in the upper left quarter; the last answers say nothing again.
BURNING = np.full((30, 1, SIZE, SIZE), -3, np.float32)
BURNING[5:20, :, : SIZE // 2, : SIZE // 2] = 3


@pytest.fixture
def folder(tmp_path):
    return write_bundle(tmp_path / "bundle", BURNING, "segment")


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "in.avi", frames=30)


@pytest.fixture
def log(tmp_path):
    (tmp_path / "log.csv").write_text(LOG)
    return tmp_path / "log.csv"


def _run(folder, *words):
    return run.main([str(folder), "--backend", "replay", "--headless", *map(str, words)])


def test_a_watch_from_end_to_end(folder, video, log, tmp_path, capsys):
    words = ["--flight-log", log, "--field-of-view", 90, "--alarm", "fire_share>0.2", "--alarm-when", "3/4/0"]
    out = ["--jsonl", tmp_path / "out.jsonl", "--report", tmp_path / "r.json", "--record", tmp_path / "clips"]
    assert _run(folder, "--source", video, *words, *out) == 0

    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines[0]["facts"] == {"fire_share": 0.0, "fire_m2": 0.0, "hot_spots": 0} and "boxes" not in lines[0]
    burning = lines[10]
    # Seen from 100 m, 90 degrees wide, the frame of 96 x 64 is 200 m x 133 m; after a second the drone is 11 m north.
    assert burning["facts"]["fire_m2"] == pytest.approx(200 * 200 * 64 / 96 / 4, rel=0.1)
    (left, top, wide, high, text) = burning["boxes"][0]
    assert (left, top) == (0, 0) and (wide, high) == pytest.approx((48, 32), abs=3)
    north = (burning["facts"]["lat"] - 46.0001) * math.radians(1) * 6371008
    east = (burning["facts"]["lon"] - 7) * math.radians(1) * 6371008 * math.cos(math.radians(46))
    assert (north, east) == pytest.approx((33, -50), abs=3)
    assert text == "{lat:.5f}, {lon:.5f}".format(**burning["facts"])

    printed = capsys.readouterr()
    raised, lowered = (json.loads(line) for line in printed.out.splitlines())
    assert (raised["event"], raised["frame"], raised["time_s"]) == ("raised", 7, 0.7)
    assert (lowered["event"], lowered["frame"]) == ("lowered", 23)
    assert raised["facts"]["lat"] == pytest.approx(burning["facts"]["lat"], abs=1e-4)
    assert raised["source"] == str(video) and raised["title"] == "test"
    (side_car,) = (tmp_path / "clips").glob("*.json")
    body = json.loads(side_car.read_text())
    assert body["events"] == [raised, lowered] and body["from_s"] == 0
    assert cv2.imread(raised["snapshot"]) is not None
    assert cv2.VideoCapture(str(tmp_path / "clips" / body["video"])).read()[0]
    assert report_record.load(tmp_path / "r.json").facts["alarms"] == 1


def test_a_classifier_watched_by_tiles(tmp_path, video, capsys):
    logits = np.tile(np.array([[3, 0], [0, 3]], np.float32), (8, 1))
    folder = write_bundle(tmp_path / "bundle", logits, recipe=inputs.Recipe(SIZE, SIZE))
    words = ["--tiles", 48, "--alarm", "fire", "--report", tmp_path / "r.json", "--jsonl", tmp_path / "o.jsonl"]
    assert _run(folder, "--source", video, *words) == 0
    line = json.loads((tmp_path / "o.jsonl").read_text().splitlines()[0])
    # Every second tile says fire: the first of those is framed.
    assert line["label"] == "fire" and line["boxes"] == [[24, 0, 48, 48, "95 %"]]
    assert report_record.load(tmp_path / "r.json").facts["tiles"] == "48 pixels wide"
    assert [json.loads(out)["event"] for out in capsys.readouterr().out.splitlines()] == ["raised"]


def test_a_log_that_ends_early_leaves_the_frames_after_it_without_places(folder, video, tmp_path):
    (tmp_path / "short.csv").write_text(LOG.replace("\n10,", "\n1,"))
    words = ["--flight-log", tmp_path / "short.csv", "--field-of-view", 90, "--jsonl", tmp_path / "o.jsonl"]
    assert _run(folder, "--source", video, *words) == 0
    facts = [json.loads(line)["facts"] for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert "lat" in facts[10] and "lat" not in facts[11] and "fire_m2" not in facts[11]
    assert facts[11]["hot_spots"] == 1


def test_secrets_of_an_address_stay_out_of_report_and_terminal(folder, video, tmp_path, capsys):
    address = "http://me:hush@127.0.0.1:9/T0/hush?key=hush"
    words = ["--alarm", "fire", "--alarm-to", address, f"--alarm-to={address}", "--report", tmp_path / "r.json"]
    assert _run(folder, "--source", video, *words) == 0
    text, printed = (tmp_path / "r.json").read_text(), capsys.readouterr()
    assert "hush" not in text + printed.out + printed.err
    assert "--alarm-to 'http://127.0.0.1:9/***'" in text and "was not delivered" in printed.err


@pytest.mark.parametrize(
    "words, said",
    [
        (["--view", "crystal_ball"], "there is no 'crystal_ball' in views; choose one of .*wildfire_segment"),
        (["--view", ""], "there is no '' in views"),
        (["--view", ".."], "cannot import views '..'"),
        (["--alarm", "fire", "--record", ""], "--record cannot write to  "),
        (["--flight-log", "", "--field-of-view", "90"], "there is no flight log "),
        (["--view", "no.such"], "cannot import views 'no.such'"),
        (["--view", "wildfire_classify"], "is not for a bundle that is to segment; choose plain, wildfire_segment"),
        (["--alarm", "smoke"], "waits for the class 'smoke'; the bundle has no fire, fire"),
        (["--alarm", "heat>3"], "waits for the fact 'heat'; this view tells fire_share, "),
        (["--view", "plain", "--alarm", "fire_share>0.1"], "this view tells none"),
        (["--alarm", "fire_share>much"], "--alarm is 'fire_share>much'"),
        (["--alarm", "fire", "--alarm-when", "9/3"], "--alarm-when is '9/3'"),
        (["--alarm-when", "5/8"], "--alarm-when is of no use without --alarm"),
        (["--alarm-to", "stdout"], "--alarm-to is of no use without --alarm"),
        (["--record", "/tmp"], "--record is of no use without --alarm"),
        (["--alarm", "fire", "--alarm-to", "gopher://x"], "--alarm-to is 'gopher:"),
        (["--alarm", "fire", "--alarm-to", "mqtt://x"], "no address of a broker and a topic"),
        (["--alarm", "fire", "--record", "/proc/no"], "--record cannot write to /proc/no"),
        (["--flight-log", "none.csv"], "--flight-log is of no use without --field-of-view"),
        (["--field-of-view", "90"], "--field-of-view is of no use without --flight-log"),
        (["--flight-log", "none.csv", "--field-of-view", "90"], "no flight log none.csv"),
    ],
)
def test_nonsense_is_refused_before_an_engine_is_built(folder, words, said, monkeypatch):
    monkeypatch.setattr(run, "open_engine", lambda *_: pytest.fail("an engine was built"))
    with pytest.raises(EdgeMpqError, match=said):
        _run(folder, "--source", "synthetic", "--frames", 1, *words)


@pytest.mark.parametrize(
    "words", [["--tiles", "7"], ["--tiles", "wide"], ["--tiles", "5000"], ["--field-of-view", "180"]]
)
def test_numbers_out_of_range_end_with_usage(folder, words, capsys):
    with pytest.raises(SystemExit) as end:
        _run(folder, "--source", "synthetic", *words)
    assert end.value.code == 2 and "usage: edge-mpq run" in capsys.readouterr().err


def test_a_log_is_of_one_source_whose_pictures_have_a_time(folder, video, log, tmp_path):
    words = ["--flight-log", log, "--field-of-view", 90]
    with pytest.raises(EdgeMpqError, match="there are several sources"):
        _run(folder, "--source", video, "--source", "synthetic", *words)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(EdgeMpqError, match="does not say when its pictures were taken; give their rate with --fps"):
        _run(folder, "--source", tmp_path / "a.png", *words)
    assert _run(folder, "--source", tmp_path / "a.png", "--fps", 50, *words) == 0
