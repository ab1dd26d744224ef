"""The report on a device: a JSON file with every record and ratio, and Markdown that says first where kernels lose."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from benchmarks import common
from benchmarks.gpu.cases import TOLERANCES
from benchmarks.gpu.kernels import save_table

Record = dict[str, Any]
_BAD = ("wrong", "failed", "crashed")
_FOUND = 9
"""Exit status of compute-sanitizer where it found something."""
_OURS = ("tuned kernel", "kernel")
"""Names of our kernels in a layer's times, the better one first."""
_TRAINING = (
    "network",
    "precision",
    "samples",
    "dense step, ms",
    "forward: dense / kernels",
    "step: dense / kernels",
    "error of gradients",
)
_NETWORKS = ("network", "precision", "dense, ms", "dense / kernels", "dense with q, k, v apart / kernels", "difference")
_LAYERS = (
    "pattern",
    "samples",
    "precision",
    "layout",
    "best other",
    "best, µs",
    "kernel, µs",
    "best / kernel",
    "best / tuned",
    "memory",
    "remarks",
)
_SUMMARY = (
    "layout",
    "precision",
    "samples",
    "cases",
    "loses",
    "best / kernel",
    "best / tuned",
    "dense / kernel",
    "bmm / kernel",
    "memory",
)


def save(output: Path, found: Sequence[Record], seed: int, minutes: float, took: float, dry: bool) -> tuple[Path, bool]:
    """Write the report's files.

    Returns
    -------
    Path, bool
        Of the Markdown, and whether all that was checked was right.
    """
    by = defaultdict(list)
    for record in found:
        by[record["record"]].append(record)
    machine = by["machine"][0]
    slug = re.sub(r"[^a-z0-9]+", "-", "dry-run" if dry else machine["device"].lower()).strip("-")
    path = output / f"gpu_kernels_{slug}.md"
    output.mkdir(parents=True, exist_ok=True)
    for layer in by["layer"]:
        layer["ratios"] = {ours: ratios(layer, ours) for ours in _OURS if ours in layer["seconds"]}
    run = {"seed": seed, "minutes": minutes, "took_seconds": round(took, 1)}
    data = {"machine": machine, "run": run, "records": [r for r in found if r["record"] not in ("begun", "machine")]}
    path.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    path.write_text(text(by, run), encoding="utf-8")
    if by["tuned"]:
        save_table(output / f"gpu_schedules_{slug}.json", by["tuned"])
    checked = by["checked"]
    wrong = any(by[bad] for bad in _BAD) or any(r["status"] == _FOUND for r in by["memcheck"])
    return path, bool(checked) and all(r["good"] for r in checked) and not wrong


def best_other(layer: Record) -> str | None:
    """The fastest contestant that is not ours, by its median."""
    others = {name: median(times) for name, times in layer["seconds"].items() if name not in _OURS}
    return min(others, key=others.__getitem__, default=None)


def ratios(layer: Record, ours: str) -> dict[str, list[float]]:
    """By how much ours is faster than each other, round by round."""
    seconds = {name: np.array(times) for name, times in layer["seconds"].items()}
    return {o: common.ratio(t, seconds[ours]).tolist() for o, t in seconds.items() if o not in _OURS}


def text(by: Mapping[str, list[Record]], run: Mapping[str, object]) -> str:
    """Write the Markdown."""
    machine = ", ".join(
        f"{name} {value}" for name, value in by["machine"][0].items() if name not in ("record", "phase")
    )
    copy = next((r["rate"] for r in by["ceiling"] if r["name"] == "copy"), None)
    layers = sorted((r for r in by["layer"] if _speedup(r) is not None), key=lambda r: _speedup(r) or 0.0)
    return f"""# Generated kernels: {by["machine"][0]["device"]}

Machine: {machine}. Run: {", ".join(f"{name} {value}" for name, value in run.items())}.
`benchmarks/README.md` says how this is measured. Ratios are of times of the same round, medians [quartiles].

## What went wrong
{_list([f"{r['phase']}, {r['record']}: {r['what']}: {r['error']}" for bad in _BAD for r in by[bad]])}

## Ceilings, measured in this run
{common.table(("what", "rate"), [(r["name"], _rate(r)) for r in by["ceiling"]])}

## Correctness
Relative error ‖error‖ / ‖reference‖ against float64.

{common.table(("template", "precision", "kernels", "largest error", "allowed", "wrong"), _checked(by["checked"]))}

{_list([f"wrong: {r['what']}: {r['error']:.1e}" for r in by["checked"] if not r["good"]])}

## Single layers: summary
Speed-ups over the **best** of the others in each case, as spread over cases. Memory: the share of the measured copy
bandwidth at which operands and result, once each, would move in the kernel's time.

{common.table(_SUMMARY, _summary(layers, copy))}

## Single layers: every case, those that lose first
{common.table(_LAYERS, _layers(layers, copy))}

## Transformers
{common.table(_NETWORKS, _networks(by["network"]))}

## Training
{common.table(_TRAINING, _training(by["training"]))}

## compute-sanitizer
{_list([f"memcheck ended with status {r['status']}: {'; '.join(r['report'][:8])}" for r in by["memcheck"]])}

## Left out
{_list([f"{r['phase']}: {r['what']}: {r['why']}" for r in by["left_out"]])}
"""


def _list(lines: Sequence[str]) -> str:
    return "\n".join("- " + line.replace("\n", " ") for line in lines) or "Nothing."


def _rate(record: Record) -> str:
    if "bytes" in record:
        return f"{record['rate'] / 1e12:.3g} TB/s, read and written"
    return f"{record['rate'] / 1e12:.3g} TFLOP/s on random numbers"


def _checked(checked: Sequence[Record]) -> Iterator[Sequence[str]]:
    groups = defaultdict(list)
    for r in checked:
        groups[r["template"], r["kind"]].append(r)
    for (template, kind), rs in sorted(groups.items()):
        worst = max((r["error"] for r in rs), key=lambda e: np.inf if np.isnan(e) else e)
        yield (
            template,
            kind,
            str(len(rs)),
            f"{worst:.1e}",
            f"{TOLERANCES[kind]:.0e}",
            str(sum(not r["good"] for r in rs)),
        )


def _speedup(layer: Record, *names: str) -> float | None:
    """The median over rounds of the best other's time over ours; of the better of ours, unless named."""
    best = best_other(layer)
    found = [median(layer["ratios"][n][best]) for n in names or _OURS if best is not None and n in layer["ratios"]]
    return max(found, default=None)


def _memory(layer: Record, copy: float | None) -> float | None:
    ours = [median(layer["seconds"][name]) for name in _OURS if name in layer["seconds"]]
    return layer["bytes"] / min(ours) / copy if copy else None


def _over(layers: Sequence[Record], other: str) -> str:
    """Speed-ups of the better kernel over one other."""
    return _spread([max(median(r[other]) for r in layer["ratios"].values()) for layer in layers
                    if all(other in r for r in layer["ratios"].values())])  # fmt: skip


def _spread(values: Sequence[float | None]) -> str:
    return common.spread(np.array([v for v in values if v is not None]))


def _summary(layers: Sequence[Record], copy: float | None) -> Iterator[Sequence[str]]:
    groups = defaultdict(list)
    for layer in layers:
        groups[layer["layout"], layer["kind"], layer["samples"]].append(layer)
    for (layout, kind, samples), rs in sorted(groups.items()):
        yield (
            layout, kind, str(samples), str(len(rs)), str(sum((_speedup(r) or 0) < 1 for r in rs)),
            _spread([_speedup(r, "kernel") for r in rs]), _spread([_speedup(r, "tuned kernel") for r in rs]),
            _over(rs, "dense"), _over(rs, "bmm"), _spread([_memory(r, copy) for r in rs]),
        )  # fmt: skip


def _layers(layers: Sequence[Record], copy: float | None) -> Iterator[Sequence[str]]:
    for r in layers:
        best = best_other(r)
        assert best is not None  # else there is no speed-up
        ours = min(median(r["seconds"][name]) for name in _OURS if name in r["seconds"])
        spreads = [common.spread(np.array(r["ratios"][n][best])) if n in r["ratios"] else "–" for n in _OURS[::-1]]
        memory = _memory(r, copy)
        yield (
            r["pattern"], str(r["samples"]), r["kind"], r["layout"], best,
            common.digits(1e6 * median(r["seconds"][best])), common.digits(1e6 * ours), *spreads,
            "–" if memory is None else common.digits(memory), "; ".join(_remarks(r)),
        )  # fmt: skip


def _remarks(layer: Record) -> Iterator[str]:
    if (_speedup(layer) or 0.0) < 1:
        yield "**loses**"
    if layer["dense_predicted"]:
        yield "the cost model takes dense"
    if layer["absent"]:
        yield "without " + ", ".join(layer["absent"])


def _networks(found: Sequence[Record]) -> Iterator[Sequence[str]]:
    for r in found:
        seconds = {name: np.array(times) for name, times in r["seconds"].items()}
        speedups = (common.ratio(seconds[n], seconds["kernels"]) for n in ("dense", "dense, q k v apart"))
        yield (
            f"{r['name']}, {r['depth']} blocks, {'×'.join(map(str, r['shape']))}", r["kind"],
            common.spread(1e3 * seconds["dense"]), *map(common.spread, speedups), f"{r['error']:.1e}",
        )  # fmt: skip


def _training(found: Sequence[Record]) -> Iterator[Sequence[str]]:
    for r in found:
        seconds = {name: np.array(times) for name, times in r["seconds"].items()}
        speedups = (common.ratio(seconds[f"dense, {of}"], seconds[f"kernels, {of}"]) for of in ("forward", "step"))
        yield (
            r["name"], r["kind"], str(r["samples"]), common.spread(1e3 * seconds["dense, step"]),
            *map(common.spread, speedups), f"{r['error']:.1e}",
        )  # fmt: skip
