"""A decoder-only transformer in GPT-2's layout, whose parameters carry GPT-2's names.

Radford et al., Language Models are Unsupervised Multitask Learners, 2019: token and position
embeddings, blocks with a layer norm before attention and MLP, one linear for queries, keys and
values, GELU by its tanh approximation, a layer norm and a head without bias.

Axis letters: N texts, T tokens, P tokens before them, V words of the vocabulary, D width of a token.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from edge_mpq.errors import ModelError
from edge_mpq.kv_cache import Cache, FloatCache

# The keys of one block as its cache keeps them, part by part, and then the values: [N, heads, P, ...] each.
Kept = tuple[torch.Tensor, ...]
FLOAT = FloatCache()


class Attention(nn.Module):
    """Multi-head attention in which a token sees itself and those before it."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn = nn.Linear(dim, 3 * dim)
        self.c_proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, T, D] -> [N, T, D]"""
        query, key, value = self.parts(x)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.c_proj(mixed.transpose(1, 2).flatten(2))

    def parts(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values [N, heads, T, D / heads] of [N, T, D]."""
        query, key, value = self.c_attn(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return query, key, value

    def after(self, x: torch.Tensor, past: Kept, cache: Cache, seen: torch.Tensor) -> tuple[torch.Tensor, Kept]:
        """[N, T, D] behind ``past`` -> [N, T, D], and the past of what comes next; seen: of whom [T, P + T]."""
        query, key, value = self.parts(x)
        written = (*cache.write(key), *cache.write(value))
        present = tuple(torch.cat(pair, 2) for pair in zip(past, written, strict=True))
        key, value = cache.read(present[: len(cache.parts)]), cache.read(present[len(cache.parts) :])
        mixed = F.scaled_dot_product_attention(query, key, value, seen)
        return self.c_proj(mixed.transpose(1, 2).flatten(2)), present


class Mlp(nn.Module):
    """Two linear layers with GELU between, four times as wide inside."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(dim, 4 * dim)
        self.act = nn.GELU("tanh")
        self.c_proj = nn.Linear(4 * dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, T, D] -> [N, T, D]"""
        return self.c_proj(self.act(self.c_fc(x)))


class Block(nn.Module):
    """Attention and MLP, each behind a layer norm and beside a skip connection."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.ln_2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, T, D] -> [N, T, D]"""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))

    def after(self, x: torch.Tensor, past: Kept, cache: Cache, seen: torch.Tensor) -> tuple[torch.Tensor, Kept]:
        """As :meth:`Attention.after`."""
        mixed, present = self.attn.after(self.ln_1(x), past, cache, seen)
        x = x + mixed
        return x + self.mlp(self.ln_2(x)), present


class GPT(nn.Module):
    """A language model of ``vocabulary`` words that sees ``context`` tokens at most.

    tied: the head applies the token embedding.  Raises ModelError where the heads do not
    divide the width.
    """

    def __init__(
        self, vocabulary: int, context: int = 128, dim: int = 64, depth: int = 2, heads: int = 4, tied: bool = False
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ModelError(f"a GPT of width {dim} with {heads} heads", "the heads must divide the width")
        self.context, self.heads = context, heads
        self.wte, self.wpe = nn.Embedding(vocabulary, dim), nn.Embedding(context, dim)
        self.h = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.ln_f = nn.LayerNorm(dim)
        self.lm_head = nn.Linear(dim, vocabulary, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        if tied:
            self.lm_head.weight = self.wte.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens int64 [N, T] -> logits of the next ones [N, V, T]; ModelError for more than the context."""
        x = self._embedded(tokens, 0)
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x)).transpose(1, 2)

    def step(
        self, tokens: torch.Tensor, past: Sequence[Kept], cache: Cache = FLOAT, last: bool = False
    ) -> tuple[torch.Tensor, list[Kept]]:
        """Tokens [N, T] behind the P that ``past`` remembers -> logits [N, V, T], and what to remember of P + T.

        past: of every block (:meth:`nothing` before the first token).  cache: how keys and values are
        kept; attention reads all of them as the cache gives them back, the new ones too.  last: logits
        of the last token alone [N, V, 1].
        """
        before = past[0][0].shape[2]
        x = self._embedded(tokens, before)
        places = torch.arange(before + tokens.shape[1], device=tokens.device)
        seen = places[None, :] <= places[before:, None]
        present = []
        for block, kept in zip(self.h, past, strict=True):
            assert isinstance(block, Block)
            x, known = block.after(x, kept, cache, seen)
            present.append(known)
        if last:
            x = x[:, -1:]
        return self.lm_head(self.ln_f(x)).transpose(1, 2), present

    def nothing(self, texts: int, cache: Cache = FLOAT) -> list[Kept]:
        """The past of ``texts`` texts before their first token."""
        empty = self.wte.weight.new_zeros(texts, self.heads, 0, self.wte.weight.shape[1] // self.heads)
        return [(*cache.write(empty), *cache.write(empty)) for _ in self.h]

    def _embedded(self, tokens: torch.Tensor, before: int) -> torch.Tensor:
        if not torch.compiler.is_compiling() and before + tokens.shape[1] > self.context:
            raise ModelError(
                f"{before + tokens.shape[1]} tokens, and this GPT sees {self.context}", "give it a shorter text"
            )
        places = torch.arange(before, before + tokens.shape[1], device=tokens.device)
        return self.wte(tokens) + self.wpe(places)


def tiny_gpt(num_classes: int = 128) -> GPT:
    """For characters: a context of 128, width 64, 2 blocks of 4 heads; 0.1 M parameters beside the embeddings."""
    return GPT(num_classes)
