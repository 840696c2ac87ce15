"""Rules of thumb for mixtures of experts: which layers to keep wider than the rest, as far as bits last.

A preset is an order of groups of layers, those that deserve bits most first.  All layers start in
the narrowest of their formats, and group after group is raised to the widest while the plan fits.
Routers stay float, always.  The heuristics of Li et al., QuantMoE-Bench: Examining Post-Training Quantization for
Mixture-of-Experts, 2024, arXiv 2406.08155; ``outlier_p`` and ``block_cos_k`` serve models without experts too.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import fx

from edge_mpq import roles as mixtures
from edge_mpq import routing
from edge_mpq.cost import Menu, Pair
from edge_mpq.errors import PlanError, UsageError
from edge_mpq.layers import layers_of
from edge_mpq.menu import FLOAT
from edge_mpq.planning import ties_of
from edge_mpq.records import formats
from edge_mpq.records.layer import LayerSpec, fingerprint
from edge_mpq.records.plan import Choice, PrecisionPlan
from edge_mpq.records.target import Target
from edge_mpq.residuals import Residual, cosines, residuals
from edge_mpq.roles import Role
from edge_mpq.sensitivity.weight_outliers import heights
from edge_mpq.training.block_predictor import predicted

Groups = list[list[str]]
# layer -> pair of formats.
Choices = Mapping[str, Pair]


class Model(NamedTuple):
    """What presets look at: the traced graph, its layers' roles, and batches of inputs."""

    graph: fx.GraphModule
    roles: Mapping[str, Role]
    batches: Sequence

    def named(self, kind: str) -> list[str]:
        """The layers of a role."""
        return [name for name, role in self.roles.items() if role.kind == kind]


def attn4(model: Model) -> Groups:
    """Attention, all of it at once."""
    return [model.named("attention")]


def shared4(model: Model) -> Groups:
    """Shared experts, all at once."""
    return [model.named("shared")]


def freq_topk(model: Model) -> Groups:
    """Routed experts one by one: the most frequent of each block, then the second of each, and so on."""
    loads = routing.loads(model.graph, model.roles, model.batches)
    return by_rank(model, {block: load.frequency for block, load in loads.items()})


def first_k(model: Model) -> Groups:
    """Whole blocks, from the input on."""
    return mixtures.blocks(model.roles) or [list(block.layers) for block in _outermost(residuals(model.graph))]


def outlier_p(model: Model) -> Groups:
    """Layers one by one, those in whose weights an entry towers highest first; reads no data."""
    found = heights(model.graph)
    height = {name: found[name] for name, role in model.roles.items() if role.kind != "router"}
    return [[name] for name in sorted(height, key=lambda name: -height[name])]


def block_cos_k(model: Model) -> Groups:
    """Whole blocks, those that turn their tokens farthest first; of a mixture's, the part with the experts is asked."""
    return _farthest(model, cosines)


def block_learned_k(model: Model) -> Groups:
    """Like block_cos_k, by the cosines that a small network learns to predict."""
    return _farthest(model, predicted)


PRESETS: dict[str, Callable[[Model], Groups]] = {
    preset.__name__: preset for preset in (attn4, shared4, freq_topk, first_k, outlier_p, block_cos_k, block_learned_k)
}


def order(names: Iterable[str], model: Model) -> Groups:
    """The groups of several presets, one preset after the other; UsageError for a name there is not."""
    groups: Groups = []
    for name in names:
        if name not in PRESETS:
            raise UsageError(f"there is no preset {name!r}", "choose one of " + ", ".join(PRESETS))
        groups += PRESETS[name](model)
    return groups


def by_rank(model: Model, values: Mapping[int, torch.Tensor]) -> Groups:
    """Routed experts one by one, by the rank [E] of their block's ``values``: the greatest of each block first."""
    members: dict[tuple[int, int], list[str]] = {}
    for name, role in model.roles.items():
        if role.block is not None and role.expert is not None:
            members.setdefault((role.block, role.expert), []).append(name)
    ranked = {block: value.argsort(descending=True, stable=True).tolist() for block, value in values.items()}
    deepest = max((len(found) for found in ranked.values()), default=0)
    return [
        members[block, found[rank]] for rank in range(deepest) for block, found in ranked.items() if rank < len(found)
    ]


def planned(
    model: Model, groups: Groups, target: Target, menu: Menu, fits: Callable[[Choices], bool], why: str = "preset"
) -> PrecisionPlan:
    """Every layer in the last of its ``menu``, and group after group in the first until ``fits`` says no.

    menu: layer -> pairs, widest first (edge_mpq.menu.menu_of), of which routers heed none.  Tied layers
    are raised together.  Raises PlanError when not even the narrowest fit.
    """
    layers, routers = layers_of(model.graph), set(model.named("router"))
    choices = {layer.name: FLOAT if layer.name in routers else menu[layer.name][-1] for layer in layers}
    if not fits(choices):
        raise PlanError("the narrowest formats are too many bits already", "allow more, or give narrower formats")
    tied = {name: group for group in ties_of(layers) for name in group}
    raised: set[str] = set()
    for group in groups:
        whole = {other for name in group for other in tied.get(name, [name])} - routers
        wider = {**choices, **{name: menu[name][0] for name in whole}}
        if not fits(wider):
            break
        choices, raised = wider, raised | whole
    whys = {name: "a router stays float" if name in routers else why if name in raised else "" for name in choices}
    made = {name: Choice(*pair, why=whys[name]) for name, pair in choices.items()}
    return PrecisionPlan(fingerprint(layers), target.name, made, sensitivity=why, allocator="presets")


def average_bits(choices: Mapping[str, Sequence[str]], layers: Sequence[LayerSpec]) -> float:
    """Nominal bits a weight over the layers that ``choices`` quantizes; float ones are not counted."""
    counted = [layer for layer in layers if not formats.get(choices[layer.name][0]).is_float]
    spent = sum(layer.weights * formats.get(choices[layer.name][0]).bits for layer in counted)
    return spent / max(sum(layer.weights for layer in counted), 1)


def within(bits: float, layers: Sequence[LayerSpec]) -> Callable[[Choices], bool]:
    """Whether a plan has no more than ``bits`` a weight on average, to nine digits."""
    return lambda choices: average_bits(choices, layers) <= bits * (1 + 1e-9)


def _farthest(model: Model, turned: Callable[[fx.GraphModule, list[Residual], Sequence], list[float]]) -> Groups:
    """Whole blocks by the least of ``turned``, their cosines: mixtures' where there are any, else residual ones."""
    whole = _outermost(residuals(model.graph))
    groups = [list(block.layers) for block in whole]
    if model.named("router"):
        groups = mixtures.blocks(model.roles)
        whole = [_around(group, model) for group in groups]
    ranked = sorted(zip(turned(model.graph, whole, model.batches), groups, strict=True), key=lambda pair: pair[0])
    return [group for _, group in ranked]


def _around(group: Sequence[str], model: Model) -> Residual:
    """The smallest residual block that holds the routed experts of a mixture's block."""
    experts = {name for name in group if model.roles[name].kind == "routed"}
    around = [block for block in residuals(model.graph) if experts <= set(block.layers)]
    if not around:
        raise PlanError("a mixture stands beside no skip connection", "choose a preset that asks for no cosines")
    return min(around, key=lambda block: len(block.layers))


def _outermost(found: Sequence[Residual]) -> list[Residual]:
    """Blocks that stand in no other."""
    return [
        block
        for block in found
        if not any(set(block.layers) < set(other.layers) for other in found if other is not block)
    ]
