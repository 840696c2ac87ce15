"""The whole path on a toy: every verb once, what it writes, and what it says to nonsense."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from edge_mpq.__main__ import main
from edge_mpq.records import bundle as bundles
from edge_mpq.records import plan as plans
from edge_mpq.records import report as reports

MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        self.body = nn.Conv2d(16, 16, 3, 1, 1)
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        x = self.bn(self.stem(x)).relu()
        x = (x + self.body(x)).relu()
        return self.head(x.mean((2, 3)))

def make():
    return Net()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model file, a data set of red and blue pictures, and a bundle made from them."""
    folder = tmp_path_factory.mktemp("path")
    (folder / "net.py").write_text(MODEL)
    draw = np.random.default_rng(0)
    labels = np.arange(160) % 2
    pictures = draw.integers(0, 120, (160, 16, 16, 3)).astype(np.uint8)
    pictures[labels == 0, :, :, 0] += 120
    pictures[labels == 1, :, :, 2] += 120
    np.savez(folder / "data.npz", x_train=pictures[:96], y_train=labels[:96], x_test=pictures[96:], y_test=labels[96:])
    assert main(quantize(folder, folder / "bundle")) == 0
    return folder


def quantize(folder: Path, out: Path, *more: str) -> list[str]:
    given = ["--model", f"{folder / 'net.py'}:make", "--data", str(folder / "data.npz"), "--out", str(out)]
    return ["quantize", *given, "--calibration", "32", "--budget", "size<=5bits", "--formats", "w8a8", "w4a8", *more]


def test_quantize_writes_a_bundle_that_holds_its_budget(place: Path) -> None:
    bundle = bundles.open_folder(place / "bundle")
    assert set(bundle.files) == {"fp32", "model", "int8", "plan", "ranges"}
    report = reports.load(place / "bundle" / "report.json")
    mixed = next(variant for variant in report.variants if variant.name == "mixed")
    assert mixed.weight_bits <= 5
    assert mixed.simulated_agreement is not None and mixed.simulated_agreement >= 0.98
    assert all(row.got == row.asked for row in mixed.layers)


def test_bench_run_report_and_compare_follow(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = str(place / "bundle")
    assert main(["bench", bundle, "--data", str(place / "data.npz"), "--rounds", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert set(said["variants"]) == {"fp32", "int8", "mixed"}
    assert said["variants"]["fp32"]["agreement"] == 1.0
    frames = place / "frames"
    frames.mkdir()
    for index in range(5):
        cv2.imwrite(str(frames / f"{index}.png"), np.full((40, 60, 3), 40 * index, np.uint8))
    assert main(["run", bundle, "--source", str(frames), "--headless", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 5
    assert main(["report", bundle]) == 0
    assert "<html" in (place / "bundle" / "report.html").read_text()
    assert main(["compare", bundle, bundle, "--out", str(place / "compare.html")]) == 0
    assert (place / "compare.html").is_file()


def test_plan_then_export_then_build(place: Path) -> None:
    given = ["--model", f"{place / 'net.py'}:make", "--data", str(place / "data.npz"), "--calibration", "32"]
    assert main(["plan", *given, "--budget", "size<=0.3x", "--out", str(place / "plan.json")]) == 0
    assert main(["export", *given, "--plan", str(place / "plan.json"), "--out", str(place / "exported")]) == 0
    assert main(["build", str(place / "exported"), "--json"]) == 0
    assert (place / "exported" / "engines" / "model.engine").is_file()
    assert plans.load(place / "plan.json").choices == plans.load(place / "exported" / "plan.json").choices
    assert len(list((place / "exported" / "frames").iterdir())) == 8


def test_export_may_fill_the_folder_that_plan_wrote_into(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, plan = tmp_path / "out", tmp_path / "out" / "plan.json"
    given = ["--model", f"{place / 'net.py'}:make", "--data", str(place / "data.npz"), "--calibration", "32"]
    export = ["export", *given, "--plan", str(plan), "--out", str(out)]
    out.mkdir()
    shutil.copy(place / "bundle" / "plan.json", plan)
    (out / "notes.txt").write_text("mine")
    assert main(export) == 2 and "holds something that is no bundle" in capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == ["notes.txt", "plan.json"]
    (out / "notes.txt").unlink()
    elsewhere = tmp_path / "plan.json"
    plans.save(elsewhere, plans.load(plan)._replace(budget="another"))
    assert main([*export, "--plan", str(elsewhere)]) == 2  # it would delete a plan that is not its own
    assert main(export) == 0
    assert plans.load(plan) == plans.load(place / "bundle" / "plan.json")
    assert (out / "model.onnx").is_file()


def test_what_export_wrote_can_be_measured(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "bundle", tmp_path / "exported")
    (tmp_path / "exported" / "report.json").unlink()
    assert main(["bench", str(tmp_path / "exported"), "--data", str(place / "data.npz"), "--rounds", "2"]) == 0
    made = {variant.name: variant for variant in reports.load(tmp_path / "exported" / "report.json").variants}
    known = {variant.name: variant for variant in reports.load(place / "bundle" / "report.json").variants}
    for name, variant in made.items():
        assert variant.weight_bits == pytest.approx(known[name].weight_bits)
        assert variant.weight_mib == pytest.approx(known[name].weight_mib)
    rows = {row.layer: (row.asked, row.got, row.why) for row in known["mixed"].layers}
    assert {row.layer: (row.asked, row.got, row.why) for row in made["mixed"].layers} == rows
    assert all(row.measured_ms is not None for row in made["mixed"].layers)


def test_names_are_looked_up_before_any_work_and_all_of_them(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.work.work_of", lambda args: pytest.fail("work was begun"))
    wrong = ["--rounding", "up", "--observer", "eye", "--allocator", "chance", "--sensitivity", "none"]
    assert main([*quantize(place, place / "never"), *wrong, "--budget", "size<=two", "--formats", "w9a9"]) == 2
    said = capsys.readouterr().err
    for name in ("'up'", "'eye'", "'chance'", "'none'", "'size<=two'", "'w9a9'"):
        assert name in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("option", ["--rounds", "--threads"])
@pytest.mark.parametrize("value", ["0", "-3", "two"])
def test_counts_are_above_zero(place: Path, option: str, value: str) -> None:
    assert main(["bench", str(place / "bundle"), "--data", str(place / "data.npz"), option, value]) == 2
    if option == "--threads":
        assert main(["build", str(place / "bundle"), option, value]) == 2


def test_a_nano_gets_no_quantize_nodes_and_its_parser_s_opset(place: Path) -> None:
    out = place / "nano"
    given = ["--model", f"{place / 'net.py'}:make", "--data", str(place / "data.npz"), "--calibration", "32"]
    assert main(["quantize", *given, "--target", "jetson-nano", "--out", str(out)]) == 0
    # Without a budget: half of fp32, since this board runs no int8.
    assert plans.load(out / "plan.json").budget == reports.load(out / "report.json").facts["budget"] == "size<=0.5x"
    model = onnx.load(out / "model.onnx")
    assert model.opset_import[0].version == 13
    assert not {node.op_type for node in model.graph.node} & {"QuantizeLinear", "DequantizeLinear"}


def test_a_drop_budget_is_held_on_data_the_search_did_not_see(place: Path) -> None:
    out = place / "drop"
    arguments = quantize(place, out)
    arguments[arguments.index("size<=5bits")] = "drop<=5%"
    assert main(arguments) == 0
    assert plans.load(out / "plan.json").budget == "drop<=5%"


def nonsense(place: Path) -> dict[str, list[str]]:
    (place / "text.pt").write_text("hello\n")
    (place / "empty").mkdir(exist_ok=True)
    state = {"stem.weight": torch.full((16, 3, 3, 3), float("nan"))}
    torch.save(state, place / "nan.pt")
    out = place / "never"
    torn = place / "torn"
    shutil.copytree(place / "bundle", torn, dirs_exist_ok=True)
    (torn / "model.onnx").write_bytes((place / "bundle" / "model.onnx").read_bytes()[:500])
    (place / "film.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(200))
    other = place / "other.py"
    other.write_text(MODEL.replace("self.stem", "self.trunk"))
    bundle = str(place / "bundle")
    data = ["--data", str(place / "data.npz")]
    return {
        "missing weights": quantize(place, out, "--weights", str(place / "nope.pt")),
        "text as weights": quantize(place, out, "--weights", str(place / "text.pt")),
        "NaN weights": quantize(place, out, "--weights", str(place / "nan.pt")),
        "empty data": [*quantize(place, out), "--data", str(place / "empty")],
        "missing data": [*quantize(place, out), "--data", str(place / "nope")],
        "unknown target": quantize(place, out, "--target", "jetson-moon"),
        "impossible budget": [*quantize(place, out), "--budget", "size<=1bits"],
        "no budget": [*quantize(place, out), "--budget", "small please"],
        "unknown method": quantize(place, out, "--sensitivity", "feeling"),
        "unknown format": [*quantize(place, out), "--formats", "w9a9"],
        "another model's plan": [
            *("export", "--model", f"{other}:make", *data),
            *("--plan", f"{bundle}/plan.json", "--out", str(out)),
        ],
        "truncated ONNX": ["bench", str(torn), *data],
        "a folder that is no bundle": ["bench", str(place / "empty"), *data],
        "a torn film": ["run", bundle, "--source", str(place / "film.mp4"), "--headless"],
        "out holds something else": quantize(place, place),
        "unknown verb": ["quantise"],
    }


FAULTS = (
    "missing weights", "text as weights", "NaN weights", "empty data", "missing data", "unknown target",
    "impossible budget", "no budget", "unknown method", "unknown format", "another model's plan", "truncated ONNX",
    "a folder that is no bundle", "a torn film", "out holds something else", "unknown verb",
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_nonsense_is_one_line_and_exit_code_two(fault: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = nonsense(place)[fault]
    capsys.readouterr()
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    last = said.err.strip().splitlines()[-1]
    assert last.startswith("edge-mpq: ") and "Error: " in last
    assert "Traceback" not in said.err
    assert not (place / "never").exists()


def test_an_orin_gets_scales_that_equal_the_ranges(place: Path) -> None:
    from calibrators import cache
    from edge_mpq.records import ranges

    out = place / "orin"
    given = ["--model", f"{place / 'net.py'}:make", "--data", str(place / "data.npz"), "--calibration", "32"]
    assert main(["quantize", *given, "--target", "jetson-orin-nano", "--out", str(out)]) == 0
    scales, sidecar = cache.load(out / "calibration.cache", out / "fp32.onnx")
    table = ranges.load(out / "ranges.json")
    assert scales.version == 100300 and sidecar.pictures == table.pictures == 32
    for name, (low, high) in table.tensors.items():
        assert float(scales.scales[name]) * 127 == pytest.approx(max(-low, high), rel=1e-6)


def test_calibration_on_the_board_takes_the_bundle_s_scales_or_pictures(place: Path) -> None:
    from export import engine_from_onnx

    out = place / "board"
    given = ["--model", f"{place / 'net.py'}:make", "--data", str(place / "data.npz"), "--calibration", "32"]
    assert main(["quantize", *given, "--target", "jetson-xavier-nx", "--out", str(out)]) == 0
    held = engine_from_onnx.calibration_of(str(out), "entropy2")
    assert held.cache is not None and held.batches is None
    pictures = place / "pictures"
    pictures.mkdir()
    for index in range(engine_from_onnx.BATCH):
        cv2.imwrite(str(pictures / f"{index}.png"), np.full((16, 16, 3), index, np.uint8))
    assert engine_from_onnx.calibration_of(str(out), "minmax", str(pictures)).batches is not None
    assert main(["build", str(place / "bundle"), "--dla", "0"]) == 2
    assert main(["build", str(place / "bundle"), "--calibrate", "entropy2"]) == 2


def test_thor_gets_a_typed_network_and_a_script_without_precision_flags(place: Path) -> None:
    given = ["--model", f"{place / 'net.py'}:make", "--data", str(place / "data.npz"), "--calibration", "32"]
    board, plan = ["--target", "jetson-thor", "--formats", "w8a8", "fp16"], str(place / "thor.json")
    assert main(["plan", *given, *board, "--budget", "size<=0.3x", "--out", plan]) == 0
    script = place / "build.sh"
    assert main(["export", *given, "--plan", plan, "--out", str(place / "thor"), "--script", str(script)]) == 0
    model = onnx.load(place / "thor" / "model.onnx")
    # A typed network takes no calibrator, so no scales travel.
    assert not (place / "thor" / "calibration.cache").exists()
    assert model.opset_import[0].version >= 19
    assert "Cast" in {node.op_type for node in model.graph.node}
    assert onnx.TensorProto.FLOAT16 in {item.data_type for item in model.graph.initializer}
    assert "--stronglyTyped" in script.read_text() and "--int8" not in script.read_text()


SIMULATED = """
from edge_mpq.recipes import default

PAPER = "mine"


def run(task, progress):
    note = "a tensor is rounded on two regions, which no engine does"
    return default.run(task, progress)._replace(deployable=False, note=note)
"""


def test_a_recipe_takes_the_place_of_methods(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A transform moves channels, so the float model in the bundle is another; accuracy as given stands beside it."""
    assert main(quantize(place, place / "by-recipe", "--recipe", "mptq_vit:twin=false", "--json")) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["recipe"] == "mptq_vit:twin=false" and said["trials"] > 0 and 0 <= said["given_top1"] <= 1
    assert "sensitivity" not in said
    report = reports.load(place / "by-recipe" / "report.json")
    mixed = next(variant for variant in report.variants if variant.name == "mixed")
    assert mixed.weight_bits <= 5 and mixed.simulated_agreement is not None and mixed.simulated_agreement >= 0.98
    assert plans.load(place / "by-recipe" / "plan.json").transforms == ("shift_smooth",)


@pytest.mark.parametrize(
    "more, said",
    [
        (["--recipe", "mptq"], "there is no 'mptq' in recipes"),
        (["--recipe", "fliqs:epochs=none"], "epochs=none: no whole number; write fliqs:KEY=VALUE"),
        (["--recipe", "default", "--rounding", "nearest"], "brings its own methods, --rounding asks for others"),
        (["--recipe", "mylab.twin"], "rounded on two regions, which no engine does"),
    ],
)
def test_a_recipe_that_cannot_serve_is_told(place, capsys, monkeypatch, more, said):
    (place / "mylab").mkdir(exist_ok=True)
    (place / "mylab" / "twin.py").write_text(SIMULATED)
    monkeypatch.syspath_prepend(str(place))
    assert main(quantize(place, place / "never", *more)) == 2
    assert said in capsys.readouterr().err
    assert not (place / "never").exists()
