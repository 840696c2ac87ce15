"""Which tokens a router sends to which expert.

Read from the graph: the router's logits, and behind them the number of experts that a top-k keeps;
where there is none every expert gets every token.  All experts of a traced graph compute all tokens,
whatever the router says; what those do that it did not send is multiplied by zero.

Axis letters: T tokens (of all texts of a batch), E routed experts of a mixture.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import fx

from edge_mpq import graph as ir
from edge_mpq.calibration import inputs_of
from edge_mpq.errors import CalibrationError
from edge_mpq.partial import PartialRun
from edge_mpq.progress import Progress, silent
from edge_mpq.roles import Role, roles_of

aten = torch.ops.aten


class Gate(NamedTuple):
    """One mixture's router: the node of its logits, and how many experts a token is sent to."""

    logits: fx.Node
    chosen: int

    def weights(self, values: Mapping[fx.Node, Any]) -> torch.Tensor:
        """The router's probabilities [T, E] in a run, zero where a token is not sent."""
        likely = values[self.logits].flatten(0, -2).softmax(-1)
        best = likely.topk(self.chosen, -1)
        return torch.zeros_like(likely).scatter(-1, best.indices, best.values)


class Load(NamedTuple):
    """One mixture over batches.

    frequency: float [E], the share of tokens that each expert is sent.  weight: float [E], the router's
    mean probability for those tokens, 0 where there is none.  tokens: how many there were.
    """

    frequency: torch.Tensor
    weight: torch.Tensor
    tokens: int


class Sent(NamedTuple):
    """Which tokens reach one layer of a routed expert."""

    gate: Gate
    expert: int

    def rows(self, values: Mapping[fx.Node, Any]) -> torch.Tensor:
        """bool [T]: the tokens of a run that are sent to the expert."""
        return self.gate.weights(values)[:, self.expert] > 0


def gates(graph: fx.GraphModule, roles: Mapping[str, Role]) -> dict[int, Gate]:
    """block -> the gate of its mixture."""
    found = {}
    nodes = ir.weighted(graph)
    for name, role in roles.items():
        if role.kind == "router" and role.block is not None:
            logits = nodes[name][0]
            found[role.block] = Gate(logits, _chosen(logits))
    return found


def sent(graph: fx.GraphModule, roles: Mapping[str, Role] | None = None) -> dict[str, Sent]:
    """Layer of a routed expert -> the tokens it is sent; empty for a model without a mixture."""
    roles = roles_of(graph) if roles is None else roles
    of_block = gates(graph, roles)
    return {
        name: Sent(of_block[role.block], role.expert)
        for name, role in roles.items()
        if role.block in of_block and role.expert is not None
    }


@torch.no_grad()
def loads(
    graph: fx.GraphModule, roles: Mapping[str, Role], batches: Iterable, progress: Progress = silent
) -> dict[int, Load]:
    """block -> what its router does with the tokens of ``batches``; CalibrationError where there is none."""
    of_block = gates(graph, roles)
    weights: dict[int, list[torch.Tensor]] = {block: [] for block in of_block}
    run = PartialRun(graph)
    for batch in progress(batches, "routing"):
        run.run(inputs_of(batch))
        for block, gate in of_block.items():
            weights[block].append(gate.weights(run.values))
    if not all(weights.values()):
        raise CalibrationError("there is no calibration text", "give batches of tokens")
    return {block: _load(torch.cat(found)) for block, found in weights.items()}


def _load(weights: torch.Tensor) -> Load:
    count = (weights > 0).sum(0)
    return Load(count / len(weights), weights.sum(0) / count.clamp(min=1), len(weights))


def _chosen(logits: fx.Node) -> int:
    """How many experts the first top-k behind a router's logits keeps; all of them where there is none."""
    behind = {logits}
    for node in logits.graph.nodes:
        if any(argument in behind for argument in node.all_input_nodes):
            behind.add(node)
            if node.target == aten.topk.default:
                return int(node.args[1])
    return int(logits.meta["val"].shape[-1])
