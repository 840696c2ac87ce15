"""What each rewrite of export/onnx_for_cpu.py is worth: all of them against all but one, interleaved.

python -m benchmarks.cpu_rewrites [--model cifar_resnet20] [--size 32]
"""

import argparse
import os
import tempfile

import numpy as np
import onnx
import torch

import edge_mpq
from apps import measure
from edge_mpq import engines
from edge_mpq.loading import load_model
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from edge_mpq.simulation import prepared
from export import onnx_for_cpu, onnx_from_torch, qdq_into_onnx


def main() -> None:
    """Print one line a rewrite."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="cifar_resnet20")
    parser.add_argument("--size", type=int, default=32)
    args = parser.parse_args()
    target, backend = targets.get("cpu-x86-vnni"), engines.get("onnxruntime")
    torch.manual_seed(0)
    pictures = [torch.randn(16, 3, args.size, args.size)]
    graph = prepared(load_model(args.model), pictures[0])
    plan = plans.uniform(edge_mpq.layers_of(graph), target, "int8", "int8")
    quantized, _ = edge_mpq.quantize(graph, plan, pictures)
    float_onnx = onnx_from_torch.onnx_from_graph(graph, target.opset)
    plain = qdq_into_onnx.insert(float_onnx, graph, quantized, plan, target)
    forms = {"fp32": float_onnx, "all": onnx_for_cpu.tune(plain), "none": plain}
    forms.update({f"without {name}": onnx_for_cpu.tune(plain, name) for name in onnx_for_cpu.REWRITES})
    opened = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, model in forms.items():
            source, path = os.path.join(folder, "model.onnx"), os.path.join(folder, name + ".engine")
            onnx.save(model, source)
            backend.build(source, path, target)
            opened[name] = backend.open(path)
        speeds = measure.interleaved(opened, pictures[0][:1].numpy().astype(np.float32), rounds=60)
    for name, speed in speeds.items():
        ratio = measure.speedup(speeds["fp32"], speed)
        print(f"{name:<20} p50 {speed.p50_ms:.3f} ms  {ratio:.2f} x fp32")


if __name__ == "__main__":
    main()
