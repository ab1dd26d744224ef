"""Transformers: ViT and GPT-2."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pathlift.testing.zoo.convnets import Skip


class Attention(nn.Module):
    """Multi-head self-attention; fused (``scaled_dot_product_attention``) or, when causal, spelled out."""

    def __init__(self, wide: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv, self.out = nn.Linear(wide, 3 * wide), nn.Linear(wide, wide)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=2))
        if self.causal:
            length = x.shape[1]
            future = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
            scores = (q @ k.transpose(2, 3) / math.sqrt(q.shape[3])).masked_fill(future, -math.inf)
            mixed = scores.softmax(dim=3) @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v)
        result: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return result


def encoder(wide: int, heads: int, depth: int, *, causal: bool) -> nn.Sequential:
    """Pre-norm blocks of attention and a two-layer perceptron, and a last normalization."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        gelu = nn.GELU(approximate="tanh" if causal else "none")
        perceptron = nn.Sequential(nn.LayerNorm(wide), nn.Linear(wide, 4 * wide), gelu, nn.Linear(4 * wide, wide))
        layers += [Skip(nn.Sequential(nn.LayerNorm(wide), Attention(wide, heads, causal=causal))), Skip(perceptron)]
    return nn.Sequential(*layers, nn.LayerNorm(wide))


class ViT(nn.Module):
    """Vision transformer with a class token; the image side is a multiple of the patch."""

    def __init__(self, wide: int, heads: int, depth: int, *, image: int, patch: int = 16, classes: int = 1000) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, wide, patch, stride=patch)
        self.token = nn.Parameter(torch.empty(1, 1, wide))
        self.position = nn.Parameter(torch.empty(1, 1 + (image // patch) ** 2, wide))
        self.encoder = encoder(wide, heads, depth, causal=False)
        self.head = nn.Linear(wide, classes)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat((self.token.expand(x.shape[0], -1, -1), patches), dim=1) + self.position
        result: Tensor = self.head(self.encoder(tokens)[:, 0])
        return result


class GPT2(nn.Module):
    """GPT-2: token ids in, logits of the next token out; the output layer is the token embedding."""

    def __init__(self, wide: int, heads: int, depth: int, *, vocabulary: int, context: int) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(vocabulary, wide), nn.Embedding(context, wide)
        self.encoder = encoder(wide, heads, depth, causal=True)

    def forward(self, ids: Tensor) -> Tensor:
        where = torch.arange(ids.shape[1], device=ids.device)
        return F.linear(self.encoder(self.token(ids) + self.position(where)), self.token.weight)


def vit_s16(*, image: int, width: float) -> nn.Module:
    """ViT-S/16: 384 features, 6 heads, 12 blocks."""
    heads = max(1, round(6 * width))
    return ViT(64 * heads, heads, 12, image=image)


def gpt2(*, width: float, heads: int = 12, depth: int = 12, vocabulary: int = 50257, context: int = 1024) -> nn.Module:
    """GPT-2; the defaults are those of the small model: 768 features, 12 heads, 12 blocks."""
    heads = max(1, round(heads * width))
    return GPT2(64 * heads, heads, depth, vocabulary=vocabulary, context=context)
