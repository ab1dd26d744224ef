"""Sketches of a network's layers: those of parts of the data add up to that of all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from pathlift.passes.sketches.layer import LayerSketch


class Shard(NamedTuple):
    """A part of the data.

    Parameters
    ----------
    path
        Where it came from; what part of that, if not all.
    rows
        How many samples.
    digest
        SHA-256 of them.
    """

    path: str
    rows: int
    digest: str


@dataclass(frozen=True, eq=False)
class Sketch:
    """What is kept of data.

    Parameters
    ----------
    model
        SHA-256 of the file that it ran through, where it was one.
    layers
        In the network's order.
    shards
        What data, sorted by digest.
    outputs
        Σ‖y‖² of the outputs y whose gradients were taken; ``None`` without them.
    mask
        The input that says which positions count; empty if all do.
    complete
        Whether all was read that was to be.
    """

    model: str | None
    layers: tuple[LayerSketch, ...]
    shards: tuple[Shard, ...]
    outputs: float | None = None
    mask: str = ""
    complete: bool = True

    @property
    def samples(self) -> int:
        """How many samples it is of."""
        return sum(shard.rows for shard in self.shards)

    def twice(self, other: Sketch) -> Shard | None:
        """Return a shard that both hold, if there is one."""
        known = {shard.digest for shard in self.shards}
        return next((shard for shard in other.shards if shard.digest in known), None)

    def differs(self, other: Sketch) -> str:
        """Say why the two do not add up; empty if they do."""
        if self.model != other.model:
            return "they are of other models"
        if self.mask != other.mask:
            return f"one leaves out what {self.mask or other.mask!r} masks, the other not"
        if (self.outputs is None) != (other.outputs is None):
            return "one has gradients of outputs, the other not"
        own, others = [[layer.layer for layer in sketch.layers] for sketch in (self, other)]
        if [x.node for x in own] != [x.node for x in others]:
            odd = sorted({x.node for x in own} ^ {x.node for x in others}) or [own[0].node]
            return f"they are of other layers: {odd[0]!r} is in one of them only"
        for a, b in zip(self.layers, other.layers, strict=True):
            if a.layer != b.layer:
                return f"the weights of {a.layer.node!r} are other ones"
            if (a.second, a.outgoing) != (b.second, b.outgoing):
                return f"second moments of {a.layer.node!r} are kept in other ways: Ω, its rank or the width differ"
        return ""

    def __add__(self, other: Sketch) -> Sketch:
        return replace(
            self,
            layers=tuple(a + b for a, b in zip(self.layers, other.layers, strict=True)),
            shards=tuple(sorted((*self.shards, *other.shards), key=lambda shard: shard.digest)),
            outputs=None if self.outputs is None or other.outputs is None else self.outputs + other.outputs,
            complete=self.complete and other.complete,
        )


def merged(sketches: Sequence[Sketch]) -> Sketch:
    """Add sketches that add up: in the order of their shards' digests, so that the order given changes no bit."""
    ordered = sorted(sketches, key=lambda sketch: [shard.digest for shard in sketch.shards])
    total = ordered[0]
    for sketch in ordered[1:]:
        total = total + sketch
    return total
