"""Lipschitz constants, by all methods there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pathlift.ir.errors import UnsupportedError
from pathlift.report.tables import Payload, at_least, at_most, table
from pathlift.verbs.bounds.kind import Bound, Options, Term, power

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.ir.graph import Graph
    from pathlift.models.certificates.lipschitz import Constant, Figures, Norm
    from pathlift.models.domain import Domains
    from pathlift.report.page import Page

OPTIONS = frozenset({"norm", "domain", "at", "radius", "budget", "seed"})
NORMS = {"linf": "‖Δf‖_∞ ≤ L·‖Δx‖_∞", "l1": "‖Δf‖₁ ≤ L·‖Δx‖_∞", "l2": "‖Δf‖₂ ≤ L·‖Δx‖₂"}
WORDS = {
    "path_norm": "path-norm, pools as maxima",
    "operator_norms": "product of operator norms",
    "interval": "interval Jacobian",
    "relaxation": "relaxed Jacobian",
    "ellipsoid": "ellipsoids",
}


def compute(graph: Graph, options: Options) -> Bound:
    """Bound the Lipschitz constant of a network on a domain, or everywhere."""
    from pathlift.models.certificates.lipschitz import METHODS, REACH, Lipschitz
    from pathlift.models.domain import read_domains
    from pathlift.passes.rewrites.strip_head import StripHead
    from pathlift.passes.sizes import check_sizes, missing_batches, resolve_inputs

    budget, seed = options.seconds, options.seed or 0
    stripped = StripHead().run(graph)
    inputs = resolve_inputs(stripped.graph, dict(options.shape))
    check_sizes(stripped.graph, inputs, options.memory_limit)
    norm: Norm = "l1" if options.norm == "l1" else "l2" if options.norm == "l2" else "linf"
    domains = _domains(read_domains, stripped.graph, options)
    question = Lipschitz(stripped.graph, inputs, norm, options.shape, options.memory_limit)
    everywhere = question.everywhere()
    places = (None,) if domains is None else domains.boxes
    figures = [question.on(place, budget / len(places), seed) for place in places]
    for one in figures:
        one.bounds |= everywhere.bounds
        one.refused |= everywhere.refused
        one.check()
    if not all(one.bounds for one in figures):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in figures[0].refused.items())
        raise UnsupportedError("1396", f"no method has a finite Lipschitz constant: {reasons}")
    worst = max(figures, key=lambda one: one.bounds[one.best].log10)
    bound, method = worst.bounds[worst.best], worst.best
    slopes = [one.found for one in figures if one.found is not None]
    found = max(slopes, default=None)
    over = {name: _over(figures, name) for name in METHODS}
    refused = {name: reason for one in figures for name, reason in one.refused.items() if over[name] is None}
    seconds = {
        name: everywhere.seconds.get(name, 0.0) + sum(one.seconds.get(name, 0.0) for one in figures) for name in METHODS
    }
    rows = [
        {"method": name, "log10": _log10(constant), "value": constant.value, "seconds": round(seconds[name], 3)}
        for name, constant in over.items() if constant is not None
    ]  # fmt: skip
    said = [stripped.witness.describe(), *missing_batches(stripped.graph, inputs)]
    said += [] if domains is None else domains.assumptions
    said += [one.silent for one in figures[:1] if one.silent]
    if domains is None:
        said.append(
            f"steep slopes are looked for where |x| ≤ {REACH[0]:g}, and ≤ {REACH[-1]:g}; the bound holds everywhere"
        )
    terms = {
        "domain": Term(None if domains is None else domains.to_json(), "what inputs lie in; everywhere, if nothing"),
        "methods": Term(rows, "bounds by method, the largest over all boxes"),
    }
    if len(figures) > 1:
        per_box = [{"value": one.bounds[one.best].value, "method": one.best, "found": one.found} for one in figures]
        terms["boxes"] = Term(per_box, "one per box")
    looseness = bound.value / found if bound.value is not None and found else None
    return Bound(
        log10=_log10(bound), value=bound.value, terms=terms, vacuous=None,
        verdict=_verdict(bound, method, found, looseness, domains),
        assumptions=tuple(line for line in said if line),
        figures={
            "norm": norm,
            "methods": {
                name: constant.value if constant is not None else None for name, constant in over.items()
            } | {"refused": refused},
            "method": method, "found": found, "looseness": looseness,
        },
    )  # fmt: skip


def _domains(read: Any, graph: Graph, options: Options) -> Domains | None:
    if options.domain is None and options.at is None and options.radius is None:
        return None
    found: Domains = read(graph, options.domain, at=options.at, radius=options.radius, shape=dict(options.shape))
    return found


def _over(figures: Sequence[Figures], name: str) -> Constant | None:
    """The largest bound of a method over all boxes, if it has one on each."""
    known = [one.bounds[name] for one in figures if name in one.bounds]
    return max(known, key=lambda c: c.log10) if len(known) == len(figures) else None


def _log10(constant: Constant) -> float | None:
    return constant.log10 if constant.log10 > float("-inf") else None


def _verdict(
    bound: Constant, method: str, found: float | None, looseness: float | None, domains: Domains | None
) -> str:
    where = "everywhere" if domains is None else "on the domain" if domains.radius is None else "around each sample"
    size = power(_log10(bound)) if bound.value is None else at_most(bound.value, 5)
    claim = f"outputs move by at most {size} times as much as inputs {where} ({WORDS[method]})"
    if looseness is None:
        return f"{claim}; " + ("no slope was found that it could be compared with" if not found else "slopes of up to "
                               f"{at_least(found)} were found")  # fmt: skip
    times = f"{at_most(looseness, 3)} times too large"
    return f"{claim}; slopes of {at_least(found)} were found, so the bound is at most {times}"


def chart(payload: Payload) -> Page:
    """Draw the bounds of all methods, and the steepest slope found as a line."""
    from pathlift.report.row_chart import Panel, row_chart

    rows = payload["terms"]["methods"]
    label, found = f"L: {NORMS[payload['norm']]} (line: found)", payload["found"] or None
    bounds = Panel(label, [x["value"] for x in rows], at_most, line=found, log=True)
    return row_chart([WORDS[x["method"]] for x in rows], "Lipschitz constants", [bounds])


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield a table of the methods, what was found, and one line of what that means."""
    found = payload["found"]
    rows = []
    for row in payload["terms"]["methods"]:
        value, best = row["value"], row["method"] == payload["method"]
        size = power(row["log10"]) if value is None else at_most(value, 5)
        ratio = "" if value is None or not found else f"{at_most(value / found, 3)}×"
        rows.append([WORDS[row["method"]], size, ratio, f"{row['seconds']:.2f} s", "smallest" if best else ""])
    for name, reason in payload["methods"]["refused"].items():
        rows.append([WORDS[name], "-", "", "", reason])
    if found is not None:
        rows.append(["found by an adversary", at_least(found, 5), "1×", "", "no bound: a slope that there is"])
    yield table(
        [NORMS[payload["norm"]], "L", "of found", "time", ""], rows, right=["L", "of found", "time"],
        less=["time"],
    )  # fmt: skip
    yield ""
    yield payload["verdict"]
