"""Laws that every sensitivity score keeps, present and future: what it promises, and that it ranks layers rightly."""

import functools
import itertools
import math
import random

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional

from edge_mpq import calibration, placement, quantizers, sensitivity, simulation
from edge_mpq import graph as ir
from edge_mpq import menu as menus
from edge_mpq.allocators import ScoreTable
from edge_mpq.errors import CalibrationError, UsageError
from edge_mpq.layers import layers_of
from edge_mpq.progress import silent
from edge_mpq.quantizers.affine import weight_range
from edge_mpq.records import formats
from edge_mpq.records import target as targets
from edge_mpq.records.plan import Choice, uniform
from tests import toys, trained_toys

every_score = pytest.mark.parametrize("name", sensitivity.names())
every_toy = pytest.mark.parametrize("kind", ["residual", "transformer", "unet"])

WIDTHS = ["fp32", "fp16", "bf16", "fp8", "fp4", "w8a8", "w6a8", "w4a8", "w4a4", "w2a8"]
BOARD = targets.get("simulation")
# Few enough bits that rounding is what moves the loss, and not the accident of a sign.
FEW = ("int3", "int8")


def scored(name: str, graph: torch.fx.GraphModule, names=WIDTHS, batches=None) -> ScoreTable:
    """The scores of every layer of ``graph``."""
    batches = toys.batches() if batches is None else batches
    menu = menus.menu_of(layers_of(graph), BOARD, names)
    ranges = calibration.ranges_of(graph, placement.every_tensor(graph), toys.batches())
    return sensitivity.get(name).scores(graph, menu, batches, ranges, BOARD, silent)


@functools.cache
def scores(name: str, kind: str) -> ScoreTable:
    return scored(name, toys.graph(kind))


def test_the_door_lists_the_scores_and_hides_what_they_share():
    assert {"fisher", "kl", "sqnr"} <= set(sensitivity.names())
    assert "_one_at_a_time" not in sensitivity.names()
    with pytest.raises(UsageError, match="choose one of .*fisher"):
        sensitivity.get("random")


@every_score
@every_toy
def test_every_pair_of_the_menu_is_answered_by_a_number_not_below_zero(name, kind):
    table = scores(name, kind)
    assert list(table) == [layer.name for layer in toys.layers(kind)]
    for row in table.values():
        assert set(row) == {menus.parse(width) for width in WIDTHS}
        assert all(type(harm) is float and 0 <= harm < math.inf for harm in row.values())


@every_score
@every_toy
def test_float32_harms_nothing_and_two_bits_do(name, kind):
    for row in scores(name, kind).values():
        assert row["fp32", "fp32"] == 0
        assert row["int2", "int8"] > 0


@every_score
def test_what_layers_read_counts_too(name):
    graph, rough = trained_toys.trained(), ("fp32", "int2")
    menu = {layer.name: [("fp32", "fp32"), rough] for layer in layers_of(graph)}
    ranges = calibration.ranges_of(graph, placement.every_tensor(graph), toys.batches())
    table = sensitivity.get(name).scores(graph, menu, toys.batches(), ranges, BOARD, silent)
    assert all(row[rough] > 0 for row in table.values())


@every_score
@every_toy
def test_more_bits_never_harm_more(name, kind):
    def bits(pair):
        return formats.get(pair[0]).bits, formats.get(pair[1]).bits

    for row in scores(name, kind).values():
        for one, other in itertools.permutations(row, 2):
            if all(mine >= its for mine, its in zip(bits(one), bits(other), strict=True)):
                assert row[one] <= row[other]


@every_score
def test_the_same_question_has_the_same_answer_and_leaves_no_trace(name):
    graph = toys.copied(toys.graph("residual"))
    before = {key: value.clone() for key, value in graph.state_dict().items()}
    code = graph.code
    assert scored(name, graph) == scored(name, graph) == scores(name, "residual")
    assert all(torch.equal(value, before[key]) for key, value in graph.state_dict().items())
    assert graph.code == code and all(parameter.grad is None for parameter in graph.parameters())


@every_score
def test_labels_beside_the_pictures_are_passed_by(name):
    labelled = [(batch, torch.zeros(len(batch))) for batch in toys.batches()]
    assert scored(name, toys.graph("residual"), batches=labelled) == scores(name, "residual")


@every_score
def test_scores_can_be_asked_for_where_gradients_are_off(name):
    with torch.no_grad():
        assert scored(name, toys.graph("residual")) == scores(name, "residual")


@every_score
def test_without_pictures_there_is_no_score(name):
    with pytest.raises(CalibrationError, match="no calibration picture"):
        scored(name, toys.graph("residual"), batches=[])


@every_score
def test_a_layer_applied_twice_has_one_score(name):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 4)

        def forward(self, pictures):
            return self.head(self.shared(functional.relu(self.shared(pictures))).mean((2, 3)))

    graph = simulation.prepared(Twice(), toys.pictures(1))
    table = scored(name, graph, ["fp32", "w2a8"])
    assert list(table) == ["shared", "head"] and table["shared"]["int2", "int8"] > 0


@every_score
def test_a_layer_that_reads_a_constant_is_no_obstacle(name):
    class Prompted(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("prompt", torch.randn(2, 6))
            self.stem, self.ask, self.head = nn.Conv2d(3, 8, 3), nn.Linear(6, 8), nn.Linear(8, 4)

        def forward(self, pictures):
            return self.head((self.stem(pictures).mean((2, 3)) + self.ask(self.prompt).mean(0)).relu())

    graph = simulation.prepared(Prompted(), toys.pictures(1))
    table = scored(name, graph, ["fp32", "w2a8"])
    assert set(table) == {"stem", "ask", "head"} and table["stem"]["int2", "int8"] > 0
    # No relevance comes from a constant, as none from a bias.
    assert table["ask"]["int2", "int8"] > 0 or name.startswith("relevance")


# Ranking: against the loss itself, and with a layer whose place is known.


@functools.cache
def measured() -> dict[str, float]:
    """layer -> rise of the loss on held-out pictures when that layer alone takes few bits, by full simulation."""
    graph, (inputs, labels) = trained_toys.unbalanced(), trained_toys.labelled(1024, seed=9999)
    layers = layers_of(graph)
    ranges = calibration.ranges_of(graph, placement.every_tensor(graph), toys.batches())
    board = targets.get("jetson-orin-nano")  # its placement rounds nothing behind the one layer
    board = board._replace(weight_formats=BOARD.weight_formats, activation_formats=BOARD.activation_formats)
    whole = uniform(layers, board, "fp32", "fp32")

    def loss(plan):
        with torch.no_grad():
            return functional.cross_entropy(simulation.simulate(graph, plan, board, ranges)(inputs), labels).item()

    float_loss = loss(whole)
    return {
        layer.name: loss(whole._replace(choices={**whole.choices, layer.name: Choice(*FEW)})) - float_loss
        for layer in layers
    }


def agreement(table: dict[str, float]) -> float:
    """Rank correlation of scores with the measured rise of the loss."""
    rises = measured()
    return spearmanr([table[name] for name in rises], list(rises.values())).statistic


def test_the_toy_for_ranking_learned_something_and_its_layers_differ():
    inputs, labels = trained_toys.labelled(512, seed=9999)
    with torch.no_grad():
        assert (trained_toys.unbalanced()(inputs).argmax(1) == labels).float().mean() > 0.7
        assert torch.allclose(trained_toys.unbalanced()(inputs), trained_toys.trained()(inputs), atol=1e-4)
    rises = sorted(measured().values())
    assert rises[-1] > 10 * max(rises[len(rises) // 2], 0)


@every_score
def test_scores_rank_layers_as_the_loss_does(name):
    batches = [trained_toys.labelled(64, seed=5000 + index)[0] for index in range(2)]
    table = scored(name, trained_toys.unbalanced(), ["fp32", "w3a8"], batches)
    assert agreement({layer: row[FEW] for layer, row in table.items()}) > 0.6


def test_random_scores_do_not():
    draw = random.Random(0)
    drawn = [agreement({layer: draw.random() for layer in measured()}) for _ in range(200)]
    assert abs(sum(drawn) / len(drawn)) < 0.1
    assert sum(rho > 0.6 for rho in drawn) < 20


@pytest.fixture(scope="module")
def planted() -> torch.fx.GraphModule:
    """``pointwise`` is on the 4-bit grid already; in ``two``, one huge weight a row hides those that matter."""
    graph = toys.copied(trained_toys.trained())
    harmless = ir.attribute(graph, "pointwise.0.weight").detach()
    form = formats.get("int4")
    grid = quantizers.for_format(form).quantizer(form, *weight_range(harmless, 0), True, 0)
    ir.set_parameter(graph, "pointwise.0.weight", grid(harmless))
    # Channel 0 of what `one` writes is made tiny, and read by weights fifty times the others.
    for name, factor in (("one.0.weight", 0.02), ("one.0.bias", 0.02)):
        wide = ir.attribute(graph, name).detach().clone()
        wide[0] *= factor
        ir.set_parameter(graph, name, wide)
    fragile = ir.attribute(graph, "two.0.weight").detach().clone()
    fragile[:, 0] = 50 * fragile.abs().amax()
    ir.set_parameter(graph, "two.0.weight", fragile)
    return graph


@every_score
def test_a_layer_of_heavy_tails_ranks_above_one_that_is_on_the_grid(name, planted):
    table = scored(name, planted, ["fp32", "w4a8"])
    fragile, harmless = (table[layer]["int4", "int8"] for layer in ("two.0", "pointwise.0"))
    assert fragile > 10 * harmless
    others = [row["int4", "int8"] for layer, row in table.items() if layer not in ("two.0", "pointwise.0")]
    assert fragile > sorted(others)[len(others) // 2]
