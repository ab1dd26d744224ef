"""Sketches as files: arrays of sums in an ``.npz`` file, and JSON that says of what; nothing of it is a pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from math import isfinite, prod
from pathlib import Path
from typing import Any

import numpy as np

from pathlift.ir.errors import InvalidModelError, about
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.ir.types import Array
from pathlift.models.sketches.arrays import FAILURES, Member, members
from pathlift.passes.sketches.bit_counts import BINS, BitCounts
from pathlift.passes.sketches.layer import LayerId, LayerSketch
from pathlift.passes.sketches.power_sums import PowerSums
from pathlift.passes.sketches.second_moments import Second
from pathlift.passes.sketches.sketch import Shard, Sketch

SCHEMA = 1
_META_BYTES = 2**26


def write_sketch(sketch: Sketch, path: Path) -> None:
    """Write a sketch: the same one gives the same bytes."""
    arrays: dict[str, Array] = {"meta": np.frombuffer(json.dumps(_meta(sketch), allow_nan=False).encode(), np.uint8)}
    for number, layer in enumerate(sketch.layers):
        arrays |= {f"L{number}/{name}": array for name, array in _arrays(layer).items()}
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # NumPy's types take the names for an option's


def read_sketch_file(path: str | os.PathLike[str], *, memory_limit: int = MEMORY_LIMIT) -> Sketch:
    """Read a sketch.

    Raises
    ------
    UsageError
        If there is no such file, or it holds no arrays.
    InvalidModelError
        If it is no sketch, or says what cannot be true.
    """
    with about(path), members(path) as found:
        try:
            return _read(found, memory_limit)
        except (*FAILURES, TypeError, AttributeError, OverflowError, RecursionError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
            raise InvalidModelError("0186", f"{os.fspath(path)!r} is no sketch: {reason}") from error


def _meta(sketch: Sketch) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "tool": f"pathlift {version('pathlift')}",
        "model": sketch.model,
        "complete": sketch.complete,
        "mask": sketch.mask,
        "rows": sketch.samples,
        "outputs": sketch.outputs,
        "shards": [shard._asdict() for shard in sketch.shards],
        "layers": [
            {
                **{**vars(layer.layer), "shape": list(layer.layer.shape)},
                "rows": layer.rows,
                "second": _second(layer.second),
                "outgoing": layer.outgoing and _second(layer.outgoing),
            }
            for layer in sketch.layers
        ],
    }


def _second(second: Second) -> dict[str, Any]:
    return {"kind": second.kind, "rank": second.rank, "seed": second.seed, "omega": second.digest}


def _arrays(layer: LayerSketch) -> dict[str, Array]:
    """Sums of a layer, as `_shapes` names them."""
    counts = layer.counts
    bins = np.flatnonzero(counts.counts)
    found = {
        "C": layer.second.pack(layer.total),
        "powers": layer.powers.sums,
        "extremes": np.stack([layer.powers.low, layer.powers.high]) if layer.rows else np.zeros((2, 0)),
        "bins": bins.astype(np.uint16),
        "counts": counts.counts[bins],
        "range": np.array([counts.low, counts.high] if counts.total else []),
    }
    if layer.outgoing is not None:
        assert layer.gradients is not None
        assert layer.squares is not None
        found |= {"G": layer.outgoing.pack(layer.gradients), "squares": layer.squares}
    return found


def _read(found: Mapping[str, Member], memory_limit: int) -> Sketch:
    meta = found["meta"]
    if meta.dtype != np.uint8 or len(meta.shape) != 1 or meta.shape[0] > _META_BYTES:
        raise ValueError("its metadata is no text")
    said = json.loads(bytes(meta.all()).decode())
    if said["schema"] != SCHEMA:
        raise ValueError(f"it is of schema {said['schema']!r}, and this is schema {SCHEMA}")
    layers, seen = [], {"meta"}
    for number, about_layer in enumerate(list(said["layers"])):
        prefix = f"L{number}/"
        own = {name.removeprefix(prefix): member for name, member in found.items() if name.startswith(prefix)}
        seen |= {prefix + name for name in own}
        layers.append(_layer(about_layer, own, memory_limit))
    if odd := sorted(set(found) - seen):
        raise ValueError(f"nothing is said of its array {odd[0]!r}")
    shards = tuple(Shard(str(s["path"]), _count(s["rows"]), str(s["digest"])) for s in list(said["shards"]))
    outputs = None if said["outputs"] is None else float(said["outputs"])
    if outputs is not None and not (isfinite(outputs) and outputs >= 0):
        raise ValueError(f"its outputs have the squares {outputs}")
    if len({layer.outgoing is None for layer in layers} | {outputs is None}) != 1 or not layers:
        raise ValueError("it has gradients of some layers only, or no layer")
    model = None if said["model"] is None else str(said["model"])
    sketch = Sketch(
        model, tuple(layers), tuple(sorted(shards, key=lambda s: s.digest)), outputs, str(said["mask"]),
        said["complete"] is True,
    )  # fmt: skip
    if sketch.samples != said["rows"] or len({shard.digest for shard in shards}) < len(shards):
        raise ValueError("its shards do not have as many rows as it says, or one is there twice")
    return sketch


def _layer(said: Mapping[str, Any], found: Mapping[str, Member], memory_limit: int) -> LayerSketch:
    layer = LayerId(
        str(said["node"]), str(said["op"]), str(said["weight"]), tuple(_count(n) for n in said["shape"]),
        str(said["digest"]), *(_count(said[name]) for name in ("groups", "width", "inputs", "outputs")),
    )  # fmt: skip
    rows = _count(said["rows"])
    second = _read_second(said["second"], layer.width)
    outgoing = None if said["outgoing"] is None else _read_second(said["outgoing"], layer.outputs)
    full = 8 * max(layer.groups * prod(second.shape), prod(outgoing.shape) if outgoing else 0)
    if full > memory_limit or layer.groups * layer.width * 8 > memory_limit:
        raise ValueError(f"{layer.node!r} takes {full} bytes, more than the limit of {memory_limit}")
    channels = layer.groups * layer.width
    expected: dict[str, tuple[Any, tuple[int | None, ...]]] = {
        "C": (np.float64, (layer.groups, *second.packed_shape)),
        "powers": (np.float64, (4, channels)),
        "extremes": (np.float64, (2, channels if rows else 0)),
        "bins": (np.uint16, (None,)),
        "counts": (np.int64, (None,)),
        "range": (np.float64, (None,)),
    }
    if outgoing is not None:
        expected |= {"G": (np.float64, (1, *outgoing.packed_shape)), "squares": (np.float64, (layer.outputs,))}
    if set(found) != set(expected):
        raise ValueError(f"{layer.node!r} has the arrays {sorted(found)}, not {sorted(expected)}")
    arrays = {name: _array(found[name], *expected[name]) for name in expected}
    for kept, name in ((second, "second"), (outgoing, "outgoing")):  # the arrays are there: Ω is no larger
        if kept is not None and kept.digest != said[name]["omega"]:
            raise ValueError(f"the random vectors Ω of {layer.node!r} are not those of this version of NumPy")
    low, high = arrays["extremes"] if rows else (np.full(channels, np.inf), np.full(channels, -np.inf))
    squares = [arrays["powers"][1], arrays["powers"][3], *([arrays["squares"]] if outgoing else [])]
    if any((x < 0).any() for x in squares) or (low > high).any() != (not rows and channels > 0):
        raise ValueError(f"{layer.node!r} has sums of squares below 0, or extremes the wrong way around")
    return LayerSketch(
        layer, second, rows, second.unpack(arrays["C"]), PowerSums(arrays["powers"], low, high), _bit_counts(arrays),
        outgoing, outgoing.unpack(arrays["G"]) if outgoing else None, arrays["squares"] if outgoing else None,
    )  # fmt: skip


def _read_second(said: Mapping[str, Any], width: int) -> Second:
    second = Second(width, said["kind"], _count(said["rank"]), _count(said["seed"]))
    if second.kind not in ("exact", "projected", "diagonal") or (second.rank > 0) != (second.kind == "projected"):
        raise ValueError(f"second moments of the kind {said['kind']!r} and rank {second.rank}")
    if second.rank > max(width, 0):
        raise ValueError(f"a projection of rank {second.rank} of {width} channels")
    return second


def _bit_counts(arrays: Mapping[str, Array]) -> BitCounts:
    bins, counts, ends = arrays["bins"].astype(np.int64), arrays["counts"], arrays["range"]
    whole = np.zeros(BINS, np.int64)
    if len(bins) != len(counts) or (np.diff(bins) <= 0).any() or (bins >= BINS).any() or (counts <= 0).any():
        raise ValueError("its counts are none")
    if float(counts.astype(np.float64).sum()) >= 2.0**62 or len(ends) != (2 if len(bins) else 0):
        raise ValueError("its counts are none")
    whole[bins] = counts
    if not len(bins):
        return BitCounts(whole)
    if ends[0] > ends[1]:
        raise ValueError("its range is the wrong way around")
    return BitCounts(whole, float(ends[0]), float(ends[1]))


def _array(member: Member, dtype: Any, shape: tuple[int | None, ...]) -> Array:
    """Read an array, once its header says what it must."""
    fits = len(member.shape) == len(shape) and all(
        n == m if m is not None else n <= BINS for n, m in zip(member.shape, shape, strict=True)
    )
    if member.dtype != dtype or not fits:
        raise ValueError(f"its array {member.name!r} is {member.dtype} {list(member.shape)}")
    array = member.all()
    if not np.isfinite(array).all():
        raise ValueError(f"its array {member.name!r} is not finite")
    return array


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise ValueError(f"{value!r} is no number of anything")
    return value
