"""Residual blocks: found in whatever has them, and their cosines are those of what passes."""

import pytest
import torch

from edge_mpq import graph as ir
from edge_mpq.errors import CalibrationError
from edge_mpq.residuals import cosines, innermost, residuals
from tests import toys, trained_mixture


def test_attention_and_mixture_are_a_block_each():
    found = residuals(trained_mixture.small())
    assert [len(block.layers) for block in found] == [2, 11, 2, 11]
    assert found[0].layers == ("blocks.0.attn.c_attn", "blocks.0.attn.c_proj") and found[0].axis == -1
    assert found[1].skip is found[0].output
    assert innermost(found)["blocks.1.mlp.experts.3.up"] is found[3] and "head" not in innermost(found)


def test_in_a_convolutional_network_those_whose_skip_is_plain():
    (block,) = residuals(toys.graph("residual"))
    assert block.layers == ("one.0", "two.0") and block.axis == 1
    assert block.output.target == ir.aten.relu.default
    assert residuals(toys.graph("unet")) == []


@torch.no_grad()
def test_a_block_that_adds_nothing_has_a_cosine_of_one_and_one_that_turns_round_of_minus_one():
    graph = ir.copied(trained_mixture.small())
    for what in ("weight", "bias"):
        path = f"blocks.0.attn.c_proj.{what}"
        ir.set_parameter(graph, path, torch.zeros_like(ir.attribute(graph, path)))
    blocks = residuals(graph)
    texts = trained_mixture.tokens()
    before = cosines(trained_mixture.small(), residuals(trained_mixture.small()), [texts])
    after = cosines(graph, blocks, [texts[:3], texts[3:]])
    assert after[0] == pytest.approx(1, abs=1e-6) and before[0] < 0.99
    assert all(-1 <= cosine <= 1 for cosine in before)
    ends = torch.randn(6, 4)
    assert torch.nn.functional.cosine_similarity(ends, -ends, dim=-1).mean() == pytest.approx(-1)
    with pytest.raises(CalibrationError, match="no calibration picture"):
        cosines(graph, blocks, [])
