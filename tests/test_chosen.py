"""What a command line chose: a drop is measured by its rounding rule, and ranges are those of the planned bits."""

from typing import Any

import pytest

from apps.chosen import Options, chosen
from apps.work import Work
from edge_mpq.calibration import fitted
from edge_mpq.drop import share_right
from edge_mpq.records import target as targets
from tests import toys, trained_toys


class HeldOut(Work):
    """The trained toy with unbalanced channels, and labelled pictures that nothing was fitted to."""

    def validation(self) -> list:
        return [trained_toys.labelled(64, seed=7000 + index) for index in range(4)]


def work() -> Work:
    calibration: Any = [trained_toys.labelled(32, seed=4000 + index)[0] for index in range(2)]
    graph, nothing = trained_toys.unbalanced(), Any
    return HeldOut("toy", graph, nothing, nothing, toys.pictures(1), calibration, targets.get("simulation"))  # type: ignore[arg-type]


@pytest.mark.parametrize("rounding", ["nearest", "feedback"])
def test_the_drop_asked_for_is_kept_under_the_rounding_asked_for(rounding):
    given = work()
    options = Options("drop<=20%", formats=["fp32", "w8a8", "w4a8", "w2a8"], rounding=rounding)
    promised = given.validation()[1::2]
    found = chosen(given, options).form.model
    assert share_right(found, promised) >= share_right(trained_toys.unbalanced(), promised) - 0.2


def test_the_ranges_are_those_of_the_planned_bits():
    given = work()
    four, eight = (chosen(given, Options("size<=8bits", formats=[pair])) for pair in ("w4a4", "w4a8"))
    assert four.ranges.tensors.keys() == eight.ranges.tensors.keys() and four.ranges != eight.ranges
    assert fitted(eight.ranges, four.graph, four.form.plan, given.target, given.calibration) == four.ranges
