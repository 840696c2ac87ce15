"""What ``edge-mpq demo`` does: draw, train, plan, quantize, export, build, fly, and say what all of it measured."""

import time
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file

from apps import measure
from apps.chosen import Options
from apps.data import DataSet
from apps.data.augmentation import Shuffled, picking
from apps.data.batches import batches
from apps.data.calibration import Calibration
from apps.data.folder import open_folder
from apps.models.cifar_resnet import resnet20
from apps.stream import run as stream
from apps.stream.engine_from_bundle import open_engine
from apps.terminal import bar, say
from apps.whole_path import quantize_into
from apps.wildfire import flame, synthetic
from apps.work import Work
from edge_mpq.engines.inputs import Recipe
from edge_mpq.errors import DataError
from edge_mpq.records import bundle as bundles
from edge_mpq.records import report as reports
from edge_mpq.records import target as targets
from edge_mpq.report import files, page, text
from edge_mpq.training import amp, loop

# Sized for under five minutes on two cores (three and a half on a quiet machine); --scale makes all of it larger.
TRAIN, TEST, EPOCHS, FRAMES, SIDE = 2000, 400, 12, 150, 64
# So few pictures make few steps: small batches make more of them, and a high rate makes them count.
BATCH, RATE = 32, 5e-3
BUDGET, FORMATS = "size<=0.18x", ["w8a8", "w4a8"]


def run(folder: str, photographs: str | None, scale: float, command: str) -> dict[str, object]:
    """The whole path into ``folder``; where report and page are, and each variant's figures.

    photographs: a folder of real ones to measure on as well.  scale: of pictures and epochs.
    """
    started = time.perf_counter()
    cv2.setNumThreads(1)
    out = Path(folder)
    photos = _photographs(photographs) if photographs else None
    work, facts = _trained(out, scale)
    bundle_folder = str(out / "bundle")
    report = quantize_into(bundle_folder, work, Options(BUDGET, formats=FORMATS), [command])
    if photos is not None:
        facts.update(_on_photographs(bundle_folder, photos, work.recipe))
    flight = _flight(out, bundle_folder)
    facts["demo_s"] = time.perf_counter() - started
    report = report._replace(
        title="Wildfire classifier on " + work.target.name,
        stream=flight.stream,
        pictures=flight.pictures,
        facts={**report.facts, **facts},
        commands=[command],
    )
    reports.save(out / "report.json", report)
    files.write(out / "report.html", page.render(report), [out / "report.json"])
    say(text.summary(report))
    say(f"page: {out / 'report.html'}")
    say(f"live: edge-mpq run {bundle_folder} --source {out / 'flyover.mp4'} --web")
    return {"report": str(out / "report.json"), "page": str(out / "report.html"), **measure.summaries(report)}


def _photographs(folder: str) -> DataSet:
    """Both halves of a folder of photographs; DataError unless its classes are those of FLAME."""
    data = open_folder(folder)
    if list(data.classes) != list(flame.CLASSES):
        raise DataError(
            f"{folder} holds {', '.join(data.classes)}", "put photographs into " + " and ".join(flame.CLASSES)
        )
    return data


def _trained(out: Path, scale: float) -> tuple[Work, dict[str, object]]:
    """A classifier trained on drawn scenes, ready to be quantized, and what training measured."""
    count, epochs = max(64, int(TRAIN * scale) // 2 * 2), max(1, round(EPOCHS * scale))
    data = synthetic.open_classification(
        count, max(64, int(TEST * scale) // 2 * 2), width=128, height=96, folder=out / "data", progress=bar
    )
    recipe = Recipe(SIDE, SIDE)
    torch.manual_seed(0)
    model = resnet20(num_classes=len(data.classes))
    pictures = Shuffled(picking(data.train, recipe, range(len(data.train)), bar), len(data.train), BATCH)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    started = time.perf_counter()
    log = loop.fit(model, pictures, epochs, RATE, device, bar)
    kind = str(amp.precision(torch.device(device))).removeprefix("torch.")
    say(f"trained on {device} in {kind}: loss {log[-1].loss:.3f}, {log[-1].right:.1%} right")
    save_file(model.state_dict(), out / "model.safetensors")
    facts = {
        "training_s": time.perf_counter() - started,
        "training_pictures": count,
        "training_loss": log[-1].loss,
        "training_precision": kind,
    }
    calibration = Calibration(data.train, recipe, 256)
    example = next(iter(calibration))[:1]
    return Work("wildfire", model, data, recipe, example, calibration, targets.get("cpu-x86-vnni")), facts


def _on_photographs(folder: str, photos: DataSet, recipe: Recipe) -> dict[str, object]:
    """How fp32 and mixed engines do on real photographs, none of which trained or tuned the model."""
    bundle = bundles.open_folder(folder)
    pairs = [*batches(photos.train, recipe, 64), *batches(photos.test, recipe, 64)]
    labels = np.concatenate([labels for _, labels in pairs])
    facts: dict[str, object] = {"real_photos": len(labels)}
    for role, name in (("fp32", "fp32"), ("model", "mixed")):
        with open_engine(folder, bundle, role) as engine:
            said = measure.top1(measure.answers(engine, [values for values, _ in pairs], f"photographs, {name}"))
        facts[f"real_photos_{name}_top1"] = float((said == labels).mean())
        facts[f"real_photos_{name}_balanced_top1"] = float(
            np.mean([(said[labels == kind] == kind).mean() for kind in np.unique(labels)])
        )
    return facts


def _flight(out: Path, bundle_folder: str) -> reports.RunReport:
    """Fly over a drawn forest with the mixed engine; the report of the stream."""
    video = out / "flyover.mp4"
    synthetic.write_video(video, FRAMES, 640, 360, progress=bar)
    stream.main(
        [
            bundle_folder,
            "--source",
            str(video),
            "--headless",
            "--video",
            str(out / "overlay.mp4"),
            "--report",
            str(out / "stream.json"),
        ]
    )
    return reports.load(out / "stream.json")
