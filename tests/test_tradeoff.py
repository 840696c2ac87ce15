"""``edge-mpq tradeoff`` on a toy: every setting once, a run that goes on where it was cut, and honest refusals."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from apps import board_sweep, peak_memory, tradeoff_plans, tradeoff_sweep
from apps import tradeoff as verb
from apps.data.unlabelled import open_unlabelled
from edge_mpq.__main__ import main
from edge_mpq.engines import inputs
from edge_mpq.records import bundle as bundles
from edge_mpq.records import tradeoff as records
from tests.attacks.packing import write_folder
from tests.test_whole_path import place  # noqa: F401  a fixture


@pytest.fixture(scope="module")
def second(place: Path) -> Path:  # noqa: F811
    """Another bundle of the same model, whose mixed plan alone is another file."""
    folder = place / "wide"
    shutil.copytree(place / "bundle", folder)
    graph = onnx.load(folder / "model.onnx")
    graph.doc_string = "another"
    onnx.save(graph, folder / "model.onnx")
    bundles.seal(folder, bundles.open_folder(place / "bundle"))
    return folder


def words(place: Path, out: Path, *more: str) -> list[str]:  # noqa: F811
    given = [str(place / "bundle"), "--data", str(place / "data.npz"), "--out", str(out), "--turns", "1"]
    return ["tradeoff", *given, *more]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is measured, in order; processes for memory are not started, engines not warmed up."""
    seen: list[str] = []
    monkeypatch.setattr(verb, "WARM_S", 0.0)
    timed, answers = board_sweep.timed, tradeoff_sweep.measure.answers
    monkeypatch.setattr(board_sweep, "timed", lambda *given, **more: (seen.append("times"), timed(*given, **more))[1])
    monkeypatch.setattr(tradeoff_sweep.measure, "answers", lambda *given: (seen.append("accuracy"), answers(*given))[1])
    monkeypatch.setattr(
        peak_memory, "of_engine", lambda *given: (seen.append("memory"), peak_memory.Memory(50.0, 60.0))[1]
    )
    return seen


def test_every_plan_at_every_setting_once(place, second, tmp_path, counted, capsys):  # noqa: F811
    more = [str(second), "--threads", "2", "1", "--batch", "1", "4", "--resolution", "16", "24x20", "--json"]
    line = words(place, tmp_path / "out", *more)
    assert main(line) == 0
    said = json.loads(capsys.readouterr().out)
    made = records.load(said["record"])
    # fp32 and int8 of both bundles are the same bytes, and stand once.
    assert [plan.name for plan in made.plans] == ["fp32", "int8", "mixed bundle", "mixed wide"]
    assert len(made.points) == len(said["points"]) == 4 * 2 * 2 * 2
    assert counted.count("accuracy") == 8 and counted.count("times") == 2 and counted.count("memory") == 32
    for point in made.points:
        same = [one for one in made.points if one.plan == point.plan and one.width == point.width]
        assert {(one.top1, one.agreement) for one in same} == {(point.top1, point.agreement)}
        assert point.fps == pytest.approx(1e3 * point.batch / point.p50_ms) and point.peak_mib == 60.0
        if (point.plan, point.threads, point.batch) == ("fp32", 1, 1):
            assert point.speedup == point.speedup_low == point.speedup_high == 1 and point.agreement == 1
    layers = made.plans[2].layers
    assert [row.asked for row in layers] == [row.got for row in layers] and layers[0].measured_ms is not None
    for form in ("page", "csv"):
        assert Path(said[form]).stat().st_size > 1000
    # What is whole is no part of another run, which is of another day and perhaps of other pictures.
    assert not (tmp_path / "out" / "parts").exists()


def cut(line: list[str], monkeypatch, at: object, name: str) -> None:
    """Run ``line`` until it would call ``name`` of ``at``, where Ctrl-C comes."""
    with monkeypatch.context() as broken:
        broken.setattr(at, name, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(line) == 130


def test_a_run_that_was_cut_goes_on_and_other_options_measure_anew(place, tmp_path, counted, monkeypatch):  # noqa: F811
    line = words(place, tmp_path / "out")
    cut(line, monkeypatch, board_sweep, "timed")
    assert counted == ["accuracy"] * 3 and not (tmp_path / "out" / "tradeoff.json").exists()
    cut(line, monkeypatch, peak_memory, "of_engine")
    assert counted == ["accuracy"] * 3 + ["times"]
    counted.clear()
    cut([*line, "--threads", "2"], monkeypatch, peak_memory, "of_engine")  # the same answers, timed otherwise
    assert counted == ["times"]
    assert main(line) == 0
    assert counted == ["times"] + ["memory"] * 3
    counted.clear()
    assert main(line) == 0  # a run that is whole leaves nothing to the next
    assert counted == ["accuracy"] * 3 + ["times"] + ["memory"] * 3


def test_a_torn_part_is_refused_by_name(place, tmp_path, counted, capsys, monkeypatch):  # noqa: F811
    line = words(place, tmp_path / "out")
    for damage in (lambda text: text[:50], lambda text: text.replace('"fps"', '"fsp"')):
        cut(line, monkeypatch, peak_memory, "of_engine")
        (part,) = (tmp_path / "out" / "parts").glob("times-*.json")
        part.write_text(damage(part.read_text()))
        assert main(line) == 2
        said = capsys.readouterr().err
        assert "times" in said.splitlines()[-1] and "Traceback" not in said
        part.unlink()
        assert main(line) == 0


def test_what_one_by_one_says_a_batch_says_too(place):  # noqa: F811
    (one, *_) = tradeoff_plans.contenders([str(place / "bundle")])
    with tradeoff_plans.opened(one, None, 1, [8]) as engine:
        pictures = np.random.default_rng(0).standard_normal((4, 3, 16, 16)).astype(np.float32)
        alone = np.concatenate([engine.infer(pictures[i : i + 1])[0] for i in range(4)])
        assert board_sweep.AtBatch(engine, pictures).infer(None)[0] == pytest.approx(alone, abs=1e-5)


def test_loose_pictures_have_no_labels_and_agreement_stands_in(place, tmp_path, counted):  # noqa: F811
    loose = tmp_path / "loose"
    loose.mkdir()
    assert open_unlabelled(str(loose)) is None
    for index in range(6):
        cv2.imwrite(str(loose / f"{index}.png"), np.full((20, 30, 3), 40 * index, np.uint8))
    assert main([*words(place, tmp_path / "out"), "--data", str(loose), "--pictures", "4"]) == 0
    made = records.load(tmp_path / "out" / "tradeoff.json")
    assert made.pictures == 4 and all(point.top1 is None and point.agreement is not None for point in made.points)
    assert "agreement with fp32 (%)" in (tmp_path / "out" / "tradeoff.html").read_text()
    (loose / "fire").mkdir()
    assert open_unlabelled(str(loose)) is None  # a folder of classes is labelled


def resealed(source: Path, folder: Path, **changes) -> Path:
    """A copy of a bundle whose manifest says otherwise."""
    shutil.copytree(source, folder)
    bundles.seal(folder, bundles.open_folder(source)._replace(**changes))
    return folder


def with_fixed_batch(source: Path, folder: Path, count: int) -> Path:
    """A copy of a bundle whose graphs take ``count`` pictures at a time."""
    shutil.copytree(source, folder)
    shutil.rmtree(folder / "engines")
    for name in ("fp32", "int8", "model"):
        graph = onnx.load(folder / f"{name}.onnx")
        for value in (*graph.graph.input, *graph.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = count
        del graph.graph.value_info[:]
        onnx.save(graph, folder / f"{name}.onnx")
    bundles.seal(folder, bundles.open_folder(source))
    return folder


def test_a_batch_that_is_not_free_is_measured_as_it_is_or_refused(place, tmp_path, counted, capsys):  # noqa: F811
    fixed = with_fixed_batch(place / "bundle", tmp_path / "fixed", 4)
    line = ["tradeoff", str(fixed), "--data", str(place / "data.npz"), "--turns", "1", "--out", str(tmp_path / "out")]
    assert main([*line, "--batch", "1", "4"]) == 2
    assert "batches of 1, 4 were asked, the batch is not free: fp32 takes 4" in capsys.readouterr().err
    assert main([*line, "--batch", "4"]) == 0
    made = records.load(tmp_path / "out" / "tradeoff.json")
    assert {point.batch for point in made.points} == {4} and made.points[0].speedup == 1


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--threads", "0"], "argument --threads: 0 is not above 0"),
        (["--batch", "two"], "argument --batch"),
        (["--turns", "-1"], "argument --turns"),
        (["--resolution", "big"], "--resolution 'big' is no size"),
        (["--resolution", "0x9"], "--resolution '0x9' is no size"),
        (["--resolution", "1x2x3"], "--resolution '1x2x3' is no size"),
        (["--power-mode", "MAXN"], "there are no power modes on this machine"),
        (["--backend", "magic"], "there is no backend 'magic'"),
        (["--data", "nowhere"], "there is no data at 'nowhere'"),
        (["none"], "no bundle folder at none"),
        (["--compare", "a", "b"], "bundles and --compare"),
    ],
)
def test_nonsense_is_told_and_nothing_is_written(place, tmp_path, capsys, counted, more, told):  # noqa: F811
    assert main(words(place, tmp_path / "out", *more)) == 2
    said = capsys.readouterr().err
    assert told in said and "Traceback" not in said
    assert counted == [] and not (tmp_path / "out").exists()


def test_bundles_that_do_not_belong_together_are_refused(place, tmp_path, capsys, counted):  # noqa: F811
    source, data = place / "bundle", str(place / "data.npz")
    bundle = bundles.open_folder(source)
    other = resealed(source, tmp_path / "other", classes=["cat", "dog"])
    maps = resealed(source, tmp_path / "maps", task="segment")
    bare = resealed(source, tmp_path / "bare", files={"model": "model.onnx", "plan": "plan.json"})
    large = resealed(source, tmp_path / "large", recipe=inputs.to_json(inputs.Recipe(32, 32)))
    foreign = resealed(source, tmp_path / "foreign", target="jetson-orin-nano")
    empty = tmp_path / "empty"
    empty.mkdir()
    for folders, given, told in (
        ([source, other], data, "other has other classes than"),
        ([source, maps, bare], data, "maps is to segment"),
        ([source, bare], data, "bare has no fp32 to be held against"),
        ([other], data, "has classes 0, 1, the bundle cat, dog"),
        ([source, large], data, "several input sizes (16 x 16, 32 x 32); say which with --resolution"),
        ([foreign], data, "target jetson-orin-nano wants backend tensorrt, which is not on this machine"),
        ([source], str(empty), "holds no class folders"),
    ):
        line = ["tradeoff", *map(str, folders), "--data", given, "--out", str(tmp_path / "out")]
        assert main(line) == 2
        said = capsys.readouterr().err
        assert told in said and "Traceback" not in said, said
    assert bundle.classes == ["0", "1"] and counted == [] and not (tmp_path / "out").exists()


def test_an_engine_of_another_machine_is_built_again(place, tmp_path, counted, capsys):  # noqa: F811
    shutil.copytree(place / "bundle", tmp_path / "bundle")
    card = tmp_path / "bundle" / "engines" / "model.engine.json"
    made = json.loads(card.read_text())
    card.write_text(json.dumps({**made, "device": "another"}))
    line = ["tradeoff", str(tmp_path / "bundle"), "--data", str(place / "data.npz"), "--turns", "1"]
    assert main([*line, "--out", str(tmp_path / "out")]) == 0
    assert "building the model engine" in capsys.readouterr().err
    assert json.loads(card.read_text())["device"] == made["device"]


def test_neither_bundles_nor_runs_is_told(tmp_path, capsys):
    for line, told in (
        ([], "neither bundles nor runs were given"),
        ([str(write_folder(tmp_path / "bundle"))], "--data is missing"),
        (["--compare", "one"], "one run alone was given to --compare"),
        (["--compare", "one", "two"], "no tradeoff at"),
    ):
        assert main(["tradeoff", *line]) == 2
        assert told in capsys.readouterr().err


def test_runs_are_compared_and_none_is_overwritten(place, tmp_path, counted, capsys):  # noqa: F811
    assert main(words(place, tmp_path / "a", "--threads", "1", "2")) == 0
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    capsys.readouterr()
    both = ["tradeoff", "--compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path)]
    assert main([*both, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["runs"] == ["a", "b"] and len(said["pairs"]) == 6
    assert {(pair["speed"], pair["accuracy"]) for pair in said["pairs"]} == {("within the spread", "equal")}
    record = tmp_path / "a" / "tradeoff.json"
    assert main(["report", str(record), "--out", str(record)]) == 2 and records.load(record).points
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "is a tradeoff, not a report; compare such with edge-mpq tradeoff --compare" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "a")]) == 0
    (tmp_path / "b" / "tradeoff.json").write_text("{")
    assert main(both) == 2
    assert "torn or edited" in capsys.readouterr().err


def test_the_memory_of_a_batch_is_that_of_a_process_of_its_own(place):  # noqa: F811
    found = peak_memory.of_engine("onnxruntime", str(place / "bundle" / "engines" / "fp32.engine"), 1, 8)
    assert 0 < found.loaded_mib < found.peak_mib
