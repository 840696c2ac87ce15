"""Ends of blocks moved by salience: never worse than where they were, and better where few weights stretch a block."""

import pytest
import torch

from edge_mpq import clipping
from edge_mpq.column_bits import Columns, alike

BLOCK = 16


def weight() -> torch.Tensor:
    return torch.randn(12, 4 * BLOCK, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("emphasis", [1.0, 5.0])
@pytest.mark.parametrize("bits", [[2, 2, 2, 2], [1, 2, 3, 2]])
def test_no_block_of_any_output_is_worse_off_and_most_are_better(symmetric, emphasis, bits):
    values, worth = weight(), weight().square()
    columns = Columns(torch.tensor(bits, dtype=torch.int32), torch.tensor([5]))
    counts = torch.where(clipping.salient(worth, BLOCK), emphasis, 1.0)

    def error(grid) -> torch.Tensor:
        return clipping.objective(grid(values) - values, counts, BLOCK)

    plain, found = columns.grid(values, symmetric), clipping.clipped(values, columns, symmetric, worth, emphasis)
    assert (error(found) <= error(plain)).all()
    assert (error(found) < error(plain)).float().mean() > 0.5
    assert torch.equal(found.bits, columns.bits) and torch.equal(found.kept, columns.kept)
    wide = columns.grid(1.3 * values, symmetric)  # the law could not fail if ends did not matter
    assert (error(wide) > error(plain)).float().mean() > 0.5


def test_salient_weights_are_those_that_stand_out_in_their_block():
    worth = torch.rand(12, 2 * BLOCK, generator=torch.Generator().manual_seed(1))
    worth[3, 7] = 20.0
    assert clipping.salient(worth, BLOCK).nonzero().tolist() == [[3, 7]]


def test_emphasis_brings_salient_weights_nearer():
    values = weight()
    values[:, 0] *= 2.5
    worth = torch.zeros_like(values)
    worth[:, 0] = 1.0
    mild, strong = (
        clipping.clipped(values, alike(2, 4), False, worth, emphasis)(values) - values for emphasis in (1.0, 100.0)
    )
    assert strong[:, 0].abs().sum() < mild[:, 0].abs().sum()
