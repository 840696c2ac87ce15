"""``python3 NAME.pyz VERB``: what runs, where, and what is refused in one line with exit code 2."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from apps import board
from apps.stream import jetson
from edge_mpq.records import report as reports
from tests import floors
from tests.attacks.packing import changed, packed, relisted

NANO = jetson.Jetson("NVIDIA Jetson Nano Developer Kit", "tegra210", "5.3", (32, 7, 1), "4.6.1")
ORIN = jetson.Jetson("NVIDIA Jetson Orin Nano Developer Kit", "tegra234", "8.7", (36, 4, 3), "6.2")
REPLAY = ["--backend", "replay"]


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(tmp_path_factory.mktemp("running"))


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache and a working folder of one's own, on a machine that is no Jetson."""
    monkeypatch.setenv(board.CACHE, str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jetson, "read", lambda root="/": None)
    monkeypatch.setattr(board.platform, "machine", lambda: "x86_64")


def _python(pyz: Path, *words: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, str(pyz), *words], capture_output=True, text=True, check=False)


def _refused(capsys: pytest.CaptureFixture[str], code: int, *told: str) -> None:
    out, err = capsys.readouterr()
    assert code == 2 and out == "" and err.count("\n") == 1 and err.startswith("edge-mpq: "), err
    assert all(part in err for part in told), err


def test_help_and_no_verb(pyz: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert board.main(["--help"], str(pyz)) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: python3 fire.pyz VERB")
    assert board.main([], str(pyz)) == 2
    assert capsys.readouterr().err == shown
    for verb in board.VERBS:
        assert board.main([verb, "--help"], str(pyz)) == 0
        assert capsys.readouterr().out.startswith("usage: ")
    _refused(capsys, board.main(["fly"], str(pyz)), "UsageError: there is no verb 'fly'")


def test_a_bad_option_is_code_2(pyz: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in board.VERBS:
        assert board.main([verb, "--no-such"], str(pyz)) == 2
        assert "--no-such" in capsys.readouterr().err


def test_it_runs_in_a_process_of_its_own(pyz: Path, tmp_path: Path) -> None:
    done = _python(pyz, "run", *REPLAY, "--headless", "--json", "--jsonl", "out.jsonl")
    assert done.returncode == 0, done.stderr
    # Without a source it takes its own frames.
    assert json.loads(done.stdout)["frames"] == 3
    labels = [json.loads(line)["label"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert labels == ["no fire", "fire", "fire"]
    assert [path.name[:9] for path in (tmp_path / "cache").iterdir()] == ["edge-mpq-"]
    assert oct(next((tmp_path / "cache").iterdir()).stat().st_mode)[-3:] == "755"


def test_without_the_variable_the_cache_lies_beside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(board.CACHE)
    pyz = packed(tmp_path / "home")
    assert board.main(["report"], str(pyz)) == 0
    assert "fire on a host" in capsys.readouterr().out
    assert len(list((tmp_path / "home").glob("edge-mpq-*/bundle/bundle.json"))) == 1


def test_bench_writes_a_report_that_report_prints(pyz: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert board.main(["bench", *REPLAY, "--turns", "2", "--warm", "0", "--json"], str(pyz)) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"fp32", "mixed", "facts"} == set(told)
    report = reports.load("report.json")
    fp32, mixed = report.variants
    assert (fp32.name, fp32.speedup, fp32.agreement, fp32.weight_bits) == ("fp32", 1.0, 1.0, 32.0)
    assert mixed.weight_mib == 0.25 and 0 < mixed.p50_ms <= mixed.p99_ms and mixed.fps == 1000 / mixed.p50_ms
    # What the host planned, and what was got here.
    assert [(row.layer, row.asked, row.planned_ms, row.macs) for row in mixed.layers] == [("conv", "w8a8", 0.5, 1000)]
    assert report.facts["frames_compared"] == 3 and report.facts["turns"] == 2
    assert report.facts["model_fingerprint"] == "0" * 16
    assert mixed.agreement == pytest.approx(1 / 3)
    assert report.commands == ["python3 fire.pyz bench --backend replay --turns 2 --warm 0 --json"]
    assert board.main(["report", "--out", "copy.json"], str(pyz)) == 0
    shown = capsys.readouterr().out
    assert "fire on any" in shown and "mixed" in shown and "frames_compared: 3" in shown
    assert reports.load("copy.json") == report
    assert board.main(["report", "--json"], str(pyz)) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "report"


def test_doctor_tells_of_the_bundle_even_where_it_is_for_another_board(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pyz = packed(tmp_path / "nano", "jetson-nano")
    assert board.main(["doctor", "--json"], str(pyz)) == 0
    told = json.loads(capsys.readouterr().out)
    assert "bundle" in told["wrong"]
    assert "the bundle is for jetson-nano" in [row["found"] for row in told["findings"] if row["name"] == "bundle"][0]
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("target", "here", "machine", "told"),
    [
        ("jetson-nano", None, "x86_64", "for jetson-nano, this is a computer with a x86_64 processor"),
        ("jetson-nano", ORIN, "aarch64", "for jetson-nano (compute capability 5.3), this is NVIDIA Jetson Orin"),
        ("jetson-agx-orin", NANO, "aarch64", "Jetson Nano Developer Kit with 5.3"),
        ("cpu-x86-vnni", ORIN, "aarch64", "for cpu-x86-vnni, this is NVIDIA Jetson Orin"),
        ("cpu-arm64", None, "x86_64", "for cpu-arm64"),
        ("tensorrt-11-x86", NANO, "aarch64", "for tensorrt-11-x86"),
    ],
)
@pytest.mark.parametrize("verb", ["build", "run", "bench"])
def test_another_board_is_refused(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch, target, here, machine, told, verb
) -> None:
    pyz = packed(tmp_path / "other", target)
    monkeypatch.setattr(jetson, "read", lambda root="/": here)
    monkeypatch.setattr(board.platform, "machine", lambda: machine)
    _refused(capsys, board.main([verb], str(pyz)), "BundleError", told, "give --backend to run it here all the same")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("words", [["--backend", "replay"], ["--backend=replay"], ["--back", "replay"]])
def test_an_asked_backend_runs_on_any_board(tmp_path: Path, words: list[str]) -> None:
    pyz = packed(tmp_path / "nano", "jetson-nano")
    assert board.main(["bench", "--turns", "1", "--warm", "0", *words], str(pyz)) == 0


def test_the_board_it_is_for_is_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    pyz = packed(tmp_path / "nano", "jetson-nano")
    monkeypatch.setattr(jetson, "read", lambda root="/": NANO)
    monkeypatch.setattr(board.platform, "machine", lambda: "aarch64")
    # It goes on to the engine, for which there is no TensorRT here.
    _refused(capsys, board.main(["run", "--headless", "--source", "synthetic"], str(pyz)), "tensorrt")


@pytest.mark.parametrize("name", ["bundle/model.npz", "bundle/bundle.json", "apps/stream/run.py", "frames/0001.png"])
def test_an_edited_entry_is_refused_and_nothing_is_unpacked(
    pyz: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    twin = changed(pyz, lambda entry, data: data[:-1] + bytes([data[-1] ^ 1]) if entry == name else data)
    code = board.main(["run", *REPLAY], str(twin))
    _refused(capsys, code, "BundleError", f"{name} was changed", "copy the file again")
    assert list((tmp_path / "cache").iterdir() if (tmp_path / "cache").exists() else []) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b'"version": 1', b'"version": 2', ("RecordError", "is bundle version 2", "this program reads version 1")),
        (b'"model.npz"', b'"../../../out"', ("BundleError", "points outside the bundle")),
        (b'"cpu-x86-vnni"', b'"jetson-nano2"', ("TargetError", "there is no target 'jetson-nano2'")),
    ],
)
def test_a_manifest_that_is_wrong_though_listed_is_refused(
    pyz: Path, capsys: pytest.CaptureFixture[str], old: bytes, new: bytes, told: tuple[str, ...]
) -> None:
    twin = relisted(pyz, lambda name, data: data.replace(old, new) if name == "bundle/bundle.json" else data)
    _refused(capsys, board.main(["run", *REPLAY, "--headless"], str(twin)), *told)


def test_an_edited_cache_is_refused_and_made_again(pyz: Path, tmp_path: Path, capsys) -> None:
    assert board.main(["report"], str(pyz)) == 0
    capsys.readouterr()
    model = next((tmp_path / "cache").glob("*/bundle/model.npz"))
    kept = model.read_bytes()
    model.write_bytes(kept[::-1])
    _refused(capsys, board.main(["run", *REPLAY], str(pyz)), "bundle/model.npz was changed", "remove that folder")
    for path in sorted(model.parents[1].rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    model.parents[1].rmdir()
    assert board.main(["report"], str(pyz)) == 0
    assert model.read_bytes() == kept


def test_a_cache_that_cannot_be_made_is_one_line(pyz: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv(board.CACHE, str(tmp_path / "file"))
    _refused(capsys, board.main(["report"], str(pyz)), "Error: ")


def test_a_hostile_title_cannot_write_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert board._fail("BundleError", "\x1b[2Jcleared\nand more") == 2
    assert capsys.readouterr().err == "edge-mpq: BundleError: \\x1b[2Jcleared and more\n"


def test_a_missing_module_is_told_and_a_fault_of_ours_is_not_hidden(pyz: Path, monkeypatch, capsys) -> None:
    def lacking(name: str):
        def verb(*_):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        return verb

    monkeypatch.setattr(board, "_verb", lacking("numpy"))
    _refused(capsys, board.main(["run"], str(pyz)), "ImportError: numpy is not here", "doctor tells")
    monkeypatch.setattr(board, "_verb", lacking("apps.planet"))
    with pytest.raises(ModuleNotFoundError):
        board.main(["run"], str(pyz))


def test_a_torn_file_is_told_by_python_itself(pyz: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn.pyz"
    torn.write_bytes(pyz.read_bytes()[:-500])
    done = _python(torn, "doctor")
    assert done.returncode != 0 and "this-file-is-torn--copy-it-again" in done.stderr


OLD = sorted(Path.home().glob(".pyenv/versions/2.7*/bin/python")) + sorted(
    Path.home().glob(".pyenv/versions/3.5*/bin/python")
)


@pytest.mark.skipif(not OLD, reason="no Python below 3.6 on this machine")
def test_an_old_python_is_refused(pyz: Path) -> None:
    for python in OLD:
        done = _python(pyz, "doctor", python=str(python))
        assert done.returncode == 2 and done.stdout == ""
        assert "Python 3.6 or later is needed" in done.stderr and done.stderr.count("\n") == 1


def test_no_framework_is_imported(pyz: Path, tmp_path: Path) -> None:
    (tmp_path / "trap").mkdir()
    for name in ("torch", "onnx", "onnxruntime", "rich", "scipy"):
        (tmp_path / "trap" / f"{name}.py").write_text("raise SystemError('a framework of the host was imported')")
    trap = {**os.environ, "PYTHONPATH": str(tmp_path / "trap")}
    for words in (["run", "--headless"], ["bench", "--turns", "1", "--warm", "0"]):
        line = [sys.executable, str(pyz), *words, *REPLAY]
        done = subprocess.run(line, capture_output=True, text=True, check=False, env=trap)
        assert done.returncode == 0, done.stderr


def test_the_source_of_the_entry_point_is_old_python() -> None:
    # Python 2.7 and 3.5 must parse it to refuse themselves: no f-string, no annotation.
    from export.bundle_from_engine_inputs import MAIN

    assert b'f"' not in MAIN and b"->" not in MAIN and compile(MAIN, "__main__.py", "exec")
    assert floors.on_board("apps/board.py")
