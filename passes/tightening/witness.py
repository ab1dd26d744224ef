"""The evidence of tightening: the same values on points of the domain, and boxes that say where gates do not bend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.errors import WitnessError
from pathlift.ir.graph import Graph
from pathlift.ir.types import TensorType, is_float
from pathlift.passes.attacks.domain import Domain
from pathlift.passes.base import Witness
from pathlift.passes.sizes import Extents
from pathlift.passes.tightening.gates import Pieces, gates
from pathlift.passes.witness.correspondence import check_interface
from pathlift.passes.witness.magnitudes import Magnitudes
from pathlift.passes.witness.trial import NOISE, RTOL

Tensor = torch.Tensor
RANDOM = 16
"""Points drawn from the domain, and as many of its corners at most."""


@dataclass(frozen=True, eq=False)
class Tightened(Witness):
    """What was used of a domain.

    Parameters
    ----------
    domain, shapes
        Of the inputs of the graph before.
    centres
        By an input's name: what is taken from it before it is fed to the graph after, ``(1, *shape)``.
    pieces
        What was said of gates, by the name of what they compute.
    """

    domain: Domain
    shapes: Mapping[str, Extents]
    centres: Mapping[str, Tensor]
    pieces: Mapping[str, Pieces]

    def check(self, before: Graph, after: Graph) -> None:
        """Evaluate both graphs in float64 on points of the domain, and compute the boxes of gates again."""
        check_interface("tighten", before, after)
        for i, point in enumerate(self._points()):
            self._compare(i, point, before, after)
        found = {before[key].names[0]: gate for key, gate in gates(before, self.domain, self.shapes).items()}
        for name, said in self.pieces.items():
            if name not in found:
                raise WitnessError("0803", f"tighten: {name!r} is no gate")
            gate, box = found[name]
            known = torch.from_numpy(np.array(np.broadcast_to(said.known, box.low.shape)))
            slope, offset = (torch.from_numpy(np.array(a)) for a in (said.slope, said.offset))
            bent = torch.zeros_like(known)
            for bend in gate.f.bends or ():
                bent |= (box.low < bend) & (bend < box.high)
            for x in (box.low, box.high):
                x = x.clamp(-1e300, 1e300)
                y, line = gate.run(x), slope * x + offset
                bent |= (y - line).abs() > 1e-12 * (1 + x.abs() + offset.abs())
            if bool((bent & known).any()):
                raise WitnessError("0803", f"tighten: {name!r} is not linear on the domain")

    def _compare(self, number: int, point: Mapping[str, Tensor], before: Graph, after: Graph) -> None:
        moved = {n: x - self.centres[n] if n in self.centres else x for n, x in point.items()}
        were, are = run(before, Numeric(), point), run(after, Numeric(), moved)
        sizes: Mapping[str, Tensor] | None = None
        for value in before.outputs:
            name, type_ = before.name_of(value), before.type_of(value)
            x, y = were[name].double(), are[name].double()
            if x.shape != y.shape:
                raise WitnessError("0803", f"tighten: {name!r}: the shape was {list(x.shape)} and is {list(y.shape)}")
            dtype = type_.dtype if isinstance(type_, TensorType) else None
            width = dtype.itemsize if dtype is not None and is_float(dtype) else 8
            difference = float((x - y).abs().max()) if x.numel() else 0.0
            if difference <= RTOL[width] * (float(x.abs().max()) if x.numel() else 0.0):
                continue
            if sizes is None:
                sizes = run(before, Magnitudes(), {n: x.abs() for n, x in point.items()})
            if not difference <= NOISE[width] * float(sizes[name].max()):
                raise WitnessError("0803", f"tighten: {name!r} differs by {difference:.2g} at point {number}")

    def _points(self) -> Iterator[dict[str, Tensor]]:
        """The centre, corners and random points, of the inputs' whole shapes."""
        rng = torch.Generator().manual_seed(0)
        low, high = self.domain.flat_low, self.domain.flat_high
        flat = [self.domain.flat(self.domain.centre), low, high]
        if len(self.domain.open) <= RANDOM.bit_length() - 1:
            flat.extend(self.domain.flat(c) for c in islice(self.domain.corners(), RANDOM))
        else:
            flat.extend(torch.where(torch.rand(low.shape, generator=rng) < 0.5, low, high) for _ in range(RANDOM))
        draws = (torch.rand(low.shape, generator=rng, dtype=torch.float64) for _ in range(RANDOM))
        flat.extend(torch.clamp(low * (1 - t) + high * t, low, high) for t in draws)
        for x in flat:
            yield {n: v.expand(self.shapes[n]).clone() for n, v in self.domain.unflat(x).items()}

    def describe(self) -> str:
        count = sum(int(p.known.sum()) for p in self.pieces.values())
        told = f"{count} elements of {len(self.pieces)} gates are linear on the domain" if self.pieces else ""
        moved = f"recentred: {', '.join(self.centres)}" if self.centres else ""
        return "; ".join(filter(None, (told, moved)))
