"""Small transformers over tokens, trained on the next one or on masked ones, and compressed copies of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, HEADS, BLOCKS, BATCH, RATE = 64, 4, 2, 32, 4e-3
STEPS = tuple(sorted({round(2 ** (k / 2)) for k in range(25)}))
"""Steps after which a network in training is looked at."""


class Block(nn.Module):
    """Attention and a perceptron, each behind a layer norm and beside a skip connection."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.norm, self.attend, self.join = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4 * WIDTH), nn.ReLU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        heads = self.attend(self.norm(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*heads, is_causal=self.causal)
        x = x + self.join(mixed.transpose(1, 2).flatten(2))
        return x + self.perceptron(x)


class Network(nn.Module):
    """Logits of a token at each position, ``(strings, length, tokens)``.

    Causal, it reads the tokens before a position behind one that begins; else those of the string that are not masked.
    Begin and mask are one more token, the last.
    """

    def __init__(self, tokens: int, length: int, *, causal: bool) -> None:
        super().__init__()
        self.tokens, self.causal = tokens, causal
        self.embedding = nn.Embedding(tokens + 1, WIDTH)
        self.positions = nn.Parameter(0.02 * torch.randn(length, WIDTH))
        self.blocks = nn.Sequential(*(Block(causal) for _ in range(BLOCKS)))
        self.logits = nn.Linear(WIDTH, tokens)

    def forward(self, strings: Tensor, masked: Tensor) -> Tensor:
        read = (strings.roll(1, 1) if self.causal else strings).masked_fill(masked, self.tokens)
        return self.logits(self.blocks(self.embedding(read) + self.positions))


def train(network: Network, batches: Callable[[], tuple[Tensor, Tensor, Tensor]], steps: int) -> Iterator[int]:
    """Train on batches of strings, what is masked and what is scored; stop before the first step, and after `STEPS`."""
    optimizer = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.1)
    yield 0
    for step in range(1, steps + 1):
        strings, masked, scored = batches()
        loss = F.cross_entropy(network(strings, masked)[scored], strings[scored])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step in STEPS or step == steps:
            yield step


def rounded(network: Network, bits: int) -> Network:
    """Return a copy whose matrices are multiples of one number per row, the largest of which takes `bits` bits."""
    copied = copy.deepcopy(network)
    for weight in matrices(copied):
        scale = weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
        weight.copy_((weight / scale).round() * scale)
    return copied


def pruned(network: Network, share: float) -> Network:
    """Return a copy without this share of the weights of all matrices, the smallest magnitudes."""
    copied = copy.deepcopy(network)
    magnitudes = torch.cat([weight.abs().flatten() for weight in matrices(copied)])
    least = magnitudes.kthvalue(round(share * len(magnitudes))).values
    for weight in matrices(copied):
        weight.mul_(weight.abs() > least)
    return copied


def matrices(network: Network) -> list[Tensor]:
    """Return the weights of linear layers, embeddings left alone."""
    return [module.weight.data for module in network.modules() if isinstance(module, nn.Linear)]
