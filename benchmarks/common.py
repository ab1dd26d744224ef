"""Shared parts of the benchmarks: interleaved timing, peak memory, fresh processes, facts about the machine, tables."""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import multiprocessing
import os
import platform
import re
import resource
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from math import ceil
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

import numpy as np
import numpy.typing as npt
import torch

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Samples = npt.NDArray[np.float64]
Clock = Callable[[], float]
_MEMORY_SHARE = 0.9  # of what is available; the rest is for the other processes


class LeftOutError(Exception):
    """A measurement that a limit of time or memory does not allow; the message says which."""


def interleaved(
    contestants: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    budget: float = float("inf"),
    at_least: float = 0.0,
    clock: Clock = time.perf_counter,
) -> dict[str, Samples]:
    """Time contestants in rounds, so that whatever else the machine does meets all of them alike.

    Parameters
    ----------
    contestants
        What to time, by name. Each is called once before the first round.
    repeats
        Rounds. The order within a round is shuffled: nobody always runs after the same other.
    budget
        Seconds after which a contestant leaves, though not before its third round.
    at_least
        Seconds that a contestant is timed for in a round: what takes less is called several times in a row.
    clock
        Tells seconds; `time.process_time` counts those of the processor, in all threads.

    Returns
    -------
    dict
        Seconds per call, by name; index i is round i of all of them, and those that left have fewer.
    """
    times: dict[str, int] = {}
    for name, call in contestants.items():
        call()
        times[name] = ceil(max(1.0, at_least / timed(call, clock)[1])) if at_least else 1
    names, rng = list(contestants), np.random.default_rng(0)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for index in range(repeats):
        gc.collect()
        for name in rng.permutation(names):
            if index < 3 or sum(seconds[name]) * times[name] < budget:
                seconds[name].append(timed(partial(_repeat, contestants[name], times[name]), clock)[1] / times[name])
    return {name: np.array(values) for name, values in seconds.items()}


def _repeat(call: Callable[[], object], times: int) -> None:
    for _ in range(times):
        call()


def timed(call: Callable[[], T], clock: Clock = time.perf_counter) -> tuple[T, float]:
    """Return what `call` returns, and its seconds."""
    start = clock()
    result = call()
    return result, clock() - start


def ratio(numerator: Samples, denominator: Samples) -> Samples:
    """Ratios within the rounds that both were in."""
    rounds = min(len(numerator), len(denominator))
    return numerator[:rounds] / denominator[:rounds]


def peak_memory(call: Callable[[], T]) -> tuple[T, int]:
    """Return what `call` returns, and by how many bytes the resident memory rose at its peak (Linux only)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else the call would be given freed memory that still counts as resident
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = _kilobytes("/proc/self/status", "VmRSS")
    result = call()
    return result, 1024 * (_kilobytes("/proc/self/status", "VmHWM") - before)


def peak_resident() -> int:
    """Return the peak of the resident memory in bytes, since `peak_memory` was called if it was (Linux only)."""
    return 1024 * _kilobytes("/proc/self/status", "VmHWM")


def in_fresh_process(function: Callable[[*Ts], T], *args: *Ts, timeout: float | None = None) -> T:
    """Call `function` in a process of its own, which may use 90 % of the memory that is available.

    Raises
    ------
    LeftOutError
        If it needs more memory, or more than `timeout` seconds.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    limit = int(_MEMORY_SHARE * 1024 * _kilobytes("/proc/meminfo", "MemAvailable"))
    process = context.Process(target=_serve, args=(sender, limit, function, args))
    process.start()
    sender.close()  # the child's is the only one left: if it dies, there is an end to read
    try:
        if not receiver.poll(timeout):
            raise LeftOutError(f"no result within {timeout:.0f} s")
        outcome: T | LeftOutError = receiver.recv()
    except EOFError:
        process.join()
        if process.exitcode and process.exitcode < 0:
            raise LeftOutError(f"killed by signal {-process.exitcode}") from None
        raise RuntimeError("a measurement failed: see the traceback of its process") from None
    finally:
        process.kill()
        process.join()
    if isinstance(outcome, LeftOutError):
        raise outcome
    return outcome


def _serve(sender: Connection, limit: int, function: Callable[..., object], args: tuple[object, ...]) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        outcome = function(*args)
    except LeftOutError as error:
        outcome = error
    except (MemoryError, RuntimeError) as error:  # torch raises its own RuntimeError for memory
        if not isinstance(error, MemoryError) and "alloc" not in str(error):
            raise
        outcome = LeftOutError(f"more than {limit / 1e9:.0f} GB of memory")
    sender.send(outcome)


def machine() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": model[1] if model else platform.processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "memory_gb": round(_kilobytes("/proc/meminfo", "MemTotal") * 1024 / 1e9, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{package: version(package) for package in ("pathlift", "torch", "onnxruntime", "numpy")},
    }


def spread(samples: Samples) -> str:
    """The median and, in brackets, the quartiles; a dash if there are no samples."""
    if not len(samples):
        return "–"
    low, median, high = np.quantile(samples, (0.25, 0.5, 0.75))
    return f"{digits(median)} [{digits(low)}–{digits(high)}]"


def digits(value: float) -> str:
    """Three significant digits, never in scientific notation."""
    return f"{value:.0f}" if value >= 99.95 else f"{value:#.3g}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


def preamble(machine: Mapping[str, object], repeats: int) -> str:
    """What the figures of a report are, and where they come from."""
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    return f"""Medians [quartiles] over {repeats} interleaved rounds; ratios are of times of the same round.

Machine: {facts}."""


def parse(parser: argparse.ArgumentParser, results: Path, repeats: int = 11, quick: int = 3) -> argparse.Namespace:
    """Parse the command line with the options that every benchmark has; `results` is where a full run is saved."""
    parser.add_argument("--repeats", type=int, default=repeats, help="rounds, copies or seeds")
    parser.add_argument("--output", type=Path, help="OUTPUT.md and OUTPUT.json are written")
    parser.add_argument("--quick", action="store_true", help="under a minute; nothing is written without --output")
    options = parser.parse_args()
    if options.quick:
        options.repeats = quick
    elif options.output is None:
        options.output = results
    return options


def save(output: Path, report: str, machine: Mapping[str, object], measurements: Sequence[Any]) -> None:
    """Write a report as Markdown, and all its samples as JSON."""
    data = {"machine": machine, "measurements": [asdict(measurement) for measurement in measurements]}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.with_suffix(".md").write_text(report)
    output.with_suffix(".json").write_text(json.dumps(data, indent=1, default=np.ndarray.tolist) + "\n")


def _kilobytes(file: str, key: str) -> int:
    found = re.search(rf"^{key}:\s*(\d+) kB$", Path(file).read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])
