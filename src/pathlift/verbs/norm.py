"""The path-norms of a network."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pathlift.frontend.files import replacing
from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.types import MEMORY_LIMIT
from pathlift.models.source import Model, extents, open_model
from pathlift.passes.heaviest_path.heaviest_path import HeaviestPath, HeaviestPathResult
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.path_norm.result import PathNormResult
from pathlift.report.arrays import check_weights, save_weights
from pathlift.report.charts import check_chart, draw_chart
from pathlift.verbs.norm_regions import norm_of_regions
from pathlift.verbs.norm_result import NormResult

if TYPE_CHECKING:
    import torch


def norm(
    model: Model,
    *,
    q: float | Sequence[float] = 1.0,
    mixed: float | None = None,
    pooling: Literal["sum", "max"] = "sum",
    inputs_only: bool = False,
    dtype: Literal["float64", "float32"] = "float64",
    device: str | torch.device = "cpu",
    shape: Mapping[str, int] | None = None,
    per_layer: bool = False,
    per_weight: bool = False,
    heaviest_path: bool = False,
    regions: bool = False,
    weights: str | os.PathLike[str] | None = None,
    chart: str | os.PathLike[str] | None = None,
    force: bool = False,
    full: bool = False,
    memory_limit: int = MEMORY_LIMIT,
    assume_eval: bool = False,
    example: Any = None,
) -> NormResult:
    """Compute the path-norms ‖Φ(θ)‖_q of a network.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, a `Graph`, or a ``torch.nn.Module`` (then `example` is needed).
    q
        One exponent, or several: between 1e-6 and 1e6, 0 for the number of non-zero paths, ∞ for the largest
        absolute product along a path.
    mixed
        r: compute ‖Φ‖_{q,r}, the r-norm over the output elements of their q-norms. Between 1e-6 and 1e6, or ∞.
    pooling
        ``sum``: the path-norm. ``max``: pools as maxima, a smaller bound for Lipschitz purposes that is no path-norm.
    inputs_only
        Leave out the paths that start at a bias.
    dtype
        Of the computation; exponents are tracked, so neither overflows.
    device
        Where to compute: ``cpu``, ``cuda``, ``cuda:0``.
    shape
        Extents of symbolic dimensions, by name. The batch needs none.
    per_layer
        Also compute each layer's share and gain, for the first q.
    per_weight
        Also compute each weight's share, for the first q: ``result.analysis.weights``.
    heaviest_path
        Also find the path with the largest absolute product of weights: ``result.heaviest_path``.
    regions
        Compute the norms of each part of the network that path-norms cover, as those of a network of its own:
        ``result.regions``. There are no norms of the whole then.
    weights
        An .npz file to write the weights' shares to, by the parameters' names.
    chart
        An .svg, .png or .pdf file to draw the layers' gains and shares into; needs ``pathlift[plot]``.
    force
        Replace files that exist.
    full
        List per-output figures past 10,000 outputs too.
    memory_limit
        Bytes that no tensor may pass.
    assume_eval
        Read training-mode layers as in evaluation.
    example
        For a module: the shape of its input, or one shape or tensor per input.

    Raises
    ------
    PathliftError
        With the exit code of the command line: 2 usage, 3 invalid model, 4 unsupported.

    References
    ----------
    Gonon, Brisebarre, Riccietti, Gribonval, "A path-norm toolkit for modern networks", arXiv 2310.01225.
    """
    options = PathNorm(
        q=_exponents(q),
        mixed=_outer_exponent(mixed),
        pooling=pooling,
        inputs_only=inputs_only,
        dtype=dtype,
        device=str(device),
        shape=extents(shape),
        per_layer=per_layer or chart is not None,
        per_weight=per_weight or weights is not None,
        memory_limit=memory_limit,
    )
    if regions and (options.per_layer or options.per_weight or heaviest_path):
        reason = "of regions there are norms alone: no shares of layers or weights, no chart, no heaviest path"
        raise UsageError("0445", reason, hint="ask for one or the other")
    options.check()
    files = _files(weights, chart)
    opened = open_model(model, memory_limit=memory_limit, assume_eval=assume_eval, example=example)
    if regions:
        return norm_of_regions(opened, options, full=full)
    with ExitStack() as stack:
        staged = {what: stack.enter_context(replacing(path, force=force)) for what, path in files.items()}
        analysis = _run(options, opened.graph)
        path = _heaviest_path(options, opened.graph) if heaviest_path else None
        if "weights" in staged:
            save_weights(staged["weights"], analysis.weights)
        if "chart" in staged:
            name = Path(opened.source.path or "the network").name
            draw_chart(staged["chart"], analysis.layers, analysis.norms[0], name)
    return NormResult(
        input=opened.source,
        assumptions=tuple(dict.fromkeys([*analysis.assumptions, *(path.assumptions if path else ())])),
        warnings=opened.warnings,
        analysis=analysis,
        heaviest_path=path,
        files=files,
        full=full,
    )


def _run(options: PathNorm, graph: Graph) -> PathNormResult:
    try:
        return options.run(graph)
    except UnsupportedError as refusal:
        if refusal.node:  # the others may be fine
            hints = [refusal.hint, "--regions gives the norms of the supported parts"]
            refusal.hint = "; ".join(filter(None, hints))
        raise


def _heaviest_path(options: PathNorm, graph: Graph) -> HeaviestPathResult:
    return HeaviestPath(options.shape, options.memory_limit, options.inputs_only).run(graph)


def _files(weights: Any, chart: Any) -> dict[str, str]:
    """The files to write, by what goes into them; their names are checked."""
    files = {}
    if weights is not None:
        files["weights"] = str(weights)
        check_weights(files["weights"])
    if chart is not None:
        files["chart"] = str(chart)
        check_chart(files["chart"])
    return files


def _exponents(q: Any) -> tuple[float, ...]:
    try:
        if isinstance(q, str):
            raise TypeError("its characters are no exponents")
        return (float(q),) if isinstance(q, Real) else tuple(map(float, q))
    except (TypeError, ValueError) as error:
        raise UsageError("0422", f"q is {q!r}, not an exponent or a list of them", hint="q=[1, 2]") from error


def _outer_exponent(mixed: Any) -> float | None:
    if not isinstance(mixed, Real | None):
        raise UsageError("0424", f"mixed is {mixed!r}, not an exponent", hint="mixed=2")
    return None if mixed is None else float(mixed)
