"""Blocks of transformers in plain PyTorch, and the Kronecker-sparse factors that stand for their linear layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pathlift.ir.kronecker import Pattern

# Factors as they multiply. ViT-S/16: those of arXiv 2405.15013; GPT-2 medium: the same shapes at its width.
VIT = {
    "attention": [Pattern(1, 192, 48, 2), Pattern(2, 48, 192, 1)],
    "up": [Pattern(1, 768, 192, 2), Pattern(6, 64, 64, 1)],
    "down": [Pattern(1, 128, 128, 3), Pattern(6, 64, 256, 1)],
}
GPT = {
    "attention": [Pattern(1, 512, 128, 2), Pattern(2, 128, 512, 1)],
    "up": [Pattern(1, 2048, 512, 2), Pattern(16, 64, 64, 1)],
    "down": [Pattern(1, 256, 256, 4), Pattern(16, 64, 256, 1)],
}


def added(layer: nn.Module, x: Tensor, residual: Tensor) -> Tensor:
    """The residual plus what a layer makes of x; some layers add it themselves."""
    result: Tensor = layer(x, residual) if getattr(layer, "adds", False) else residual + layer(x)
    return result


class Attention(nn.Module):
    """Self-attention; queries, keys and values by one product or by three."""

    def __init__(self, wide: int, heads: int, *, fused: bool, causal: bool) -> None:
        super().__init__()
        self.heads, self.fused, self.causal = heads, fused, causal
        self.q, self.k, self.v, self.out = (nn.Linear(wide, wide) for _ in range(4))
        self.qkv = nn.Linear(wide, 3 * wide)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        parts = self.qkv(x).chunk(3, dim=2) if self.fused else (self.q(x), self.k(x), self.v(x))
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return added(self.out, mixed.transpose(1, 2).flatten(2), residual)


class Block(nn.Module):
    """Pre-norm attention, then a two-layer perceptron."""

    def __init__(self, wide: int, heads: int, *, fused: bool, causal: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(wide), nn.LayerNorm(wide)])
        self.attention = Attention(wide, heads, fused=fused, causal=causal)
        self.up, self.down = nn.Linear(wide, 4 * wide), nn.Linear(4 * wide, wide)
        self.activation: nn.Module = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention(self.norms[0](x), x)
        return added(self.down, self.activation(self.up(self.norms[1](x))), x)


def join_products(fused: nn.Sequential, split: nn.Sequential) -> None:
    """Give blocks that have one product for queries, keys and values the parameters of those that have three."""
    fused.load_state_dict(split.state_dict())
    with torch.no_grad():
        for block in fused:
            assert isinstance(block, Block)
            parts = block.attention.q, block.attention.k, block.attention.v
            block.attention.qkv.weight.copy_(torch.cat([part.weight for part in parts]))
            block.attention.qkv.bias.copy_(torch.cat([part.bias for part in parts]))
