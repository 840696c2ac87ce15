"""Which layers read what which others wrote: where a change of formats costs a conversion."""

from torch import fx

from edge_mpq import graph as ir


def neighbours(graph: fx.GraphModule) -> list[tuple[str, str]]:
    """(writer, reader) of every two layers with no other layer between them, in graph order, each once."""
    names = {node: name for name, nodes in ir.weighted(graph).items() for node in nodes}
    # For every tensor: the layers whose values are in it without having gone through another layer.
    sources: dict[fx.Node, set[str]] = {}
    found: dict[tuple[str, str], None] = {}
    for node in graph.graph.nodes:
        read = set().union(*(sources.get(argument, set()) for argument in node.all_input_nodes))
        if node in names:
            for writer in sorted(read):
                if writer != names[node]:
                    found[writer, names[node]] = None
            read = {names[node]}
        sources[node] = read
    return list(found)
