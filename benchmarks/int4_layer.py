"""A linear layer as this project exports it against a MatMulNBits node made by hand, interleaved.

    python -m benchmarks.int4_layer

The layer goes the whole way: plan, simulation, ONNX with DequantizeLinear before MatMul, engine.  The node is
written in ONNX Runtime's own packing.  Random weights of 4096 x 4096, blocks of 32, int4 with activations
rounded as they come (accuracy level 4); one row a number of tokens.  The fp32 layer runs in the same turns.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

import edge_mpq
from apps import measure
from edge_mpq import simulation
from edge_mpq.engines import onnxruntime as backend
from edge_mpq.engines.base import Engine
from edge_mpq.layers import layers_of
from edge_mpq.quantizers.blocks import BlockQuantizer
from edge_mpq.records import plan as plans
from edge_mpq.records import target as targets
from export import onnx_from_torch
from export.bundle_from_torch import Quantized, opset_of, quantized_onnx

CPU, BLOCK = targets.get("cpu-x86-vnni"), 32


def main() -> None:
    """Print a Markdown table: one row a number of tokens."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--turns", type=int, default=30)
    args = parser.parse_args()
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(args.size, args.size, bias=False))
    print(measure.machine(1))
    print("| tokens | fp32 ms | by hand ms | exported ms | exported / by hand | exported / fp32 | answers differ |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        opened = engines(layer, args.size, Path(folder))
        for tokens in args.tokens:
            values = np.random.default_rng(0).standard_normal((tokens, args.size)).astype(np.float32)
            ms = {name: speed.p50_ms for name, speed in measure.interleaved(opened, values, args.turns, 2).items()}
            said = [opened[name].infer(values)[0] for name in ("hand", "exported")]
            apart = float(np.abs(said[0] - said[1]).max() / np.abs(said[0]).max())
            print(
                f"| {tokens} | {ms['fp32']:.3f} | {ms['hand']:.3f} | {ms['exported']:.3f} "
                f"| {ms['exported'] / ms['hand']:.2f} | {ms['exported'] / ms['fp32']:.2f} | {apart:.1e} |"
            )


def engines(layer: nn.Module, size: int, folder: Path) -> dict[str, Engine]:
    """Engines of the float layer, the exported one and the one by hand."""
    graph = edge_mpq.prepared(layer, torch.zeros(1, size))
    plan = plans.uniform(layers_of(graph), CPU, f"int4b{BLOCK}", "fp32")
    quantized, _ = edge_mpq.quantize(graph, plan, [torch.zeros(1, size)], observer="minmax", rounding="nearest")
    written = onnx_from_torch.onnx_from_graph(graph, opset_of(CPU))
    exported = quantized_onnx(written, graph, Quantized(plan, quantized), CPU)
    grid = simulation.weight_quantizer(quantized, next(iter(plan.choices)))
    assert isinstance(grid, BlockQuantizer)
    weight = next(value for value in quantized.parameters() if value.shape == (size, size)).detach()
    models = {"fp32": written, "hand": by_hand(grid.integers(weight).numpy(), grid.scale.numpy()), "exported": exported}
    opened = {}
    for name, model in models.items():
        onnx.save(model, folder / "model.onnx")
        backend.build(folder / "model.onnx", folder / name, CPU)
        opened[name] = backend.open(folder / name)
    return opened


def by_hand(codes: np.ndarray, scale: np.ndarray) -> onnx.ModelProto:
    """MatMulNBits of codes [K, C] in -7 to 7 and scales [K, B]: two codes a byte, the lower first, eight added."""
    outputs, inputs = codes.shape
    halves = (codes.astype(np.int16) + 8).astype(np.uint8).reshape(outputs, inputs // BLOCK, BLOCK // 2, 2)
    packed = halves[..., 0] | (halves[..., 1] << 4)
    node = helper.make_node(
        "MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft",
        K=inputs, N=outputs, bits=4, block_size=BLOCK, accuracy_level=4,
    )  # fmt: skip
    made = helper.make_graph(
        [node], "by hand",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", inputs])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", outputs])],
        [numpy_helper.from_array(packed, "w"), numpy_helper.from_array(scale.reshape(-1), "s")],
    )  # fmt: skip
    domains = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(made, opset_imports=domains, ir_version=10)


if __name__ == "__main__":
    main()
