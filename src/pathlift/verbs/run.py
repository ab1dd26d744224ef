"""A model run on arrays in files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pathlift.frontend.files import replacing
from pathlift.ir.errors import UsageError
from pathlift.ir.types import DTYPE_NAMES, MEMORY_LIMIT, Array, is_float
from pathlift.models.data import read_arrays
from pathlift.models.probes import Probes, signature
from pathlift.models.session import start
from pathlift.models.source import Model, extents, open_model
from pathlift.report.result import Result
from pathlift.runtime.ports import as_numpy
from pathlift.runtime.session import CheckedSession


@dataclass(frozen=True, kw_only=True)
class RunResult(Result):
    """What a model returned.

    Parameters
    ----------
    outputs
        By name.
    executor, device
        What ran it, and where.
    output
        Where they were written.
    """

    outputs: Mapping[str, Array]
    executor: str
    device: str
    output: str | None

    def to_json(self) -> dict[str, Any]:
        return {
            "outputs": {name: _facts(y) for name, y in self.outputs.items()},
            "executor": self.executor,
            "device": self.device,
            "output": self.output,
        }


def _facts(y: Array) -> dict[str, Any]:
    facts: dict[str, Any] = {"dtype": _kind(y), "shape": list(y.shape)}
    values = y.astype(np.float64) if DTYPE_NAMES.get(y.dtype, "str") != "str" else np.empty(0)  # else it is text
    finite = values[np.isfinite(values)]
    for name, f in (("min", np.min), ("mean", np.mean), ("max", np.max)):
        facts[name] = float(f(finite)) if finite.size else None
    return {**facts, "non_finite": int(values.size - finite.size)}


def _kind(y: Array) -> str:
    return "string" if y.dtype.kind in "OUS" else y.dtype.name


def _storable(y: Array) -> Array:
    """Return values in a type that files of plain arrays have."""
    if y.dtype.kind == "O":
        return y.astype(np.str_)
    return y.astype(np.float32) if y.dtype.kind == "V" and is_float(y.dtype) else y


def run(
    model: Model,
    inputs: Mapping[str, Any] | None = None,
    *,
    random: bool = False,
    shape: Mapping[str, int] | None = None,
    seed: int = 0,
    device: str = "cpu",
    threads: int | None = None,
    executor: Any = "auto",
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    memory_limit: int = MEMORY_LIMIT,
    example: Any = None,
) -> RunResult:
    """Run a model.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, a `Graph`, or a ``torch.nn.Module`` (then `example` is needed).
    inputs
        By input name: arrays, tensors, or paths of ``.npy`` files; under the name ``""``, the path of an ``.npz`` file
        that holds several.
    random
        Draw the inputs that are not given from a normal distribution.
    shape
        Extents of symbolic dimensions, for those.
    seed
        Of what is drawn.
    device, threads, executor
        As in `pathlift.Session`.
    output
        Where to write the outputs: ``.npz``, or ``.npy`` if there is one; nowhere if None.
    force
        Replace `output` if it exists.
    memory_limit
        Bytes that no tensor may pass.
    example
        For a module: the shape of its input, or one shape or tensor per input.

    Raises
    ------
    PathliftError
        If the model or a file cannot be read, an input does not fit, the model fails, or the output cannot be written.
    """
    opened = open_model(model, memory_limit=memory_limit, example=example)
    feeds = read_arrays(inputs or {})
    assumptions: tuple[str, ...] = ()
    if random:
        drawn = dict(Probes(signature(opened.graph, dict(extents(shape)), memory_limit), seed))["normal"]
        missing = [name for name in drawn if name not in feeds]
        feeds = {**{name: drawn[name] for name in missing}, **feeds}
        assumptions = (
            (f"inputs {', '.join(missing)} are drawn from a normal distribution, seed {seed}",) if missing else ()
        )
    session = CheckedSession(*start(model, opened, device, threads=threads, executor=executor))
    found = {name: as_numpy(y) for name, y in session.run(feeds).items()}
    if output is not None:
        stored = {name: _storable(y) for name, y in found.items()}
        _save(stored, output, force=force)
        changed = [f"{name} is written as {_kind(y)}" for name, y in stored.items() if _kind(y) != _kind(found[name])]
        assumptions = (*assumptions, *changed)
    return RunResult(
        input=opened.source,
        warnings=opened.warnings,
        assumptions=assumptions,
        outputs=found,
        executor=session.executor,
        device=device,
        output=None if output is None else os.fspath(output),
    )


def _save(outputs: Mapping[str, Array], path: str | os.PathLike[str], *, force: bool) -> None:
    suffix = Path(path).suffix
    if suffix not in (".npy", ".npz") or (suffix == ".npy" and len(outputs) != 1):
        names = ", ".join(outputs)
        raise UsageError("0498", f"{os.fspath(path)!r} cannot hold the outputs {names}", hint="name an .npz file")
    with replacing(path, force=force) as staged, open(staged, "xb") as file:
        if suffix == ".npy":
            np.save(file, next(iter(outputs.values())), allow_pickle=False)
        else:
            np.savez(file, allow_pickle=False, **outputs)
