"""``edge-mpq run``, from the command line to the files it leaves."""

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from apps.stream import run
from apps.stream.engine_from_bundle import open_engine
from apps.stream.power import Power
from apps.stream.showing import STAGES
from edge_mpq import engines
from edge_mpq.engines import inputs
from edge_mpq.errors import BundleError, EngineError, SourceError, UsageError
from edge_mpq.records import bundle as bundle_record
from edge_mpq.records import report as report_record
from tests.stream.scripted import SIZE, bundle, picture, write_bundle, write_video

ROOT = Path(__file__).resolve().parents[2]
LOGITS = np.array([[3, 0], [0, 3], [0, 5]], np.float32)


@pytest.fixture
def folder(tmp_path):
    return write_bundle(tmp_path / "bundle", LOGITS)


def _run(folder, *words):
    return run.main([str(folder), "--backend", "replay", "--headless", *map(str, words)])


def test_a_video_from_end_to_end(folder, tmp_path, capsys):
    video = write_video(tmp_path / "in.avi")
    out = {name: tmp_path / "out" / name for name in ("out.mp4", "out.jsonl", "report.json")}
    words = ["--video", out["out.mp4"], "--jsonl", out["out.jsonl"], "--report", out["report.json"], "--json"]
    assert _run(folder, "--source", video, *words) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(out)

    report = report_record.load(out["report.json"])
    stream = report.stream
    assert (report.title, report.target) == ("test", "cpu-x86-vnni")
    assert (stream.frames, stream.dropped, stream.torn) == (12, 0, 0)
    assert stream.source == str(video) and stream.ended == "end of file"
    assert set(stream.stages_p50_ms) == set(STAGES)
    assert 0 < stream.p50_ms <= stream.p99_ms and stream.fps > 0 and stream.seconds > 0
    assert report.facts["engine"] == "model" and report.facts["backend"] == "replay"
    assert report.machine["processor"] == "any" and report.machine["opencv"] == cv2.__version__
    assert len(report.pictures) == 4 and report.pictures[0][0] == "frame 0: no fire, 95 %"
    assert report.commands[0].startswith(f"edge-mpq run {folder} --backend replay --headless --source")

    lines = [json.loads(line) for line in out["out.jsonl"].read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(12))
    assert [line["label"] for line in lines] == ["no fire", "fire", "fire"] * 4
    printed = capsys.readouterr()
    assert json.loads(printed.out) == json.loads(json.dumps(stream._asdict()))
    assert "12 frames in" in printed.err and "Traceback" not in printed.err
    played = cv2.VideoCapture(str(out["out.mp4"]))
    assert int(played.get(cv2.CAP_PROP_FRAME_COUNT)) == 12 and played.get(cv2.CAP_PROP_FPS) == pytest.approx(10)


def test_a_folder_of_odd_pictures(folder, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "1.png"), picture(37, 91))
    cv2.imwrite(str(pictures / "2.png"), picture(64, 48)[:, :, 0])
    cv2.imwrite(str(pictures / "3.png"), np.dstack([picture(200, 300), picture(200, 300)[:, :, 0]]))
    (pictures / "4.png").write_bytes(b"torn")
    cv2.imwrite(str(pictures / "5.png"), picture(5, 5).astype(np.uint16) * 257)
    assert _run(folder, "--source", pictures, "--report", tmp_path / "r.json", "--video", tmp_path / "v.avi") == 0
    stream = report_record.load(tmp_path / "r.json").stream
    assert (stream.frames, stream.torn, stream.ended) == (4, 1, "end of folder")


def test_segmentation_on_the_test_scene(tmp_path):
    logits = np.random.default_rng(0).normal(size=(3, 2, 8, 8)).astype(np.float32)
    folder = write_bundle(tmp_path / "bundle", logits, "segment", inputs.Recipe(SIZE, SIZE, "pad"))
    assert _run(folder, "--source", "synthetic", "--frames", 5, "--report", tmp_path / "r.json") == 0
    report = report_record.load(tmp_path / "r.json")
    assert report.stream.frames == 5 and report.stream.ended == "the frames asked for"


def test_a_source_paced_as_a_camera_stops_in_time(folder, tmp_path):
    words = ["--source", "synthetic", "--fps", 500, "--frames", 4, "--report", tmp_path / "r.json"]
    assert _run(folder, *words) == 0
    assert report_record.load(tmp_path / "r.json").stream.frames == 4


def test_a_video_that_ends_early_is_an_error_after_its_report(folder, tmp_path):
    video = write_video(tmp_path / "in.avi", frames=40)
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    with pytest.raises(SourceError, match="video ended early, after .* of 40 frames; .*what came is kept"):
        _run(folder, "--source", video, "--report", tmp_path / "r.json", "--video", tmp_path / "v.mp4")
    stream = report_record.load(tmp_path / "r.json").stream
    assert 0 < stream.frames < 40 and stream.ended.startswith("video ended early")
    assert int(cv2.VideoCapture(str(tmp_path / "v.mp4")).get(cv2.CAP_PROP_FRAME_COUNT)) == stream.frames
    # Whoever asked for fewer frames than came has all of them.
    assert _run(folder, "--source", video, "--frames", 3) == 0


def test_an_engine_that_fails_leaves_no_report_and_no_half_file(tmp_path):
    folder = write_bundle(tmp_path / "bundle", np.array([[1.0, np.nan]], np.float32))
    with pytest.raises(EngineError, match="not finite"):
        _run(folder, "--source", "synthetic", "--report", tmp_path / "r.json", "--video", tmp_path / "v.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_an_engine_of_another_size_is_refused(folder, tmp_path):
    record = bundle(recipe=inputs.Recipe(32, 8))._replace(files={"model": "model.npz"})
    bundle_record.seal(folder, record)
    with pytest.raises(EngineError, match="prepare frames with the recipe"):
        _run(folder, "--source", "synthetic")


def test_the_password_of_a_stream_stays_out_of_the_report(folder):
    args = run._parser().parse_args([str(folder), "--source", "rtsp://me:secret@cam/1"])
    card = engines.get("replay").open(folder / "model.npz").card
    stream = report_record.Stream("rtsp://***@cam/1", 1, 0, 0, 1.0, 1.0, 1.0, 1.0, {})
    words = [str(folder), "--source", "rtsp://me:secret@cam/1"]
    report = run._report(args, words, bundle(), card, stream, Power(0.0), [])
    assert "secret" not in json.dumps(report._asdict())


@pytest.mark.parametrize(
    "words",
    [["--frames", "0"], ["--seconds", "-1"], ["--fps", "nan"], ["--threads", "two"], ["--engine", "int3"], ["--no"]],
)
def test_bad_options_end_with_usage(folder, words, capsys):
    with pytest.raises(SystemExit) as end:
        _run(folder, "--source", "synthetic", *words)
    assert end.value.code == 2 and "usage: edge-mpq run" in capsys.readouterr().err


def test_what_is_wrong_with_a_bundle(folder, tmp_path):
    with pytest.raises(BundleError, match="no bundle folder"):
        _run(tmp_path / "nowhere", "--source", "synthetic")
    with pytest.raises(BundleError, match="has no 'fp32'; it has model"):
        _run(folder, "--source", "synthetic", "--engine", "fp32")
    (folder / "model.npz").write_bytes(b"edited")
    with pytest.raises(BundleError, match="another length"):
        _run(folder, "--source", "synthetic")


def test_without_headless_and_without_windows(folder):
    if "GUI:                           NONE" not in cv2.getBuildInformation():
        pytest.skip("this OpenCV has windows")
    with pytest.raises(UsageError, match="--headless"):
        run.main([str(folder), "--source", "synthetic", "--backend", "replay"])


def _with_target(folder, target):
    bundle_record.seal(folder, bundle()._replace(target=target, files={"model": "model.npz"}))
    return bundle_record.open_folder(folder)


def test_a_backend_that_is_not_here_is_named_not_replaced(folder):
    if importlib.util.find_spec("tensorrt"):
        pytest.skip("this machine has TensorRT")
    record = _with_target(folder, "jetson-nano")
    with pytest.raises(EngineError, match="jetson-nano wants backend tensorrt, .*not on .*--backend onnxruntime"):
        open_engine(folder, record)
    with pytest.raises(UsageError, match="there is no backend 'tensorflow'; choose one of .*replay"):
        open_engine(folder, record, backend="tensorflow")
    with pytest.raises(UsageError, match="no backend 'inputs'"):
        open_engine(folder, record, backend="inputs")
    with pytest.raises(EngineError, match="nothing is deployed for target simulation"):
        open_engine(folder, _with_target(folder, "simulation"))
    assert not (folder / "engines").exists()


# A backend from outside, as a lab would bring it: it builds by recording.
LAB = """
import os
import numpy as np
from edge_mpq.engines import base, replay
from edge_mpq.errors import EngineError
from edge_mpq.records import engine as engine_record
built = []
def build(onnx_path, engine_path, target, plan=None, threads=1):
    built.append((os.path.basename(onnx_path), target.name, plan, threads))
    card = replay.record(engine_path, [[0.0, 1.0]], (None, 3, 16, 16))
    card = card._replace(backend="labs_backend.one", device=os.environ["LAB_DEVICE"],
                         onnx_sha256=base.bundle.digest(onnx_path))
    engine_record.save(base.card_path(engine_path), card)
    return card
def open(engine_path, threads=1):
    card = base.verified_card(engine_path, "labs_backend.one", os.environ["LAB_DEVICE"])
    return replay.Replay(card, np.array([[0.0, 1.0]], np.float32), np.array([-1, 3, 16, 16]), np.array([]))
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    package = tmp_path / "labs" / "labs_backend"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "one.py").write_text(LAB)
    monkeypatch.syspath_prepend(str(tmp_path / "labs"))
    monkeypatch.setenv("LAB_DEVICE", "board 1")
    yield engines.get("labs_backend.one")
    for name in ("labs_backend", "labs_backend.one"):
        sys.modules.pop(name, None)


def test_an_engine_is_built_once_and_again_only_with_reason(folder, lab, monkeypatch):
    said: list[str] = []

    def opened():
        record = bundle_record.open_folder(folder)
        with open_engine(folder, record, "model", "labs_backend.one", 2, said.append) as engine:
            return engine.infer(np.zeros((1, 3, SIZE, SIZE), np.float32))

    opened()
    opened()
    assert lab.built == [("model.npz", "cpu-x86-vnni", None, 2)]
    assert sorted(path.name for path in (folder / "engines").iterdir()) == ["model.engine", "model.engine.json"]

    monkeypatch.setenv("LAB_DEVICE", "board 2")
    opened()
    (folder / "engines" / "model.engine").write_bytes(b"torn")
    opened()
    (folder / "engines" / "model.engine.json").unlink()
    opened()
    write_bundle(folder, LOGITS * 2)
    opened()
    assert len(lab.built) == len(said) == 5
    for line, why in zip(said, ["none yet", "built on 'board 1'", "torn", "no engine-card", "other ONNX"], strict=True):
        assert why in line


def test_the_launcher_tells_errors_in_one_line(folder, tmp_path):
    (tmp_path / "v.mp4").write_text("not a video")
    words = ["run", str(folder), "--source", str(tmp_path / "v.mp4"), "--headless", "--backend", "replay"]
    done = subprocess.run(
        [sys.executable, "-m", "edge_mpq", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "edge-mpq: SourceError: the video" in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


def test_status_lines_only_on_a_terminal(folder, capsys):
    assert _run(folder, "--source", "synthetic", "--frames", "2") == 0
    assert "\r" not in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_service_that_is_stopped_writes_what_it_has(folder, tmp_path):
    video, lines, report = tmp_path / "out.mp4", tmp_path / "out.jsonl", tmp_path / "report.json"
    words = ["--source", "synthetic", "--fps", 50, "--backend", "replay", "--headless"]
    words += ["--video", video, "--jsonl", lines, "--report", report]
    command = [sys.executable, "-m", "edge_mpq", "run", folder, *words]
    with subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, cwd=ROOT) as process:
        while process.poll() is None and not (lines.exists() and lines.read_text().count("\n") >= 3):
            time.sleep(0.05)
        process.terminate()
        _, told = process.communicate()
    assert process.returncode == 0, told
    stream = report_record.load(report).stream
    assert stream.ended == "stopped by SIGTERM" and stream.frames == lines.read_text().count("\n") >= 3
    # Time passes in a video as it did before the camera: it may show a frame twice.
    assert cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FRAME_COUNT) >= stream.frames
