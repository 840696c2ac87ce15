"""What the exporter writes of the zoo's models breaks no rule of the boards it is for."""

import pytest

from edge_mpq.records import target as targets
from export import lint_onnx
from tests.export import zoo

BOARDS = ["jetson-nano", "jetson-orin-nano", "tensorrt-11-x86"]


def _cases() -> list:
    """Every model, board and plan."""
    return [
        pytest.param(
            *(name, board, title),
            marks=[pytest.mark.slow] * (name != "cifar_resnet20"),
        )
        for name in zoo.SIDES
        for board in BOARDS
        for title in ("small", "mixed")
    ]


@pytest.mark.parametrize(("name", "board", "title"), _cases())
def test_exports_of_the_zoo_are_clean(name: str, board: str, title: str) -> None:
    target, plan = targets.get(board), zoo.plans_of(name, board)[title]
    model = zoo.exported(name, plan)
    assert model.opset_import[0].version <= target.opset
    found = [lint_onnx.shown(item) for item in lint_onnx.check(model, target) if item.severity != "note"]
    assert found == []
    kinds = {node.op_type for node in model.graph.node}
    assert ("QuantizeLinear" in kinds) == target.has_int8
