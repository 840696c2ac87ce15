"""A report as a real run writes it: ResNet-20 in fp32, int8 and mixed on a CPU, a camera stream, four frames."""

import base64

import cv2
import numpy as np

from edge_mpq.records.histogram import TensorHistogram
from edge_mpq.records.report import LayerRow, Option, RunReport, Stream, Variant

MODEL = "5f0c1d2e3a4b5c6d"
_NARROW = {
    "layer2.1.conv1": 4,
    "layer3.0.conv2": 4,
    "layer3.1.conv1": 4,
    "layer3.1.conv2": 3,
    "layer3.2.conv1": 4,
    "layer3.2.conv2": 4,
}


def layers() -> list[tuple[str, int, int]]:
    """(name, weights, MACs) of the 22 layers of a ResNet-20 with projection shortcuts, for 32 x 32 pictures."""
    rows = [("conv1", 3 * 16 * 9, 3 * 16 * 9 * 1024)]
    for stage, (before, width, size) in enumerate(((16, 16, 32), (16, 32, 16), (32, 64, 8)), start=1):
        for block in range(3):
            wide_in = before if block == 0 else width
            rows.append((f"layer{stage}.{block}.conv1", wide_in * width * 9, wide_in * width * 9 * size * size))
            rows.append((f"layer{stage}.{block}.conv2", width * width * 9, width * width * 9 * size * size))
            if block == 0 and stage > 1:
                rows.append((f"layer{stage}.0.shortcut", before * width, before * width * size * size))
    return [*rows, ("fc", 640, 640)]


def _rows(kind: str, slower: float) -> list[LayerRow]:
    noise = np.random.default_rng(7 if kind == "mixed" else 8)
    rows = []
    for index, (name, weights, macs) in enumerate(layers()):
        edge = name in ("conv1", "fc")
        asked = "fp32" if kind == "fp32" else "w8a8"
        why = "uniform"
        if kind == "mixed":
            asked = "fp32" if edge else f"w{_NARROW.get(name, 8)}a8"
            why = (
                "first and last layers lose most and weigh little"
                if edge
                else "saves 2.1 % of the file for 0.4 % of the harm"
                if name in _NARROW
                else "4 bits would cost three times the harm a byte of the layers that took them"
            )
        got = "fp32" if name == "layer2.0.shortcut" and kind == "mixed" else asked
        planned = None if kind == "fp32" else (0.004 + macs * (6e-9 if asked != "fp32" else 14e-9)) * slower
        measured = (planned or 0.004 + macs * 15e-9) * float(noise.uniform(0.8, 1.45)) * (2.6 if got != asked else 1)
        harm = 0.0 if asked == "fp32" else 10 ** float(noise.uniform(-4.2, -2.5)) * (4 if name in _NARROW else 1)
        row = LayerRow(name, asked, got, weights, macs, planned, measured, harm, why if index != 3 else "")
        rows.append(row._replace(options=_options(row)) if kind == "mixed" else row)
    return rows


def _options(row: LayerRow) -> tuple[Option, ...]:
    """What a row was chosen from: fp32 and integers of 8, 4 and 3 bits, its own score at its own format."""
    harm = row.harm or 1e-3
    scale = {"fp32": 0.0, "w8a8": 1.0, "w4a8": 9.0, "w3a8": 40.0}
    base = scale[row.asked] or 1.0
    bits = {"fp32": 32, "w8a8": 8, "w4a8": 4, "w3a8": 3}
    planned = row.planned_ms or 0.0
    return tuple(
        Option(name, harm * factor / base, row.weights * bits[name] / 8 / 2**20, planned * (2 if name == "fp32" else 1))
        for name, factor in scale.items()
    )


def histograms() -> list[TensorHistogram]:
    """Inputs that tail off past the end of their grid, the more the deeper they lie, and weights that fill theirs."""
    falling = [round(4e5 * 0.75**bin) for bin in range(48)]
    heap = [round(900 * 0.9 ** abs(bin - 23.5)) for bin in range(48)]
    made = []
    for index, (name, _, _) in enumerate(layers()[1:-1]):
        made.append(TensorHistogram(name, "input", "int8", 0.0, 6.0, falling, 0.0, 6.0 - 0.1 * index, 1e-6 * index))
        made.append(TensorHistogram(name, "weights", "int4", -1.0, 1.0, heap, -1.0, 1.0, 0.0))
    return made


def variants(slower: float = 1.0) -> list[Variant]:
    """fp32, int8 and mixed; ``slower`` stretches every time."""
    return [
        Variant(
            "fp32",
            1.083,
            1.037,
            32.0,
            1.251 * slower,
            1.402 * slower,
            799.4 / slower,
            1.0,
            0.8836,
            None,
            None,
            _rows("fp32", slower),
        ),
        Variant(
            "int8",
            0.334,
            0.2593,
            8.0,
            0.5213 * slower,
            0.5934 * slower,
            1918.3 / slower,
            2.3998,
            0.8835,
            0.9912,
            0.9974,
            _rows("int8", slower),
        ),
        Variant(
            "mixed",
            0.3391,
            0.1604,
            4.93,
            0.5302 * slower,
            0.6177 * slower,
            1886.1 / slower,
            2.3595,
            0.8807,
            0.9731,
            0.9968,
            _rows("mixed", slower),
        ),
    ]


def picture(seed: int, label: str, confidence: float) -> str:
    """A drawn frame from above a forest, with a flame where ``label`` is Fire, as a PNG in base64."""
    noise = np.random.default_rng(seed)
    frame = np.full((240, 320, 3), (38, 62, 44), np.uint8)
    for _ in range(420):
        x, y, r = int(noise.integers(0, 320)), int(noise.integers(0, 240)), int(noise.integers(4, 13))
        green = int(noise.integers(60, 120))
        cv2.circle(frame, (x, y), r, (green // 2 - 10, green, green // 2 + 8), -1, cv2.LINE_AA)
    frame = cv2.GaussianBlur(frame, (5, 5), 0)
    if label == "Fire":
        smoke = frame.copy()
        for _ in range(30):
            x, y = 170 + int(noise.normal(30, 34)), 120 + int(noise.normal(-30, 26))
            cv2.circle(smoke, (x, y), int(noise.integers(10, 34)), (176, 178, 180), -1, cv2.LINE_AA)
        frame = cv2.addWeighted(frame, 0.55, cv2.GaussianBlur(smoke, (31, 31), 0), 0.45, 0)
        for _ in range(60):
            x, y, r = 150 + int(noise.normal(0, 18)), 140 + int(noise.normal(0, 12)), int(noise.integers(2, 8))
            cv2.circle(frame, (x, y), r, (20, int(noise.integers(90, 200)), 245), -1, cv2.LINE_AA)
    cv2.rectangle(frame, (0, 0), (320, 24), (24, 24, 24), -1)
    text = f"{label} {confidence:.0%}   187 FPS   p50 5.1 ms"
    cv2.putText(frame, text, (8, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (240, 240, 240), 1, cv2.LINE_AA)
    return base64.b64encode(cv2.imencode(".png", frame)[1].tobytes()).decode("ascii")


def report(target: str = "cpu-x86-vnni", slower: float = 1.0) -> RunReport:
    """The whole report; ``slower`` makes that of another board."""
    stream = Stream(
        "flyover.mp4",
        612,
        18,
        1,
        20.4,
        187.3 / slower,
        5.12 * slower,
        7.94 * slower,
        {"grab": 1.31 * slower, "preprocess": 0.874 * slower, "infer": 2.21 * slower, "draw": 0.702 * slower},
        "the source ended after 630 frames",
    )
    facts = {
        "model": "apps.models.resnet:resnet20",
        "model_fingerprint": MODEL,
        "budget": "size<=5bits",
        "sensitivity": "kl",
        "allocator": "milp",
        "plan_s": 3.42,
        "quantize_s": 8.71,
        "export_s": 1.26,
        "peak_memory_mib": 612.4,
        "calibration_pictures": 512,
        "test_pictures": 10000,
        "synthetic_top1": 0.9734,
        "real_photos_top1": 0.8201,
        "real_photos": 278,
        "predicted_latency_ms": 0.497,
        "deterministic": True,
    }
    frames = [
        ("Fire, 97 %", 3, "Fire", 0.97),
        ("No fire, 99 %", 5, "No fire", 0.99),
        ("Fire, 88 %: half behind smoke", 11, "Fire", 0.88),
        ("No fire, 71 %: sunlit rock between autumn trees", 13, "No fire", 0.71),
    ]
    machine = {
        "processor": "Intel Xeon Platinum 8481C",
        "cores": "2",
        "threads": "1",
        "python": "3.11.9",
        "onnxruntime": "1.32.0",
        "torch": "2.13.0",
    }
    return RunReport(
        title="ResNet-20 at five bits a weight",
        created="2026-03-04 15:26 UTC",
        target=target,
        machine=machine,
        variants=variants(slower),
        stream=stream,
        facts=facts,
        pictures=[[caption, picture(seed, label, sure)] for caption, seed, label, sure in frames],
        commands=[
            "edge-mpq quantize --model apps.models.resnet:resnet20 --weights resnet20_cifar10.pt --data cifar10.npz \\",
            "    --target cpu-x86-vnni --budget 'size<=5bits' --out runs/resnet20",
            "edge-mpq bench runs/resnet20 --data cifar10.npz",
            "edge-mpq report runs/resnet20",
        ],
        histograms=histograms(),
        disagreements=[[f"fp32: Fire {sure} %; mixed: No fire 54 %", picture(sure, "Fire", 0.5)] for sure in (52, 61)],
    )
