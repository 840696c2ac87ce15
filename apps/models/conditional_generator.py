"""A generator of pictures in one step, from noise and a prompt, in the layout of a diffusion U-Net's blocks.

Blocks of convolution, cross-attention to the prompt's tokens and feed-forward, with the names that
diffusers give them (``attn2.to_k``, ``ff.net.2``).  Token 0 of every prompt is the same vector, as text
encoders write it for the beginning of a sentence, and may be far greater than all words.

Axis letters: N pictures, S side of a picture, T tokens of a prompt (token 0 among them), D width of a token,
C channels.
"""

import torch
import torch.nn.functional as F
from torch import nn

# Channels of a token in which token 0 alone is not zero, as outliers of text encoders keep to a few.
OUTLYING = 4


class CrossAttention(nn.Module):
    """Attention of places [N, P, C] to the tokens [N, T, D] of a prompt."""

    def __init__(self, channels: int, token: int, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(token, channels, bias=False)
        self.to_v = nn.Linear(token, channels, bias=False)
        self.to_out = nn.Linear(channels, channels)

    def forward(self, places: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """[N, P, C] and [N, T, D] -> [N, P, C]"""
        read = (self.to_q(places), self.to_k(tokens), self.to_v(tokens))
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in read)
        return self.to_out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))

    def forward(self, places: torch.Tensor) -> torch.Tensor:
        """[N, P, C] -> [N, P, C]"""
        return self.net(places)


class Block(nn.Module):
    """A residual convolution, then cross-attention and feed-forward, each behind a layer norm."""

    def __init__(self, channels: int, token: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.norm2, self.norm3 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attn2, self.ff = CrossAttention(channels, token), FeedForward(channels)

    def forward(self, x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """[N, C, S, S] and [N, T, D] -> [N, C, S, S]"""
        x = x + F.relu(self.norm(self.conv(x)))
        places = x.flatten(2).transpose(1, 2)
        places = places + self.attn2(self.norm2(places), tokens)
        places = places + self.ff(self.norm3(places))
        return places.transpose(1, 2).unflatten(2, x.shape[2:])


class Generator(nn.Module):
    """Pictures as logits [N, 1, S, S] from noise and prompts packed in one tensor [N, 2, S, S].

    Plane 0 is the noise.  Plane 1 holds the numbers of the prompt's ``words`` in the first places of its
    first row, as floats; the rest of it is not read.  token: width of a token, the channels where
    token 0 alone lives included.
    """

    beginning: torch.Tensor

    def __init__(
        self, vocabulary: int = 17, words: int = 7, side: int = 16, channels: int = 24, token: int = 24, depth: int = 2
    ) -> None:
        super().__init__()
        self.count = words
        self.words = nn.Embedding(vocabulary, token - OUTLYING)
        self.places = nn.Parameter(0.3 * torch.randn(1, channels, side, side))
        signs = torch.tensor([1.0, -1.0]).repeat(OUTLYING)[:OUTLYING]
        self.register_buffer("beginning", F.pad(signs, (0, token - OUTLYING)).view(1, 1, token))
        self.conv_in = nn.Conv2d(1, channels, 3, padding=1)
        self.blocks = nn.ModuleList(Block(channels, token) for _ in range(depth))
        self.conv_out = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        """[N, 2, S, S] -> logits [N, 1, S, S]"""
        words = self.words(packed[:, 1, 0, : self.count].long())
        tokens = torch.cat([self.beginning.expand(packed.shape[0], -1, -1), F.pad(words, (OUTLYING, 0))], 1)
        x = self.conv_in(packed[:, :1]) + self.places
        for block in self.blocks:
            x = block(x, tokens)
        return self.conv_out(x)

    @torch.no_grad()
    def strengthen(self, ratio: float) -> "Generator":
        """Make token 0 ``ratio`` times as great as any word, and the weights that read it as much smaller."""
        factor = ratio * self.words.weight.abs().max() / self.beginning.abs().max()
        self.beginning *= factor
        for block in self.blocks:
            assert isinstance(block, Block)
            for reader in (block.attn2.to_k, block.attn2.to_v):
                reader.weight[:, :OUTLYING] /= factor
        return self


def pack(noise: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """What a :class:`Generator` takes of noise [N, S, S] and words int64 [N, T - 1]."""
    prompt = torch.zeros_like(noise)
    prompt[:, 0, : words.shape[1]] = words
    return torch.stack([noise, prompt], 1)


def conditional_generator() -> Generator:
    """16 x 16 pictures, 7 words of 17, two blocks of 24 channels."""
    return Generator()
