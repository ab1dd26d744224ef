"""From two files to a bound: what `compare` does on a domain, and what `verify-cert` does again."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from math import inf
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pathlift.frontend.files import check_replaceable, replacing
from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.stages import stage
from pathlift.models.certificates.certificate import encode_box, stated, write
from pathlift.models.certificates.distance import Comparison, Measured
from pathlift.models.domain import Domains, read_domains
from pathlift.passes.certificates.blame import blame
from pathlift.passes.certificates.encoding import encode
from pathlift.passes.certificates.problem import Bound
from pathlift.report.distance import METHODS, DistanceResult, LayerBlame, MethodBound
from pathlift.report.tables import at_most

if TYPE_CHECKING:
    from pathlift.models.source import Opened

WORKS = "files are read as functions of real numbers: rounding in the executor's own format is not covered"
OUTWARD = (
    "bounds are rounded outward: centres and radii in float64, inflated by γₙ of Higham (Accuracy and Stability of "
    "Numerical Algorithms, §3.1) times the magnitudes"
)


@dataclass(frozen=True)
class Request:
    """What is asked of a comparison on a domain; the fields are `compare`'s options."""

    domain: Mapping[str, Any] | None = None
    at: Any = None
    radius: float | None = None
    tol: float | None = None
    norm: str = "l1"
    budget: float = 30.0
    seed: int = 0
    per_layer: bool = False
    chart: Any = None
    certificate: Any = None
    witness: Any = None
    force: bool = False
    device: str = "cpu"

    def check(self) -> None:
        """Check what can be checked before a file is read.

        Raises
        ------
        UsageError
            If an option is out of range.
        """
        if self.tol is not None and not 0 <= self.tol < inf:
            raise UsageError("1467", f"the tolerance is {self.tol}", hint="a number that is not negative")
        if self.norm not in ("l1", "linf"):
            raise UsageError("1467", f"there is no norm {self.norm!r}", hint="l1 or linf")
        if not 0 < self.budget < inf:
            raise UsageError("1467", f"the budget is {self.budget} seconds", hint="a positive number")
        named = [os.path.abspath(p) for p in (self.certificate, self.chart, self.witness) if p is not None]
        if len(named) > len(set(named)):
            raise UsageError("1467", "two files that are to be written have the same name")
        if self.tol is not None and self.witness is not None:
            check_replaceable(self.witness, force=self.force)


def distance(
    ours: Opened, theirs: Opened, request: Request, progress: Callable[[str, int, int], object] | None = None
) -> DistanceResult:
    """Bound the difference of two models on a domain.

    Raises
    ------
    UsageError
        If the models have different inputs or outputs, or an option is wrong.
    UnsupportedError
        If no method has a finite or an infinite bound to offer.
    """
    request.check()
    if request.chart is not None:
        from pathlift.report.row_chart import check_chart

        check_chart(str(request.chart))
    if request.certificate is not None and None in (ours.source.sha256, theirs.source.sha256):
        raise UsageError("1468", "a certificate is about two files", hint="give their paths")
    _check_apart(request, ours, theirs)
    domains = read_domains(ours.graph, request.domain, at=request.at, radius=request.radius, shape=dict(ours.shape))
    with stage("pairing"):
        comparison = Comparison.of(ours.graph, theirs.graph, torch.device(request.device))
    if request.per_layer and comparison.pair is None:
        raise UsageError("1468", f"there are no common layers: {comparison.apart}")
    with ExitStack() as stack:
        files = _files(request)
        staged = {what: stack.enter_context(replacing(path, force=request.force)) for what, path in files.items()}
        with stage("bounding"):
            measured = _measured(comparison, domains, request, progress)
        if not any(m.outcome.bounds for m in measured):
            refused = {name: reason for m in measured for name, reason in m.outcome.refused.items()}
            reasons = {reason: ", ".join(n for n in refused if refused[n] == reason) for reason in refused.values()}
            raise UnsupportedError("0345", "; ".join(f"{names}: {reason}" for reason, names in reasons.items()))
        verdict, refuting = _verdict(comparison, domains, measured, request)
        told = _told(comparison, domains, measured, request, verdict)
        with stage("layers, one by one") if request.per_layer else nullcontext():
            layers = _blame(comparison, measured, request) if request.per_layer else None
        written = {}
        if "certificate" in staged:
            _write_certificate(staged["certificate"], ours, theirs, comparison, domains, measured, request, told)
            written["certificate"] = files["certificate"]
        if "chart" in staged and layers is not None:
            from pathlift.report.blame_chart import draw_blame
            from pathlift.report.page import save_chart

            name = Path(theirs.source.path or "the second model").name
            figures = [b.measured for b in layers], [b.bound for b in layers]
            save_chart(draw_blame([b.node for b in layers], *figures, name), staged["chart"])
            written["chart"] = files["chart"]
    if refuting is not None:
        written["witness"] = _write_witness(refuting, request)
    return DistanceResult(
        input=ours.source,
        other=theirs.source,
        assumptions=(*domains.assumptions, *comparison.remarks, WORKS, OUTWARD),
        warnings=(*ours.warnings, *theirs.warnings),
        domain=domains.to_json(),
        blame=layers,
        files=written,
        exit_code={"proved": 0, "bounded": 0, "refuted": 1, "inconclusive": 5}[verdict],
        **told,
    )


def _check_apart(request: Request, ours: Opened, theirs: Opened) -> None:
    """Check that nothing is written over a model that is compared."""
    models = {os.path.realpath(opened.source.path) for opened in (ours, theirs) if opened.source.path}
    for path in (request.certificate, request.chart, request.witness):
        if path is not None and os.path.realpath(path) in models:
            raise UsageError("1467", f"{os.fspath(path)!r} is one of the models that are compared")


def _measured(
    comparison: Comparison, domains: Domains, request: Request, progress: Callable[[str, int, int], object] | None
) -> list[Measured]:
    measured: list[Measured] = []
    count = len(domains.boxes)

    def tell(method: str, bound: Bound) -> None:
        if progress is not None:
            progress(f"{method}: ≤ {at_most(getattr(bound, request.norm))}", len(measured), count)

    for domain in domains:
        if progress is not None:
            progress("attack", len(measured), count)
        try:
            measured.append(comparison.measure(domain, request.budget / count, request.seed, tell))
        except KeyboardInterrupt:
            if not measured:
                raise
            break  # of this box nothing is known; the ones before it are done
        if measured[-1].outcome.interrupted:
            break
    return measured


def _verdict(
    comparison: Comparison, domains: Domains, measured: Sequence[Measured], request: Request
) -> tuple[str, Mapping[str, torch.Tensor] | None]:
    """What is shown of the tolerance, and the input that refutes it, if any."""
    # An interrupt may have left boxes undone, and of a box all methods may be refused.
    whole = len(measured) == len(domains.boxes) and all(m.outcome.bounds for m in measured)
    if request.tol is None:
        return "bounded" if whole else "inconclusive", None
    worst = max(measured, key=lambda m: getattr(m.attacked, request.norm))
    if getattr(worst.attacked, request.norm) > request.tol:
        return "refuted", comparison.as_fed(worst, request.norm, request.tol)
    small = whole and all(getattr(m.outcome, request.norm) <= request.tol for m in measured)
    return "proved" if small else "inconclusive", None


def _told(
    comparison: Comparison, domains: Domains, measured: Sequence[Measured], request: Request, verdict: str
) -> dict[str, Any]:
    """The result's figures: over all boxes, the largest."""
    del comparison
    outcomes = [m.outcome for m in measured]
    missing = len(measured) < len(domains.boxes)
    methods = {}
    for name in METHODS:
        bounds = [o.bounds.get(name) for o in outcomes]
        refused = next((o.refused[name] for o in outcomes if name in o.refused), "")
        known = [b for b in bounds if b is not None]
        if not known and not refused:
            continue
        whole = len(known) == len(outcomes) and not missing
        methods[name] = MethodBound(
            max(b.l1 for b in known) if whole else None,
            max(b.linf for b in known) if whole else None,
            sum(o.seconds.get(name, 0.0) for o in outcomes),
            "" if known else refused,
        )
    proved = not missing and all(o.bounds for o in outcomes)
    per_output = torch.stack([o.per_output for o in outcomes]).amax(0).tolist() if proved else []
    l1, linf = (max(getattr(o, norm) for o in outcomes) if proved else inf for norm in ("l1", "linf"))
    best = {"l1": "", "linf": ""}
    if proved:
        best = {norm: max(outcomes, key=attrgetter(norm)).best(norm) for norm in best}
    return {
        "methods": methods,
        "l1": l1,
        "linf": linf,
        "best": best,
        "per_output": per_output,
        "per_sample": [
            {"l1": m.outcome.l1, "linf": m.outcome.linf, "sampled_l1": m.attacked.l1, "sampled_linf": m.attacked.linf}
            for m in measured if m.outcome.bounds
        ],
        "sampled_l1": max(m.attacked.l1 for m in measured),
        "sampled_linf": max(m.attacked.linf for m in measured),
        "norm": request.norm,
        "tolerance": request.tol,
        "verdict": verdict,
        "interrupted": missing or any(o.interrupted for o in outcomes),
    }  # fmt: skip


def _blame(comparison: Comparison, measured: Sequence[Measured], request: Request) -> list[LayerBlame]:
    """What each layer does, on the box where most was found."""
    worst = max(measured, key=lambda m: m.attacked.l1)
    problem = comparison.problem(worst.domain)
    points = [[worst.attacked.witness[norm][name] for name in worst.domain.low] for norm in ("l1", "linf")]
    found = [LayerBlame(b.node, b.bound, b.measured) for b in blame(problem, points, request.seed)]
    return sorted(found, key=lambda b: -b.measured)


def _files(request: Request) -> dict[str, str]:
    named = {"certificate": request.certificate, "chart": request.chart}
    return {what: os.fspath(path) for what, path in named.items() if path is not None}


def _write_witness(point: Mapping[str, torch.Tensor], request: Request) -> str:
    beside = Path(request.certificate).parent if request.certificate is not None else Path()
    path = Path(request.witness) if request.witness is not None else _free(beside / "witness.npz")
    arrays: dict[str, Any] = {name: x.detach().cpu().numpy() for name, x in point.items()}
    with replacing(path, force=request.force) as stage, stage.open("wb") as file:
        np.savez(file, **arrays)
    return str(path)


def _free(path: Path) -> Path:
    """A name that is not taken."""
    candidates = [path, *(path.with_stem(f"{path.stem}-{i}") for i in range(2, 1000))]
    return next(c for c in candidates if not c.exists())


def _write_certificate(
    path: Path,
    ours: Opened,
    theirs: Opened,
    comparison: Comparison,
    domains: Domains,
    measured: Sequence[Measured],
    request: Request,
    told: Mapping[str, Any],
) -> None:
    from importlib.metadata import version

    if told["l1"] == inf and told["linf"] == inf:
        done = f": {len(measured)} of {len(domains.boxes)} boxes were done" if told["interrupted"] else ""
        raise UnsupportedError("0346", f"there is no finite bound to certify{done}")
    boxes = [{n: {"low": m.domain.low[n], "high": m.domain.high[n]} for n in m.domain.low} for m in measured]
    content = {
        "tool": {"name": "pathlift", "version": version("pathlift")},
        "first": {"path": ours.source.path, "sha256": ours.source.sha256},
        "second": {"path": theirs.source.path, "sha256": theirs.source.sha256},
        "domain": domains.to_json(),
        "boxes": [{n: {side: encode_box(x) for side, x in ends.items()} for n, ends in box.items()} for box in boxes],
        "shape": dict(ours.shape),
        "bound": {
            "l1": stated(told["l1"]),
            "linf": stated(told["linf"]),
            "per_output": [stated(x) for x in told["per_output"]],
        },
        "method": told["best"],
        "found": {"l1": told["sampled_l1"], "linf": told["sampled_linf"], "seed": request.seed},
        "steps": [encode(m.outcome.steps) for m in measured],
        "assumptions": [*domains.assumptions, *comparison.remarks, WORKS, OUTWARD],
    }
    write(path, content)
