"""A decoder-only transformer whose MLPs are mixtures of experts: a router sends each token to a few of them.

After Dai et al., DeepSeekMoE: Towards Ultimate Expert Specialization in Mixture-of-Experts Language
Models, 2024, arXiv 2401.06066: every token passes the shared expert and its best routed ones, weighed by
what the router's softmax gives them.  Every routed expert computes every token, and the
weights of those not chosen are zero: so the model has no branch, and exports expert by expert.

Axis letters: N texts, T tokens, V words of the vocabulary, D width of a token, E experts.
"""

import torch
from torch import nn

from apps.models.gpt import Attention
from edge_mpq.errors import ModelError


class Expert(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(dim, hidden)
        self.act = nn.GELU("tanh")
        self.down = nn.Linear(hidden, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, T, D] -> [N, T, D]"""
        return self.down(self.act(self.up(x)))


class Mixture(nn.Module):
    """A shared expert beside ``experts`` routed ones, of which each token takes ``chosen``."""

    def __init__(self, dim: int, hidden: int, experts: int, chosen: int) -> None:
        super().__init__()
        self.chosen = chosen
        self.router = nn.Linear(dim, experts, bias=False)
        self.shared = Expert(dim, hidden)
        self.experts = nn.ModuleList(Expert(dim, hidden) for _ in range(experts))

    def weights(self, x: torch.Tensor) -> torch.Tensor:
        """[N, T, D] -> what each expert counts for each token, [N, T, E]: zero but for the chosen."""
        likely = self.router(x).softmax(-1)
        best = likely.topk(self.chosen, -1).values
        kept = likely * (likely >= best[..., -1:])
        return kept / kept.sum(-1, keepdim=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, T, D] -> [N, T, D]"""
        mixed = self.shared(x)
        for expert, weight in zip(self.experts, self.weights(x).split(1, -1), strict=True):
            mixed = mixed + weight * expert(x)
        return mixed


class Block(nn.Module):
    """Attention and mixture, each behind a layer norm and beside a skip connection."""

    def __init__(self, dim: int, heads: int, hidden: int, experts: int, chosen: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.mlp = Mixture(dim, hidden, experts, chosen)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, T, D] -> [N, T, D]"""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class MixtureLM(nn.Module):
    """A language model of ``vocabulary`` words that sees ``context`` tokens at most.

    hidden: width inside an expert.  Raises ModelError where the heads do not divide the width, or
    more experts are chosen than there are.
    """

    def __init__(
        self,
        vocabulary: int,
        context: int = 64,
        dim: int = 64,
        depth: int = 3,
        heads: int = 4,
        hidden: int = 128,
        experts: int = 8,
        chosen: int = 2,
    ) -> None:
        super().__init__()
        if dim % heads or not 0 < chosen <= experts:
            raise ModelError(
                f"a mixture of width {dim}, {heads} heads, {chosen} of {experts} experts",
                "heads divide the width, and no more experts are chosen than there are",
            )
        self.context = context
        self.tokens, self.places = nn.Embedding(vocabulary, dim), nn.Embedding(context, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, hidden, experts, chosen) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, vocabulary, bias=False)
        for table in (self.tokens, self.places):
            nn.init.normal_(table.weight, std=0.1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens int64 [N, T] -> logits of the next ones [N, V, T]; ModelError for more than the context."""
        if not torch.compiler.is_compiling() and tokens.shape[1] > self.context:
            raise ModelError(f"{tokens.shape[1]} tokens, and this model sees {self.context}", "give it a shorter text")
        x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)).transpose(1, 2)


def tiny_moe(num_classes: int = 128) -> MixtureLM:
    """For characters: 64 tokens of width 64, 3 blocks of 1 shared and 8 routed experts; 0.5 M parameters."""
    return MixtureLM(num_classes)
