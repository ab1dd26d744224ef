"""A plan on paper for `calibrate` past one machine: bytes, operations and hours for a transformer of 70 B parameters.

Nothing is timed. Sizes follow from the shapes of the layers and from what a sketch holds of each; times from rates that
are given. Merges are simulated shard by shard. `docs/scale.md` shows what ``python -m benchmarks.scale`` prints.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil

FLOAT, SINGLE, ID = 8, 4, 8
BIN = 10  # a count in a file: the number of its bin in 2 bytes, and 8 of its own
BINS = 2 * 255 * 64  # of finite float32 by sign, exponent and 6 bits of mantissa; those of a working sketch are 2^15
TYPICAL_BINS = 4_000  # 30 octaves of both signs: what the activations of a trained network fill


@dataclass(frozen=True)
class Llama:
    """Shapes of a decoder with grouped queries and a gated MLP; by default those published for 70 B parameters."""

    hidden: int = 8192
    blocks: int = 80
    intermediate: int = 28672
    heads: int = 64
    kv_heads: int = 8
    head: int = 128
    vocabulary: int = 128256

    @property
    def parameters(self) -> int:
        """All of them: embeddings, matrices, and the scales of two norms per block and of the last one."""
        norms = (2 * self.blocks + 1) * self.hidden
        return self.vocabulary * self.hidden + norms + sum(layer.width * layer.outputs for layer in self.layers())

    def layers(self) -> Iterator[Layer]:
        """Linear layers in their order, each with what it reads. An embedding is looked up, and reads no rows."""
        queries, keys = self.heads * self.head, self.kv_heads * self.head
        for i in range(self.blocks):
            for name, outputs in (("q", queries), ("k", keys), ("v", keys)):
                yield Layer(f"{i}.{name}", self.hidden, outputs, f"{i}.attention")
            yield Layer(f"{i}.o", queries, self.hidden, f"{i}.mixed")
            for name in ("gate", "up"):
                yield Layer(f"{i}.{name}", self.hidden, self.intermediate, f"{i}.mlp")
            yield Layer(f"{i}.down", self.intermediate, self.hidden, f"{i}.gated")
        yield Layer("head", self.hidden, self.vocabulary, "last")

    def forward(self, context: int) -> int:
        """Operations per token of products: two per weight, and both of attention over all of a context, unmasked."""
        linear = sum(2 * layer.width * layer.outputs for layer in self.layers())
        return linear + 4 * context * self.heads * self.head * self.blocks


@dataclass(frozen=True)
class Layer:
    """A layer with ``width`` inputs; ``reads`` names the tensor, which others may read, too."""

    name: str
    width: int
    outputs: int
    reads: str


@dataclass(frozen=True)
class Sketch:
    """What is kept per layer: the rules of the file."""

    full_width: int = 4096
    rank: int = 256

    def is_exact(self, width: int) -> bool:
        return width <= self.full_width or width <= self.rank

    def second(self, width: int) -> int:
        """Numbers of Σx·xᵀ in a file: a triangle, or its product with `rank` vectors."""
        return width * (width + 1) // 2 if self.is_exact(width) else width * self.rank

    def bytes(self, width: int, bins: int = TYPICAL_BINS) -> int:
        """In a file: Σx·xᵀ, sums of four powers, extremes per channel and of all, counts that are not 0."""
        return FLOAT * (self.second(width) + 6 * width + 2) + BIN * bins

    def memory(self, width: int) -> int:
        """While it is made: the whole square, or the product; and all bins."""
        second = width**2 if self.is_exact(width) else width * self.rank
        return FLOAT * (second + 6 * width + 2 + 2**15)

    def omega(self, widths: Sequence[int]) -> int:
        """Bytes of the random vectors, one matrix per width."""
        return sum(FLOAT * width * self.rank for width in set(widths) if not self.is_exact(width))

    def update(self, width: int) -> int:
        """Operations per row: a product with itself, or two with `rank` vectors; and 8 per channel for powers."""
        return (2 * width**2 if self.is_exact(width) else 4 * width * self.rank) + 8 * width


@dataclass
class Merge:
    """What a merge moved, and when it ended.

    Parameters
    ----------
    bytes
        Over the network.
    seconds
        By the links' rate, both ends of a transfer being busy as long as it lasts.
    counted
        How often each shard is in the result.
    """

    bytes: int = 0
    seconds: float = 0.0
    counted: dict[int, int] = field(default_factory=dict)


def merged(sizes: Sequence[int], rate: float, *, tree: bool) -> Merge:
    """Merge shards, in pairs round by round, or all into the first, one after the other.

    Parameters
    ----------
    sizes
        Bytes of each. A sum is as large as the larger of its parts.
    rate
        Bytes per second of a link.
    """
    held = [(size, {i: 1}, 0.0) for i, size in enumerate(sizes)]  # bytes, shards within, when it is there
    total = 0
    while len(held) > 1:
        pairs = [held[i : i + 2] for i in range(0, len(held), 2)] if tree else [held[:2], *([x] for x in held[2:])]
        nxt = []
        for pair in pairs:
            if len(pair) == 1:
                nxt.append(pair[0])
                continue
            (a, ours, ready), (b, theirs, sent) = pair
            total += b
            both = {shard: ours.get(shard, 0) + theirs.get(shard, 0) for shard in ours | theirs}
            nxt.append((max(a, b), both, max(ready, sent) + b / rate))
        held = nxt
    (_, counted, seconds) = held[0]
    return Merge(total, seconds, counted)


@dataclass(frozen=True)
class Plan:
    """A run over many workers, with the rates that are assumed of each."""

    model: Llama = Llama()
    sketch: Sketch = Sketch()
    tokens: int = 10**9
    workers: int = 64
    context: int = 4096
    single: float = 2e12  # operations per second in float32: a server of some 64 cores, not its peak
    double: float = 1e12  # and in float64
    link: float = 1.25e9  # bytes per second: 10 Gbit/s

    def sizes(self, *, shared: bool = False) -> list[int]:
        """Bytes of each sketch; with ``shared``, of one per tensor that is read."""
        layers = list(self.model.layers())
        chosen = {layer.reads: layer for layer in layers}.values() if shared else layers
        return [self.sketch.bytes(layer.width) for layer in chosen]

    @property
    def memory(self) -> dict[str, int]:
        """Bytes per worker, by what for. Weights are float32, as they are computed with."""
        layers = list(self.model.layers())
        widths = [layer.width for layer in layers]
        return {
            "weights": SINGLE * self.model.parameters,
            "sums": sum(map(self.sketch.memory, widths)) + self.sketch.omega(widths),
            "widest": SINGLE * self.context * max(widths),
            "scores": SINGLE * self.model.heads * self.context**2,
            "logits": SINGLE * self.context * self.model.vocabulary,
        }

    @property
    def update(self) -> int:
        """Operations per token of all sketches."""
        return sum(self.sketch.update(layer.width) for layer in self.model.layers())

    @property
    def hours(self) -> tuple[float, float]:
        """Of the forward passes and of the updates, each worker having its share of the tokens."""
        tokens = ceil(self.tokens / self.workers)
        forward = self.model.forward(self.context) / self.single
        return tokens * forward / 3600, tokens * self.update / self.double / 3600

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield the table: what, and how much."""
        size, shared = sum(self.sizes()), sum(self.sizes(shared=True))
        yield "parameters", f"{self.model.parameters:,}"
        yield "linear layers", f"{len(self.sizes())}"
        for width in sorted({layer.width for layer in self.model.layers()}):
            how = "exact" if self.sketch.is_exact(width) else f"{self.sketch.rank} columns"
            yield f"sketch of a layer of {width:,} inputs ({how})", amount(self.sketch.bytes(width))
        yield "sketch of the model", amount(size)
        yield "if layers that read the same tensor shared one", f"{amount(shared)}, {1 - shared / size:.0%} less"
        if self.workers > 1:
            shards = [size] * self.workers
            for tree, words in ((True, "by a tree"), (False, "by one reducer")):
                merge = merged(shards, self.link, tree=tree)
                assert merge.counted == dict.fromkeys(range(self.workers), 1)
                yield f"merge of {self.workers} shards {words}", f"{amount(merge.bytes)}, {merge.seconds / 60:.1f} min"
        weights = self.memory["weights"]
        yield "weights, read once by each worker", amount(self.workers * weights)
        yield f"tokens, {self.tokens:.0e} of {ID} bytes", amount(self.tokens * ID)
        yield "memory per worker: weights", amount(weights)
        yield "memory per worker: sums and random vectors", amount(self.memory["sums"])
        activations = self.memory["widest"] + self.memory["scores"] + self.memory["logits"]
        yield f"memory per worker: widest activations of {self.context:,} tokens", amount(activations)
        yield "forward pass per token", f"{self.model.forward(self.context) / 1e9:.0f} GFLOP"
        yield "update per token", f"{self.update / 1e9:.2f} GFLOP, {self.update / self.model.forward(self.context):.1%}"
        for what, hours in zip(("forward passes", "updates"), self.hours, strict=True):
            yield f"hours, {what}", f"{hours:,.0f}" if hours >= 10 else f"{hours:.1f}"


def amount(count: float) -> str:
    """Bytes in the largest decimal unit, with three digits."""
    unit = next((u for u in ("TB", "GB", "MB", "kB") if count >= UNITS[u]), "B")
    return f"{count / UNITS[unit]:.3g} {unit}"


UNITS = {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3, "B": 1.0}


def report(plans: dict[str, Plan]) -> str:
    """Return plans side by side, as Markdown."""
    columns = [dict(plan.rows()) for plan in plans.values()]
    names = dict.fromkeys(name for column in columns for name in column)
    lines = [["", *plans], ["---"] * (1 + len(plans))]
    lines += [[name, *(column.get(name, "–") for column in columns)] for name in names]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Print the plan, with 64 workers and with one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=10**9)
    parser.add_argument("--full-width", type=int, default=4096)
    parser.add_argument("--single", type=float, default=Plan.single, help="operations per second of a worker, float32")
    parser.add_argument("--double", type=float, default=Plan.double, help="and in float64")
    parser.add_argument("--link", type=float, default=Plan.link, help="bytes per second")
    o = parser.parse_args()
    sketch = Sketch(full_width=o.full_width)
    options = {"sketch": sketch, "tokens": o.tokens, "single": o.single, "double": o.double, "link": o.link}
    workers = dict.fromkeys([o.workers, 1])
    print(report({f"{n} workers" if n > 1 else "1 worker": Plan(workers=n, **options) for n in workers}))


if __name__ == "__main__":
    main()
