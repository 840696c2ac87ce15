"""Presets: which layers each raises, that bits are counted exactly, and that routers stay float."""

from fractions import Fraction

import pytest
import torch

from edge_mpq import graph as ir
from edge_mpq import menu as menus
from edge_mpq import presets
from edge_mpq.errors import PlanError, UsageError
from edge_mpq.layers import layers_of
from edge_mpq.records import formats
from edge_mpq.records import target as targets
from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.roles import roles_of
from tests import toys, trained_mixture

BOARD = targets.get("simulation")
LOW, HIGH = ("int2b32", "fp32"), ("int4b32", "fp32")


def model(graph: torch.fx.GraphModule | None = None) -> presets.Model:
    graph = trained_mixture.small() if graph is None else graph
    return presets.Model(graph, roles_of(graph), [trained_mixture.tokens()])


def planned(known: presets.Model, groups: presets.Groups, bits: float = 4.0) -> PrecisionPlan:
    layers = layers_of(known.graph)
    menu = menus.menu_of(layers, BOARD, ["w4b32", "w2b32"], keep=["head"])
    return presets.planned(known, groups, BOARD, menu, presets.within(bits, layers))


def raised(made: PrecisionPlan) -> set[str]:
    return {name for name, choice in made.choices.items() if choice[:2] == HIGH}


def test_routers_stay_float_and_all_else_is_narrow_or_raised():
    known = model()
    for groups in ([], [[name] for name in known.roles], presets.order(presets.PRESETS, known)):
        made = planned(known, groups)
        made.check(layers_of(known.graph), BOARD)
        for name, choice in made.choices.items():
            wanted = {menus.FLOAT} if known.roles[name].kind == "router" or name == "head" else {LOW, HIGH}
            assert choice[:2] in wanted
    assert raised(planned(known, [[name] for name in known.roles])) == {
        name for name, role in known.roles.items() if role.kind not in ("router", "dense")
    }


@pytest.mark.parametrize(
    ("preset", "parts"), [("attn4", {"attention"}), ("shared4", {"shared"}), ("freq_topk", {"routed"})]
)
def test_a_preset_raises_the_layers_of_its_name(preset, parts):
    known = model()
    groups = presets.PRESETS[preset](known)
    assert raised(planned(known, groups)) == {name for name, role in known.roles.items() if role.kind in parts}


@pytest.mark.parametrize("bits", [2.0, 2.3, 2.5, 2.9, 3.3, 4.0])
def test_the_average_is_exact_never_above_what_was_asked_and_the_next_group_would_be(bits):
    known = model()
    layers = {layer.name: layer for layer in layers_of(known.graph)}
    groups = presets.order(["attn4", "shared4", "freq_topk"], known)
    made = planned(known, groups, bits)

    def average(wide: set[str]) -> Fraction:
        narrow = [name for name, role in known.roles.items() if role.kind != "router" and name != "head"]
        spent = sum(layers[name].weights * (4 if name in wide else 2) for name in narrow)
        return Fraction(spent, sum(layers[name].weights for name in narrow))

    wide = raised(made)
    assert float(average(wide)) == presets.average_bits(
        {name: choice[:2] for name, choice in made.choices.items()}, list(layers.values())
    )
    assert average(wide) <= bits
    count = next(count for count in range(len(groups) + 1) if {n for g in groups[:count] for n in g} == wide)
    assert count == len(groups) or average(wide | set(groups[count])) > bits


def test_the_most_frequent_experts_of_every_block_come_first():
    known = model(trained_mixture.biased({0: [3, 1], 1: [2, 0]}))
    order = presets.freq_topk(known)
    assert [name.rpartition(".")[0] for name, _ in order[:2]] == ["blocks.0.mlp.experts.1", "blocks.1.mlp.experts.0"]
    both = {name.rpartition(".")[0] for group in order[:4] for name in group}
    assert both == {f"blocks.{block}.mlp.experts.{expert}" for block, expert in ((0, 3), (0, 1), (1, 2), (1, 0))}


def test_blocks_are_taken_from_the_front_or_by_what_they_change():
    known = model()
    first, second = presets.first_k(known)
    assert all(name.startswith("blocks.0.") for name in first) and "blocks.0.mlp.router" not in first
    assert all(name.startswith("blocks.1.") for name in second) and len(first) == len(second)
    graph = ir.copied(trained_mixture.small())
    for name in known.named("routed") + known.named("shared"):  # the first block's mixture adds next to nothing
        if name.startswith("blocks.0.") and name.endswith("down"):
            for what in ("weight", "bias"):
                path = f"{name}.{what}"
                ir.set_parameter(graph, path, 1e-3 * ir.attribute(graph, path))
    assert presets.block_cos_k(model(graph)) == [second, first]


def test_towering_weights_come_first_and_no_data_is_read():
    graph = ir.copied(trained_mixture.small())
    weight = ir.attribute(graph, "blocks.1.mlp.experts.2.up.weight").detach().clone()
    weight[3, 4] *= 1000
    ir.set_parameter(graph, "blocks.1.mlp.experts.2.up.weight", weight)
    order = presets.outlier_p(model(graph)._replace(batches=()))
    assert order[0] == ["blocks.1.mlp.experts.2.up"] and len(order) == len(layers_of(graph)) - 2


def test_models_without_experts_have_blocks_and_outliers_too():
    graph = toys.graph("residual")
    known = presets.Model(graph, roles_of(graph), toys.batches())
    assert presets.first_k(known) == presets.block_cos_k(known) == [["one.0", "two.0"]]
    layers = layers_of(graph)
    menu = menus.menu_of(layers, BOARD, ["w8a8", "w4a8"])
    made = presets.planned(known, presets.outlier_p(known), BOARD, menu, presets.within(5, layers))
    made.check(layers, BOARD)  # tied layers were raised together
    assert 4 < presets.average_bits({name: choice[:2] for name, choice in made.choices.items()}, layers) <= 5
    assert {formats.get(choice.weight).bits for choice in made.choices.values()} == {4, 8}


def test_what_cannot_be_is_told():
    known = model()
    with pytest.raises(UsageError, match="choose one of attn4"):
        presets.order(["attn8"], known)
    with pytest.raises(PlanError, match="too many bits"):
        planned(known, [], 1.5)
