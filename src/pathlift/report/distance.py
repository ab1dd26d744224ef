"""The distance of two models on a domain: the result, and its text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import inf, log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathlift.report.result import Result, Source
from pathlift.report.tables import Bar, Payload, at_least, at_most, percent, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.report.page import Page

MOST_ELEMENTS = 10_000
METHODS = ("interval", "differential", "path_metric", "joint", "ellipsoid")
WORDS = {
    "interval": "intervals of each network",
    "differential": "propagated difference",
    "path_metric": "path metric",
    "joint": "joint linear relaxation",
    "ellipsoid": "ellipsoids",
}


@dataclass(frozen=True)
class MethodBound:
    """What one method says, over all boxes.

    Parameters
    ----------
    l1, linf
        The bounds; ``None`` where it has none.
    seconds
        What it took.
    refused
        Why it has none.
    """

    l1: float | None
    linf: float | None
    seconds: float
    refused: str = ""


@dataclass(frozen=True)
class LayerBlame:
    """What one layer's change does alone, all others being those of the first model.

    Parameters
    ----------
    node
        The layer, as both files call it.
    bound
        Of the l1 difference.
    measured
        The largest l1 difference that was found.
    """

    node: str
    bound: float
    measured: float


@dataclass(frozen=True, kw_only=True)
class DistanceResult(Result):
    """Bounds of ‖R_a(x) − R_b(x)‖ over a domain, and what an adversary found.

    Parameters
    ----------
    other
        The second file.
    domain
        As JSON.
    methods
        By name.
    l1, linf
        The smallest bounds over all methods, the largest over all boxes.
    best
        By norm, the method with the smallest bound.
    per_output
        Bounds of each element of the outputs.
    per_sample
        By box: bound and largest difference found, in l1 and ℓ∞.
    sampled_l1, sampled_linf
        The largest differences found.
    norm, tolerance
        What was to be proved, if anything.
    verdict
        ``bounded``, ``proved``, ``refuted``, ``inconclusive``.
    blame
        By layer, if asked for.
    files
        What was written, by what is in it.
    interrupted
        Whether the search was stopped by the user.
    """

    other: Source
    domain: Mapping[str, Any]
    methods: Mapping[str, MethodBound]
    l1: float
    linf: float
    best: Mapping[str, str]
    per_output: Sequence[float]
    per_sample: Sequence[Mapping[str, float]]
    sampled_l1: float
    sampled_linf: float
    norm: str
    tolerance: float | None
    verdict: str
    blame: Sequence[LayerBlame] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    interrupted: bool = False

    ROWS = ("layers",)

    def to_json(self) -> dict[str, Any]:
        refused = {name: m.refused for name, m in self.methods.items() if m.refused}
        result: dict[str, Any] = {
            "other": {"path": self.other.path, "sha256": self.other.sha256},
            "bound": {
                "l1": finite(self.l1),
                "linf": finite(self.linf),
                "log10": _log10(self.l1),
                "method": self.best.get("l1") or None,
                "method_linf": self.best.get("linf") or None,
                "per_output": [finite(x) for x in self.per_output] if len(self.per_output) <= MOST_ELEMENTS else None,
            },
            "methods": {**{name: finite(m.l1) for name, m in self.methods.items()}, "refused": refused},
            "methods_linf": {name: finite(m.linf) for name, m in self.methods.items()},
            "seconds": {name: m.seconds for name, m in self.methods.items()},
            "domain": dict(self.domain),
            "sampled_max_l1": finite(self.sampled_l1),
            "sampled_max_linf": finite(self.sampled_linf),
            "looseness": ratio(self.l1, self.sampled_l1),
            "looseness_linf": ratio(self.linf, self.sampled_linf),
            "vacuous": not self.l1 < inf,
            "norm": self.norm,
            "tolerance": self.tolerance,
            "verdict": self.verdict,
            "interrupted": self.interrupted,
        }
        if len(self.per_sample) > 1:
            result["per_sample"] = [{name: finite(x) for name, x in row.items()} for row in self.per_sample]
        if self.blame is not None:
            rows = ({"node": b.node, "bound": finite(b.bound), "measured": finite(b.measured)} for b in self.blame)
            result["layers"] = list(rows)
        return {**result, **self.files}

    def headline(self) -> str:
        size, value = {"l1": ("‖difference‖₁", self.l1), "linf": ("‖difference‖∞", self.linf)}[self.norm]
        return f"{self.verdict}, {size} ≤ {value:.4g}"

    def records(self) -> list[dict[str, Any]]:
        if self.blame is not None:
            return super().records()
        return [{"method": name, **asdict(m)} for name, m in self.methods.items()]

    def chart(self) -> Page | None:
        from pathlift.report.blame_chart import draw_blame, draw_methods

        name = Path(self.other.path or "the second model").name
        if layers := self.blame:
            return draw_blame([b.node for b in layers], [b.measured for b in layers], [b.bound for b in layers], name)
        bounds = self.methods.values()
        names, found = [WORDS.get(key, key) for key in self.methods], (self.sampled_l1, self.sampled_linf)
        return draw_methods(names, [m.l1 for m in bounds], [m.linf for m in bounds], found, name)


def finite(value: float | None) -> float | None:
    """A number that JSON has."""
    return value if value is not None and abs(value) < inf else None


def ratio(bound: float, found: float) -> float | None:
    """How many times larger a bound is than what was found."""
    return finite(bound / found) if found > 0 else None


def _log10(value: float) -> float | None:
    return log10(value) if 0 < value < inf else None


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield the answer, the methods, the layers, and what was written."""
    bound = payload["bound"]
    yield _answer(payload, place(payload["domain"]))
    yield ""
    yield table(
        ["", "at most", "found", "bound/found", "method"],
        [
            [f"‖difference‖{index}", at_most(bound[key]), at_least(payload[f"sampled_max_{key}"]),
             _ratio(payload[loose]), WORDS.get(bound[method], "-")]
            for index, key, loose, method in (
                ("₁", "l1", "looseness", "method"), ("∞", "linf", "looseness_linf", "method_linf"),
            )
        ],
        right=["at most", "found", "bound/found"],
        less=["method"],
    )  # fmt: skip
    yield ""
    refused = payload["methods"]["refused"]
    rows = [
        [WORDS[name], at_most(payload["methods"][name]), at_most(payload["methods_linf"][name]),
         f"{payload['seconds'].get(name, 0.0):.1f} s", refused.get(name, "")]
        for name in METHODS if name in payload["methods"]
    ]  # fmt: skip
    yield table(["method", "l1", "linf", "time", "refused"], rows, right=["l1", "linf", "time"], less=["time"])
    if payload["vacuous"]:
        yield ""
        yield "vacuous: no method has a finite bound of the sum, so this says nothing about it"
    if layers := payload.get("layers"):
        yield ""
        yield _blame_table(layers)
    yield from (f"wrote {payload[what]}" for what in ("certificate", "witness", "chart") if payload.get(what))


def place(domain: Payload) -> str:
    """Return a domain, as JSON, in words."""
    inputs = ", ".join(f"{name} in [{ends['low']:g}, {ends['high']:g}]" for name, ends in domain["inputs"].items())
    samples, radius = domain["samples"], domain["radius"]
    if radius is not None:
        return f"within {radius:g} of {samples} sample{'s' if samples > 1 else ''}, {inputs}"
    if not domain["uniform"]:
        return f"in {samples} given box{'es' if samples > 1 else ''}, {inputs}"
    return f"with {inputs}"


def _answer(payload: Payload, where: str) -> str:
    size, tolerance = "‖difference‖" + {"l1": "₁", "linf": "∞"}[payload["norm"]], payload["tolerance"]
    said = {
        "proved": f"proved: {size} ≤ {tolerance} for all inputs {where}",
        "refuted": f"refuted: {size} > {tolerance} at an input {where}",
        "inconclusive": f"inconclusive: {size} ≤ {tolerance} is neither shown nor refuted for inputs {where}",
    }
    if tolerance is None and payload["verdict"] == "inconclusive":
        said["inconclusive"] = f"inconclusive: not all inputs {where} have a bound"
    stopped = " (stopped early)" if payload["interrupted"] else ""
    return said.get(payload["verdict"], f"bounds for all inputs {where}") + stopped


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{at_most(value, 3)}×"


def _blame_table(layers: Sequence[Payload]) -> Any:
    known = [row["bound"] or 0.0 for row in layers]
    total, found = sum(known) or 1.0, sum(row["measured"] or 0.0 for row in layers) or 1.0
    rows = [
        [row["node"], at_most(row["bound"]), percent((row["bound"] or 0.0) / total), at_least(row["measured"]),
         percent((row["measured"] or 0.0) / found), Bar((row["measured"] or 0.0) / found)]
        for row in layers
    ]  # fmt: skip
    headings = ["only this layer changed", "bound", "share", "found", "share of found", ""]
    return table(headings, rows, right=headings[1:5], less=["share of found", "share"])
