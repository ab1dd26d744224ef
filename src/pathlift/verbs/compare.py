"""The verb `compare`: how far two models can be apart, or whether they are one up to symmetries or numerically."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pathlift.ir.errors import UsageError
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.ir.stages import stage
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
from pathlift.report.sameness import SamenessResult
from pathlift.report.sameness import text as sameness_text
from pathlift.report.tables import Payload

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.ir.graph import Graph
    from pathlift.models.source import Model as AnyModel
    from pathlift.models.source import Opened

SYMMETRIES = ("rescaling", "permutation")
NONE = "none"
"""Asks about outputs, not weights."""
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
    modulo: Annotated[str | Sequence[str] | None, Flag(metavar="none|SYMMETRY,...", read=parse.names)] = None,
    tolerance: Annotated[float | None, Flag(metavar="R", default="by the coarsest format of real numbers")] = None,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    assume_eval: AssumeEval = False,
    example: Any = None,
    progress: Annotated[Callable[[str, int, int], object] | None, Progress("bounding")] = None,
) -> DistanceResult | EquivalenceResult | SamenessResult:
    """Bound how far two models can be apart, decide if they are one up to symmetries, or run both and see.

    The bound holds for every real input of the domain, both files being read as functions of real numbers; it is
    rounded outward. With `modulo`, the question is another one: whether a rescaling and a permutation turns the weights
    of one into those of the other, which is checked on every weight. Models that compute the same function in another
    way are different there, but for folded batch norms and constants. ``modulo="none"`` runs both files in ONNX Runtime
    on inputs that are random, extreme or given by `at`, and says whether all outputs agree, and the first layer whose
    output does not although all that it reads does. It proves nothing about other inputs, and takes models of any ops.

    Parameters
    ----------
    a, b
        Paths, bytes, ModelProtos, `Graph` objects, or ``torch.nn.Module`` objects (then `example` is needed).
    domain
        What an input lies in: x=LO:HI, or x=FILE.npz with arrays low and high. Several boxes, if the arrays hold a
        batch. By default every input is in [-1, 1].
    at
        Samples to look around, by input, or to run both on. An ``.npz`` file, or arrays.
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
        Where an input that refutes `tol` is written. By default ``witness.npz`` next to the certificate or here. With
        modulo ``none``, the input that shows the difference; by default it is not written.
    force
        Replace output files that exist.
    shape
        Fill in symbolic dimensions. Extents by name; the batch needs none.
    device
        Compute on cpu, cuda, cuda:0, ...
    modulo
        Decide equivalence up to rescaling, permutation, or both; none compares outputs. An empty sequence asks for
        equal weights.
    tolerance
        Relative difference that counts as none, with `modulo`. Of two weights, by default 1e-9 for float64, 1e-5 for
        float32, 2e-2 for 16 and 0.25 for 8 bits; with ``none``, of outputs, by default 1e-9, 1e-4, and 5e-2 below,
        while integers and Booleans are to be equal.
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
    UnsupportedError
        If ONNX Runtime cannot run a model, with modulo ``none``.
    PathliftError
        If a model cannot be read, or holds weights that are NaN.
    """
    from pathlift.models.source import extents, open_model

    given, symmetries = extents(shape), _symmetries(modulo)
    if symmetries is not None:
        of_one = {"domain": domain, "radius": radius, "tol": tol, "per-layer": per_layer or None, "chart": chart}
        of_one |= {"certificate": certificate} | ({} if symmetries == (NONE,) else {"at": at, "witness": witness})
        _check_modulo(symmetries, tolerance, of_one)
    elif tolerance is not None:
        raise UsageError("1466", "a tolerance of weights belongs to --modulo", hint="--tol T is one of outputs")
    if symmetries == (NONE,):
        # The files are run as they are: extents are those of inputs, not of the graphs.
        options = {"memory_limit": memory_limit, "assume_eval": assume_eval, "example": example}
        return _sameness((a, b), options, at, tolerance, seed, given, witness, force=force)
    ours, theirs = (
        open_model(m, memory_limit=memory_limit, assume_eval=assume_eval, example=example, shape=given) for m in (a, b)
    )
    if symmetries is not None:
        return _equivalence(ours, theirs, symmetries, tolerance)
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


def _symmetries(modulo: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Return what may differ, by name; a string may hold several."""
    return None if modulo is None else parse.names(modulo) if isinstance(modulo, str) else tuple(modulo)


def _check_modulo(modulo: tuple[str, ...], tolerance: float | None, others: Mapping[str, Any]) -> None:
    unknown = [name for name in modulo if name not in (*SYMMETRIES, NONE)]
    if unknown:
        raise UsageError("0452", f"there is no symmetry {unknown[0]!r}", hint="rescaling, permutation, both, or none")
    if NONE in modulo and len(modulo) > 1:
        raise UsageError("0452", "none is no symmetry beside others", hint="--modulo none compares outputs")
    limit = inf if modulo == (NONE,) else 1.0
    if tolerance is not None and not (0 <= tolerance < limit or tolerance == limit == inf):
        raise UsageError("0453", f"the tolerance is {tolerance}, not in [0, {limit:g})")
    asked = [name for name, value in others.items() if value is not None]
    if asked and modulo == (NONE,):
        raise UsageError(
            "1466", f"--{asked[0]} is about bounds, --modulo none runs both files", hint="one or the other"
        )
    if asked:
        raise UsageError("1466", f"--{asked[0]} is about outputs, --modulo about weights", hint="one or the other")


def _sameness(
    models: tuple[AnyModel, AnyModel],
    options: Mapping[str, Any],
    at: Any,
    tolerance: float | None,
    seed: int,
    shape: tuple[tuple[str, int], ...],
    witness: str | os.PathLike[str] | None,
    *,
    force: bool,
) -> SamenessResult:
    from pathlift.models.sameness.judge import Question, sameness
    from pathlift.models.source import open_model

    parse.seed(seed)
    opened = open_model(models[0], **options), open_model(models[1], **options)
    return sameness(opened, Question(at, tolerance, seed, shape, options["memory_limit"], witness, force))


def _equivalence(ours: Opened, theirs: Opened, modulo: tuple[str, ...], tolerance: float | None) -> EquivalenceResult:
    from pathlift.passes.equivalence.modulo import Modulo

    allowed = _tolerance(ours.graph, theirs.graph) if tolerance is None else tolerance
    judge = Modulo("rescaling" in modulo, "permutation" in modulo, allowed)
    with stage("comparing weights"):
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
    if payload.get("modulo") == NONE:
        yield from sameness_text(payload)
    else:
        yield from equivalence_text(payload) if "modulo" in payload else distance_text(payload)
