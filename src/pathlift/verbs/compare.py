"""The verb `compare`: whether two models are the same function up to symmetries of their weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pathlift.ir.errors import UsageError
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.models import parse
from pathlift.models.options import AssumeEval, Flag, MemoryLimit, Model
from pathlift.report.result import Result, Source
from pathlift.report.symmetries import node_names
from pathlift.report.tables import Payload

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.ir.graph import Graph
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
    a: Annotated[Model, Flag("first", argument=True, type=Path, help="An ONNX file.")],
    b: Annotated[Model, Flag("second", argument=True, type=Path, help="Another one.")],
    *,
    modulo: Annotated[Sequence[str], Flag(metavar="SYMMETRY,...", read=parse.names, required=True)] = ("rescaling",),
    tolerance: Annotated[
        float | None, Flag(metavar="R", default="1e-9 for float64, 1e-5 for float32, more below")
    ] = None,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    assume_eval: AssumeEval = False,
    example: Any = None,
) -> CompareResult:
    """Decide whether two models are the same function up to symmetries of their weights.

    Equivalent means: some rescaling and permutation turns the weights of one into those of the other, which was
    checked on every weight. Different means that none does; models that compute the same function in another way are
    different here, but for folded batch norms and constants.

    Parameters
    ----------
    a, b
        Paths, bytes, ModelProtos, `Graph` objects, or ``torch.nn.Module`` objects (then `example` is needed).
    modulo
        Up to what: rescaling, permutation, or both. None of them for equal weights.
    tolerance
        Relative difference of two weights that counts as none. By default 1e-9 for float64, 1e-5 for float32, 2e-2 for
        16 and 0.25 for 8 bits.
    memory_limit
        Refuse larger tensors and models. In bytes.
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
    from pathlift.models.source import open_model
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
    from pathlift.ir.types import is_float

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


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield the answer, and the witness or the first difference."""
    modulo = " and ".join(payload["modulo"]) or "nothing: equal weights"
    largest = payload["largest_difference"]
    if payload["verdict"] == "different":
        yield f"different (modulo {modulo})"
        yield payload["difference"]["message"]
        return
    if payload["verdict"] == "inconclusive":
        yield f"inconclusive (modulo {modulo}): {payload['reason']}"
        return
    agree = "" if largest is None else f": all weights agree to {largest:.2g}, within {payload['tolerance']:g}"
    yield f"equivalent (modulo {modulo}){agree}"
    logs = [x for group in payload["rescaling"] or [] for x in group["log2_factors"] if x is not None]
    if logs:
        yield f"{len(logs):,} neurons of the first are rescaled by 2^{min(logs):.2f} to 2^{max(logs):.2f}"
    if payload["permutation"] is not None:
        nodes = [p["node"] for p in payload["permutation"]]
        yield f"channels are in another order in {node_names(nodes).strip()}" if nodes else "no channel moved"
