"""What CPTQuant does to weights, and how it tells layers apart: pruning, noise, canonical correlation."""

import pytest
import torch

from edge_mpq.sensitivity import canonical_correlation, noise, pruning
from edge_mpq.sensitivity.canonical_correlation import correlations, whitened

WEIGHT = torch.randn(20, 30, generator=torch.Generator().manual_seed(0))


def test_pruning_takes_the_smallest_and_leaves_the_rest():
    for share, kept in zip(pruning.SHARES, pruning.pruned(WEIGHT), strict=True):
        gone = kept == 0
        assert gone.sum() == round(share * WEIGHT.numel())
        assert torch.equal(kept[~gone], WEIGHT[~gone])
        assert WEIGHT[gone].abs().max() <= WEIGHT[~gone].abs().min()
    assert pruning.pruned(torch.ones(2, 3, 3, 3))[0].shape == (2, 3, 3, 3)


def test_noise_is_of_the_size_of_the_weights_and_the_same_every_time():
    for factor in (1e-3, 1.0, 40.0):
        drawn = [moved - factor * WEIGHT for moved in noise.noisy(factor * WEIGHT)]
        assert len(drawn) == noise.DRAWS and not torch.equal(drawn[0], drawn[1])
        for one in drawn:
            assert one.std().item() == pytest.approx(noise.SIZE * factor * WEIGHT.std().item(), rel=0.1)
    assert all(torch.equal(one, other) for one, other in zip(noise.noisy(WEIGHT), noise.noisy(WEIGHT), strict=True))


def drawn(count: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_what_one_layer_makes_of_another_s_features_resembles_them_and_noise_does_not():
    one = drawn(400, 8, 0)
    mixed, other = one @ drawn(8, 8, 1), drawn(400, 8, 2)
    assert correlations(whitened(one), whitened(mixed)).mean() > 0.9
    assert correlations(whitened(one), whitened(other)).mean() < 0.2
    found = correlations(whitened(one), whitened(other))
    assert 0 <= found.min() and found.max() <= 1


def test_the_first_correlation_alone_takes_noise_for_likeness_where_the_mean_does_not():
    # As many directions as a fifth of the pictures: some pair of them always agrees.
    one, other = drawn(160, 64, 0), drawn(160, 64, 1)
    found = correlations(whitened(one), whitened(other))
    assert len(found) == canonical_correlation.MOST
    assert found[0] > 0.7 and found.mean() < 0.5
