"""Vision transformer (Dosovitskiy et al. 2020), pre-norm, classified by the mean of its tokens.

Axis letters: N pictures, T tokens (one a patch), D width of a token, H rows, W columns.
"""

import torch
import torch.nn.functional as F
from torch import nn

from edge_mpq.errors import ModelError


class Attention(nn.Module):
    """Multi-head self-attention; one Linear makes queries, keys and values."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, T, D] -> [N, T, D]"""
        parts = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)  # [N, heads, T, D / heads] each
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with GELU between, four times as wide inside."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, T, D] -> [N, T, D]"""
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """Attention and MLP, each behind a layer norm and beside a skip connection."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, T, D] -> [N, T, D]"""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """A ViT for pictures of ``size`` by ``size`` pixels cut into ``patch`` by ``patch`` pieces."""

    def __init__(
        self, size: int = 32, patch: int = 4, dim: int = 128, depth: int = 4, heads: int = 4, num_classes: int = 10
    ) -> None:
        super().__init__()
        if size % patch or dim % heads:
            raise ModelError(
                f"a ViT of size {size}, patch {patch}, dim {dim}, heads {heads}",
                "the patch must divide the size and the heads the dim",
            )
        self.size = size
        self.patch_embed = nn.Conv2d(3, dim, patch, patch)
        self.pos_embed = nn.Parameter(torch.empty(1, (size // patch) ** 2, dim))
        self.blocks = nn.Sequential(*(Block(dim, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures [N, 3, size, size] -> logits [N, num_classes]; ModelError for another size."""
        if x.shape[2] != self.size or x.shape[3] != self.size:
            raise ModelError(f"this ViT reads {self.size}x{self.size} pictures, not {x.shape[3]}x{x.shape[2]}",
                             f"prepare them with --size {self.size}")  # fmt: skip
        x = self.patch_embed(x).flatten(2).transpose(1, 2) + self.pos_embed
        return self.head(self.norm(self.blocks(x)).mean(1))


def vit_cifar(num_classes: int = 10) -> VisionTransformer:
    """For 32x32 pictures: 64 tokens of width 128, 4 blocks, 0.8 M parameters."""
    return VisionTransformer(num_classes=num_classes)


def vit_tiny(num_classes: int = 1000) -> VisionTransformer:
    """For 224x224 pictures: 196 tokens of width 192, 12 blocks, 5.7 M parameters (the shape of DeiT-tiny)."""
    return VisionTransformer(224, 16, 192, 12, 3, num_classes)
