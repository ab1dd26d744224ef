"""The product of the layers' operator norms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.verbs.bounds.kind import Bound, Options, Term, power

if TYPE_CHECKING:
    from pathlift.ir.graph import Graph
    from pathlift.passes.generalization.operator_norms import NormName
    from pathlift.report.page import Page
    from pathlift.report.tables import Payload

OPTIONS = frozenset({"norm"})


def compute(graph: Graph, options: Options) -> Bound:
    """Bound the Lipschitz constant of a network, and compare with what its path-norm says."""
    from pathlift.passes.generalization.product import norm_product
    from pathlift.passes.generalization.rademacher import value
    from pathlift.passes.rewrites.strip_head import StripHead
    from pathlift.passes.sizes import check_sizes, missing_batches, resolve_inputs

    stripped = StripHead().run(graph)
    inputs = resolve_inputs(stripped.graph, dict(options.shape))
    check_sizes(stripped.graph, inputs, options.memory_limit)
    if options.norm == "l1":
        raise UsageError("1481", "a product of operator norms is of one norm", hint="--norm l2 or linf")
    norm: NormName = "linf" if options.norm == "linf" else "l2"
    found = norm_product(stripped.graph, inputs, norm)
    path, why = _by_paths(stripped.graph, options) if norm == "linf" else (None, "it bounds ‖·‖_∞; ask for --norm linf")
    terms = {
        "norm": Term(norm, "of inputs and outputs"),
        "layers": Term([{"node": x.node, "op": x.op, "norm": x.norm} for x in found.layers], "operator norms"),
        "log10_path_norm": Term(
            path, why or "log10 of the bound by paths, max_y ‖Φ_y‖₁ without biases, pools as maxima"
        ),
    }
    compared = ""
    if path is not None and found.log10 is not None:
        compared = f"; the bound by paths is {'smaller' if path < found.log10 else 'larger'}: {power(path)}"
    claim = f"outputs move by at most {power(found.log10)} times as much as inputs"
    verdict = f"{claim}{compared}; without a range of inputs nothing says whether that is much"
    said = (stripped.witness.describe(), *missing_batches(stripped.graph, inputs))
    return Bound(
        log10=found.log10,
        value=0.0 if found.log10 is None else value(found.log10),
        terms=terms,
        vacuous=None,
        verdict=verdict,
        assumptions=tuple(line for line in said if line),
    )


def chart(payload: Payload) -> Page:
    """Draw the operator norm of each layer."""
    from pathlift.report.row_chart import Panel, row_chart

    rows = payload["terms"]["layers"]
    norms = Panel(f"operator norm, {payload['terms']['norm']}", [x["norm"] for x in rows], line=1.0)
    return row_chart([x["node"] for x in rows], "operator norms of layers", [norms])


def _by_paths(graph: Graph, options: Options) -> tuple[float | None, str]:
    """log10 of the path-norm's bound from ℓ_∞ to ℓ_∞, or why there is none."""
    from pathlift.models.certificates.lipschitz import path_constant

    try:
        return path_constant(graph, "linf", options.shape, options.memory_limit), ""
    except UnsupportedError as refusal:
        return None, f"none: {refusal.message}"
