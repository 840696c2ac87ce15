"""Running parts of a graph again gives what a full run would have given."""

import pytest
import torch

from edge_mpq import graph as ir
from edge_mpq.partial import PartialRun
from tests import toys
from tests.test_graph import InPlace

every_toy = pytest.mark.parametrize("kind", toys.KINDS)


def halved(values: torch.Tensor) -> torch.Tensor:
    return values * 0.5


@every_toy
@torch.no_grad()
def test_a_run_is_the_graph_s_own_answer(kind):
    run, x = PartialRun(toys.graph(kind)), toys.pictures(3)
    for picture in (x, toys.pictures(5, seed=9)):
        assert torch.allclose(run.run(picture), toys.graph(kind)(picture), atol=1e-6)


@every_toy
@torch.no_grad()
def test_changing_any_weight_is_as_a_full_run_with_it(kind):
    graph, x = toys.graph(kind), toys.pictures(3)
    run = PartialRun(graph)
    plain = run.run(x).clone()
    for nodes in ir.weighted(graph).values():
        parameter = nodes[0].args[1]
        changed = ir.attribute(graph, str(parameter.target)).detach() * 1.7
        mine = toys.copied(graph)
        ir.set_parameter(mine, str(parameter.target), changed)
        again = run.rerun({parameter: changed})
        assert torch.allclose(again, mine(x), atol=1e-6) and not torch.allclose(again, plain, atol=1e-6)
    assert torch.equal(run.rerun({}), plain)


@every_toy
@torch.no_grad()
def test_a_rounder_changes_what_its_layer_reads_and_nobody_else(kind):
    graph, x = toys.graph(kind), toys.pictures(3)
    run = PartialRun(graph)
    run.run(x)
    for nodes in ir.weighted(graph).values():
        mine = toys.copied(graph)
        node = next(node for node in mine.graph.nodes if node.name == nodes[0].name)
        with mine.graph.inserting_before(node):
            less = mine.graph.call_function(halved, (node.args[0],))
        node.args = (less, *node.args[1:])
        mine.recompile()
        assert torch.allclose(run.rerun({}, {nodes[0]: halved}), mine(x), atol=1e-6)


@torch.no_grad()
def test_several_changes_at_once_and_in_any_order():
    graph, x = toys.graph("residual"), toys.pictures(3)
    run = PartialRun(graph)
    run.run(x)
    parameters = [ir.weighted(graph)[name][0].args[1] for name in ("short.0", "deep.0", "stem.0")]
    changed = {node: ir.attribute(graph, str(node.target)).detach() * 0.3 for node in parameters}
    mine = toys.copied(graph)
    for node, value in changed.items():
        ir.set_parameter(mine, str(node.target), value)
    assert torch.allclose(run.rerun(changed), mine(x), atol=1e-6)
    assert torch.allclose(run.rerun(dict(reversed(changed.items()))), mine(x), atol=1e-6)


@torch.no_grad()
def test_only_what_follows_is_computed(monkeypatch):
    graph = toys.graph("residual")
    run = PartialRun(graph)
    run.run(toys.pictures(1))
    computed: list[str] = []
    plain = run.compute

    def counted(node, *others):
        computed.append(node.name)
        return plain(node, *others)

    monkeypatch.setattr(run, "compute", counted)
    last = ir.weighted(graph)["head"][0]
    run.rerun({last.args[1]: ir.attribute(graph, "head.weight").detach()})
    assert computed == ["linear"]


@torch.no_grad()
def test_models_that_work_in_place_can_run_in_parts():
    graph, x = ir.trace(InPlace(), toys.pictures(1)), toys.pictures(3)
    run = PartialRun(graph)
    plain = run.run(x).clone()
    for nodes in ir.weighted(graph).values():
        same = ir.attribute(graph, str(nodes[0].args[1].target)).detach()
        for _ in range(2):
            assert torch.allclose(run.rerun({nodes[0].args[1]: same}), plain, atol=1e-6)
