"""What two layers do together: the Hessian's answer against backward twice and against trying it out."""

import numpy as np
import pytest
import torch

from edge_mpq import graph as ir
from edge_mpq import menu as menus
from edge_mpq.allocators import Interacting
from edge_mpq.layers import layers_of
from edge_mpq.records import target as targets
from edge_mpq.sensitivity import hessian, hessian_pairs, measured_pairs
from edge_mpq.sensitivity._one_at_a_time import input_rounder, rounded_weight
from edge_mpq.sensitivity._pairs import interacting
from tests.sensitivity.small import exact_hessian, perceptron, ranges

BOARD = targets.get("simulation")
PAIR = menus.parse("w6a6")
METHODS = ((hessian_pairs, {}), (measured_pairs, {"within": 9}))


def table(method, names=("fp32", "w6a6"), **options) -> Interacting:
    graph, inputs = perceptron()
    menu = menus.menu_of(layers_of(graph), BOARD, names)
    return method.scores(graph, menu, list(inputs.split(8)), ranges(), BOARD, **options)


def of(scores: Interacting, pair=PAIR) -> np.ndarray:
    """The interactions of every two layers that both take ``pair``, in one order."""
    names = list(scores)
    keys = [(one, other) for index, one in enumerate(names) for other in names[index + 1 :]]
    return np.array([scores.joint[key][pair, pair] for key in keys])


def test_forward_products_are_what_the_hessian_by_backward_twice_says():
    graph, inputs = perceptron()
    nodes = ir.weighted(graph)
    full = exact_hessian(graph, nodes, inputs)
    reads = hessian.differentiable(graph, nodes, inputs)[2]
    moved = []
    for layer in nodes:
        weights = [
            rounded_weight(graph, nodes[name][0], PAIR[0]) - ir.attribute(graph, f"{name}.weight").detach()
            if name == layer else torch.zeros_like(ir.attribute(graph, f"{name}.weight"))
            for name in nodes
        ]  # fmt: skip
        inside = [
            input_rounder(node, PAIR[1], ranges(), BOARD)(read) - read
            if node in nodes[layer] else torch.zeros_like(read)
            for node, read in reads.items()
        ]  # fmt: skip
        moved.append(torch.cat([part.flatten() for part in (*weights, *inside)]))
    by_backward = torch.stack(moved) @ full @ torch.stack(moved).T / len(inputs)
    scores = table(hessian_pairs)
    upper = np.triu_indices(len(nodes), 1)
    assert of(scores) == pytest.approx(by_backward.detach().numpy()[upper], rel=2e-3, abs=1e-8)
    alone = [row[PAIR] for row in scores.alone.values()]
    assert alone == pytest.approx(0.5 * by_backward.detach().diagonal().numpy(), rel=2e-3)


def test_they_agree_with_second_differences_where_rounding_is_fine_and_less_where_it_is_coarse():
    # Weights alone: what layers read is rounded anew once another layer moves it, and keeps no direction.
    fine, coarse = (
        [of(table(method, ("fp32", width), **options), menus.parse(width)) for method, options in METHODS]
        for width in ("w6a32", "w2a32")
    )
    agreement = np.corrcoef(*fine)[0, 1]
    assert agreement > 0.9 and np.corrcoef(*coarse)[0, 1] < agreement
    shuffled = [np.corrcoef(np.random.default_rng(seed).permutation(fine[0]), fine[1])[0, 1] for seed in range(50)]
    assert abs(np.mean(shuffled)) < 0.2


def test_interactions_of_both_signs_are_found_and_both_matter():
    scores = table(hessian_pairs)
    found = of(scores)
    assert found.min() < 0 < found.max()
    assert np.abs(found).max() > 0.1 * max(row[PAIR] for row in scores.alone.values())


def test_measuring_stops_at_the_neighbours_asked_for_and_measures_the_same_there():
    near, all_of_them = table(measured_pairs, within=1), table(measured_pairs, within=9)
    names = list(near)
    assert set(near.joint) == set(zip(names, names[1:], strict=False)) < set(all_of_them.joint)
    assert all(all_of_them.joint[key] == near.joint[key] for key in near.joint)
    assert near.alone == all_of_them.alone


def test_only_harmful_interactions_raise_a_score_and_only_by_half():
    pair, other = menus.parse("w8a8"), menus.parse("w4a8")
    menu = {name: [menus.FLOAT, pair, other] for name in "abc"}
    alone = {(name, form): 1.0 for name in "abc" for form in (pair, other)}
    joint = {("a", "b"): {(pair, pair): 4.0, (other, other): 6.0, (pair, other): 9.0}, ("b", "c"): {(pair, pair): -3.0}}
    scores = interacting(menu, alone, joint)
    assert {name: row[pair] for name, row in scores.items()} == {"a": 3.0, "b": 3.0, "c": 1.0}
    assert {name: row[other] for name, row in scores.items()} == {"a": 4.0, "b": 4.0, "c": 1.0}
    assert all(row[menus.FLOAT] == 0 for row in scores.values())
    assert scores.alone["a"][pair] == 1.0 and scores.joint == joint
