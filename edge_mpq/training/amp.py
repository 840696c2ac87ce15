"""Automatic mixed precision: the type that matrix work runs in, and the loss scale it needs.

A GPU runs fp16 with a scaled loss (Micikevicius et al., Mixed Precision Training, ICLR 2018,
arXiv 1710.03740); a CPU runs bf16 where it has instructions for it and fp32 where it has
not, since emulated bf16 is slower than fp32.  What is asked for by name is done everywhere.
"""

import torch

from edge_mpq.errors import UsageError

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PRECISIONS = ("auto", *TYPES)


def precision(device: torch.device, asked: str = "auto") -> torch.dtype:
    """The type that matrix work runs in on ``device``: float16, bfloat16 or float32.

    asked: one of ``PRECISIONS``; UsageError for another.
    """
    if asked in TYPES:
        return TYPES[asked]
    if asked != "auto":
        raise UsageError(f"there is no precision {asked!r}", "choose one of " + ", ".join(PRECISIONS))
    if device.type == "cuda":
        return torch.float16
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if has_bf16 else torch.float32


def name(kind: torch.dtype) -> str:
    """The short name of a type: fp32, bf16 or fp16."""
    return next(short for short, known in TYPES.items() if known == kind)


def autocast(device: torch.device, kind: torch.dtype) -> torch.autocast:
    """The context in which the model and its loss run; it does nothing for float32."""
    return torch.autocast(device.type, kind, enabled=kind != torch.float32)


def scaler(device: torch.device, kind: torch.dtype) -> torch.amp.GradScaler:
    """The scaler of the loss: for float16 alone, whose gradients would else vanish below 6e-8."""
    return torch.amp.GradScaler(device.type, enabled=kind == torch.float16)
