"""Measuring ranges: every watched tensor, streaming, whatever the batches look like; and what cannot be measured."""

import itertools

import numpy as np
import pytest
import torch

from edge_mpq import calibration, observers, placement
from edge_mpq.errors import CalibrationError, UsageError
from tests import toys


def ranges(kind="residual", batches=None, **options):
    graph = toys.graph(kind)
    return calibration.ranges_of(
        graph, placement.every_tensor(graph), toys.batches() if batches is None else batches, **options
    )


@pytest.mark.parametrize("kind", toys.KINDS)
@torch.no_grad()
def test_every_watched_tensor_gets_the_extent_of_its_values(kind):
    table = ranges(kind)
    assert list(table.tensors) == placement.every_tensor(toys.graph(kind))
    whole = torch.cat(toys.batches())
    assert table.tensors[next(iter(table.tensors))] == pytest.approx((whole.min().item(), whole.max().item()))
    assert all(low <= 0 <= high and low < high for low, high in table.tensors.values())


@torch.no_grad()
def test_an_output_s_range_is_that_of_the_answers():
    graph = toys.graph("unet")
    answers = torch.cat([graph(batch) for batch in toys.batches()])
    assert ranges("unet").tensors["conv2d_3"] == pytest.approx((answers.min().item(), answers.max().item()))


def test_batches_of_any_size_and_kind_give_the_same_table():
    whole = torch.cat(toys.batches())
    once = ranges(batches=[whole])
    assert once.pictures == len(whole) and once.rule == "minmax"
    for batches in (
        toys.batches(),
        iter(toys.batches()),
        [(batch, torch.zeros(len(batch))) for batch in toys.batches()],
        [batch.numpy() for batch in toys.batches()],
        list(whole.split(3)),
    ):
        table = ranges(batches=batches)
        assert (table.pictures, table.data) == (once.pictures, once.data)
        for name, ends in table.tensors.items():
            assert ends == pytest.approx(once.tensors[name], rel=1e-4, abs=1e-6)


def test_the_fingerprint_tells_one_set_of_pictures_from_another():
    assert ranges().data == ranges(rule="mse").data != ranges(batches=toys.batches(seed=1)).data
    assert len(ranges().data) == 16


@pytest.mark.parametrize("rule", observers.names())
def test_every_rule_can_be_asked_for(rule):
    table = ranges(rule=rule)
    assert table.rule == rule
    wide = ranges()
    for name, (low, high) in table.tensors.items():
        assert wide.tensors[name][0] * 1.001 <= low <= 0 <= high <= wide.tensors[name][1] * 1.001


@pytest.mark.parametrize("rule", observers.names())
def test_a_tensor_is_measured_for_its_own_bits_and_the_others_for_eight(rule):
    first, *others = placement.every_tensor(toys.graph("residual"))
    usual, table = ranges(rule=rule), ranges(rule=rule, bits={first: 3})
    narrow = observers.get(rule).Observer(bits=3)
    for batch in toys.batches():
        narrow.see(batch)
    assert table.tensors[first] == narrow.range()
    assert all(table.tensors[name] == usual.tensors[name] for name in others)


def test_symmetric_ranges_are_symmetric():
    assert all(low == -high for low, high in ranges(symmetric=True).tensors.values())


def test_a_rule_nobody_knows_is_a_usage_error():
    with pytest.raises(UsageError, match="choose one of .*minmax"):
        ranges(rule="median")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_pictures_that_are_not_finite_are_refused(bad):
    broken = toys.pictures(3)
    broken[1, 2, 3, 4] = bad
    with pytest.raises(CalibrationError, match="NaN or infinity; check the pictures"):
        ranges(batches=[toys.pictures(2), broken])


def test_without_pictures_there_are_no_ranges():
    with pytest.raises(CalibrationError, match="no calibration picture; give"):
        ranges(batches=[])


def test_progress_is_told_once_for_every_batch():
    told = []

    def progress(items, what, total=None):
        for item in items:
            told.append(what)
            yield item

    ranges(progress=progress)
    assert told == ["calibrating (minmax)"] * 2


def test_few_takes_as_many_batches_as_hold_the_pictures():
    batches = list(toys.pictures(20).split(6))  # 6, 6, 6, 2
    assert [len(batch) for batch in calibration.few(batches, 12)] == [6, 6]
    assert [len(batch) for batch in calibration.few(batches, 13)] == [6, 6, 6]
    assert calibration.few(batches, 999) == batches and calibration.few([], 5) == []
    endless = (np.zeros((4, 3, 8, 8), np.float32) for _ in itertools.count())
    assert len(calibration.few(endless, 10)) == 3


def test_inputs_and_labels_are_told_apart():
    pictures, labels = toys.pictures(3), torch.arange(3)
    for batch in ((pictures, labels), [pictures, labels]):
        assert calibration.inputs_of(batch) is pictures and calibration.labels_of(batch) is labels
    assert torch.equal(calibration.inputs_of(pictures), pictures) and calibration.labels_of(pictures) is None
    assert calibration.labels_of((pictures,)) is None
