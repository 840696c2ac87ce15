"""edge-mpq: from a PyTorch model to the best mixed-precision engine its board can run.

    plan = edge_mpq.plan(model, example, calibration, target="cpu-x86-vnni", budget="size<=5bits")
    quantized, ranges = edge_mpq.quantize(model, plan, calibration)

Importing this package imports no framework; the names below load theirs when first used.
Plans and reports show themselves in a notebook.
"""

import importlib

from edge_mpq.records.plan import PrecisionPlan
from edge_mpq.records.report import RunReport

__version__ = "0.1.0"

_HOMES = {
    "plan": "edge_mpq.planning",
    "quantize": "edge_mpq.quantizing",
    "prepared": "edge_mpq.simulation",
    "layers_of": "edge_mpq.layers",
    "load_model": "edge_mpq.loading",
}
__all__ = ["__version__"] + sorted(_HOMES)


def __getattr__(name):
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError("module {!r} has no attribute {!r}".format(__name__, name))


def _as_html(record):
    """``record`` as a page; what draws it stands floors above the records and is imported when it is asked."""
    return importlib.import_module("edge_mpq.report.notebook").shown(record)


for _record in (PrecisionPlan, RunReport):
    setattr(_record, "_repr_html_", _as_html)  # noqa: B010 - the record itself declares no such thing
