"""Whether a bundle is for this machine: by its GPU on a Jetson, by its processor elsewhere, and by TensorRT."""

from pathlib import Path

import pytest

from apps import bundle_fit
from apps.stream import jetson
from edge_mpq.records import target as targets
from tests.boards import BOARDS


@pytest.mark.parametrize(
    ("board", "target", "told"),
    [
        ("nano", "jetson-nano", ""),
        ("nano", "jetson-tx2", "for jetson-tx2 (compute capability 6.2), this is NVIDIA Jetson Nano Developer Kit"),
        ("agx-orin", "jetson-orin-nano", ""),  # the same GPU, more of it
        ("agx-orin", "jetson-thor", "for jetson-thor"),
        ("xavier-nx", "jetson-xavier-nx", ""),
        ("agx-orin", "cpu-arm64", ""),
        ("agx-orin", "cpu-x86-vnni", "for cpu-x86-vnni"),
        ("computer", "cpu-x86-vnni", ""),
        ("computer", "tensorrt-11-x86", ""),
        ("computer", "jetson-nano", "for jetson-nano, this is a computer with a x86_64 processor"),
        ("computer", "cpu-arm64", "for cpu-arm64"),
        ("computer", "simulation", ""),
    ],
)
def test_the_bundle_against_the_board(tmp_path: Path, board: str, target: str, told: str) -> None:
    machine = BOARDS[board]
    fault = bundle_fit.board_fault(targets.get(target), machine.machine, jetson.read(str(machine.write(tmp_path))))
    assert told in fault if told else not fault


@pytest.mark.parametrize(
    ("target", "version", "told"),
    [
        ("jetson-nano", "8.2.1.8", ""),
        ("jetson-agx-orin", "10.3.0", ""),
        ("jetson-agx-orin", "10.16.1.11", ""),
        ("jetson-agx-orin", "8.5.2.2", "TensorRT 8.5.2.2 here is older: it reads opset 17, the ONNX is of 20"),
        ("jetson-agx-orin-jetpack5", "8.6.2", ""),
        ("jetson-nano", "8.0.1", ""),
        ("jetson-agx-orin", "11.4.1", "takes typed graphs only"),
        ("jetson-thor", "11.4.1", ""),
        ("cpu-x86-vnni", "8.2.1", ""),
        ("jetson-nano", "", ""),
        ("jetson-nano", "dev", ""),
    ],
)
def test_the_bundle_against_tensorrt(target: str, version: str, told: str) -> None:
    fault = bundle_fit.tensorrt_fault(targets.get(target), version)
    assert told in fault if told else not fault


def test_a_jetson_that_does_not_tell_its_chip_is_taken_to_be_the_right_one() -> None:
    board = jetson.Jetson("a Jetson", "", "", (36, 4, 3), "6.2")
    assert not bundle_fit.board_fault(targets.get("jetson-agx-orin"), "aarch64", board)
