"""Dense layers approximated by products of Kronecker-sparse factors."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pathlift.ir.errors import UsageError
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.ir.stages import stage
from pathlift.models.options import (
    AssumeEval,
    Calibration,
    Cluster,
    CostModel,
    Flag,
    Force,
    MemoryLimit,
    Model,
    ModelOutput,
    Progress,
    Samples,
    Seed,
)
from pathlift.report.result import Result
from pathlift.report.tables import Payload, percent, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.ir.graph import Graph
    from pathlift.ir.types import Array
    from pathlift.passes.kronecker.fitting.layer import LayerFit
    from pathlift.passes.kronecker.ks_fit import Approximation
    from pathlift.report.page import Page


@dataclass(frozen=True, kw_only=True)
class KsFitResult(Result):
    """The rewritten graph, what became of each layer, and by how much outputs differ.

    Parameters
    ----------
    graph
        With `KSLinear` nodes where layers were replaced.
    approximation
        Per layer.
    data
        What outputs were compared on: ``calibration``, ``random``, or ``none`` where the model could not be executed.
    output_errors
        By output, ‖y − y'‖ / ‖y‖ over all that was tried; ∞ where an output is not finite.
    samples
        How many inputs that were: all of the calibration data.
    output
        Where the model was written.
    """

    graph: Graph
    approximation: Approximation
    data: str
    output_errors: Mapping[str, float]
    samples: int
    output: str | None

    ROWS = ("layers",)

    def to_json(self) -> dict[str, Any]:
        layers = list(self.approximation.layers.values())
        return {
            "replaced": sum(not layer.reason for layer in layers),
            "layers": list(map(_layer, layers)),
            "skipped": [{"node": node, "reason": reason} for node, reason in self.approximation.skipped.items()],
            "end_to_end": {
                "data": self.data,
                "samples": self.samples,
                "relative_error": {name: e if isfinite(e) else None for name, e in self.output_errors.items()},
            },
            "output": self.output,
        }

    def headline(self) -> str:
        fits = self.approximation.layers.values()
        return f"{sum(not layer.reason for layer in fits)} of {len(fits)} layers replaced"

    def chart(self) -> Page | None:
        from pathlift.report.row_chart import Panel, row_chart

        layers = list(self.approximation.layers.values())
        if not layers:
            return None
        errors = [None if x.error is None else 100 * x.error for x in layers]
        panels = [
            Panel("error of the weights [%]", errors),
            Panel("operations left [%]", [100 * x.cost if x.patterns else None for x in layers]),
        ]
        return row_chart([x.node for x in layers], "layers fitted by Kronecker-sparse factors", panels)


def _layer(layer: LayerFit) -> dict[str, Any]:
    return {
        "node": layer.node,
        "rows": layer.rows,
        "cols": layer.cols,
        "replaced": not layer.reason,
        "reason": layer.reason or None,
        "patterns": [list(p) for p in layer.patterns],
        "flops_ratio": layer.cost if layer.patterns else None,
        "error": layer.error,
        "operator_error": layer.operator_error,
        "weighted_error": layer.weighted_error,
        "bound": layer.bound,
        "solver": layer.solver or None,
        "predicted_speedup": layer.speedup,
    }


def ks_fit(
    model: Model,
    *,
    layers: Annotated[str, Flag(metavar="GLOB,...")] = "*",
    patterns: Annotated[str, Flag(metavar="PATTERNS")] = "auto",
    budget: Annotated[str, Flag(metavar="LIMIT=R,...", default="flops=0.5,error=0.2 for auto")] = "",
    solver: Annotated[str, Flag()] = "auto",
    calib: Calibration = None,
    sketch: Annotated[str | os.PathLike[str] | None, Flag(metavar="FILE.npz", type=Path)] = None,
    partial: Annotated[bool, Flag()] = False,
    steps: Annotated[int, Flag(default="the solver's")] = 0,
    seed: Seed = 0,
    samples: Samples = 1568,
    device: CostModel = "cpu",
    feature_major: Annotated[bool, Flag()] = False,
    cluster: Cluster = None,
    output: ModelOutput = None,
    force: Force = False,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    assume_eval: AssumeEval = False,
    example: Any = None,
    progress: Annotated[Callable[[str, int, int], object] | None, Progress("fitting")] = None,
) -> KsFitResult:
    """Approximate dense layers by products of Kronecker-sparse factors, and rewrite the model.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, a `Graph`, or a ``torch.nn.Module`` (then `example` is needed).
    layers
        Nodes, or their weights. Globs, separated by commas.
    patterns
        auto, or (a,b,c,d)(a,b,c,d)... of the factors. As they multiply, or as they are applied.
    budget
        flops=R of the dense layer's operations, error=R of its outputs or weights, or both. R is between 0 and 1;
        ``auto`` has ``flops=0.5,error=0.2`` by default.
    solver
        hsvd, als, adam, muon, or auto. ``hsvd`` is a closed form, the others are iterative.
    calib
        Data, by input name, to fit the layers' outputs on. An ``.npz`` file or arrays: layers are then fitted to what
        they read, by its second moments.
    sketch
        A sketch of data, instead of it. `calibrate` writes it.
    partial
        Take a sketch that was interrupted, too.
    steps
        Of an iterative solver. Its default if 0.
    seed
        Of all that is random.
    samples
        Rows, batch times positions, that times are predicted for.
    device
        What they are predicted for: cpu, h100, h200 or a100. On a CPU, by one thread.
    feature_major
        Keep consecutive layers feature-major. Transpositions are then at the ends only.
    cluster
        Fit layers in N processes of this machine, or on a Dask cluster: tcp://host:8786. Factors do not depend on how
        many workers there are; each computes with one thread, and another number of threads may round differently.
    output
        The file to write: ONNX, or a text if it ends in .plir; - for standard output, where ONNX goes.
    force
        Replace output files that exist.
    memory_limit
        Refuse larger tensors and models. In bytes.
    assume_eval
        Read training-mode layers as in evaluation.
    example
        For a module: the shape of its input, or one shape or tensor per input.
    progress
        Called with a layer's name, its number, and how many there are.

    Raises
    ------
    PathliftError
        If the model or the data cannot be read, an option is wrong, or patterns fit none of the layers.
    """
    from pathlift.models.data import batches, left_over, read_calibration
    from pathlift.models.source import open_model
    from pathlift.models.spread import spread
    from pathlift.passes.kronecker.epilogue import FuseEpilogue
    from pathlift.passes.kronecker.ks_fit import ApproximateLayers, Approximation
    from pathlift.passes.kronecker.layout import AssignLayout
    from pathlift.passes.layers.dense import dense_layers
    from pathlift.passes.pipeline import run_pipeline
    from pathlift.passes.sizes import open_extents
    from pathlift.passes.sketches.moments import second_moments

    opened = open_model(model, memory_limit=memory_limit, assume_eval=assume_eval, example=example)
    before = opened.graph
    approximate = ApproximateLayers(
        layers=layers, patterns=patterns, budget=budget, solver=solver, steps=steps, seed=seed, samples=samples,
        device=device,
    )  # fmt: skip
    arrays = None if calib is None else read_calibration(before, calib)
    left = () if arrays is None else left_over(before, arrays)
    moments = None
    if sketch is not None:
        from pathlift.models.sketches.fitting import fitting_moments

        if arrays is not None:
            raise UsageError("1516", "both data and a sketch are given to fit to", hint="one or the other")
        moments, left = fitting_moments(before, sketch, layers, partial, memory_limit)
    if arrays is not None:
        with stage("moments of the data"):
            moments = second_moments(before, dense_layers(before, layers)[0], batches(before, arrays))
    with spread(cluster) as each, stage("fitting"):
        rewritten = approximate.fit(before, moments, progress, each=each)
    witness = rewritten.witness
    assert isinstance(witness, Approximation)
    with stage("checking the fit"):
        witness.check(before, rewritten.graph)
    graph = rewritten.graph
    if feature_major:
        graph, _ = run_pipeline(graph, [FuseEpilogue(), AssignLayout()])
    data, errors, count, untried = "none", dict[str, float](), 0, tuple[str, ...]()
    if graph is not before:
        if arrays is None and (unknown := open_extents(before)):
            untried = (f"outputs are not compared: the extents of {', '.join(unknown)} are not known",)
        else:
            data = "random" if arrays is None else "calibration"
            feeds = _random(before, seed, memory_limit) if arrays is None else batches(before, arrays)
            with stage("comparing outputs"):
                errors, count = _output_errors(before, graph, feeds)
    written = None
    if output is not None:
        from pathlift.models.output import write_model

        written = write_model(graph, output, force=force)
    return KsFitResult(
        input=opened.source,
        warnings=(*opened.warnings, *(written.rounded if written else ())),
        assumptions=(
            f"speed is predicted by a cost model, for {samples} rows, and right within a factor of 1.5 mostly",
            *left,
            *untried,
        ),
        graph=graph,
        approximation=witness,
        data=data,
        output_errors=errors,
        samples=count,
        output=written and written.name,
    )


def _random(graph: Graph, seed: int, memory_limit: int) -> Iterable[Mapping[str, Array]]:
    from pathlift.models.probes import Probes, signature

    return [feeds for name, feeds in itertools.islice(Probes(signature(graph, {}, memory_limit), seed), 1)]


def _output_errors(before: Graph, after: Graph, feeds: Iterable[Mapping[str, Array]]) -> tuple[dict[str, float], int]:
    """Return ‖y − y'‖/‖y‖ of each output y over all samples, ∞ if one is not finite; and how many samples these are."""
    import numpy as np
    import torch

    from pathlift.ir.algebras.interpret import run
    from pathlift.ir.algebras.numeric import Numeric
    from pathlift.ir.foreign import running

    algebra = Numeric(torch.float32)
    rest, whole, count = dict[str, float](), dict[str, float](), 0
    with running(), torch.inference_mode():
        for batch in feeds:
            count += max((len(x) if np.ndim(x) else 1 for x in batch.values()), default=1)
            tensors = {name: algebra.tensor(np.asarray(x)) for name, x in batch.items()}
            expected, found = run(before, algebra, tensors), run(after, algebra, tensors)
            for name, y in expected.items():
                if isinstance(y, torch.Tensor) and y.is_floating_point():
                    rest[name] = rest.get(name, 0.0) + float((y - found[name]).double().square().sum())
                    whole[name] = whole.get(name, 0.0) + float(y.double().square().sum())
    return {name: _ratio(rest[name], whole[name]) for name in whole}, count


def _ratio(rest: float, whole: float) -> float:
    if not (isfinite(rest) and isfinite(whole)):
        return inf
    return (rest / whole) ** 0.5 if whole else inf if rest else 0.0


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield one row per layer, why some stay, and by how much outputs differ."""
    figures = ["flops", "error", "operator", "outputs", "predicted"]
    rows = [
        [
            layer["node"],
            f"{layer['rows']}×{layer['cols']}",
            "".join(f"({','.join(map(str, p))})" for p in layer["patterns"]) if layer["replaced"] else "stays dense",
            percent(layer["flops_ratio"], ".3g", "–"),
            *(percent(layer[key], ".3g", "–") for key in ("error", "operator_error", "weighted_error")),
            "–" if layer["predicted_speedup"] is None else f"{layer['predicted_speedup']:.2f}×",
        ]
        for layer in payload["layers"]
    ]
    if rows:
        yield table(
            ["layer", "matrix", "factors", *figures],
            rows,
            right=figures,
            less=["matrix", "operator", "predicted", "flops"],
        )
    for layer in payload["layers"]:
        if layer["reason"]:
            yield f"{layer['node']} stays dense: {layer['reason']}"
    for skipped in payload["skipped"]:
        yield f"{skipped['node']} is left out: {skipped['reason']}"
    errors = payload["end_to_end"]["relative_error"]
    for name, error in errors.items():
        on = f"{payload['end_to_end']['samples']} {payload['end_to_end']['data']} inputs"
        yield f"output {name}: off by {percent(error, '.3g', '∞')} on {on}"
    if payload["output"]:
        yield f"written to {payload['output']}"
