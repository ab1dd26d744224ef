"""The verb `compare`: whether two models are the same function up to symmetries of their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.types import MEMORY_LIMIT, is_float
from pathlift.models.source import Model, open_model
from pathlift.report.result import Result, Source

if TYPE_CHECKING:
    from pathlift.passes.equivalence.factors import Rescaling
    from pathlift.passes.equivalence.outcome import Equivalence

SYMMETRIES = ("rescaling", "permutation")
TOLERANCES = {8: 1e-9, 4: 1e-5, 2: 2e-2, 1: 0.25}
"""By the bytes of the coarsest real numbers among the weights."""
EXIT_CODES = {"equivalent": 0, "different": 1, "inconclusive": 5}


@dataclass(frozen=True, kw_only=True)
class CompareResult(Result):
    """The answer, and what turns one model into the other or where they differ.

    Parameters
    ----------
    other
        The second file.
    modulo
        The symmetries that were allowed.
    tolerance
        The largest relative difference of two weights that counts as none.
    equivalence
        What was found.
    """

    other: Source
    modulo: tuple[str, ...]
    tolerance: float
    equivalence: Equivalence

    def to_json(self) -> dict[str, Any]:
        found = self.equivalence
        moved = found.permutation.channels() if found.permutation is not None else {}
        return {
            "other": {"path": self.other.path, "sha256": self.other.sha256},
            "modulo": list(self.modulo),
            "tolerance": self.tolerance,
            "verdict": found.verdict,
            "reason": found.reason or None,
            "largest_difference": _finite(found.largest),
            "difference": None if found.difference is None else _difference(found),
            "rescaling": _rescaling_json(found.rescaling) if found.rescaling is not None else None,
            "permutation": [{"node": node, "image": image.tolist()} for node, image in moved.items()]
            if found.permutation is not None
            else None,
        }


def compare(
    a: Model,
    b: Model,
    *,
    modulo: Sequence[str] = ("rescaling",),
    tolerance: float | None = None,
    memory_limit: int = MEMORY_LIMIT,
    assume_eval: bool = False,
    example: Any = None,
) -> CompareResult:
    """Decide whether two models are the same function up to a rescaling, or a permutation, of their neurons.

    Equivalent means: some rescaling and permutation turns the weights of one into those of the other, which was
    checked on every weight. Different means that none does; models that compute the same function in another way are
    different here, but for folded batch norms and constants.

    Parameters
    ----------
    a, b
        Paths, bytes, ModelProtos, `Graph` objects, or ``torch.nn.Module`` objects (then `example` is needed).
    modulo
        Of ``rescaling`` and ``permutation``; none for equal weights.
    tolerance
        The largest relative difference of two weights that counts as none; by default 1e-9 for float64, 1e-5 for
        float32, 2e-2 for 16 and 0.25 for 8 bits.
    memory_limit
        Bytes that no tensor may pass.
    assume_eval
        Read training-mode layers as in evaluation.
    example
        For a module: the shape of its input, or one shape or tensor per input.

    Raises
    ------
    UsageError
        If there is no such symmetry, or the tolerance is not in [0, 1).
    PathliftError
        If a model cannot be read, or holds weights that are NaN.
    """
    from pathlift.passes.equivalence.modulo import Modulo

    unknown = [name for name in modulo if name not in SYMMETRIES]
    if unknown:
        raise UsageError("0452", f"there is no symmetry {unknown[0]!r}", hint="rescaling, permutation, or both")
    if tolerance is not None and not 0 <= tolerance < 1:
        raise UsageError("0453", f"the tolerance is {tolerance}, not in [0, 1)")
    ours, theirs = (open_model(m, memory_limit=memory_limit, assume_eval=assume_eval, example=example) for m in (a, b))
    allowed = _tolerance(ours.graph, theirs.graph) if tolerance is None else tolerance
    judge = Modulo("rescaling" in modulo, "permutation" in modulo, allowed)
    found = judge.compare(ours.graph, theirs.graph)
    return CompareResult(
        input=ours.source,
        other=theirs.source,
        warnings=(*ours.warnings, *theirs.warnings),
        modulo=tuple(modulo),
        tolerance=allowed,
        equivalence=found,
        exit_code=EXIT_CODES[found.verdict],
    )


def _tolerance(*graphs: Graph) -> float:
    params = [p for g in graphs for key in g.params if (p := g[key].value) is not None and is_float(p.dtype)]
    return TOLERANCES[min((p.dtype.itemsize for p in params), default=8)]


def _finite(value: float | None) -> float | None:
    return value if value is not None and value < float("inf") else None


def _difference(found: Equivalence) -> dict[str, Any]:
    told = asdict(found.difference) if found.difference is not None else {}
    # JSON has no NaN or infinity.
    values = told["values"] and [
        v if not isinstance(v, float) or abs(v) < float("inf") else None for v in told["values"]
    ]
    return told | {"index": told["index"] and list(told["index"]), "values": values}


def _rescaling_json(rescaling: Rescaling) -> list[dict[str, Any]]:
    """By the nodes that compute them, the binary logarithms of the neurons' factors; null where no weight tells."""
    groups: dict[tuple[str, ...], list[float | None]] = {}
    for number, nodes in rescaling.symmetry.writers().items():
        log2 = float(rescaling.log2[number])
        groups.setdefault(nodes, []).append(None if log2 != log2 else log2)
    return [{"nodes": list(nodes), "log2_factors": logs} for nodes, logs in groups.items()]
