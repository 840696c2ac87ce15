"""k-means on a line: clusters are the best there are, sorted, and know no budget."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mpq.allocators import Limit, kmeans

WIDE, MIDDLE, NARROW = ("int8", "fp32"), ("int4", "fp32"), ("int2", "fp32")
BITS = {WIDE: 8.0, MIDDLE: 4.0, NARROW: 2.0}


def spread(values: np.ndarray, labels) -> float:
    """Sum of squares about the means of clusters."""
    labels = np.asarray(labels)
    return sum(((values[labels == one] - values[labels == one].mean()) ** 2).sum() for one in set(labels.tolist()))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=7), st.integers(1, 4))
def test_clusters_are_the_best_of_all_and_sorted_by_their_means(numbers, count):
    values = np.array(numbers, float)
    labels = kmeans.clusters(values, count)
    count = min(count, len(set(numbers)))
    assert set(labels.tolist()) == set(range(count))
    best = min(spread(values, labelled) for labelled in itertools.product(range(count), repeat=len(values)))
    assert spread(values, labels) <= best + 1e-9
    means = [values[labels == one].mean() for one in range(count)]
    assert means == sorted(means, reverse=True)


def test_the_cluster_of_the_greatest_scores_is_the_widest_whatever_order_layers_come_in():
    values = {"a": 1.0, "b": 9.0, "c": 1.1, "d": 4.0, "e": 9.2, "f": 4.1}
    wanted = {"b": WIDE, "e": WIDE, "d": MIDDLE, "f": MIDDLE, "a": NARROW, "c": NARROW}
    for order in itertools.islice(itertools.permutations(values), 0, 720, 97):
        menu = {name: [WIDE, MIDDLE, NARROW] for name in order}
        assert kmeans.clustered({name: values[name] for name in order}, menu, []) == wanted
    tied = kmeans.clustered(values, {name: [WIDE, MIDDLE, NARROW] for name in values}, [["a", "b"]])
    assert tied["a"] == tied["b"] == WIDE


def test_clusters_alone_keep_no_budget_and_the_allocator_does():
    scores = {
        f"l{index}": {WIDE: 0.0, MIDDLE: harm / 16, NARROW: harm}
        for index, harm in enumerate([9.0, 8.0, 9.5, 0.1, 0.2])
    }
    sizes = {name: dict(BITS) for name in scores}
    limit = Limit(sizes, 4.0 * len(scores), "size<=4bits")
    menu = {name: list(row) for name, row in scores.items()}
    free = kmeans.clustered({name: row[NARROW] for name, row in scores.items()}, menu, [])
    assert not limit.holds(free)
    assert limit.holds(kmeans.allocate(scores, [limit], []))


def test_outliers_among_raw_scores_leave_all_others_in_one_cluster_and_their_logarithms_do_not():
    harms = np.array([0.001, 0.0012, 0.03, 0.04, 1.0, 1.3, 900.0, 30000.0])
    assert np.bincount(kmeans.clusters(harms, 3)).tolist() == [1, 1, 6]
    assert np.bincount(kmeans.clusters(np.log(harms), 3)).max() < 6
