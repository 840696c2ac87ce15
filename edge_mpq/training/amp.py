"""Training with automatic mixed precision where the device has it.

A GPU runs fp16 with a scaled loss (Micikevicius et al., Mixed Precision Training, ICLR 2018);
a CPU runs bf16 where it has instructions for it and fp32 where it has not, since emulated
bf16 is slower than fp32.  The same seed gives the same weights on one CPU.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from edge_mpq.errors import ModelError
from edge_mpq.progress import Progress, silent


class Epoch(NamedTuple):
    """What one epoch did: mean loss, share of pictures right, and steps that overflowed fp16."""

    loss: float
    right: float
    overflows: int


def precision(device: torch.device) -> torch.dtype:
    """The type that matrix work runs in on ``device``: float16, bfloat16 or float32."""
    if device.type == "cuda":
        return torch.float16
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if has_bf16 else torch.float32


def fit(
    model: nn.Module,
    batches: Callable[[int], Iterable[tuple[torch.Tensor, torch.Tensor]]],
    epochs: int,
    learning_rate: float = 2e-3,
    device: str = "cpu",
    progress: Progress = silent,
) -> list[Epoch]:
    """Train a classifier in place by AdamW with a one-cycle rate; one Epoch an epoch.

    batches: epoch -> (inputs [N, C, H, W], labels [N]) batches, as many every epoch.
    Leaves ``model`` in eval mode on the CPU.  Raises ModelError when the loss stops being finite.
    """
    place = torch.device(device)
    kind = precision(place)
    model.train().to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = sum(1 for _ in batches(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps * epochs)
    scaler = torch.amp.GradScaler(place.type, enabled=kind == torch.float16)
    log = []
    for epoch in progress(range(epochs), "training"):
        total, right, seen, overflows = 0.0, 0, 0, 0
        for inputs, labels in batches(epoch):
            inputs, labels = inputs.to(place, memory_format=torch.channels_last), labels.to(place)
            with torch.autocast(place.type, kind, enabled=kind != torch.float32):
                scores = model(inputs)
                loss = functional.cross_entropy(scores, labels)
            if not torch.isfinite(loss):
                raise ModelError(f"the loss is {loss.item()} in epoch {epoch}", "lower the learning rate")
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()
            before = scaler.get_scale()
            scaler.step(optimizer)
            scaler.update()
            overflows += scaler.get_scale() < before
            schedule.step()
            total += loss.item() * len(labels)
            right += int((scores.argmax(1) == labels).sum())
            seen += len(labels)
        log.append(Epoch(total / seen, right / seen, overflows))
    model.eval().to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return log
