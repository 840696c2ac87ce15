"""Why a layer has its format: what each format it may take would harm, weigh and cost."""

from collections.abc import Mapping

from edge_mpq.allocators import ScoreTable
from edge_mpq.cost import CostTable
from edge_mpq.records import plan as plans
from edge_mpq.records.plan import Choice
from edge_mpq.records.report import Option


def options_of(scores: ScoreTable, tables: Mapping[str, CostTable]) -> dict[str, tuple[Option, ...]]:
    """layer -> its options, least harm first.

    tables: ``size`` in MiB and ``latency`` in ms, as edge_mpq.planning.cost_tables makes them.
    """
    return {
        name: tuple(
            Option(
                plans.describe(Choice(*pair)),
                harm,
                tables["size"][name][pair],
                tables.get("latency", {}).get(name, {}).get(pair),
            )
            for pair, harm in sorted(row.items(), key=lambda item: item[1])
        )
        for name, row in scores.items()
    }
