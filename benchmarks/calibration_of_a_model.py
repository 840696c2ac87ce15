"""Entropy calibration of a whole model: this project against onnxruntime's calibrator, time and memory.

    python -m benchmarks.calibration_of_a_model --weights resnet20_cifar10.pt --data cifar10.npz

Each run is a process of its own, so that its peak memory is its own; the rise is over
what the process held before it calibrated.  onnxruntime runs with 2048 bins too: its
default of 128 bins leaves entropy nothing to choose.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time

import onnx
import torch

from apps.data.calibration import Calibration
from apps.data.opening import open_data
from edge_mpq.calibration import ranges_of
from edge_mpq.engines.inputs import Recipe
from edge_mpq.loading import load_model
from edge_mpq.placement import every_tensor
from edge_mpq.simulation import prepared
from export.onnx_from_torch import onnx_from_graph

WAYS = ("edge-mpq", "onnxruntime-128", "onnxruntime-2048")


def main() -> None:
    """Print a Markdown table: one row a way and number of pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--one", nargs=2, metavar=("WAY", "PICTURES"), help="one run, its figures as JSON")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(_run(args.one[0], int(args.one[1]), args.weights, args.data)))
        return
    print("| way | pictures | seconds | peak memory above start, MiB |\n|---|---|---|---|")
    for way in WAYS:
        for pictures in (128, 512):
            program = [sys.executable, "-m", "benchmarks.calibration_of_a_model"]
            command = [*program, *sys.argv[1:], "--one", way, str(pictures)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds, rise = json.loads(done.stdout.splitlines()[-1])
            print(f"| {way} | {pictures} | {seconds:.2f} | {rise:.0f} |", flush=True)


def _run(way: str, pictures: int, weights: str, data: str) -> tuple[float, float]:
    """(seconds, MiB) of calibrating ``pictures`` pictures."""
    torch.set_num_threads(1)
    batches = Calibration(open_data(data).train, Recipe(32, 32), pictures)
    graph = prepared(load_model("cifar_resnet20", weights), next(iter(batches)))
    with tempfile.TemporaryDirectory() as folder:
        model = folder + "/model.onnx"
        onnx.save(onnx_from_graph(graph, 18), model)
        before, started = _peak_mib(), time.perf_counter()
        if way == "edge-mpq":
            ranges_of(graph, every_tensor(graph), batches, "entropy")
        else:
            _onnxruntime(model, folder, batches, int(way.rpartition("-")[2]))
        return time.perf_counter() - started, _peak_mib() - before


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _onnxruntime(model: str, folder: str, batches: Calibration, bins: int) -> None:
    from onnxruntime.quantization import CalibrationDataReader
    from onnxruntime.quantization.calibrate import EntropyCalibrater

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(batches)

        def get_next(self) -> dict | None:
            values = next(self.rest, None)
            return None if values is None else {"x": values.numpy()}

    calibrator = EntropyCalibrater(
        model, None, augmented_model_path=folder + "/augmented.onnx", num_bins=bins, num_quantized_bins=128
    )
    calibrator.augment_graph()
    calibrator.create_inference_session()
    calibrator.collect_data(Reader())
    calibrator.compute_data()


if __name__ == "__main__":
    main()
