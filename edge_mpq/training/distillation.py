"""Distillation: the float model's answers as soft labels.

Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, arXiv 1503.02531: the
Kullback-Leibler divergence from teacher to student at a temperature, times its square, so
that gradients keep their size.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def distilled(loss: Loss, teacher: nn.Module, weight: float, temperature: float = 4.0) -> Loss:
    """``(1 - weight) * loss + weight * divergence`` of (outputs, inputs, labels); ``loss`` itself at weight 0.

    teacher: a model in eval mode, which stays as it is and is asked about every batch.
    """
    if weight == 0:
        return loss

    def both(outputs: torch.Tensor, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            wanted = teacher.to(inputs.device)(inputs)
        soft = divergence(outputs, wanted, temperature)
        return soft if weight == 1 else (1 - weight) * loss(outputs, inputs, labels) + weight * soft

    return both


def divergence(outputs: torch.Tensor, wanted: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean over pictures (and pixels) of T^2 KL(wanted || outputs), from logits [N, K, ...]; K = 1 means yes or no."""
    if outputs.shape[1] == 1:
        outputs, wanted = (torch.cat([values, torch.zeros_like(values)], 1) for values in (outputs, wanted))
    student, target = (functional.log_softmax(values / temperature, 1) for values in (outputs, wanted))
    return functional.kl_div(student, target, reduction="none", log_target=True).sum(1).mean() * temperature**2
