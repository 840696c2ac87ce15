"""Log-likelihood of answers that a model draws from itself: what stands in for labels where there are none.

Its mean squared gradient is the Fisher information, which near a minimum is the Hessian of the loss.
"""

import torch
from torch.nn import functional


def drawn_loss(logits: torch.Tensor, pictures: int, draw: torch.Generator) -> torch.Tensor:
    """Cross entropy of ``logits`` [N, K, ...] with answers drawn from them: summed over pictures, nats.

    Places of a map count as their mean.
    """
    flat = classes(logits).movedim(1, -1).flatten(0, -2)
    answers = torch.multinomial(flat.detach().softmax(1), 1, generator=draw).squeeze(1)
    return functional.cross_entropy(flat, answers, reduction="sum") / (len(flat) // pictures)


def classes(logits: torch.Tensor) -> torch.Tensor:
    """Logits [N, K, ...] of two classes or more: a single one stands for yes against 0 for no."""
    return torch.cat([logits, torch.zeros_like(logits)], 1) if logits.shape[1] == 1 else logits
