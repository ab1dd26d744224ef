"""The verb `compare`: how far two models can be apart, or whether they are one up to symmetries of their weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pathlift.ir.errors import UsageError
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.models import parse
from pathlift.models.options import (
    AssumeEval,
    At,
    DeviceOption,
    Domain,
    Flag,
    Force,
    MemoryLimit,
    Model,
    Progress,
    Radius,
    Seed,
    Shape,
)  # fmt: skip
from pathlift.report.distance import DistanceResult
from pathlift.report.distance import text as distance_text
from pathlift.report.equivalence import EquivalenceResult
from pathlift.report.equivalence import text as equivalence_text
from pathlift.report.tables import Payload

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.ir.graph import Graph
    from pathlift.models.source import Opened

SYMMETRIES = ("rescaling", "permutation")
TOLERANCES = {8: 1e-9, 4: 1e-5, 2: 2e-2, 1: 0.25}
"""By the bytes of the coarsest real numbers among the weights."""
EXIT_CODES = {"equivalent": 0, "different": 1, "bounded": 0, "proved": 0, "refuted": 1, "inconclusive": 5}

Budget = Annotated[float, Flag(metavar="SECONDS")]


def compare(
    a: Annotated[
        Model,
        Flag("first", argument=True, type=Path, read=parse.model, help="An ONNX file or a text; - for standard input."),
    ],
    b: Annotated[Model, Flag("second", argument=True, type=Path, read=parse.model, help="Another one.")],
    *,
    domain: Domain = None,
    at: At = None,
    radius: Radius = None,
    tol: Annotated[float | None, Flag(metavar="T")] = None,
    norm: Annotated[Literal["l1", "linf"], Flag()] = "l1",
    budget: Budget = 30.0,
    seed: Seed = 0,
    per_layer: Annotated[bool, Flag()] = False,
    chart: Annotated[str | os.PathLike[str] | None, Flag(metavar="FILE", type=Path)] = None,
    certificate: Annotated[
        str | os.PathLike[str] | None, Flag("--certificate", "-c", metavar="FILE.json", type=Path)
    ] = None,
    witness: Annotated[str | os.PathLike[str] | None, Flag(metavar="FILE.npz", type=Path)] = None,
    force: Force = False,
    shape: Shape = None,
    device: DeviceOption = "cpu",
    modulo: Annotated[Sequence[str] | None, Flag(metavar="SYMMETRY,...", read=parse.names)] = None,
    tolerance: Annotated[
        float | None, Flag(metavar="R", default="1e-9 for float64, 1e-5 for float32, more below")
    ] = None,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    assume_eval: AssumeEval = False,
    example: Any = None,
    progress: Annotated[Callable[[str, int, int], object] | None, Progress("bounding")] = None,
) -> DistanceResult | EquivalenceResult:
    """Bound how far two models can be apart on a domain, or decide whether they are one up to symmetries.

    The bound holds for every real input of the domain, both files being read as functions of real numbers; it is
    rounded outward. With `modulo`, the question is another one: whether a rescaling and a permutation turns the weights
    of one into those of the other, which is checked on every weight. Models that compute the same function in another
    way are different there, but for folded batch norms and constants.

    Parameters
    ----------
    a, b
        Paths, bytes, ModelProtos, `Graph` objects, or ``torch.nn.Module`` objects (then `example` is needed).
    domain
        What an input lies in: x=LO:HI, or x=FILE.npz with arrays low and high. Several boxes, if the arrays hold a
        batch. By default every input is in [-1, 1].
    at
        Samples to look around, by input. An ``.npz`` file, or arrays.
    radius
        How far any element of a sample may move. The domain is then what inputs stay within.
    tol
        Prove that the difference is at most T. Exit code 0 if proved, 1 if refuted, 5 if neither.
    norm
        Which norm of the difference `tol` is about: the sum or the largest element.
    budget
        Seconds to search, in all. Cheap bounds are computed whatever it is.
    seed
        Of all that is random.
    per_layer
        Show what each layer's change does alone. To the bound, and to the difference that is found.
    chart
        Draw what each layer does: .svg, .png or .pdf. Needs ``pathlift[plot]``.
    certificate
        Write what `verify-cert` needs to prove the bound again.
    witness
        Where an input that refutes `tol` is written. By default ``witness.npz`` next to the certificate or here.
    force
        Replace output files that exist.
    shape
        Fill in symbolic dimensions. Extents by name; the batch needs none.
    device
        Compute on cpu, cuda, cuda:0, ...
    modulo
        Decide equivalence up to these: rescaling, permutation, or both. An empty sequence for equal weights.
    tolerance
        Relative difference of two weights that counts as none, with `modulo`. By default 1e-9 for float64, 1e-5 for
        float32, 2e-2 for 16 and 0.25 for 8 bits.
    memory_limit
        Refuse larger tensors and models. In bytes.
    assume_eval
        Read training-mode layers as in evaluation.
    example
        For a module: the shape of its input, or one shape or tensor per input.
    progress
        Called with what goes on, its number, and how many there are.

    Raises
    ------
    UsageError
        If options contradict each other, the models have different inputs or outputs, or something is out of range.
    PathliftError
        If a model cannot be read, or holds weights that are NaN.
    """
    from pathlift.models.source import extents, open_model

    given = extents(shape)
    if modulo is not None:
        _check_modulo(modulo, tolerance, {"domain": domain, "at": at, "radius": radius, "tol": tol})
    elif tolerance is not None:
        raise UsageError("1466", "a tolerance of weights belongs to --modulo", hint="--tol T is one of outputs")
    ours, theirs = (
        open_model(m, memory_limit=memory_limit, assume_eval=assume_eval, example=example, shape=given) for m in (a, b)
    )
    if modulo is not None:
        return _equivalence(ours, theirs, tuple(modulo), tolerance)
    from pathlift.models.certificates.certify import Request, distance

    return distance(
        ours,
        theirs,
        Request(
            domain=domain, at=at, radius=radius, tol=tol, norm=norm, budget=budget, seed=seed,
            per_layer=per_layer or chart is not None, chart=chart, certificate=certificate, witness=witness,
            force=force, device=str(device),
        ),
        progress,
    )  # fmt: skip


def _check_modulo(modulo: Sequence[str], tolerance: float | None, others: Mapping[str, Any]) -> None:
    if isinstance(modulo, str):
        raise UsageError("0452", f"modulo is {modulo!r}, not a sequence", hint=f"modulo=({modulo!r},)")
    unknown = [name for name in modulo if name not in SYMMETRIES]
    if unknown:
        raise UsageError("0452", f"there is no symmetry {unknown[0]!r}", hint="rescaling, permutation, or both")
    if tolerance is not None and not 0 <= tolerance < 1:
        raise UsageError("0453", f"the tolerance is {tolerance}, not in [0, 1)")
    asked = [name for name, value in others.items() if value is not None]
    if asked:
        raise UsageError("1466", f"--{asked[0]} is about outputs, --modulo about weights", hint="one or the other")


def _equivalence(ours: Opened, theirs: Opened, modulo: tuple[str, ...], tolerance: float | None) -> EquivalenceResult:
    from pathlift.passes.equivalence.modulo import Modulo

    allowed = _tolerance(ours.graph, theirs.graph) if tolerance is None else tolerance
    judge = Modulo("rescaling" in modulo, "permutation" in modulo, allowed)
    found = judge.compare(ours.graph, theirs.graph)
    return EquivalenceResult(
        input=ours.source,
        other=theirs.source,
        warnings=(*ours.warnings, *theirs.warnings),
        modulo=modulo,
        tolerance=allowed,
        equivalence=found,
        exit_code=EXIT_CODES[found.verdict],
    )


def _tolerance(*graphs: Graph) -> float:
    from pathlift.ir.types import is_float

    params = [p for g in graphs for key in g.params if (p := g[key].value) is not None and is_float(p.dtype)]
    return TOLERANCES[min((p.dtype.itemsize for p in params), default=8)]


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield whichever answer was asked for."""
    yield from equivalence_text(payload) if "modulo" in payload else distance_text(payload)
