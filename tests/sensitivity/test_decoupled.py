"""Harm by a metric of its own for each group: who belongs where, what is added up, and how like two pictures are."""

import functools

import pytest
import torch

from edge_mpq import menu as menus
from edge_mpq.calibration import ranges_of
from edge_mpq.layers import layers_of
from edge_mpq.placement import every_tensor
from edge_mpq.progress import silent
from edge_mpq.records import target as targets
from edge_mpq.sensitivity import decoupled, kl, sqnr
from edge_mpq.sensitivity.decoupled import CONTENT, QUALITY, Decoupled
from edge_mpq.ssim import ssim
from tests import toys
from tests.transforms.test_constant_tokens import generator, inputs

BOARD = targets.get("simulation")
WIDTHS = ["fp32", "w8a8", "w4a8", "w2a8", "w8a4"]


def measured(kind: str = "residual", **options) -> Decoupled:
    graph = toys.graph(kind)
    menu = menus.menu_of(layers_of(graph), BOARD, WIDTHS)
    return decoupled.measured(graph, menu, toys.batches(1), toys.ranges(kind), BOARD, silent, **options)


@functools.cache
def halved() -> Decoupled:
    """The residual toy, its last layers content by noise too, so that both groups have one unit."""
    groups = {layer.name: CONTENT if layer.name in ("last.0", "head") else QUALITY for layer in toys.layers("residual")}
    return measured(groups=groups, metrics={CONTENT: lambda *pair: 7 * sqnr.noise(*pair), QUALITY: sqnr.noise})


def test_content_is_cross_attention_and_feed_forward_by_name():
    groups = decoupled.groups_of(generator(1.0))
    content = {name for name, group in groups.items() if group == CONTENT}
    assert content == {name for name in groups if ".attn2." in name or ".ff." in name} and len(content) == 12
    assert set(groups) - content == {"conv_in", "blocks.0.conv", "blocks.1.conv", "conv_out"}
    assert set(decoupled.groups_of(toys.graph("transformer")).values()) == {QUALITY}


def test_each_group_is_judged_by_its_own_metric():
    alike = measured(metrics={QUALITY: sqnr.noise})
    for name, row in halved().items():
        factor = 7 if halved().groups[name] == CONTENT else 1
        assert row["int4", "int8"] == pytest.approx(factor * alike[name]["int4", "int8"], rel=1e-9)


def test_weights_and_activations_are_rounded_apart_and_their_harms_added():
    table = halved()
    for name, row in table.items():
        for pair, harm in row.items():
            assert harm == table.parts[name][pair[0], "fp32"] + table.parts[name]["fp32", pair[1]]
        assert row["fp32", "fp32"] == 0
        assert row["int8", "int8"] <= row["int4", "int8"] <= row["int2", "int8"]
        assert row["int8", "int8"] <= row["int8", "int4"]


def test_decibels_keep_the_order_and_value_clean_layers_as_noisy_ones():
    table = halved()
    levels = decoupled.decibels(table)
    assert levels.groups == table.groups
    for name, row in table.items():
        assert sorted(row, key=row.__getitem__) == sorted(levels[name], key=levels[name].__getitem__)
        assert levels[name]["fp32", "fp32"] == 0
    clean, noisy = (Decoupled({"a": {("int8", "int8"): harm}}, {"a": QUALITY}, {}) for harm in (1e-12, 1e-2))
    tenfold = [
        Decoupled({"a": {("int8", "int8"): 10 * t["a"]["int8", "int8"]}}, {"a": QUALITY}, {}) for t in (clean, noisy)
    ]
    gains = [
        decoupled.decibels(louder)["a"]["int8", "int8"] - decoupled.decibels(quiet)["a"]["int8", "int8"]
        for quiet, louder in zip((clean, noisy), tenfold, strict=True)
    ]
    assert gains == pytest.approx([10.0, 10.0])


def test_the_metric_of_the_task_is_likeness_for_pictures_and_divergence_for_classes():
    assert decoupled.task_metric(generator(1.0)) is decoupled.unlike
    assert decoupled.task_metric(toys.graph("unet")) is decoupled.unlike
    assert decoupled.task_metric(toys.graph("residual")) is kl.divergence


def test_only_pairs_of_a_menu_are_left_and_fp32_harms_nothing():
    table = halved()
    menu = {name: [("fp32", "fp32")] if name == "head" else [("int4", "int8")] for name in table}
    left = table.restricted(menu)
    assert left["head"] == {("fp32", "fp32"): 0.0} and left.groups == table.groups
    assert left["last.0"] == {("int4", "int8"): table["last.0"]["int4", "int8"]}


def test_the_generator_is_scored_in_both_groups():
    graph = generator(1.0)
    menu = menus.menu_of(layers_of(graph), BOARD, ["w8a8", "w2a8"])
    ranges = ranges_of(graph, every_tensor(graph), inputs()[:1])
    table = decoupled.scores(graph, menu, inputs()[:1], ranges, BOARD)
    for group in (CONTENT, QUALITY):
        mine = [max(row.values()) for name, row in table.items() if table.groups[name] == group]
        assert sum(mine) == pytest.approx(1.0)  # shares of the group's own total


# Structural similarity.


def test_a_picture_is_like_itself_and_less_so_the_more_noise_there_is():
    pictures = toys.pictures(4)
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(1))
    found = [ssim(pictures, pictures + strength * noise) for strength in (0.0, 0.05, 0.2, 0.8)]
    assert found[0] == pytest.approx(1.0)
    assert found == sorted(found, reverse=True) and found[-1] < 0.7
    assert abs(ssim(pictures, toys.pictures(4, seed=5))) < 0.3
    assert ssim(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)) == pytest.approx(1.0)


def test_it_is_structure_that_counts_and_not_the_size_of_the_difference():
    pictures = toys.pictures(4) + 3  # as bright as pixels are
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(1)).sign()
    brighter, noisy = ssim(pictures, pictures + 0.3), ssim(pictures, pictures + 0.3 * noise)
    assert brighter > noisy + 0.1  # both are as far away in squared error


def test_windows_shrink_to_small_pictures():
    small = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert ssim(small, small) == pytest.approx(1.0) and ssim(small, 1 - small) < 0.5
