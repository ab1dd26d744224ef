"""The result of `opt`, and its text: what each pass did, how figures moved, what was verified or narrowed down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isinf
from typing import TYPE_CHECKING, Any

from pathlift.report.result import Result
from pathlift.report.tables import Payload, Table, byte_size, fixed, number, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.ir.graph import Graph
    from pathlift.models.bisection import Failure
    from pathlift.models.verify import Verification
    from pathlift.passes.path_norm.norm_log import Norms
    from pathlift.passes.pipeline import Step


_TIMES = ("rewriting", "checking")


@dataclass(frozen=True, kw_only=True)
class OptResult(Result):
    """The rewritten graph, and what each pass did.

    Parameters
    ----------
    graph
        After the last pass.
    steps
        The passes.
    output
        The file that was written; ``None`` if none was asked for, or if the verification failed.
    norms
        Path-norms of the network as it was and after each pass, if asked for; ``None`` for a network that has none.
    verification
        The comparison with the original, if asked for.
    sizes
        Of the graph before and after, if asked for: ops, parameters, bytes and flops.
    timed
        Whether the text shows how long passes took.
    bisected, failure
        Whether a failing pass was looked for, and what was found.
    """

    graph: Graph
    steps: tuple[Step, ...]
    output: str | None
    norms: tuple[Norms, ...] = ()
    verification: Verification | None = None
    sizes: tuple[Mapping[str, int | None], Mapping[str, int | None]] | None = None
    timed: bool = False
    bisected: bool = False
    failure: Failure | None = None

    ROWS = ("passes",)

    def headline(self) -> str:
        return f"{sum(step.changed for step in self.steps)} of {len(self.steps)} passes changed it"

    def to_json(self) -> dict[str, Any]:
        before, *after = map(_norms, self.norms or ((),) * (1 + len(self.steps)))
        return {
            "output": self.output,
            "passes": [
                {
                    "name": s.name,
                    "changed": s.changed,
                    "note": s.note,
                    "effect": str(s.effect),
                    "norms": norms,
                    "seconds": {"rewriting": s.rewriting, "checking": s.checking} if self.timed else None,
                }
                for s, norms in zip(self.steps, after, strict=True)
            ],
            "ir": str(self.graph).splitlines() if self._shows_ir else [],
            "norms": before,
            "verify": None if self.verification is None else self.verification.to_json(),
            "sizes": None if self.sizes is None else dict(zip(("before", "after"), self.sizes, strict=True)),
            "bisect": {"failure": self.failure and self.failure.to_json()} if self.bisected else None,
        }

    @property
    def _shows_ir(self) -> bool:
        return self.output is None and self.exit_code == 0 and not self.bisected


def _norms(norms: Norms) -> list[dict[str, Any]] | None:
    if norms is None:
        return None
    return [{"q": "inf" if isinf(norm.q) else norm.q, "log10": norm.log10, "zero": norm.zero} for norm in norms]


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield the IR text, unless a file was written; then what each pass did, and how far the outputs moved."""
    if payload.get("bisect"):
        yield from _bisection(payload["bisect"]["failure"])
        return
    yield from payload["ir"]
    output, verified = payload["output"], payload.get("verify")
    norms = [payload.get("norms"), *(step.get("norms") for step in payload["passes"])]
    timed = any(step.get("seconds") for step in payload["passes"])
    if output is not None or verified or any(norms) or timed:
        yield from _steps(payload["passes"], norms, timed)
    if payload.get("sizes"):
        yield _sizes(payload["sizes"])
    if verified:
        yield from _verification(verified)
    if output is not None:
        yield f"wrote {output}"


def _sizes(sizes: Payload) -> Table:
    before, after = sizes["before"], sizes["after"]
    shown = {key: [byte_size(n) if key == "bytes" else f"{n:,}" for n in (before[key], after[key])]
             for key in before if before[key] is not None and after[key] is not None}  # fmt: skip
    return table(["", "before", "after"], [[key, *row] for key, row in shown.items()], right=["before", "after"])


def _bisection(failure: Payload | None) -> Iterator[str]:
    if failure is None:
        yield "no pass fails"
        return
    said = " ".join(filter(None, (failure["code"], failure["message"])))
    yield f"pass {failure['index'] + 1}, {failure['pass']}, fails: {said}"
    if failure["sites"] is not None:
        yield f"at {', '.join(failure['sites'])}: the other sites do not matter"
    yield "on this graph, from which nothing more could be cut off:"
    yield from failure["ir"]


def _steps(steps: Sequence[Payload], norms: Sequence[Sequence[Payload] | None], timed: bool) -> Iterator[Table]:
    """Yield one row per pass, with the path-norms before → after it; `norms` has those before the first one too."""
    exponents = next(([number(norm["q"]) for norm in items] for items in norms if items), [])
    rows = [
        [step["name"], "changed" if step["changed"] else "unchanged", step.get("note", "")]
        + ([f"{1e3 * step['seconds'][what]:.1f} ms" for what in _TIMES] if timed else [])
        + [f"{_log10(before, i)} → {_log10(after, i)}" for i in range(len(exponents))]
        for step, before, after in zip(steps, norms[:-1], norms[1:], strict=True)
    ]
    if exponents and not steps:
        rows = [["none", "", "", *([""] * 2 if timed else []), *(_log10(norms[0], i) for i in range(len(exponents)))]]
    headings = [*(_TIMES if timed else ()), *(f"log10 ‖Φ‖_{q}" for q in exponents)]
    if rows:
        yield table(["pass", "", "", *headings], rows, right=headings)


def _log10(norms: Sequence[Payload] | None, index: int) -> str:
    """One of a network's norms; a dash if it has none."""
    if not norms:
        return "-"
    return "zero" if norms[index]["zero"] else fixed(norms[index]["log10"])


def _verification(verified: Payload) -> Iterator[str]:
    difference = "∞" if verified["max_relative_difference"] is None else f"{verified['max_relative_difference']:.2e}"
    where = f"output {verified['output']!r}, input {verified['input']!r}"
    skipped = f" and {n} ill-conditioned ones left out" if (n := verified["ill_conditioned"]) else ""
    tried = f"{verified['samples']} inputs{skipped}, tolerance {number(verified['tolerance'])}"
    verdict = "verified" if verified["passed"] else "refuted"
    yield f"{verdict}: largest relative difference {difference} ({where}; {tried})"
    if not verified["passed"]:
        yield "nothing was written; a pass that changes the function on purpose needs a --tolerance"
