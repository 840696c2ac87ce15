"""How graphs are cut: every layer stands in one unit, and units run by themselves give what the whole graph gives."""

import pytest
import torch

from edge_mpq import graph as ir
from edge_mpq.reconstruction import units
from tests import toys

every_toy = pytest.mark.parametrize("kind", toys.KINDS)
CUTS = {"layer": units.layers, "block": units.blocks}
every_cut = pytest.mark.parametrize("cut", CUTS)


def simulated(kind: str) -> torch.fx.GraphModule:
    return toys.simulated(kind, toys.planned(kind, "simulation", "int4"))


def test_blocks_reach_from_add_to_add():
    graph = simulated("residual")
    found = [set(unit.layers) for unit in units.blocks(graph, ir.weighted(graph))]
    assert found == [
        {"stem.0"},
        {"one.0", "two.0"},
        {"down.0", "deep.0", "short.0"},
        {"depthwise.0"},
        {"pointwise.0"},
        {"left.0", "right.0"},
        {"last.0"},
        {"head"},
    ]


def test_attention_and_what_lies_under_a_skip_are_blocks():
    transformer, unet = simulated("transformer"), simulated("unet")
    of_transformer = [unit.layers for unit in units.blocks(transformer, ir.weighted(transformer))]
    assert of_transformer[:3] == [("patches",), ("attention.in_proj", "attention.out_proj"), ("up", "down")]
    assert ("middle.0", "grow") in [unit.layers for unit in units.blocks(unet, ir.weighted(unet))]


@every_toy
@every_cut
def test_every_layer_that_is_asked_for_stands_in_one_unit_and_no_other_does(kind, cut):
    graph = simulated(kind)
    wanted = list(ir.weighted(graph))[1:]
    assert sorted(name for unit in CUTS[cut](graph, wanted) for name in unit.layers) == sorted(wanted)


@every_toy
@every_cut
@torch.no_grad()
def test_a_unit_run_by_itself_gives_what_the_whole_graph_gives(kind, cut):
    graph, x = simulated(kind), toys.pictures(6)
    values = torch.fx.Interpreter(graph, garbage_collect_values=False)
    values.run(x)
    walk = units.Walk(graph, [x])
    for unit in CUTS[cut](graph, ir.weighted(graph)):
        segment = units.Segment(graph, unit.source, unit.output)
        read = walk.before(segment.nodes[0], unit.source)
        assert torch.allclose(segment(read[0], walk.sizes()[0]), values.env[unit.output], atol=1e-5)


@torch.no_grad()
def test_a_walk_sees_the_weights_of_the_moment():
    graph, x = toys.copied(simulated("residual")), toys.pictures(4)
    first, second = units.layers(graph, ["stem.0", "one.0"])
    walk = units.Walk(graph, [x])
    walk.before(units.between(first.source, first.output)[0], first.source)
    ir.set_parameter(graph, "stem.0.weight", 0 * toys.weight(graph, "stem.0"))
    read = walk.before(units.between(second.source, second.output)[0], second.source)[0]
    assert torch.equal(read, read[:1, :, 4:5, 4:5].expand_as(read))
    before = units.Walk(simulated("residual"), [x])
    nodes = units.layers(before._run.graph, ["one.0"])[0]
    whole = before.before(units.between(nodes.source, nodes.output)[0], nodes.source)[0]
    assert not torch.equal(whole, read)
