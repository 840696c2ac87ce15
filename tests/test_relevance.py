"""Relevance is handed on, not made: its sum stays one on every cut, for every toy and rule."""

import pytest
import torch
from scipy.stats import spearmanr
from torch import fx, nn
from torch.nn import functional

from apps.models.mobilenet_v2 import mobilenet_v2_cifar
from edge_mpq import graph as ir
from edge_mpq import relevance
from edge_mpq.errors import CalibrationError, ModelError
from edge_mpq.partial import PartialRun
from edge_mpq.sensitivity import kl
from edge_mpq.simulation import prepared
from tests import toys, trained_toys, trained_vits


class Attending(nn.Module):
    """One attention over patches, by the fused operation or by products and softmax, classified by the first token."""

    def __init__(self, fused: bool, causal: bool = False) -> None:
        super().__init__()
        self.fused, self.causal = fused, causal
        self.patches, self.qkv, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 24), nn.Linear(8, toys.CLASSES)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        query, key, value = self.qkv(self.patches(pictures).flatten(2).transpose(1, 2)).chunk(3, 2)
        if self.fused:
            mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        else:
            mixed = torch.softmax(query @ key.transpose(1, 2) / 8**0.5, -1) @ value
        return self.head(mixed[:, 0])


def attending(fused: bool, causal: bool = False) -> fx.GraphModule:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return prepared(Attending(fused, causal), toys.pictures(1))


def mobilenet() -> fx.GraphModule:
    """Layers that read values below zero: a MobileNet's linear bottlenecks."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return prepared(toys.settled(mobilenet_v2_cifar()), toys.pictures(1, size=32))


GRAPHS = {
    **{kind: (lambda kind=kind: toys.graph(kind)) for kind in toys.KINDS},
    "trained": trained_toys.trained,
    "unbalanced": trained_toys.unbalanced,
    "vit": trained_vits.trained,
    "fused attention": lambda: attending(True),
    "attention by products": lambda: attending(False),
    "mobilenet": mobilenet,
}


def cuts(graph: fx.GraphModule, batch: torch.Tensor) -> list[float]:
    """The relevance a picture on the cut behind each operation, from the answer to the picture."""
    run, moving = PartialRun(graph), relevance.depending(graph)
    run.run(batch)
    answer = relevance.relevances(graph, batch)[run.output]
    crossing, sums = {run.output: answer}, []
    for node in reversed(graph.graph.nodes):
        if node in crossing and node in moving and node.op == "call_function":
            with torch.enable_grad():
                shares = relevance.split(run, node, crossing.pop(node), moving)
            for source, share in shares.items():
                assert share.shape == run.values[source].shape
                crossing[source] = crossing.get(source, 0) + share
            sums.append(sum(part.double().sum().item() for part in crossing.values()) / len(batch))
    return sums


@pytest.mark.parametrize("kind", GRAPHS)
def test_its_sum_is_one_on_every_cut_and_none_is_below_zero(kind):
    graph = GRAPHS[kind]()
    batch = toys.pictures(4, size=ir.shape(ir.inputs(graph))[-1])
    sums = cuts(graph, batch)
    assert len(sums) > 5 and max(abs(total - 1) for total in sums) < 1e-3
    assert all((value >= 0).all() for value in relevance.relevances(graph, batch).values())


def test_a_linear_keeps_it_to_the_last_digit():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        graph = prepared(nn.Linear(32, 7).double(), torch.randn(1, 32).double())
        batch = torch.randn(16, 32).double()
    sums = relevance.relevances(graph, batch)[ir.inputs(graph)].sum(1)
    assert (sums - 1).abs().max() < 1e-14


def test_a_convolution_of_signed_values_keeps_it_where_normalizing_signs_apart_doubles_it():
    batch = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    model = nn.Conv2d(3, 6, 5, bias=False)
    weight = model.weight.data.normal_(generator=torch.Generator().manual_seed(1))
    graph = prepared(nn.Sequential(model, nn.AdaptiveAvgPool2d(1), nn.Flatten(1)), batch)
    found = relevance.relevances(graph, batch)
    written = found[ir.weighted(graph)["0"][0]]
    assert found[ir.inputs(graph)].sum().item() == pytest.approx(written.sum().item(), rel=1e-5)
    apart = sum(
        part * functional.conv_transpose2d(written / functional.conv2d(part, taps), taps)
        for part, taps in ((batch.clamp(min=0), weight.clamp(min=0)), (batch.clamp(max=0), weight.clamp(max=0)))
    )
    assert apart.sum().item() == pytest.approx(2 * written.sum().item(), rel=1e-3)


def test_shares_stay_shares_where_contributions_cancel():
    class Cancelling(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, values):
            return self.one(values) + self.other(values)

    model = Cancelling()
    model.other.load_state_dict({key: -0.99 * value for key, value in model.one.state_dict().items()})
    graph = prepared(model, torch.randn(1, 4))
    shares = relevance.contributions(graph, [toys.pictures(2).flatten()[:32].view(8, 4)])
    assert shares["one"] == pytest.approx(1 / 1.99, rel=1e-4) and shares["other"] == pytest.approx(
        0.99 / 1.99, rel=1e-4
    )
    # By signed value the two get 1 / (1 - 0.99) and 1 - 1 / (1 - 0.99): a hundred times what there is.
    assert 1 / (1 - 0.99) > 99


def test_attention_by_one_operation_or_by_products_is_the_same():
    batch, found = toys.pictures(4), []
    for fused in (True, False):
        graph = attending(fused)
        found.append(relevance.relevances(graph, batch)[ir.inputs(graph)])
    assert torch.allclose(*found, rtol=1e-4, atol=1e-7)


def test_what_a_mask_hides_has_no_relevance():
    graph = attending(True, causal=True)
    spread = relevance.relevances(graph, toys.pictures(4))[ir.inputs(graph)]
    assert spread[..., :4, :4].sum().item() == pytest.approx(4, rel=1e-4)
    everywhere = attending(True)
    spread = relevance.relevances(everywhere, toys.pictures(4))[ir.inputs(everywhere)]
    assert spread[..., :4, :4].sum().item() < 2


def test_it_starts_at_the_answer_of_each_picture():
    graph, batch = trained_toys.trained(), trained_toys.labelled(16, seed=1)[0]
    start = relevance.relevances(graph, batch)[ir.outputs(graph)]
    with torch.no_grad():
        assert (start.argmax(1) == graph(batch).argmax(1)).all() and (start.sum(1) == 1).all()
    maps = toys.graph("unet")
    start = relevance.relevances(maps, batch)[ir.outputs(maps)]
    assert torch.allclose(start, torch.full_like(start, 1 / start[0].numel()))


def test_layers_that_nothing_goes_around_pass_all_of_it_and_branches_their_part():
    shares = relevance.contributions(trained_toys.trained(), [trained_toys.labelled(32, seed=1)[0]])
    assert all(shares[name] == pytest.approx(1, rel=1e-4) for name in ("stem.0", "depthwise.0", "pointwise.0", "head"))
    assert shares["deep.0"] + shares["short.0"] == pytest.approx(1, rel=1e-4)
    assert shares["left.0"] + shares["right.0"] == pytest.approx(1, rel=1e-4)
    assert 0.05 < shares["short.0"] < 0.95


def test_the_order_of_pictures_does_not_matter():
    batch = trained_toys.labelled(48, seed=1)[0]
    once = relevance.contributions(trained_vits.trained(), [batch])
    mixed = batch[torch.randperm(48, generator=torch.Generator().manual_seed(0))]
    again = relevance.contributions(trained_vits.trained(), list(mixed.split(16)))
    assert all(again[name] == pytest.approx(share, rel=1e-4) for name, share in once.items())


def test_an_operation_without_a_rule_is_refused():
    class Summing(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 3)

        def forward(self, values):
            return torch.cumsum(self.head(values), 1)

    graph = prepared(Summing(), torch.randn(1, 4))
    with pytest.raises(ModelError, match="no rule for aten.cumsum.*fisher or kl"):
        relevance.relevances(graph, torch.randn(2, 4))


def test_without_pictures_there_is_none():
    with pytest.raises(CalibrationError, match="no calibration picture"):
        relevance.contributions(trained_toys.trained(), [])


def test_in_a_trained_transformer_it_ranks_branches_as_taking_them_out_does():
    graph, batch = trained_vits.trained(), trained_toys.labelled(512, seed=9999)[0]
    shares = relevance.contributions(graph, [trained_toys.labelled(64, seed=5000)[0]])
    run, harm = PartialRun(graph), {}
    with torch.no_grad():
        answer = run.run(batch)
        for name, (node,) in ir.weighted(graph).items():
            if name.endswith(("attn.proj", "mlp.fc2")):
                harm[name] = kl.divergence(answer, run.rerun({node: torch.zeros_like(run.values[node])}))
    ranked = sorted(harm, key=shares.__getitem__)
    assert harm[ranked[0]] < harm[ranked[-1]] / 2
    assert spearmanr(list(harm.values()), [shares[name] for name in harm]).statistic > 0.5
