"""Models timed side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pathlift.ir.errors import UsageError
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.ir.stages import stage
from pathlift.models import parse
from pathlift.models.options import ExecutorOption, Flag, MemoryLimit, Model, Progress, Seed, Shape
from pathlift.report.result import Result, flattened, with_ends
from pathlift.report.tables import Payload, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.ir.types import Array
    from pathlift.models.session import Session
    from pathlift.models.source import Opened
    from pathlift.report.page import Page


@dataclass(frozen=True, kw_only=True)
class BenchResult(Result):
    """Times of one or several models.

    Parameters
    ----------
    rows
        Per number of threads and model.
    executor, device
        What ran them, and where.
    """

    rows: Sequence[Mapping[str, Any]]
    executor: str
    device: str

    def to_json(self) -> dict[str, Any]:
        rows = [{**row, "relative_difference": _finite(row["relative_difference"])} for row in self.rows]
        return {"models": rows, "executor": self.executor, "device": self.device}

    def headline(self) -> str:
        fastest = max(self.rows, key=lambda row: row["speedup"])
        return f"{len(self.rows)} rows, fastest {Path(fastest['model']).name} {fastest['speedup']:.2f}×"

    def records(self) -> list[dict[str, Any]]:
        return flattened([with_ends(row, "quartiles_s", "speedup_interval") for row in self.to_json()["models"]])

    def chart(self) -> Page | None:
        from pathlift.report.row_chart import Panel, row_chart

        several = len({row["threads"] for row in self.rows}) > 1
        names = [f"{row['model']}, {row['threads']} threads" if several else row["model"] for row in self.rows]
        times = [1e3 * row["median_s"] for row in self.rows]
        quartiles = [(1e3 * low, 1e3 * high) for low, high in (row["quartiles_s"] for row in self.rows)]
        ratios = [row["speedup"] for row in self.rows]
        intervals = [tuple(row["speedup_interval"]) for row in self.rows]
        panels = [
            Panel("median time and quartiles [ms]", times, intervals=quartiles),
            Panel("speed-up over the first model and 95 % interval", ratios, "{:.2f}×", intervals=intervals, line=1.0),
        ]
        return row_chart(names, f"by {self.executor} on {self.device}", panels)


def bench(
    model: Model,
    *others: Annotated[Model, Flag(argument=True, metavar="[OTHER]...", type=list[Path], read=parse.models)],
    shape: Shape = None,
    threads: Annotated[Sequence[int], Flag(metavar="N,...", read=parse.counts, write=parse.count_text)] = (1,),
    runs: Annotated[int, Flag()] = 50,
    budget: Annotated[float, Flag(metavar="SECONDS")] = 10.0,
    seed: Seed = 0,
    device: Annotated[str, Flag()] = "cpu",
    executor: ExecutorOption = "auto",
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    progress: Annotated[Callable[[str, int, int], object] | None, Progress("timing")] = None,
) -> BenchResult:
    """Time models side by side, on the same random inputs.

    All are to compute about the same. On a CUDA device inputs are placed there once, before the races, and each time
    goes on until the device has finished; but ONNX Runtime's provider takes everything from the CPU, and returns it
    there, which its times include. One executor runs all models: torch, where one of them has Kronecker-sparse layers.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto or a graph; ratios are of its time.
    others
        Models to compare it with.
    shape
        Fill in symbolic dimensions. Extents by name; a first axis that is not given is 2.
    threads
        Of one op; a race for each.
    runs
        Rounds at most. Two more come first, which are not timed; in each round every model runs once, in a random
        order.
    budget
        After which a race ends. In seconds; though not before its fifth round.
    seed
        Of the inputs. Of the orders, too.
    device
        cpu, cuda, cuda:0, ...
    executor
        What runs the model. ``auto`` is ``onnxruntime`` where that has the device, else ``torch``; on a CUDA
        device it is ``torch`` where there are Kronecker-sparse layers.
    memory_limit
        Refuse larger tensors and models. In bytes.
    progress
        Called with a name, a number, and how many rounds there are.

    Raises
    ------
    PathliftError
        If a model cannot be read or run, models differ in their inputs or outputs, or an option is out of range.
    """
    from pathlift.models.probes import Probes, signature
    from pathlift.models.source import extents, open_model
    from pathlift.models.timing import placed, race

    if runs < 1 or not budget > 0 or not threads:
        raise UsageError("0408", f"{runs} runs in {budget:g} seconds: both must be positive")
    opened = [open_model(m, memory_limit=memory_limit) for m in (model, *others)]
    names = [o.source.path or f"model {i}" for i, o in enumerate(opened)]
    feeds = dict(Probes(signature(opened[0].graph, dict(extents(shape)), memory_limit), seed))["normal"]
    rows: list[Mapping[str, Any]] = []
    used, remarks = "", list[str]()
    for count in threads:
        sessions = _sessions(opened, device, count, executor)
        used = sessions[0].executor
        for session, name in zip(sessions, names, strict=True):
            if [port.name for port in session.inputs] != [port.name for port in sessions[0].inputs]:
                raise UsageError("0499", f"{name} has other inputs than the first model: they are not comparable")
        results = [session.run(feeds) for session in sessions]
        differences = [_difference(results[0], found, name) for found, name in zip(results, names, strict=True)]
        with stage("timing"):
            seconds = race(sessions, placed(feeds, device), device, runs, budget, seed, progress)
        remarks = [
            f"{name}: {remark}" for session, name in zip(sessions, names, strict=True) for remark in session.remarks
        ]
        for name, difference, times in zip(names, differences, seconds, strict=True):
            rows.append(_row(name, count, difference, seconds[0], times, seed))
    return BenchResult(
        input=opened[0].source,
        warnings=tuple(w for o in opened for w in o.warnings),
        assumptions=(f"inputs {_shapes(feeds)} are drawn from a normal distribution, seed {seed}", *remarks),
        rows=rows,
        executor=used,
        device=device,
    )


def _sessions(opened: Sequence[Opened], device: str, threads: int, executor: Any) -> list[Session]:
    """Open all models in one executor: what another one does besides would be compared, too."""
    sessions = [_session(o, device, threads, executor) for o in opened]
    if len({session.executor for session in sessions}) > 1:
        return _sessions(opened, device, threads, "torch")
    return sessions


def _session(opened: Opened, device: str, threads: int, executor: Any) -> Session:
    from pathlift.models.session import Session

    original = opened.original
    source: Model = original if isinstance(original, str | os.PathLike | bytes) else opened.graph
    return Session(source, device, threads=threads, executor=executor)


def _row(name: str, threads: int, difference: float, first: Array, times: Array, seed: int) -> dict[str, Any]:
    import numpy as np

    from pathlift.models.timing import median as paired

    low, median, high = (float(q) for q in np.quantile(times, (0.25, 0.5, 0.75)))
    speedup = paired(first / times, seed)
    return {
        "model": name,
        "threads": threads,
        "runs": len(times),
        "median_s": median,
        "quartiles_s": [low, high],
        "speedup": speedup.value,
        "speedup_interval": [speedup.low, speedup.high],
        "relative_difference": difference,
    }


def _difference(expected: Mapping[str, Any], found: Mapping[str, Any], name: str) -> float:
    """The largest relative difference of an output, in the 2-norm; ∞ if other elements are NaN or infinite."""
    import numpy as np

    shapes = [{k: np.shape(y) for k, y in outputs.items()} for outputs in (expected, found)]
    if shapes[0] != shapes[1]:
        raise UsageError("0499", f"{name} returns {shapes[1]}, the first model {shapes[0]}: they are not comparable")
    worst = 0.0
    for key, y in expected.items():
        a, b = (np.asarray(x, np.float64) for x in (y, found[key]))
        finite = np.isfinite(a) & np.isfinite(b)
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return inf
        size, rest = (float(np.linalg.norm(x)) for x in (a[finite], a[finite] - b[finite]))
        worst = max(worst, rest / size if size else rest)
    return worst


def _shapes(feeds: Mapping[str, Array]) -> str:
    return ", ".join(f"{name} [{', '.join(map(str, x.shape))}]" for name, x in feeds.items())


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield one row per model and number of threads."""
    figures = ["threads", "runs", "median", "quartiles", "speed-up", "95 %", "difference"]
    rows = []
    for m in payload["models"]:
        low, high = m["speedup_interval"]
        quartiles = "–".join(_milliseconds(q) for q in m["quartiles_s"])
        rows.append([
            m["model"], str(m["threads"]), str(m["runs"]), f"{_milliseconds(m['median_s'])} ms", quartiles,
            f"{m['speedup']:.2f}×", f"{low:.2f}–{high:.2f}", _difference_text(m["relative_difference"]),
        ])  # fmt: skip
    same = len({m["threads"] for m in payload["models"]}) == 1
    less = [*["threads"] * same, "runs", "quartiles", "difference", "95 %"]
    yield table(["model", *figures], rows, right=figures, less=less)
    yield "speed-up: time of the first model over its own, per round; difference: of outputs, relative"
    yield f"run by {payload['executor']} on {payload['device']}"


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def _difference_text(value: float | None) -> str:
    return "∞" if value is None else f"{value:.1e}"


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:#.3g}".rstrip(".")
