"""Robustness of samples: whether their class can change within a radius."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from math import inf
from typing import TYPE_CHECKING, Any

from pathlift.ir.errors import UsageError
from pathlift.report.tables import Payload, at_least, more, percent, table
from pathlift.verbs.bounds.kind import Bound, Options, Term

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.ir.graph import Graph
    from pathlift.ir.types import Array
    from pathlift.models.certificates.robustness import Sample
    from pathlift.report.page import Page

OPTIONS = frozenset({"domain", "at", "radius", "budget", "seed", "witness", "force"})
VERDICTS = ("certified", "refuted", "unknown")
MOST_ROWS = 20


def compute(graph: Graph, options: Options) -> Bound:
    """Certify that no input within the radius of a sample has another class, or find one that has."""
    import torch

    from pathlift.frontend.files import replacing
    from pathlift.models.certificates.robustness import Classifier, witnesses
    from pathlift.models.domain import read_domains
    from pathlift.passes.attacks.domain import Domain
    from pathlift.passes.rewrites.strip_head import StripHead
    from pathlift.passes.sizes import check_sizes, missing_batches, resolve_inputs

    budget = options.seconds
    if options.at is None or options.radius is None:
        raise UsageError("1481", "robustness is that of samples", hint="--at FILE.npz --radius R")
    stripped = StripHead().run(graph)
    inputs = resolve_inputs(stripped.graph, dict(options.shape))
    check_sizes(stripped.graph, inputs, options.memory_limit)
    arrays, labels = _split(options.at, inputs)
    shape = dict(options.shape)
    domains = read_domains(stripped.graph, options.domain, at=arrays, radius=options.radius, shape=shape)
    centres = read_domains(stripped.graph, None, at=arrays, radius=0.0, shape=shape)
    if labels is not None and labels.shape != (len(domains.boxes),):
        raise UsageError("1472", f"there are labels {list(labels.shape)} of {len(domains.boxes)} samples")
    samples = {name: torch.cat([box.low[name] for box in centres]) for name in inputs}
    limits = None
    if options.domain is not None:
        (inner,) = read_domains(stripped.graph, options.domain, shape=shape).boxes[:1]
        free = {n: torch.full_like(x, 1e300) for n, x in inner.low.items() if n not in options.domain}
        limits = Domain({**inner.low, **{n: -x for n, x in free.items()}}, {**inner.high, **free})
    with ExitStack() as stack:
        stage = None
        if options.witness is not None:
            stage = stack.enter_context(replacing(options.witness, force=bool(options.force)))
        judged = Classifier(stripped.graph).judge(
            domains.boxes, samples, options.radius, labels, limits, budget, options.seed or 0
        )
        if stage is not None:
            import numpy as np

            with stage.open("wb") as file:
                np.savez(file, **witnesses(judged))  # type: ignore[arg-type]  # arrays by name: NumPy reads `allow_pickle` into it
    said = [stripped.witness.describe(), *missing_batches(stripped.graph, inputs)]
    if labels is None:
        said.append("the class of a sample is the one that the network gives it")
    return _told(judged, options, said)


def _split(at: Any, inputs: Any) -> tuple[dict[str, Any], Array | None]:
    """The samples, and their labels where there are some."""
    from collections.abc import Mapping

    import numpy as np

    from pathlift.models.data import read_arrays

    arrays = dict(at) if isinstance(at, Mapping) else read_arrays({"": at})
    if "y" not in arrays or "y" in inputs:
        return arrays, None
    labels = np.asarray(arrays.pop("y"))
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise UsageError("1472", f"labels are {labels.dtype} of shape {list(labels.shape)}, not whole numbers in a row")
    return arrays, labels


def _told(judged: Sequence[Sample], options: Options, said: Sequence[str]) -> Bound:
    from math import log10

    count = len(judged)
    totals = {verdict: sum(sample.verdict == verdict for sample in judged) for verdict in VERDICTS}
    share = totals["certified"] / count
    accuracy = {
        "clean_accuracy": sum(sample.own == sample.label for sample in judged) / count,
        "certified_accuracy": share,
        "attacked_accuracy": 1 - totals["refuted"] / count,
    }
    rows = [
        {
            "sample": i, "label": sample.label, "class": sample.own, "verdict": sample.verdict,
            "margin": sample.margin if sample.margin > -inf else None, "method": sample.method or None,
            "reason": sample.reason if sample.verdict == "unknown" and sample.reason else None,
        }
        for i, sample in enumerate(judged)
    ]  # fmt: skip
    how = "no input within the radius has another class" if totals["certified"] else "nothing is proved of any sample"
    verdict = (
        f"{totals['certified']} of {count} samples certified: {how}; {totals['refuted']} refuted by an input that was "
        f"found; {totals['unknown']} unknown"
    )
    return Bound(
        log10=log10(share) if share else None, value=share, vacuous=not totals["certified"], verdict=verdict,
        terms={
            "radius": Term(options.radius, "how far any element of a sample may move"),
            "samples": Term(count, "in all"),
            "per_sample": Term(rows, "margin: a lower bound of the label's score less any other"),
        },
        assumptions=tuple(line for line in said if line),
        figures={**totals, **accuracy},
        exit_code=1 if totals["refuted"] else 5 if totals["unknown"] else 0,
    )  # fmt: skip


def chart(payload: Payload) -> Page:
    """Draw the margin that is proved of each sample."""
    from pathlift.report.row_chart import Panel, row_chart

    rows = payload["terms"]["per_sample"]
    margins = Panel("margin of the class at least", [row["margin"] for row in rows], line=0.0)
    names = [f"sample {row['sample']}, {row['verdict']}" for row in rows]
    return row_chart(names, f"within {payload['terms']['radius']:g}", [margins])


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield the totals, a table of samples, and one line of what that means."""
    totals = [[name, str(payload[name]), percent(payload[name] / payload["terms"]["samples"])] for name in VERDICTS]
    yield table([f"within {payload['terms']['radius']:g}", "samples", "share"], totals, right=["samples", "share"])
    yield ""
    rows = []
    for row in payload["terms"]["per_sample"]:
        why = row["reason"] or ""
        rows.append(
            [str(row["sample"]), str(row["label"]), row["verdict"], at_least(row["margin"]), row["method"] or "", why]
        )
    headings = ["sample", "class", "verdict", "margin at least", "method", ""]
    yield table(headings, rows[:MOST_ROWS], right=headings[:2] + headings[3:4], less=["method", "class"])
    yield from more(len(rows) - MOST_ROWS)
    yield ""
    yield payload["verdict"]
