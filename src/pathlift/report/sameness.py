"""Numerical sameness of two models: the result, and its text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal

from pathlift.report.result import Result, Source
from pathlift.report.tables import Payload, more, table

if TYPE_CHECKING:
    from rich.console import RenderableType

Element = float | int | bool | str
SHOWN = 8
"""Rows of values that differ, in text."""


@dataclass(frozen=True)
class Difference:
    """How far two tensors are apart.

    Parameters
    ----------
    absolute, relative
        max|a − b|, and that over max|a|.
    index, values
        Where it is largest, and the two elements; ``None`` where there is no difference, or no elements to compare.
    reason
        Why there are none.
    """

    absolute: float
    relative: float
    index: tuple[int, ...] | None = None
    values: tuple[Element, Element] | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object; NaN and infinite numbers are null."""
        return {
            "absolute": _json(self.absolute),
            "relative": _json(self.relative),
            "index": None if self.index is None else list(self.index),
            "values": None if self.values is None else [_json(v) for v in self.values],
            "reason": self.reason or None,
        }


@dataclass(frozen=True)
class OutputDifference:
    """One output over all inputs that were tried.

    Parameters
    ----------
    name, other
        What the files call it.
    same
        Whether it stayed within the tolerance.
    largest
        Where the relative difference is largest.
    input
        The kind of input where that was.
    absolute, absolute_input
        The largest absolute difference, and where that was.
    """

    name: str
    other: str
    same: bool
    largest: Difference
    input: str
    absolute: float
    absolute_input: str


@dataclass(frozen=True)
class PartedValue:
    """A value that is another one in the second model.

    Parameters
    ----------
    node, op
        What computes it in the first file.
    value, other
        What the files call it.
    difference
        By how much it differs.
    """

    node: str
    op: str
    value: str
    other: str
    difference: Difference

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        named = {"node": self.node, "op": self.op, "value": self.value, "other": self.other}
        return {**named, **self.difference.to_json()}


@dataclass(frozen=True)
class Parting:
    """Where two models part on one input.

    Parameters
    ----------
    input
        The kind of input.
    matched_by
        ``structure`` if the graphs are matched node by node; ``names`` if only values of one name, and outputs.
    matched
        How many values are matched and were compared.
    nodes
        How many nodes either graph has.
    values
        Those that differ, and make an output differ; the first is where they part: all that its layer reads agrees.
    agreeing
        Of what that layer reads, the values that were compared.
    parameters
        Of that layer, those that differ.
    reason
        Why nothing is known, if so.
    """

    input: str
    matched_by: Literal["structure", "names"]
    matched: int
    nodes: tuple[int, int]
    values: Sequence[PartedValue]
    agreeing: Sequence[str] = ()
    parameters: Sequence[PartedValue] = ()
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "input": self.input,
            "matched_by": self.matched_by,
            "matched": self.matched,
            "nodes": list(self.nodes),
            "values": [value.to_json() for value in self.values],
            "agreeing": list(self.agreeing),
            "parameters": [value.to_json() for value in self.parameters],
            "reason": self.reason or None,
        }


@dataclass(frozen=True, kw_only=True)
class SamenessResult(Result):
    """Whether two models return the same on the same inputs.

    Parameters
    ----------
    other
        The second file.
    verdict
        ``same``, or ``different``: on some input, some output differs by more than the tolerance.
    tolerance
        The relative difference of real numbers that counts as none.
    discrete_tolerance
        That of integers and Booleans.
    outputs
        By output, how far apart they were at most.
    samples
        How many inputs were compared, of which `given` were the caller's.
    ill_conditioned
        How many more were left out: there, rounding moves the first model's outputs about as much.
    reason
        What is different where that is no number.
    parting
        Where they part, if they do.
    files
        What was written, by what is in it.
    """

    other: Source
    verdict: Literal["same", "different"]
    tolerance: float
    discrete_tolerance: float
    outputs: Sequence[OutputDifference]
    samples: int
    given: int
    ill_conditioned: int
    reason: str = ""
    parting: Parting | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    ROWS = ("outputs",)

    def headline(self) -> str:
        return self.verdict

    def to_json(self) -> dict[str, Any]:
        return {
            "other": {"path": self.other.path, "sha256": self.other.sha256},
            "modulo": "none",
            "verdict": self.verdict,
            "tolerance": _json(self.tolerance),
            "discrete_tolerance": _json(self.discrete_tolerance),
            "samples": self.samples,
            "given": self.given,
            "ill_conditioned": self.ill_conditioned,
            "reason": self.reason or None,
            "outputs": [
                {
                    "name": o.name,
                    "other": o.other,
                    "same": o.same,
                    "input": o.input,
                    **o.largest.to_json(),
                    "absolute": _json(o.absolute),
                    "absolute_input": o.absolute_input,
                }
                for o in self.outputs
            ],
            "parting": None if self.parting is None else self.parting.to_json(),
            **self.files,
        }


def _json(value: Element) -> Element | None:
    return None if isinstance(value, float) and not isfinite(value) else value


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield the answer, the outputs, where the models part, and what was written."""
    yield _answer(payload)
    if payload["outputs"]:
        yield ""
        yield table(
            ["output", "relative", "where it differs most", "input", "largest absolute"],
            [
                [_both(o["name"], o["other"]), _figure(o["relative"]), _place(o), o["input"], _figure(o["absolute"])]
                for o in payload["outputs"]
            ],
            right=["relative", "largest absolute"],
        )
    if parting := payload["parting"]:
        yield ""
        yield from _parting(parting)
    if payload.get("witness"):
        yield f"wrote {payload['witness']}"


def _answer(payload: Payload) -> str:
    skipped = f", {n} more left out as ill-conditioned" if (n := payload["ill_conditioned"]) else ""
    given = f", {n} of them given" if (n := payload["given"]) else ""
    tolerance = "inf" if payload["tolerance"] is None else f"{payload['tolerance']:g}"
    tried = f"{payload['samples']} inputs{given}{skipped}; tolerance {tolerance}"
    if payload["reason"]:
        return f"different: {payload['reason']}"
    if payload["verdict"] == "same":
        return f"same: all outputs agree on {tried}"
    apart = [o["name"] for o in payload["outputs"] if not o["same"]]
    return f"different: output{'s' * (len(apart) > 1)} {', '.join(map(repr, apart))} ({tried})"


def _parting(parting: Payload) -> Iterator[RenderableType]:
    ours, theirs = parting["nodes"]
    how = {"structure": "node by node", "names": "by their names"}[parting["matched_by"]]
    matched = f"{parting['matched']} values matched {how}, of {ours} nodes in the first and {theirs} in the second"
    if parting["reason"] or not parting["values"]:
        yield f"where they part is not known: {parting['reason'] or 'no matched value differs'} ({matched})"
        return
    first, *_ = parting["values"]
    agreeing = parting["agreeing"]
    told = {"structure": "all that it reads agrees", "names": "what it reads agrees where it is matched"}
    read = f": {told[parting['matched_by']]} ({', '.join(agreeing[:3])}{', …' * (len(agreeing) > 3)})"
    yield f"they part at {first['node']} ({first['op']}){read if agreeing else ''}"
    for p in parting["parameters"]:
        yield f"  its parameter {_both(p['value'], p['other'])} differs by {_figure(p['relative'])} {_place(p)}"
    yield f"  on the input {parting['input']}; {matched}"
    yield table(
        ["value", "node", "relative", "absolute", "where it differs most"],
        [
            [_both(v["value"], v["other"]), f"{v['node']} ({v['op']})", _figure(v["relative"]), _figure(v["absolute"]),
             _place(v)]
            for v in parting["values"][:SHOWN]
        ],
        right=["relative", "absolute"],
    )  # fmt: skip
    yield from more(len(parting["values"]) - SHOWN)


def _both(name: str, other: str) -> str:
    return name if name == other else f"{name} / {other}"


def _figure(value: float | None) -> str:
    return "∞" if value is None else f"{value:.3g}"


def _place(told: Payload) -> str:
    if told["reason"]:
        return str(told["reason"])
    if told["index"] is None:
        return "-"
    ours, theirs = ("NaN or ∞" if v is None else f"{v:.6g}" if isinstance(v, float) else str(v) for v in told["values"])
    return f"{told['index']}: {ours} against {theirs}"
