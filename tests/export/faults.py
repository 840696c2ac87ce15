"""One fault for every rule of the lint: functions that plant it in a clean model, entered by rule."""

from collections.abc import Callable

import onnx

from export.lint.editing import tidy
from tests.export.planted import clean

NANO, XAVIER, ORIN, THOR, X86 = "jetson-nano", "jetson-xavier-nx", "jetson-orin-nano", "jetson-thor", "tensorrt-11-x86"
Plant = Callable[[onnx.ModelProto], None]
# rule -> (target, name of the node that the finding must name, the fault)
PLANTED: dict[str, tuple[str, str, Plant]] = {}


def plants(rule: str, target: str, where: str) -> Callable[[Plant], Plant]:
    """Enter a function as the fault of a rule."""

    def enter(plant: Plant) -> Plant:
        PLANTED[rule] = (target, where, plant)
        return plant

    return enter


def planted(rule: str) -> onnx.ModelProto:
    """The clean model of the rule's target with the rule's fault in it."""
    target, _, plant = PLANTED[rule]
    model = clean(target)
    plant(model)
    tidy(model)
    return model
