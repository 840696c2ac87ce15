"""How the loss curves at the logits when answers are drawn from the model itself: A = diag(p) - p p^T.

Then the mean over all draws of the loss's Hessian for anything the logits depend on is J^T A J, J
their Jacobian; no label needs to be drawn, and it is never negative.  A = F F^T with
F = diag(s) (I - s s^T), s = sqrt(p): for motions of logits F^T, for probes of the Hessian F.

Axis letters: N pictures, K classes.  A picture's loss is the mean over its places ``...``.
"""

import torch


def felt(logits: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
    """F^T of a motion of ``logits``, both [N, K, ...]: dot products of two such are those of A in the loss."""
    likely = logits.softmax(1)
    return likely.sqrt() * (motion - (likely * motion).sum(1, keepdim=True)) / _places(logits)


def probe(logits: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """F of random signs, in the shape of ``logits`` [N, K, ...]: A in the loss is the covariance of such probes."""
    root = logits.softmax(1).sqrt()
    signs = torch.randint(2, logits.shape, generator=draw).to(logits.dtype).mul_(2).sub_(1)
    return root * (signs - root * (root * signs).sum(1, keepdim=True)) / _places(logits)


def _places(logits: torch.Tensor) -> float:
    return logits[0, 0].numel() ** 0.5
