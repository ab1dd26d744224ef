"""Bounds of generalization errors by the path-norm: Theorem 3.1 of arXiv 2310.01225."""

from __future__ import annotations

from math import inf, log, nextafter, sqrt
from typing import TYPE_CHECKING

from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.verbs.bounds.kind import Bound, Options, Term, positive, power

if TYPE_CHECKING:
    from pathlift.ir.graph import Graph
    from pathlift.models.labelled import Labelled
    from pathlift.passes.generalization.constants import Constants
    from pathlift.passes.generalization.rademacher import Gap
    from pathlift.passes.path_norm.result import Norm

OPTIONS = frozenset({"data", "samples", "input_bound", "loss", "margin", "delta"})


def compute(graph: Graph, options: Options) -> Bound:
    """Bound the gap between the loss on new data and that on the samples; with data and a margin, the error itself."""
    from pathlift.models.labelled import Labelled
    from pathlift.passes.generalization.constants import constants
    from pathlift.passes.path_norm.batch import batch_extent, batch_note
    from pathlift.passes.path_norm.path_norm import PathNorm
    from pathlift.passes.rewrites.strip_head import StripHead
    from pathlift.passes.sizes import check_sizes, resolve_inputs

    _check(options)
    stripped = StripHead().run(graph)
    inputs = resolve_inputs(stripped.graph, dict(options.shape))
    check_sizes(stripped.graph, inputs, options.memory_limit)
    constants(stripped.graph, inputs)  # refuses what the theorem does not cover
    batch = batch_extent(stripped.graph, inputs)
    if batch == 1 and (note := batch_note(1, inputs)):
        raise UnsupportedError("1383", f"samples depend on each other: {note}")
    found = constants(stripped.graph, inputs, batch)
    (norm,) = PathNorm(shape=options.shape, memory_limit=options.memory_limit).run(stripped.graph).norms
    data = None if options.data is None else Labelled.read(stripped.graph, options.data)
    said = tuple(line for line in (stripped.witness.describe(),) if line)
    if data is not None and options.loss == "margin":
        return _of_error(found, norm, data, options, said)
    return _of_gap(found, norm, data, options, said)


def _check(options: Options) -> None:
    if options.data is None and options.samples is None:
        raise UsageError("1481", "a generalization bound depends on the number of samples", hint="--samples, or --data")
    if (options.margin is None) != (options.loss != "margin"):
        raise UsageError("1481", "--loss margin and --margin need each other")
    positive(options.margin, "margin")
    positive(options.samples, "samples")
    positive(options.input_bound, "input_bound")


def _lipschitz(options: Options) -> float:
    """L: √2 for the cross-entropy of a softmax, √2/γ for the ramp loss of the margin, rounded up."""
    return nextafter(sqrt(2), inf) if options.margin is None else nextafter(sqrt(2) / options.margin, inf) * (1 + 1e-15)


def _of_gap(found: Constants, norm: Norm, data: Labelled | None, options: Options, said: tuple[str, ...]) -> Bound:
    """The expected gap, over all networks whose path-norm is at most this one's."""
    import numpy as np

    from pathlift.passes.generalization.rademacher import gap

    n = options.samples if data is None else data.count
    assert n is not None
    assumptions = [*said, "r is fixed before the samples are seen: the bound is for the class of networks ‖Φ‖₁ ≤ r"]
    size = options.input_bound
    if size is None and data is not None:
        size = max(float(np.abs(x).max(initial=0.0)) for x in data.inputs.values())
        assumptions.append("no input is larger than those of the data: B is theirs")
    if size is None:
        size = 1.0
        assumptions.append("‖x‖_∞ ≤ 1")
    scale = nextafter(max(size, 1.0) / sqrt(n) * (1 + 1e-15), inf)
    total = gap(scale, _lipschitz(options), found.proved, norm.upper_log10)
    trivial = 1.0 if options.margin else log(found.d_out)
    what = "no such loss exceeds 1" if options.margin else f"the loss of guessing is ln {found.d_out} = {trivial:.4g}"
    terms = {
        "B": Term(size, "bound on ‖x‖_∞"),
        "n": Term(n, "samples"),
        **_terms(found, norm, options, scale),
        "trivial": Term(trivial, what),
    }  # fmt: skip
    vacuous = _exceeds(total, trivial)
    verdict = _verdict(vacuous, total.log10, f"the expected gap of the {_loss(options)} is at most", what)
    return Bound(
        log10=total.log10, value=total.value, terms=terms, vacuous=vacuous, verdict=verdict,
        assumptions=tuple(assumptions),
    )  # fmt: skip


def _of_error(found: Constants, norm: Norm, data: Labelled, options: Options, said: tuple[str, ...]) -> Bound:
    """The error on new data, with confidence 1 − δ, from the margins on the samples."""
    from math import log10

    import numpy as np

    from pathlift.ir.algebras.numeric import Numeric
    from pathlift.models.labelled import ramps
    from pathlift.passes.generalization.rademacher import deviation, gap, grid_point

    assert options.margin is not None
    if options.samples is not None or options.input_bound is not None:
        raise UsageError("1481", "the data tells the number of samples and their size", hint="leave --samples out")
    n, delta = data.count, options.confidence
    losses = sum(ramps(y, labels, options.margin) for y, labels in data.scores(Numeric())) / n
    squares = max(float((x.astype(np.float64) ** 2).sum(0).max(initial=0.0)) for x in data.inputs.values())
    sigma = sqrt(max(n, squares * (1 + n * 2e-16))) * (1 + 1e-15)
    point = grid_point(norm.upper_log10)
    part = gap(nextafter(sigma / n, inf), _lipschitz(options), found.proved, point.log10_r)
    off = deviation(n, delta * point.share)
    loss = losses * (1 + n * 2e-16)
    known = part.value is not None
    value = nextafter(loss + (part.value or 0.0) + off, inf) if known else None
    bound = part.log10 if value is None else nextafter(log10(value) + 1e-15, inf) if value else None
    vacuous = value is None or value >= 1
    terms = {
        "γ": Term(options.margin, "margin, fixed before the samples are seen"),
        "n": Term(n, "samples"),
        "σ": Term(sigma, "√ of the largest Σ x_iu² over inputs u, at least √n"),
        **_terms(found, norm, options, sigma / n),
        "r_k": Term(point.log10_r, "log10 of the grid's point above r: r_k = 2^((k−1)/8)"),
        "k": Term(point.index, "its number; the grid gives it the share 6/(πk)² of δ"),
        "δ": Term(delta, "probability that the bound does not hold"),
        "margin_loss": Term(loss, "loss on the samples: 1 − margin/γ, between 0 and 1"),
        "gap": Term(part.value, "4·σ/n·L·C·r_k"),
        "deviation": Term(off, "3·√(ln(2/δ_k)/(2n))"),
    }
    assumptions = (*said, "the samples are independent, and γ was fixed before they were seen")
    claim = f"with probability {1 - delta:g}, the error is at most"
    verdict = _verdict(vacuous, bound, claim, "no error exceeds 1")
    return Bound(log10=bound, value=value, terms=terms, vacuous=vacuous, verdict=verdict, assumptions=assumptions)


def _terms(found: Constants, norm: Norm, options: Options, scale: float) -> dict[str, Term]:
    """The theorem's constants."""
    how = "proved" if found.sharpened_is_proved else "without proof for this graph"
    return {
        "L": Term(_lipschitz(options), f"Lipschitz constant of the {_loss(options)} in the scores"),
        "D": Term(found.depth, "linear maps with weights on the longest path"),
        "P": Term(found.types, "different kinds of pools"),
        "K": Term(found.fan_in, "most values of a pool"),
        "M": Term(found.pools, "most pools on a path"),
        "d_in": Term(found.d_in, "inputs"),
        "d_out": Term(found.d_out, "outputs"),
        "C": Term(found.proved, "the C of this bound"),
        "C_published": Term(found.published, "C of Theorem 3.1"),
        "C_sharpened": Term(found.sharpened, f"C with K per pool, not per layer: {how}"),
        "C_counted": Term(found.counted, "C by the proof's own count of this graph's kinds of paths"),
        "factor": Term(4 * scale * found.proved, "the bound is L·r times this"),
        "factor_published": Term(4 * scale * found.published, "the same by Theorem 3.1"),
        "log10_r": Term(norm.upper_log10, "log10 of ‖Φ‖₁, rounded up"),
    }


def _loss(options: Options) -> str:
    return "margin loss" if options.margin else "cross-entropy"


def _exceeds(total: Gap, trivial: float) -> bool:
    return total.log10 is not None and (total.value is None or total.value >= trivial) and total.log10 > -300


def _verdict(vacuous: bool, log10: float | None, claim: str, trivial: str) -> str:
    """Say whether a bound says anything, against what is true of any network."""
    return f"{'vacuous' if vacuous else 'not vacuous'}: {claim} {power(log10)}; {trivial}"
