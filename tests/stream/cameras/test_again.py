"""Sources that are opened again: what is told, what is waited for, and when it is given up.  No test waits for time."""

import threading

import pytest

from apps.stream import loop, run
from apps.stream.cameras import again, sources
from apps.stream.cameras.again import GIVE_UP_S, RETRY_S, Again
from apps.stream.cameras.capture import TORN_IN_A_ROW, Capture
from apps.stream.cameras.frames import TORN, Paced
from apps.stream.readers import Whole
from edge_mpq.engines import replay
from edge_mpq.errors import SourceError
from edge_mpq.records import report as reports
from tests.stream.scripted import SIZE, Clock, GatedSource, ListSource, bundle, picture, write_bundle


def test_a_source_is_opened_again_until_it_is_stopped():
    ones, pauses, sources = picture(), [], []
    script = [
        ListSource([ones, TORN]),
        ListSource([ones], vanished=True),
        SourceError("the camera 0 does not open", "look"),
        SourceError("there is no camera 0", "look"),
        ListSource([ones, ones]),
    ]

    def opened():
        made = script.pop(0)
        if isinstance(made, Exception):
            raise made
        sources.append(made)
        return made

    def pause(seconds):
        pauses.append((seconds, again.lost))

    again = Again(opened, pause)
    assert [again.read() is TORN for _ in range(3)] == [False, True, False]
    assert again.lost == "" and sources[0].closed
    assert again.read() is ones and again.lost == ""
    assert pauses == [(RETRY_S, "the camera 0 does not open"), (RETRY_S, "there is no camera 0")]
    assert again.read() is ones
    again.stop()
    assert sources[-1].stopping.is_set() and again.read() is None and not again.vanished
    again.close()
    assert all(source.closed for source in sources)


def _again(script, **more):
    """(An Again over ``script``, what it said, its Clock); it waits by moving the clock."""
    clock, said = Clock(), []

    def opened():
        made = script.pop(0)
        if isinstance(made, Exception):
            raise made
        return made

    def pause(seconds):
        clock.now += seconds

    return Again(opened, pause, say=said.append, clock=clock, **more), said, clock


def test_a_camera_that_is_lost_is_told_of_once_and_again_when_it_is_back():
    gone = SourceError("there is no camera 0", "look")
    script = [ListSource([picture()], True, vanished=True), gone, gone, ListSource([TORN, picture(), picture()], True)]
    source, said, _ = _again(script, replay=False, give_up_s=60.0)
    assert source.read() is not None and said == []
    assert source.read() is TORN and source.lost, "a spoilt frame is not yet back"
    assert source.read() is not None and source.lost == ""
    assert source.read() is not None
    assert said == [
        "scripted is lost (the script ends); it is tried again every 2 s",
        "scripted is back after 4 s",
    ] and source.losses == 1  # fmt: skip
    assert source.read() is None and source.ended == "the script ends" and not source.vanished, "and its end is its end"


def test_a_camera_that_stays_away_is_given_up():
    script = [ListSource([picture()], True, vanished=True)] + [SourceError("there is no camera 0", "look")] * 99
    source, said, clock = _again(script, replay=False, give_up_s=60.0)
    assert source.read() is not None and source.read() is None
    assert source.vanished and source.ended == "there is no camera 0" and clock.now == pytest.approx(60.0)
    assert len(said) == 1


def test_a_camera_that_gives_nothing_but_spoilt_frames_is_opened_again():
    script = [ListSource([picture()] + [TORN] * 500, True), ListSource([picture()] * 3, True)]
    source, said, _ = _again(script, replay=False)
    with Capture(source) as capture:
        frames = []
        while True:
            frame = capture.next()
            if frame is None:
                break
            frames.append(frame)
    assert capture.torn == TORN_IN_A_ROW and not capture.vanished and source.losses == 1
    assert said[0].startswith("scripted is lost (100 spoilt frames in a row)") and len(said) == 2


def test_a_camera_whose_read_hangs_is_opened_again():
    stuck, whole = GatedSource([picture()] * 9), ListSource([picture()], True)
    stuck.stalled_after_s = 0.05
    source, said, _ = _again([stuck, whole], replay=False)
    with Capture(source) as capture:
        assert capture.next() is not None, "from the second: the first never gives one"
        assert capture.next() is None
    assert stuck.stopping.is_set() and source.losses == 1 and "no frame for 0 s" in said[0]


@pytest.mark.parametrize("opening", [False, True])
def test_a_driver_that_does_not_return_is_given_up_even_where_a_page_waits_for_ever(opening):
    entered, gate = threading.Event(), threading.Event()

    def stuck():
        entered.set()
        assert gate.wait(20)

    class Stuck(ListSource):
        def read(self):
            stuck()

    def opens_never():
        stuck()
        raise SourceError("there is no camera 0", "look")

    script = [ListSource([], True, vanished=True) if opening else Stuck([], True)]
    clock = Clock()
    source = Again(lambda: script.pop() if script else opens_never(), clock=clock)
    reader = threading.Thread(target=source.read)
    reader.start()
    assert entered.wait(20)
    clock.now += GIVE_UP_S - 1
    assert source.recover("no frame for 20 s") and source.lost, "it may still return"
    clock.now += 1
    assert not source.recover("no frame for 20 s")
    source.stop()
    gate.set()
    reader.join(20)


def test_a_source_that_does_not_open_at_first_is_an_error():
    def opened():
        raise SourceError("there is no camera 7", "found: none")

    with pytest.raises(SourceError, match="no camera 7"):
        Again(opened)


def _cameras(monkeypatch, tmp_path, *script):
    """A bundle, whose run opens one of ``script`` after another, and waits for nothing."""
    left = list(script)
    monkeypatch.setattr(sources, "open_source", lambda spec, clock, fps: left.pop(0))
    monkeypatch.setattr(again, "RETRY_S", 0.0)
    return [str(write_bundle(tmp_path / "bundle", [[3.0, 0.0]])), "--backend", "replay", "--headless", "--source", "0"]


def test_a_run_without_a_page_waits_for_its_camera_too(monkeypatch, tmp_path, capsys):
    gone, back = ListSource([picture()] * 2, True, vanished=True), ListSource([picture()] * 3, True)
    words = _cameras(monkeypatch, tmp_path, gone, back)
    assert run.main([*words, "--mode", "throughput", "--report", str(tmp_path / "r.json")]) == 0
    stream = reports.load(tmp_path / "r.json").stream
    assert (stream.frames, stream.losses, stream.ended) == (5, 1, "the script ends")
    said = capsys.readouterr().err
    assert said.count("scripted is lost (the script ends)") == said.count("scripted is back after 0 s") == 1


def test_a_video_that_ends_early_is_not_waited_for(monkeypatch, tmp_path, capsys):
    words = _cameras(monkeypatch, tmp_path, ListSource([picture()] * 2, vanished=True))
    with pytest.raises(SourceError, match="scripted: the script ends; check the source"):
        run.main(words)
    played = Paced(ListSource([picture()] * 2, vanished=True), 1000)
    with pytest.raises(SourceError, match="what came is kept"):
        run.main(_cameras(monkeypatch, tmp_path, played))
    assert "is lost" not in capsys.readouterr().err


def test_a_camera_that_stays_away_ends_the_run(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "GIVE_UP_S", 0.0)
    words = _cameras(monkeypatch, tmp_path, ListSource([picture()] * 2, True, vanished=True))
    with pytest.raises(SourceError, match="scripted: the script ends"):
        run.main([*words, "--mode", "throughput", "--report", str(tmp_path / "r.json")])
    assert reports.load(tmp_path / "r.json").stream.frames == 2, "what came is kept"


def test_the_time_asked_for_ends_a_run_whose_camera_is_away(monkeypatch, tmp_path):
    gone = SourceError("there is no camera 0", "look")

    def opened():
        raise gone

    source = Again(lambda: ListSource([picture()], True, vanished=True), pause=lambda seconds: source.stopping.wait(9))
    source._opened = opened
    replay.record(tmp_path / "model.npz", [[3.0, 0.0]], (None, 3, SIZE, SIZE))
    with replay.open(tmp_path / "model.npz") as engine, Capture(source) as capture:
        stream = loop.run(capture, engine, Whole(bundle()), [], seconds=0.2)
    assert stream.frames == 1 and stream.ended == "the time asked for" and source.lost == gone.what
