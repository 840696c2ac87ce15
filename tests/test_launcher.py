"""The launcher: verbs are found, errors are one line and exit code 2, help costs nothing."""

import errno
import importlib.util
import os
import re
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

import edge_mpq
from apps import train
from edge_mpq import __main__ as launcher
from edge_mpq.errors import PlanError

ROOT = Path(__file__).resolve().parents[1]
Stage = Callable[[list[str]], int]


def _edge_mpq(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "edge_mpq", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)


@pytest.fixture
def as_stage(monkeypatch: pytest.MonkeyPatch) -> Callable[[Stage], None]:
    """Make a function the stage of verb ``plan``."""

    def plant(stage: Stage) -> None:
        module = types.ModuleType("planted_stage")
        module.main = stage  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "planted_stage", module)
        monkeypatch.setitem(launcher.VERBS, "plan", ("planted_stage", "planted"))

    return plant


def _raising(error: BaseException) -> Stage:
    def stage(argv: list[str]) -> int:
        raise error

    return stage


@pytest.mark.parametrize("verb", launcher.VERBS)
def test_every_verb_has_its_stage(verb: str) -> None:
    stage = ROOT.joinpath(*launcher.VERBS[verb][0].split(".")).with_suffix(".py")
    assert stage.is_file()
    assert re.search(r"^def main\(argv", stage.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("flag", ["--help", "-h", "help"])
def test_help_lists_every_verb(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert launcher.main([flag]) == 0
    shown = capsys.readouterr().out
    for verb, (_, line) in launcher.VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(line)}$", shown, re.MULTILINE)


def test_help_and_version_import_no_framework_and_no_stage(tmp_path: Path) -> None:
    code = "import sys\nfrom edge_mpq.__main__ import main\nmain([sys.argv[1]])\nprint(*sys.modules, sep='\\n')"
    for flag in ("--help", "--version"):
        done = subprocess.run([sys.executable, "-c", code, flag], capture_output=True, text=True, check=True, cwd=ROOT)
        loaded = {name.partition(".")[0] for name in done.stdout.split("\n")}
        assert loaded.isdisjoint({"torch", "numpy", "onnx", "onnxruntime", "cv2", "scipy", "matplotlib", "rich"})
        assert loaded.isdisjoint({"apps", "export", "calibrators"})


def test_version_is_that_of_the_package() -> None:
    assert _edge_mpq("--version").stdout == f"edge-mpq {edge_mpq.__version__}\n"
    assert re.fullmatch(r"\d+\.\d+\.\d+", edge_mpq.__version__)


def test_no_verb_shows_the_usage_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert launcher.main([]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("usage: edge-mpq VERB")


@pytest.mark.parametrize(
    ("verb", "told"),
    [
        ("quantise", "there is no verb 'quantise'; did you mean quantize?"),
        ("Plan", "did you mean plan or lint?"),
        ("xyzzy", "choose one of plan, quantize"),
        ("--json", "there is no verb '--json'"),
        ("", "there is no verb ''"),
    ],
)
def test_an_unknown_verb_suggests_those_that_are_close(
    verb: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launcher.main([verb]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("edge-mpq: UsageError: ") and told in err


def test_a_stage_gets_its_arguments_and_gives_the_exit_code(as_stage: Callable[[Stage], None]) -> None:
    seen = []

    def stage(argv: list[str]) -> int:
        seen.append(argv)
        return 3

    as_stage(stage)
    assert launcher.main(["plan", "--json", "--out", "x"]) == 3
    assert seen == [["--json", "--out", "x"]]
    assert sys.path[0] == launcher.stages_folder() == str(ROOT)


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (PlanError("layer 'fc' asks for int8", "plan again"), 2, "PlanError: layer 'fc' asks for int8; plan again"),
        (PlanError("two\nlines"), 2, "PlanError: two lines"),
        (PlanError("red \x1b[31m label"), 2, "PlanError: red \\x1b[31m label"),
        (OSError(errno.ENOSPC, "No space left on device", "a.onnx"), 2, "a.onnx: No space left on device; free some"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "PermissionError: /x: Permission denied; choose"),
        (FileNotFoundError(errno.ENOENT, "No such file", "w.pt"), 2, "FileNotFoundError: w.pt: No such file; check"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "/x/.half-1", None, "/x/out"), 2, "/x/out: Is a directory"),
        (MemoryError(), 2, "MemoryError: out of memory"),
        (ModuleNotFoundError("no torch", name="torch"), 2, "plan needs the Python module 'torch'"),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(2), 2, ""),
        (SystemExit(None), 0, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_an_error_is_one_line_and_a_code(
    as_stage: Callable[[Stage], None],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    told: str,
) -> None:
    as_stage(_raising(error))
    assert launcher.main(["plan", "--json"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    if told:
        assert err.startswith("edge-mpq: ") and told in err and err.count("\n") == 1
    else:
        assert err == ""


def test_an_error_of_megabytes_is_cut(as_stage: Callable[[Stage], None], capsys: pytest.CaptureFixture[str]) -> None:
    as_stage(_raising(PlanError("x" * 1_000_000)))
    assert launcher.main(["plan"]) == 2
    assert len(capsys.readouterr().err) < 2100


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), OSError("no errno"), ModuleNotFoundError("our own", name="apps.planet")]
)
def test_a_fault_of_ours_keeps_its_traceback(as_stage: Callable[[Stage], None], error: Exception) -> None:
    as_stage(_raising(error))
    with pytest.raises(type(error)):
        launcher.main(["plan"])


STAGE = """
import sys, types
import edge_mpq
from edge_mpq import __main__ as launcher
stage = types.ModuleType("planted_stage")
def main(argv):
    {body}
stage.main = main
sys.modules["planted_stage"] = stage
launcher.VERBS["plan"] = ("planted_stage", "planted")
sys.exit(launcher.main(["plan"]))
"""


STOPS = [
    pytest.param(
        signal.SIGINT,
        130,
        marks=pytest.mark.skipif(
            signal.getsignal(signal.SIGINT) is signal.SIG_IGN, reason="a job in the background hears no Ctrl-C"
        ),
    ),
    (signal.SIGTERM, 143),
]


@pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes of POSIX")
@pytest.mark.parametrize(("stop", "code"), STOPS)
def test_a_stop_puts_in_order_what_was_begun_and_says_nothing(stop: signal.Signals, code: int) -> None:
    body = """
    import signal
    try:
        print("ready", flush=True)
        signal.pause()
    finally:
        print("in order", flush=True)"""
    with subprocess.Popen(
        [sys.executable, "-c", STAGE.format(body=body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(stop)
        out, err = process.communicate()
    assert (process.returncode, out, err) == (code, "in order\n", "")


def test_a_stop_is_heeded_while_a_verb_runs_and_no_longer(as_stage: Callable[[Stage], None]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []
    as_stage(lambda _: seen.append(signal.getsignal(signal.SIGTERM)) or 0)
    assert launcher.main(["plan"]) == 0
    assert seen[0] is not before and signal.getsignal(signal.SIGTERM) is before
    # Whoever ignores it, or handles it already, is left alone.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert launcher.main(["plan"]) == 0 and seen[1] is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes of POSIX")
def test_a_reader_that_leaves_is_no_error() -> None:
    code = STAGE.format(body="print('x' * 1_000_000); return 0")
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (141, "")


def test_the_stages_of_this_tree_win_over_namesakes_in_the_working_folder(tmp_path: Path) -> None:
    for name in ("apps", "export"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong one')")
    done = _edge_mpq("plan", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: edge-mpq plan")


def test_a_method_in_the_working_folder_is_found_by_a_console_script(tmp_path: Path) -> None:
    (tmp_path / "mylab").mkdir()
    (tmp_path / "mylab" / "smoke.py").write_text("NAME = 'mine'")
    # A script has its own folder on the path, and not the one it is called in.
    code = (
        f"import sys\nsys.path[0] = {str(ROOT)!r}\nfrom edge_mpq import door, engines\n"
        "print(door.get(engines, 'mylab.smoke').NAME)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout == "mine\n", done.stderr


@pytest.mark.parametrize("verb", launcher.VERBS)
def test_every_verb_tells_its_options(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("host stages need torch")
    assert launcher.main([verb, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: edge-mpq {verb}")


FRAMEWORKS = {"torch", "onnx", "onnx_graphsurgeon", "onnxruntime", "onnxscript", "scipy", "lightning_fabric"}
TASKS = [["train", task] for task in train.TASKS]
ASKED = [*([verb] for verb in launcher.VERBS), ["compare", "--recipes", "all"], *TASKS]


@pytest.mark.parametrize("words", ASKED, ids=" ".join)
def test_no_verb_loads_a_framework_to_tell_its_options(words: list[str]) -> None:
    code = (
        "import sys\nfrom edge_mpq.__main__ import main\ncode = main(sys.argv[1:])\n"
        "print(*sys.modules, sep='\\n', file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words, "--help"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and done.stdout.startswith(f"usage: edge-mpq {words[0]}")
    loaded = {name.partition(".")[0] for name in done.stderr.split("\n")}
    assert "edge_mpq" in loaded and loaded.isdisjoint(FRAMEWORKS)


@pytest.mark.parametrize("verb", launcher.VERBS)
def test_an_unknown_option_is_exit_code_2_and_nothing_on_stdout(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert launcher.main([verb, "--no-such-option"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and f"edge-mpq {verb}" in err
