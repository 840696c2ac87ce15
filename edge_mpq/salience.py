"""Salience: what a weight's rounding costs the output of its layer, by the weight and what it meets.

Huang et al., SliM-LLM: Salience-Driven Mixed-Precision Quantization for Large Language Models, ICML
2025, arXiv 2405.14917: (w / [H^-1]_cc)^2, with H the damped second moment of the inputs.  A few inputs that
are much larger than the rest make the columns that meet them salient, however small their weights are.
``conditional`` puts the Cholesky factor of H^-1 in the place of its diagonal, as the published code does: the
error that feedback cannot pass on.  It is nearly blind to such inputs, since what makes an input larger and
its weights smaller leaves w^2 H_cc as it is.

Axis letters: K outputs, C inputs.
"""

import torch

from edge_mpq.rounding import feedback

FORMULAS = ("inverse", "conditional")


@torch.no_grad()
def of_weights(weight: torch.Tensor, moment: torch.Tensor, formula: str = "inverse") -> torch.Tensor:
    """The salience [K, C] of a weight [K, C, ...] whose inputs have the second ``moment`` [1, C, C]."""
    if formula == "inverse":
        hessian = feedback.damped(moment)[0]
        spread = torch.cholesky_inverse(torch.linalg.cholesky(hessian)).diagonal().float()
    else:
        order, factor = feedback.factored(moment)
        spread = torch.empty(len(order))
        spread[order] = factor[0].diagonal()
    return (weight.detach().flatten(1) / spread).square()
