"""The block predictor learns what is to be learned, and where nothing is it says so."""

import pytest
import torch

from edge_mpq.residuals import cosines, residuals
from edge_mpq.training.block_predictor import ends, learn
from tests import trained_mixture


def tokens() -> torch.Tensor:
    return torch.randn(1500, 16, generator=torch.Generator().manual_seed(0))


def test_on_tokens_held_back_it_errs_less_than_their_mean_would():
    cosine = torch.tanh(tokens()[:, :4].sum(1) / 2)
    found = learn(tokens(), cosine, learning_rate=1e-3, epochs=30)
    assert found.error < 0.3 * found.variance


def test_where_there_is_nothing_to_learn_it_does_not_beat_the_mean():
    cosine = torch.tanh(tokens()[:, :4].sum(1) / 2)
    shuffled = cosine[torch.randperm(len(cosine), generator=torch.Generator().manual_seed(1))]
    found = learn(tokens(), shuffled, learning_rate=1e-3, epochs=30)
    assert found.error > 0.9 * found.variance


def test_the_same_tokens_teach_the_same():
    cosine = tokens()[:, 0].sin()
    one, other = (learn(tokens(), cosine, epochs=2) for _ in range(2))
    assert one.error == other.error
    assert torch.equal(one.predictor(tokens()), other.predictor(tokens()))


def test_it_learns_from_the_ends_of_blocks():
    graph, texts = trained_mixture.small(), trained_mixture.tokens()
    blocks = residuals(graph)
    found = ends(graph, blocks, texts.split(4))
    assert [tuple(entering.shape) for entering, _ in found] == [(texts.numel(), 32)] * len(blocks)
    means = [cosine.mean().item() for _, cosine in found]
    assert means == pytest.approx(cosines(graph, blocks, [texts]), abs=1e-5)
