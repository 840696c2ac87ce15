"""SmoothQuant: share the size of each channel between activation and weight.

Xiao et al., SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language
Models, ICML 2023, arXiv 2211.10438: X' = X / s, W' = W diag(s), s = max|x|**a / max|W|**(1 - a).
The paper sets a by hand (0.5); here each layer searches its own, as in shift_smooth.py, of which
this is the half without shifts.
"""

from collections.abc import Iterable

from torch import fx

from edge_mpq.progress import Progress, silent
from edge_mpq.records.target import Target
from edge_mpq.transforms import shift_smooth


def apply(
    graph: fx.GraphModule, batches: Iterable = (), target: Target | None = None, progress: Progress = silent
) -> fx.GraphModule:
    """``graph`` with its channels smoothed; changed in place and returned.  Raises as shift_smooth.py does."""
    return shift_smooth.rewritten(graph, batches, target, progress, shifts=False)
