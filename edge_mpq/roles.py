"""What each layer is for in a mixture of experts: attention, router, shared or routed expert, or none of these.

A mixture is found by its shape: two or more children of one list that hold layers of the same
names and sizes (``blocks.0.mlp.experts.0.up``, ``.1.up``, ...), and beside the list a linear that reads
what they read and has one output for each of them.  A layer whose path has a part such as ``attn`` or
``self_attention`` belongs to attention.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from torch import fx

from edge_mpq import graph as ir
from edge_mpq.errors import ModelError

ATTENTION = re.compile(r"(self_|cross_)?att(n|ention)")


class Role(NamedTuple):
    """kind: ``attention``, ``router``, ``shared``, ``routed`` or ``dense``.

    block: in which of the model's mixtures, from 0; attention has the block of the mixture beside it.
    expert: which of the block's routed experts.  None where there is none.
    """

    kind: str
    block: int | None = None
    expert: int | None = None


def roles_of(graph: fx.GraphModule, routers: Mapping[str, str] | None = None) -> dict[str, Role]:
    """layer -> its role, for every layer of a traced graph.

    routers: path of a list of experts -> its router, where a mixture is not to be found by its shape; then
    no other is looked for.  Raises ModelError for names that are not there.
    """
    nodes = {name: found[0] for name, found in ir.weighted(graph).items()}
    lists = _lists(nodes)
    if routers is None:
        routers = {path: router for path in lists if (router := _router(path, lists[path], nodes)) is not None}
    missing = [path for path in routers if path not in lists]
    missing += [router for router in routers.values() if router not in nodes]
    if missing:
        raise ModelError(f"there is no list of experts or router {', '.join(missing)}", "look at the model's names")
    roles = {name: Role("attention" if _is_attention(name) else "dense") for name in nodes}
    for block, (path, router) in enumerate(routers.items()):
        parent = path.rpartition(".")[0]
        for name, role in roles.items():
            if name.startswith(_block(parent)):
                roles[name] = role._replace(block=block)
        roles.update(dict.fromkeys(_beside(path, lists[path], nodes), Role("shared", block)))
        for expert, members in enumerate(lists[path].values()):
            roles.update(dict.fromkeys(members.values(), Role("routed", block, expert)))
        roles[router] = Role("router", block)
    return roles


def blocks(roles: Mapping[str, Role]) -> list[list[str]]:
    """The layers of each mixture's block, its router aside."""
    found: dict[int, list[str]] = {}
    for name, role in roles.items():
        if role.block is not None and role.kind != "router":
            found.setdefault(role.block, []).append(name)
    return [found[block] for block in sorted(found)]


def _lists(nodes: Mapping[str, fx.Node]) -> dict[str, dict[int, dict[str, str]]]:
    """Path of a list -> child -> rest of a layer's path -> the layer, where two or more children are alike."""
    found: dict[str, dict[int, dict[str, str]]] = {}
    for name in nodes:
        parts = name.split(".")
        for place, part in enumerate(parts[:-1]):
            if part.isdigit() and place:
                child = found.setdefault(".".join(parts[:place]), {}).setdefault(int(part), {})
                child[".".join(parts[place + 1 :])] = name
    return {path: dict(sorted(children.items())) for path, children in found.items() if _alike(children, nodes)}


def _alike(children: Mapping[int, Mapping[str, str]], nodes: Mapping[str, fx.Node]) -> bool:
    shapes = {tuple((rest, _shape(nodes[name])) for rest, name in child.items()) for child in children.values()}
    return len(children) > 1 and len(shapes) == 1


def _beside(path: str, children: Mapping[int, Mapping[str, str]], nodes: Mapping[str, fx.Node]) -> list[str]:
    """The layers of modules beside a list that hold layers of the same names as its children, at whatever size."""
    prefix = _prefix(path)
    rests = set(next(iter(children.values())))
    found: dict[str, dict[str, str]] = {}
    for name in nodes:
        if name.startswith(prefix) and not name.startswith(path + "."):
            child, _, rest = name.removeprefix(prefix).partition(".")
            found.setdefault(child, {})[rest] = name
    return [name for members in found.values() if set(members) == rests for name in members.values()]


def _router(path: str, children: Mapping[int, Mapping[str, str]], nodes: Mapping[str, fx.Node]) -> str | None:
    """The linear beside a list that reads what its children read, with an output for each of them."""
    prefix = _prefix(path)
    read = {_source(nodes[next(iter(child.values()))]) for child in children.values()}
    if len(read) != 1:  # a list that is passed through child by child
        return None
    for name, node in nodes.items():
        beside = name.startswith(prefix) and not name.startswith(path + ".")
        linear = ir.WEIGHTED[node.target] == "linear"  # a convolution may gate branches, which send nothing away
        if beside and linear and _shape(node)[0] == len(children) and _source(node) in read:
            return name
    return None


def _prefix(path: str) -> str:
    """What the paths of a list and of what is beside it begin with."""
    return path[: path.rfind(".") + 1]


def _block(parent: str) -> str:
    """What the paths in the block of a mixture begin with: up to the last number in that of its parent."""
    parts = parent.split(".")
    while parts and not parts[-1].isdigit():
        parts.pop()
    return ".".join(parts) + "." if parts else (f"{parent}." if parent else "")


def _source(node: fx.Node) -> fx.Node:
    """The tensor that a layer reads, before it was only moved."""
    source = node.args[0]
    while source.op == "call_function" and source.target in ir.MOVES:
        source = source.args[0]
    return source


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(int(extent) for extent in node.args[1].meta["val"].shape)


def _is_attention(name: str) -> bool:
    return any(ATTENTION.fullmatch(part) for part in name.split("."))
