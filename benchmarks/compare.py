"""Tightness and cost of bounds of the distance of two networks: all methods, beside an adversary."""

from __future__ import annotations

import argparse
import fnmatch
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isclose
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import alpha_crown, common
from benchmarks.compare_networks import CHANGES, NETWORKS, RADII, changed, domain

from pathlift.models.certificates.distance import Comparison
from pathlift.passes.certificates.elementary import Differential, Gap
from pathlift.report.distance import WORDS

QUICK = (("digits MLP, depth 3",), ("int8", "Kronecker"), ("[0, 1]", "ε = 0.02"))
QUICK_BUDGET = 3.0
ALPHA_CROWN = "alpha_crown"
COLUMNS = {**WORDS, ALPHA_CROWN: "twin α-CROWN"}
SAME = 1e-9
"""How far apart two bounds of one pair may be, relative to them: what another order of sums does."""
RESULTS = Path(__file__).parent / "results" / "compare"


@dataclass(frozen=True)
class Figures:
    """What one method says.

    Parameters
    ----------
    l1, linf
        Its bounds, ``None`` where it has none.
    seconds
        What it took.
    refused
        Why it has none.
    """

    l1: float | None = None
    linf: float | None = None
    seconds: float = 0.0
    refused: str = ""


@dataclass(frozen=True)
class Row:
    """One pair of networks on one domain.

    Parameters
    ----------
    network, change, domain
        Which.
    budget
        Seconds that were given.
    seconds
        Seconds it took, adversary and all, without what others' software took.
    found_l1, found_linf
        The largest differences that the adversary found.
    l1, linf
        The smallest bounds, of our own methods.
    methods
        By name.
    """

    network: str
    change: str
    domain: str
    budget: float
    seconds: float
    found_l1: float
    found_linf: float
    l1: float
    linf: float
    methods: Mapping[str, Figures] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str]:
        return self.network, self.change, self.domain

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Row:
        """What was saved."""
        return cls(**{**data, "methods": {name: Figures(**f) for name, f in data["methods"].items()}})


def measure(name: str, wanted: Callable[..., bool], budget: float | None, other: str | None) -> Iterator[Row]:
    """Yield the rows of one network."""
    network = NETWORKS[name]
    rows = [(change, where) for change in CHANGES for where in RADII if wanted(name, change, where)]
    if not rows:
        return
    graph, at = network.make()
    seconds = network.budget if budget is None else budget
    for change in dict.fromkeys(change for change, _ in rows):
        comparison = Comparison.of(graph, changed(graph, change, network))
        if comparison.pair is None:
            raise SystemExit(f"{name}, {change}: {comparison.apart}")
        for where in (w for c, w in rows if c == change):
            box = domain(graph, at, RADII[where])
            measured, took = common.timed(lambda box=box, c=comparison: c.measure(box, seconds, 0))  # type: ignore[misc]  # mypy knows no type of a lambda with a default
            outcome, found = measured.outcome, measured.attacked
            methods = {
                m: Figures(bound.l1, bound.linf, outcome.seconds.get(m, 0.0)) for m, bound in outcome.bounds.items()
            }
            methods |= {m: Figures(None, None, outcome.seconds.get(m, 0.0), r) for m, r in outcome.refused.items()}
            if other is not None:
                said = alpha_crown.bound(other, comparison.pair, box)
                methods[ALPHA_CROWN] = Figures(refused=said) if isinstance(said, str) else Figures(**said)
            yield Row(
                name, change, where, seconds, took, found.l1, found.linf, outcome.l1, outcome.linf, methods
            )  # fmt: skip


def beside(rows: Sequence[Row], python: str) -> Iterator[Row]:
    """Yield each row that has no bound by auto_LiRPA with one, its other figures as they are.

    Networks are trained anew: where intervals of the pair are not those of the row, it is another pair, and it is told.
    """
    for name, network in NETWORKS.items():
        ours = [row for row in rows if row.network == name]
        if not ours:
            continue
        graph, at = network.make()
        for change in dict.fromkeys(row.change for row in ours):
            comparison = Comparison.of(graph, changed(graph, change, network))
            if comparison.pair is None:
                raise SystemExit(f"{name}, {change}: {comparison.apart}")
            for row in (r for r in ours if r.change == change):
                box = domain(graph, at, RADII[row.domain])
                problem = comparison.problem(box)
                for method in (Gap(), Differential()):
                    known, bound = row.methods[method.name].linf, method.check(problem, {})
                    if known is None or not isclose(bound.linf, known, rel_tol=SAME):
                        raise SystemExit(f"{row.key}: {method.name} says {bound.linf}, and not {known} as in the row")
                said = alpha_crown.bound(python, comparison.pair, box)
                figures = Figures(refused=said) if isinstance(said, str) else Figures(**said)
                yield replace(row, methods={**row.methods, ALPHA_CROWN: figures})


def report(rows: Sequence[Row], machine: Mapping[str, object]) -> str:
    names = [m for m in COLUMNS if any(m in row.methods for row in rows)]
    parts = [f"""# Bounds of the distance of two networks

‖R_b(x) − R_a(x)‖ over all x of a domain: what each method of `pathlift compare` proves, the largest difference that its
adversary finds, and the smallest bound over that. a is the network, b the same with weights on 8 or 4 bits (one step
per tensor), without the half of its weights that is smallest, in float16, or with layers fitted by Kronecker-sparse
factors. Digits: networks trained on scikit-learn's, 64-100-…-10, and conv16, conv32, max-pool, fc64, fc10; balls are
around one test image, within [0, 1]. ResNet-18 has random weights and batch norms, and 1000 outputs. *Twin α-CROWN* is
auto_LiRPA on the network R_b(x) − R_a(x), {alpha_crown.ITERATIONS} iterations in float64, not rounded outward, within
{alpha_crown.LIMIT} seconds of the processor, on the networks of the other columns. A dash: no bound; the JSON file says
why. An empty field: not run.

Seconds are those of a row, α-CROWN's not among them; the adversary takes a quarter of them at most. *Median*: of each
column's bound over what was found.

Machine: {", ".join(f"{name} {value}" for name, value in machine.items())}."""]  # fmt: skip
    for network in dict.fromkeys(row.network for row in rows):
        ours = [row for row in rows if row.network == network]
        parts.append(f"## {network}")
        for norm, title in (("linf", "Largest output, ‖·‖∞"), ("l1", "Sum over outputs, ‖·‖₁")):
            parts.append(f"{title}:\n\n{_table(ours, names, norm)}")
    parts.append(f"## Seconds\n\nMedians per method.\n\n{_times(rows, names)}")
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[Row], names: Sequence[str], norm: str) -> str:
    header = ["change", "domain", "found", "bound/found", *(COLUMNS[m] for m in names), "s"]
    lines = []
    for row in rows:
        found, least = getattr(row, f"found_{norm}"), getattr(row, norm)
        bounds = [_figure(getattr(row.methods[m], norm)) if m in row.methods else "" for m in names]
        lines.append(
            [row.change, row.domain, _figure(found), _ratio([_over(least, found)]), *bounds, f"{row.seconds:.1f}"]
        )
    over = {m: [_over(getattr(row.methods.get(m), norm, None), getattr(row, f"found_{norm}")) for row in rows]
            for m in names}  # fmt: skip
    best = [_over(getattr(row, norm), getattr(row, f"found_{norm}")) for row in rows]
    lines.append(["**median**", "", "", _ratio(best), *(_ratio(over[m]) for m in names), ""])
    return common.table(header, lines)


def _times(rows: Sequence[Row], names: Sequence[str]) -> str:
    lines = []
    for network in dict.fromkeys(row.network for row in rows):
        ours = [row for row in rows if row.network == network]
        each = [[r.methods[m].seconds for r in ours if m in r.methods and not r.methods[m].refused] for m in names]
        lines.append([network, *(f"{median(times):.2f}" if times else "–" for times in each)])
    return common.table(["network", *(COLUMNS[m] for m in names)], lines)


def _over(bound: float | None, found: float) -> float | None:
    return bound / found if bound is not None and found > 0 and bound < float("inf") else None


def _figure(value: float | None) -> str:
    return "–" if value is None or not value < float("inf") else f"{value:.3g}"


def _ratio(values: Sequence[float | None]) -> str:
    """The median, if there are values for more than half of the rows."""
    known = [value for value in values if value is not None]
    return f"{median(known):.3g}×" if 2 * len(known) > len(values) else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", metavar="GLOB", help="rows NETWORK/CHANGE/DOMAIN; may be repeated")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="for each row, instead of its network's")
    parser.add_argument("--alpha-crown", metavar="PYTHON", help="an interpreter that has auto_LiRPA")
    parser.add_argument("--resume", action="store_true", help="keep the rows that the output has already")
    options = common.parse(parser, RESULTS)
    budget = options.budget or (QUICK_BUDGET if options.quick else None)
    file = None if options.output is None else options.output.with_suffix(".json")
    rows, machine = [], common.machine()
    if options.resume and file is not None and file.exists():
        saved = json.loads(file.read_text())
        rows, machine = [Row.of(data) for data in saved["measurements"]], saved["machine"]
    known = {row.key: at for at, row in enumerate(rows)}

    def asked(*key: str) -> bool:
        only = not options.only or any(fnmatch.fnmatch("/".join(key), glob) for glob in options.only)
        return only and (not options.quick or all(part in some for part, some in zip(key, QUICK, strict=True)))

    def save() -> None:
        if options.output:
            common.save(options.output, report(rows, machine), machine, rows)

    if options.alpha_crown:
        for row in beside([r for r in rows if asked(*r.key) and ALPHA_CROWN not in r.methods], options.alpha_crown):
            rows[known[row.key]] = row
            print(f"{' / '.join(row.key)}: {row.methods[ALPHA_CROWN]}", flush=True)
            save()
    for name in NETWORKS:
        for row in measure(name, lambda *key: asked(*key) and key not in known, budget, options.alpha_crown):
            rows.append(row)
            print(
                f"{' / '.join(row.key)}: ≤ {row.linf:.4g}, found {row.found_linf:.4g}, {row.seconds:.1f} s", flush=True
            )
            save()
    print(report(rows, machine))


if __name__ == "__main__":
    main()
