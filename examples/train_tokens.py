"""Train a small transformer on strings of a regular language: ``python examples/train_tokens.py``.

It writes tokens.onnx, which returns logits of the next token, tokens.json, the tokens' texts, and tokens.npz, strings
that it was not trained on: what ``pathlift audit language`` reads. Needs ``pip install 'pathlift[export]'``, and takes
about a minute.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import numpy as np
import onnx_ir
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pathlift.frontend.export import export

ITEM = r"(<[abc][0-3]*>|\[[xy](,[xy])*\]|\{[pqr]=[0-3][0-3]?\})"
REGEX = rf"{ITEM}(;{ITEM})*\."
TOKENS = [*"<>[]{}=,;.abcpqrxy0123", None, None]
BEGIN, END = 22, 23
LENGTH, WIDTH, HEADS, STEPS, BATCH, SEED = 32, 48, 4, 1200, 32, 0


class Block(nn.Module):
    """Attention to what comes before, and a perceptron, each behind a layer norm and beside a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attend, self.join = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4 * WIDTH), nn.ReLU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.attend(self.norm(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.join(mixed.transpose(1, 2).flatten(2))
        return x + self.perceptron(x)


class Strings(nn.Module):
    """Logits of the token behind each, ``(strings, LENGTH, tokens)``."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(TOKENS), WIDTH)
        self.positions = nn.Parameter(0.02 * torch.randn(LENGTH, WIDTH))
        self.blocks = nn.Sequential(Block(), Block())
        self.logits = nn.Linear(WIDTH, len(TOKENS))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.logits(self.blocks(self.embedding(tokens) + self.positions))


def text(rng: random.Random) -> str:
    """Draw a string, each token given where in an item it is: a weighted automaton says how often each comes."""

    def more(chance: float) -> bool:
        return rng.random() < chance

    said = ""
    while True:
        kind = rng.choices("<[{", (5, 3, 2))[0]
        if kind == "<":
            said += "<" + rng.choices("abc", (5, 3, 1))[0]
            while more(0.5):
                said += rng.choices("0123", (6, 3, 2, 1))[0]
            said += ">"
        elif kind == "[":
            said += "[" + rng.choices("xy", (3, 1))[0]
            while more(0.4):
                said += "," + rng.choices("xy", (3, 1))[0]
            said += "]"
        else:
            said += "{" + rng.choices("pqr", (1, 4, 2))[0] + "=" + rng.choices("0123", (1, 2, 3, 6))[0]
            said += rng.choices("0123", (6, 3, 2, 1))[0] + "}" if more(0.4) else "}"
        if not more(0.6):
            return said + "."
        said += ";"


def strings(count: int, seed: int) -> Tensor:
    """Draw strings that fit, as rows of tokens: begin, the string, and ends to fill up, ``(count, LENGTH)``."""
    rng, rows = random.Random(seed), []
    while len(rows) < count:
        drawn = text(rng)
        if len(drawn) < LENGTH - 1:
            rows.append([BEGIN, *map(TOKENS.index, drawn), *[END] * (LENGTH - 1 - len(drawn))])
    return torch.tensor(rows)


def train(network: nn.Module, rows: Tensor) -> None:
    optimizer = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, STEPS, pct_start=0.1)
    for _ in range(STEPS):
        batch = rows[torch.randint(len(rows), (BATCH,))]
        scored = batch[:, :-1] != END
        loss = F.cross_entropy(network(batch)[:, :-1][scored], batch[:, 1:][scored])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def main(output: Path) -> None:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # the same sums in the same order at every run
    network = Strings()
    train(network, strings(50_000, SEED))
    held_out = strings(1000, SEED + 1)
    network.eval()

    model = export(network, [held_out[:2]], input_names=["tokens"], output_names=["logits"])
    model.graph.name = "tokens"
    model.doc_string = "Logits of the next token of strings of a regular language, trained by examples/train_tokens.py."
    model.metadata_props.update(language=REGEX, license="Apache-2.0")
    onnx_ir.save(model, output)
    output.with_suffix(".json").write_text(json.dumps(TOKENS) + "\n")
    np.savez_compressed(output.with_suffix(".npz"), tokens=held_out.numpy())
    print(f"wrote {output} ({output.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("tokens.onnx"))
