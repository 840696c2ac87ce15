"""Layers in clusters of like harm: the most harmed cluster gets the widest formats, the least the narrowest.

k-means in one dimension with as many clusters as the menu has widths, sorted by their means.  Nanda,
Balija and Sahoo, CPTQuant, 2024, arXiv 2412.03599, whose clusters know no budget: :func:`clustered` is
their plan, and :func:`allocate` the nearest to it, by greedy's steps, that is within the limits and
leaves no slack that serves.  Harms spread over decades, and one outlier among them would be a
cluster by itself: allocate clusters their logarithms, clustered the harms as they are.

``milp`` does less harm at the same cost; this is for comparison with the publication.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from edge_mpq.allocators import Limit, Loss, ScoreTable
from edge_mpq.allocators._problem import Problem, problem
from edge_mpq.allocators.greedy import repaired
from edge_mpq.cost import Menu, Pair
from edge_mpq.records import formats

# Below any harm that is one: logarithms of zero.
LEAST = 1e-30


def allocate(
    scores: ScoreTable, limits: Sequence[Limit], ties: Sequence[Sequence[str]], loss: Loss | None = None
) -> dict[str, Pair]:
    """Pairs near those of the clusters within all limits; see the family's contract."""
    made = problem(scores, limits, ties)
    harms = np.array([row[np.isfinite(row)].max() for row in made.harm])
    return made.answer(repaired(made, _by_cluster(made, np.log(np.maximum(harms, LEAST)))))


def clustered(values: Mapping[str, float], menu: Menu, ties: Sequence[Sequence[str]]) -> dict[str, Pair]:
    """One pair of its ``menu`` for every layer by the cluster of its value, whatever that costs.

    Tied layers are clustered by their sum.
    """
    made = problem({name: dict.fromkeys(menu[name], value) for name, value in values.items()}, [], ties)
    return made.answer(_by_cluster(made, made.harm[:, 0]))


def _by_cluster(made: Problem, values: np.ndarray) -> np.ndarray:
    """Choices [U]: the cluster of the greatest ``values`` [U] takes the widest pair, the next one the next."""
    places = clusters(values, max(len(menu) for menu in made.pairs))
    widest_first = [_widest_first(menu) for menu in made.pairs]
    return np.array([order[min(place, len(order) - 1)] for order, place in zip(widest_first, places, strict=True)])


def _widest_first(menu: Sequence[Pair]) -> list[int]:
    """The places of a menu's pairs by bits of weights, then of activations."""
    return sorted(range(len(menu)), key=lambda p: [-formats.get(form).bits for form in menu[p]])


def clusters(values: np.ndarray, count: int) -> np.ndarray:
    """The cluster [U] of each of ``values`` [U], 0 for the one of the greatest mean; no more than there are values.

    On a line clusters are stretches of the sorted values, and the least sum of squares about their means
    is found exactly, stretch by stretch: nothing is drawn, and equal values stay together.
    """
    points, place, often = np.unique(values, return_inverse=True, return_counts=True)
    size, count = len(points), min(count, len(points))
    # Numbers, sums and sums of squares of the points before each.
    weight, first, second = (np.concatenate([[0.0], np.cumsum(often * points**power)]) for power in range(3))
    inside = np.maximum(weight[None, :] - weight[:, None], 1)
    spread = second[None, :] - second[:, None] - (first[None, :] - first[:, None]) ** 2 / inside
    spread[np.tril_indices(size + 1)] = np.inf  # from start to end, at least one point
    least, starts = spread[0], []
    for _ in range(count - 1):
        through = least[:, None] + spread
        starts.append(through.argmin(axis=0))
        least = through.min(axis=0)
    labels, end = np.zeros(size, int), size
    for cluster, start in enumerate(reversed(starts), 1):
        labels[: start[end]] = cluster
        end = start[end]
    return labels[place]
