"""Which layers a GPU's integer kernels are offered."""

import pytest

from edge_mpq.eligibility import worth_int8
from edge_mpq.menu import menu_of
from edge_mpq.records import target as targets
from edge_mpq.records.layer import LayerSpec

INT8, HALF = ("int8", "int8"), ("fp16", "fp16")


@pytest.mark.parametrize(
    ("inputs", "outputs", "groups", "kernel", "first", "worth"),
    [
        (16, 16, 1, (3, 3), False, True),
        (64, 128, 1, (1, 1), False, True),
        (3, 32, 1, (3, 3), True, True),
        (3, 32, 1, (3, 3), False, True),
        (3, 12, 1, (3, 3), False, False),
        (12, 12, 1, (3, 3), False, False),
        (8, 24, 1, (1, 3), False, False),
        (32, 32, 32, (3, 3), False, True),
        (32, 32, 32, (1, 1), False, False),
        (12, 12, 12, (3, 3), False, False),
    ],
)
def test_the_rule(inputs: int, outputs: int, groups: int, kernel: tuple, first: bool, worth: bool) -> None:
    assert worth_int8(inputs, outputs, groups, kernel, first) is worth


def test_a_gpu_keeps_small_convolutions_in_half_precision_and_a_cpu_does_not() -> None:
    small = LayerSpec("small", "conv2d", (12, 12, 3, 3), (12, 8, 8), (12, 8, 8), 1000)
    wide = LayerSpec("wide", "conv2d", (32, 32, 3, 3), (32, 8, 8), (32, 8, 8), 1000)
    names = ["fp32", "fp16", "w8a8"]
    board = menu_of([small, wide], targets.get("jetson-orin-nano"), names)
    assert INT8 not in board["small"] and HALF in board["small"]
    assert INT8 in board["wide"]
    assert INT8 in menu_of([small], targets.get("cpu-x86-vnni"), names)["small"]
    only = menu_of([small], targets.get("jetson-orin-nano"), ["w8a8"])
    assert only["small"] == [INT8]
