"""Domains that a verb is given: one box, a box per sample, or balls around samples."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.types import TensorType
from pathlift.models.data import read_arrays
from pathlift.passes.sizes import resolve_inputs

if TYPE_CHECKING:
    from pathlift.ir.graph import Graph
    from pathlift.ir.types import Array
    from pathlift.passes.attacks.domain import Domain


@dataclass(frozen=True, eq=False)
class Domains:
    """Boxes, one per sample, and how they came about.

    Parameters
    ----------
    boxes
        At least one.
    assumptions
        What was assumed where nothing was said.
    radius
        Of the balls, if they are balls.
    """

    boxes: tuple[Domain, ...]
    assumptions: tuple[str, ...] = ()
    radius: float | None = None

    def __iter__(self) -> Iterator[Domain]:
        return iter(self.boxes)

    def to_json(self) -> dict[str, Any]:
        """Return the ends of each input over all boxes, how many there are, and whether each is all that is between."""
        names = self.boxes[0].low
        ends = {
            name: {
                "low": min(float(box.low[name].min()) for box in self.boxes) + 0.0,  # no -0
                "high": max(float(box.high[name].max()) for box in self.boxes) + 0.0,
            }
            for name in names
        }
        uniform = all(
            bool((box.low[name] == ends[name]["low"]).all() and (box.high[name] == ends[name]["high"]).all())
            for box in self.boxes for name in names
        )  # fmt: skip
        return {"inputs": ends, "samples": len(self.boxes), "radius": self.radius, "uniform": uniform}


def read_domains(
    graph: Graph,
    domain: Mapping[str, Any] | None,
    *,
    at: Any = None,
    radius: float | None = None,
    shape: Mapping[str, int] | None = None,
) -> Domains:
    """Read what is said about a network's inputs.

    Parameters
    ----------
    graph
        The network.
    domain
        By input: two numbers, or two arrays that broadcast to a batch of inputs, or an ``.npz`` file that holds
        ``low`` and ``high``. Nothing stands for −1 to 1.
    at, radius
        Samples, an ``.npz`` file or arrays by input, and how far any of their elements may move; `domain` is then what
        the inputs stay within.
    shape
        Extents of symbolic dimensions.

    Raises
    ------
    UsageError
        If something is missing, of another shape, or no box.
    UnsupportedError
        If the file reads several samples at once.
    """
    from pathlift.passes.attacks.domain import Domain

    shapes = resolve_inputs(graph, dict(shape or {}))
    _check_batches(graph)
    if (at is None) != (radius is None):
        raise UsageError("1462", "balls have samples at their centres and a radius", hint="--at FILE.npz --radius R")
    unknown = [name for name in domain or {} if name not in shapes]
    if unknown:
        raise UsageError("1463", f"there is no input {unknown[0]!r}", hint=f"inputs: {', '.join(shapes)}")
    sides = {name: _sides(name, (domain or {}).get(name), shapes[name]) for name in shapes}
    if radius is None:
        silent = [name for name in shapes if name not in (domain or {})]
        told = tuple(
            f"input {name!r} is taken to be in [-1, 1]: --domain {name}=LO:HI says otherwise" for name in silent
        )
        return Domains(tuple(_boxes(sides)), told)
    if not 0 <= radius < float("inf"):
        raise UsageError("1462", f"the radius is {radius}", hint="a number that is not negative")
    samples = _samples(read_arrays(at if isinstance(at, Mapping) else {"": at}), shapes)
    free = {n: (np.full_like(low, -np.inf), np.full_like(high, np.inf)) for n, (low, high) in sides.items()}
    limits = {**free, **{n: sides[n] for n in domain or {}}}
    several = [n for n, (low, _) in limits.items() if len(low) > 1]
    if several:
        raise UsageError("1464", f"the domain of {several[0]!r} is several boxes: samples stay within one")
    balls = []
    for i, sample in enumerate(samples):
        ball = Domain.ball(sample, radius, outward=True)
        low = {n: _tensor(np.maximum(ball.low[n].numpy(), limits[n][0])) for n in shapes}
        high = {n: _tensor(np.minimum(ball.high[n].numpy(), limits[n][1])) for n in shapes}
        if not all(bool((low[n] <= high[n]).all()) for n in shapes):
            raise UsageError("1462", f"nothing within {radius:g} of sample {i} is in the domain")
        balls.append(Domain(low, high))
    return Domains(tuple(balls), radius=float(radius))


def _check_batches(graph: Graph) -> None:
    """Refuse files that read several samples at once: bounds are of one."""
    for key in graph.inputs:
        type_ = graph[key].types[0]
        batch = type_.shape[0] if isinstance(type_, TensorType) and type_.shape else 1
        if isinstance(batch, int) and batch != 1:
            message = f"axis 0 of input {graph[key].names[0]!r} is fixed at {batch}, and bounds are of one sample"
            raise UnsupportedError("0347", message, hint="export the model with a free batch, or one of 1")


def _sides(name: str, given: Any, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """The bounds of one input, ``(boxes, *shape)``."""
    if given is None:
        given = (-1.0, 1.0)
    if isinstance(given, str | os.PathLike):
        arrays = read_arrays({"": given})
        if not {"low", "high"} <= set(arrays):
            raise UsageError("1464", f"{os.fspath(given)!r} holds {sorted(arrays)}, not low and high")
        given = (arrays["low"], arrays["high"])
    if not isinstance(given, Sequence) or len(given) != 2:
        raise UsageError("1464", f"the domain of {name!r} is {given!r}, not two bounds", hint=f"--domain {name}=0:1")
    try:
        sides = [np.asarray(side) for side in given]
        if any(side.dtype.kind == "c" for side in sides):
            raise TypeError("complex numbers")
        low, high = (side.astype(np.float64) for side in sides)
    except (TypeError, ValueError) as error:
        raise UsageError("1464", f"the bounds of {name!r} are no numbers", hint=f"--domain {name}=0:1") from error
    batch = max([len(side) for side in (low, high) if side.ndim == len(shape)] or [1])
    if not batch:
        raise UsageError("1464", f"the domain of {name!r} is no box: its bounds are empty")
    try:
        low, high = (np.broadcast_to(side, (batch, *shape[1:])) for side in (low, high))
    except ValueError as error:
        shapes = f"{list(low.shape)} and {list(high.shape)}"
        raise UsageError("1464", f"the bounds of {name!r} have shapes {shapes}, the input {list(shape)}") from error
    if not (low <= high).all() or not np.isfinite(low).all() or not np.isfinite(high).all():
        raise UsageError("1464", f"the domain of {name!r} is not finite, or a lower bound above its upper one")
    return low, high


def _boxes(sides: Mapping[str, tuple[Array, Array]]) -> Iterator[Domain]:
    from pathlift.passes.attacks.domain import Domain

    count = max(len(low) for low, _ in sides.values())
    if {len(low) for low, _ in sides.values()} - {1, count}:
        raise UsageError("1464", "the inputs have different numbers of boxes")
    for i in range(count):
        picked = {n: (low[min(i, len(low) - 1)], high[min(i, len(high) - 1)]) for n, (low, high) in sides.items()}
        yield Domain(
            {n: _tensor(low[None]) for n, (low, _) in picked.items()},
            {n: _tensor(high[None]) for n, (_, high) in picked.items()},
        )


def _samples(arrays: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Iterator[dict[str, Any]]:
    if set(arrays) - set(shapes) == set(arrays) and len(arrays) == len(shapes) == 1:  # one array, one input
        arrays = dict(zip(shapes, arrays.values(), strict=True))
    missing = [name for name in shapes if name not in arrays]
    if missing:
        raise UsageError("1462", f"the samples hold {sorted(arrays)}, but no {missing[0]!r}")
    picked = {name: np.asarray(arrays[name]) for name in shapes}
    for name, array in picked.items():
        if array.ndim != len(shapes[name]) or array.shape[1:] != shapes[name][1:] or array.dtype.kind not in "fiub":
            raise UsageError("1462", f"samples of {name!r} are {list(array.shape)}, the input is {list(shapes[name])}")
        if not np.isfinite(array.astype(np.float64)).all():
            raise UsageError("1462", f"a sample of {name!r} is not finite")
    counts = {len(array) for array in picked.values()}
    if len(counts) != 1 or not min(counts):
        raise UsageError("1462", f"there are {sorted(counts)} samples: as many of each input, and at least one")
    for i in range(counts.pop()):
        yield {name: _tensor(array[i : i + 1].astype(np.float64)) for name, array in picked.items()}


def _tensor(array: Array) -> Any:
    import torch

    return torch.from_numpy(np.array(array, np.float64, order="C"))
