"""Entropy calibration: edge-mpq's observer against ONNX Runtime's calibrator, same activations.

    python benchmarks/calibration.py [--pictures 512]

Both see, in batches of 32, inputs and outputs of the 19 ReLUs of a CIFAR ResNet-20, filled with
seeded Laplace noise; one process and one thread each.  Memory is how far the peak rose above
where it stood before the first batch.  ONNX Runtime's default of 128 bins has room for a single
window of 128 levels, so nothing is searched; with 2048 bins it searches as edge-mpq always does.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

SHAPES = [(16, 32, 32)] * 7 + [(32, 16, 16)] * 6 + [(64, 8, 8)] * 6
BATCH = 32
RUNS = ["edge-mpq", "edge-mpq, symmetric", "onnxruntime, 128 bins", "onnxruntime, 2048 bins"]


class Stream:
    """Batches of ``x0 x1 ...`` made from one pool, each scaled differently; ONNX Runtime's reader."""

    def __init__(self, pictures: int):
        draw = np.random.default_rng(0).laplace
        self.pool = {f"x{i}": draw(size=(BATCH, *shape)).astype(np.float32) for i, shape in enumerate(SHAPES)}
        self.left = pictures // BATCH

    def get_next(self):
        if not self.left:
            return None
        self.left -= 1
        scale = np.float32(1 + 0.1 * (self.left % 7))
        return {name: values * scale for name, values in self.pool.items()}


def edge_mpq(stream: Stream, symmetric: bool) -> dict:
    import torch

    from edge_mpq import observers

    torch.set_num_threads(1)
    rule = observers.get("entropy")
    watchers = {name + end: rule.Observer(8, symmetric) for name in stream.pool for end in ("", ".relu")}
    while (batch := stream.get_next()) is not None:
        for name, values in batch.items():
            tensor = torch.from_numpy(values)
            watchers[name].see(tensor)
            watchers[name + ".relu"].see(tensor.relu())
    return {name: watcher.range() for name, watcher in watchers.items()}


def onnxruntime(stream: Stream, bins: int) -> dict:
    import onnx
    from onnx import TensorProto, helper
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    def infos(end):
        pairs = zip(stream.pool, SHAPES, strict=True)
        return [helper.make_tensor_value_info(name + end, TensorProto.FLOAT, (BATCH, *shape)) for name, shape in pairs]

    nodes = [helper.make_node("Relu", [name], [name + ".relu"], name=name + "/Relu") for name in stream.pool]
    graph = helper.make_graph(nodes, "relus", infos(""), infos(".relu"))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        plain, augmented = (os.path.join(folder, name) for name in ("relus.onnx", "augmented.onnx"))
        onnx.save(model, plain)
        options = {"num_bins": bins}
        calibrator = create_calibrator(plain, ["Relu"], augmented, CalibrationMethod.Entropy, extra_options=options)
        calibrator.collect_data(stream)
        table = calibrator.compute_data()
    return {name: tuple(map(float, table[name].range_value)) for name in table.keys()}


def measure(run: str, pictures: int) -> dict:
    """Time and memory of one run, in this process."""
    ours = run.startswith("edge-mpq")
    work, setting = (edge_mpq, "symmetric" in run) if ours else (onnxruntime, int(run.split()[1]))
    work(Stream(BATCH), setting)  # imports and allocators warm
    stream = Stream(pictures)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    ranges = work(stream, setting)
    seconds = time.perf_counter() - start
    mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"seconds": seconds, "mib": mib, "x0": ranges["x0"]}


def main() -> int:
    parser = argparse.ArgumentParser(description="entropy calibration, edge-mpq against ONNX Runtime")
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        print(json.dumps(measure(asked.run, asked.pictures)))
        return 0
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    surroundings = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=root)
    print(f"{'':24} {'pictures':>8} {'seconds':>8} {'peak MiB':>8}   range of the first tensor")
    for run in RUNS:
        for pictures in (asked.pictures // 4, asked.pictures):
            command = [sys.executable, __file__, "--run", run, "--pictures", str(pictures)]
            done = subprocess.run(command, env=surroundings, check=True, capture_output=True, text=True)
            row = json.loads(done.stdout.splitlines()[-1])
            low, high = row["x0"]
            print(
                f"{run:24} {pictures:8} {row['seconds']:8.2f} {row['mib']:8.0f}   {low:.2f} to {high:.2f}", flush=True
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
