"""A model run on arrays in files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pathlift.ir.errors import UsageError
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.models import parse
from pathlift.models.options import ExecutorOption, Flag, Force, MemoryLimit, Model, Output, Seed, Shape
from pathlift.report.result import Result
from pathlift.report.tables import Payload, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.ir.types import Array

Inputs = Annotated[Mapping[str, Any] | None, Flag("--input", metavar="[NAME=]FILE", type=list[str], read=parse.files)]


@dataclass(frozen=True, kw_only=True)
class RunResult(Result):
    """What a model returned.

    Parameters
    ----------
    outputs
        By name: arrays, or lists and dictionaries for what are no tensors.
    executor, device
        What ran it, and where.
    output
        Where they were written.
    """

    outputs: Mapping[str, Any]
    executor: str
    device: str
    output: str | None

    ROWS = ("outputs",)

    def headline(self) -> str:
        return ", ".join(f"{name} {y['shape']}" for name, y in self.to_json()["outputs"].items())

    def to_json(self) -> dict[str, Any]:
        return {
            "outputs": {name: _facts(y) for name, y in self.outputs.items()},
            "executor": self.executor,
            "device": self.device,
            "output": self.output,
        }


def _facts(y: Any) -> dict[str, Any]:
    import numpy as np

    from pathlift.ir.types import DTYPE_NAMES

    if not isinstance(y, np.ndarray):
        return {"dtype": _kind(y), "shape": [len(y)], "min": None, "mean": None, "max": None, "non_finite": 0}
    facts: dict[str, Any] = {"dtype": _kind(y), "shape": list(y.shape)}
    values = y.astype(np.float64) if DTYPE_NAMES.get(y.dtype, "str") != "str" else np.empty(0)  # else it is text
    finite = values[np.isfinite(values)]
    for name, f in (("min", np.min), ("mean", np.mean), ("max", np.max)):
        facts[name] = float(f(finite)) if finite.size else None
    return {**facts, "non_finite": int(values.size - finite.size)}


def _kind(y: Any) -> str:
    if isinstance(y, list):
        return f"sequence of {_kind(y[0])}" if y else "sequence"
    if isinstance(y, dict):
        return "map"
    return "string" if y.dtype.kind in "OUS" else y.dtype.name


def _storable(y: Array) -> Array:
    """Return values in a type that files of plain arrays have."""
    import numpy as np

    from pathlift.ir.types import is_float

    if y.dtype.kind == "O":
        return y.astype(np.str_)
    return y.astype(np.float32) if y.dtype.kind == "V" and is_float(y.dtype) else y


def run(
    model: Model,
    inputs: Inputs = None,
    *,
    random: Annotated[bool, Flag()] = False,
    shape: Shape = None,
    seed: Seed = 0,
    device: Annotated[str, Flag()] = "cpu",
    threads: Annotated[int | None, Flag(default="all cores")] = None,
    executor: ExecutorOption = "auto",
    output: Output = None,
    force: Force = False,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    example: Any = None,
) -> RunResult:
    """Run a model on arrays, and show or write what it returns.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, a `Graph`, or a ``torch.nn.Module`` (then `example` is needed).
    inputs
        NAME=x.npy, or an .npz file of several. By name: arrays, tensors, or paths of ``.npy`` files; under the name
        ``""``, the path of an ``.npz`` file.
    random
        Draw the inputs that are not given. From a normal distribution.
    shape
        Fill in symbolic dimensions. Extents by name, for what is drawn.
    seed
        Of what is drawn.
    device
        cpu, cuda, cuda:0, ...
    threads
        Of one op. All cores if None.
    executor
        What runs the model. ``auto`` is ``onnxruntime`` where that has the device, else ``torch``; on a CUDA
        device it is ``torch`` where there are Kronecker-sparse layers.
    output
        Write the outputs: .npz, or .npy of one. Nowhere if None.
    force
        Replace output files that exist.
    memory_limit
        Refuse larger tensors and models. In bytes.
    example
        For a module: the shape of its input, or one shape or tensor per input.

    Raises
    ------
    PathliftError
        If the model or a file cannot be read, an input does not fit, the model fails, or the output cannot be written.
    """
    import numpy as np

    from pathlift.models.data import read_arrays
    from pathlift.models.probes import Probes, signature
    from pathlift.models.session import start
    from pathlift.models.source import extents, open_model
    from pathlift.runtime.ports import as_numpy
    from pathlift.runtime.session import CheckedSession

    opened = open_model(model, memory_limit=memory_limit, example=example)
    feeds = read_arrays(inputs)
    assumptions: tuple[str, ...] = ()
    if random:
        drawn = dict(Probes(signature(opened.graph, dict(extents(shape)), memory_limit), seed))["normal"]
        missing = [name for name in drawn if name not in feeds]
        feeds = {**{name: drawn[name] for name in missing}, **feeds}
        assumptions = (
            (f"inputs {', '.join(missing)} are drawn from a normal distribution, seed {seed}",) if missing else ()
        )
    session = CheckedSession(*start(opened, device, threads=threads, executor=executor))
    found = {name: as_numpy(y) for name, y in session.run(feeds).items()}
    if output is not None:
        arrays = {name: y for name, y in found.items() if isinstance(y, np.ndarray)}
        stored = {name: _storable(y) for name, y in arrays.items()}
        _save(stored, output, force=force)
        changed = [f"{name} is no array, and is not written" for name in found if name not in arrays]
        changed += [f"{name} is written as {_kind(y)}" for name, y in stored.items() if _kind(y) != _kind(found[name])]
        assumptions = (*assumptions, *changed)
    return RunResult(
        input=opened.source,
        warnings=opened.warnings,
        assumptions=(*assumptions, *session.remarks),
        outputs=found,
        executor=session.executor,
        device=device,
        output=None if output is None else os.fspath(output),
    )


def _save(outputs: Mapping[str, Array], path: str | os.PathLike[str], *, force: bool) -> None:
    import numpy as np

    from pathlift.frontend.files import replacing

    suffix = Path(path).suffix
    if suffix not in (".npy", ".npz") or (suffix == ".npy" and len(outputs) != 1):
        names = ", ".join(outputs)
        raise UsageError("0498", f"{os.fspath(path)!r} cannot hold the outputs {names}", hint="name an .npz file")
    with replacing(path, force=force) as staged, open(staged, "xb") as file:
        if suffix == ".npy":
            np.save(file, next(iter(outputs.values())), allow_pickle=False)
        else:
            np.savez(file, allow_pickle=False, **outputs)


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield one row per output."""
    figures = ["min", "mean", "max"]
    rows = [
        [name, y["dtype"], f"[{', '.join(map(str, y['shape']))}]", *(_figure(y[f]) for f in figures)]
        for name, y in payload["outputs"].items()
    ]
    yield table(["output", "dtype", "shape", *figures], rows, right=figures, less=["mean", "dtype"])
    for name, y in payload["outputs"].items():
        if y["non_finite"]:
            yield f"{name} holds {y['non_finite']} values that are not finite"
    if payload["output"]:
        yield f"written to {payload['output']}"
    yield f"run by {payload['executor']} on {payload['device']}"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.6g}"
