"""Dense layers approximated by products of Kronecker-sparse factors."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pathlift.ir.graph import Graph
from pathlift.ir.types import MEMORY_LIMIT, Array
from pathlift.models.data import batches, read_calibration
from pathlift.models.source import Model, open_model
from pathlift.report.result import Result

if TYPE_CHECKING:
    from pathlift.passes.kronecker.ks_fit import Approximation, LayerFit, Progress

_TRIED = 4
"""Batches on which outputs are compared."""


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
        By output, ‖y − y'‖ / ‖y‖ over all that was tried.
    output
        Where the model was written.
    """

    graph: Graph
    approximation: Approximation
    data: str
    output_errors: Mapping[str, float]
    output: str | None

    def to_json(self) -> dict[str, Any]:
        layers = list(self.approximation.layers.values())
        return {
            "replaced": sum(not layer.reason for layer in layers),
            "layers": list(map(_layer, layers)),
            "skipped": [{"node": node, "reason": reason} for node, reason in self.approximation.skipped.items()],
            "end_to_end": {"data": self.data, "relative_error": dict(self.output_errors)},
            "output": self.output,
        }


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
    layers: str = "*",
    patterns: str = "auto",
    budget: str = "",
    solver: str = "auto",
    calib: str | os.PathLike[str] | Mapping[str, Array] | None = None,
    steps: int = 0,
    seed: int = 0,
    samples: int = 1568,
    device: str = "cpu",
    feature_major: bool = False,
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    memory_limit: int = MEMORY_LIMIT,
    assume_eval: bool = False,
    example: Any = None,
    progress: Progress | None = None,
) -> KsFitResult:
    """Approximate dense layers by products of Kronecker-sparse factors, and rewrite the model.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, a `Graph`, or a ``torch.nn.Module`` (then `example` is needed).
    layers
        Globs, separated by commas, of nodes or their weights.
    patterns
        ``auto``, or those of the factors, ``(a,b,c,d)(a,b,c,d)…``, as they multiply or as they are applied.
    budget
        ``flops=R`` (multiplications over those of the dense layer), ``error=R`` (relative error), or both. ``auto`` has
        ``flops=0.5,error=0.2`` by default.
    solver
        ``hsvd`` (closed form), ``als``, ``adam``, ``muon``, or ``auto``.
    calib
        An ``.npz`` file or arrays by input name: layers are then fitted to what they read, by its second moments.
    steps
        Of an iterative solver; its default if 0.
    seed
        Of all that is random.
    samples, device
        What the speed is predicted for: rows per layer, on ``cpu`` (one thread), ``h100`` or ``a100``.
    feature_major
        Keep consecutive layers feature-major, with transpositions at the ends only.
    output, force
        Where to write the result as ONNX, and whether to replace it.
    memory_limit, assume_eval, example
        As in `pathlift.norm`.
    progress
        Called with a layer's name, its number, and how many there are.

    Raises
    ------
    PathliftError
        If the model or the data cannot be read, an option is wrong, or patterns fit none of the layers.
    """
    from pathlift.passes.kronecker.epilogue import FuseEpilogue
    from pathlift.passes.kronecker.ks_fit import ApproximateLayers, Approximation
    from pathlift.passes.kronecker.layout import AssignLayout
    from pathlift.passes.layers.dense import dense_layers
    from pathlift.passes.pipeline import run_pipeline
    from pathlift.passes.sketches.moments import second_moments

    opened = open_model(model, memory_limit=memory_limit, assume_eval=assume_eval, example=example)
    before = opened.graph
    approximate = ApproximateLayers(
        layers=layers, patterns=patterns, budget=budget, solver=solver, steps=steps, seed=seed, samples=samples,
        device=device,
    )  # fmt: skip
    arrays = None if calib is None else read_calibration(before, calib)
    moments = None
    if arrays is not None:
        moments = second_moments(before, dense_layers(before, layers)[0], batches(before, arrays))
    rewritten = approximate.fit(before, moments, progress)
    witness = rewritten.witness
    assert isinstance(witness, Approximation)
    witness.check(before, rewritten.graph)
    graph = rewritten.graph
    if feature_major:
        graph, _ = run_pipeline(graph, [FuseEpilogue(), AssignLayout()])
    data, errors = "none", dict[str, float]()
    if graph is not before:
        data = "random" if arrays is None else "calibration"
        feeds = _random(before, seed, memory_limit) if arrays is None else batches(before, arrays)
        errors = _output_errors(before, graph, itertools.islice(feeds, _TRIED))
    if output is not None:
        from pathlift.frontend.save import save

        save(graph, output, force=force)
    return KsFitResult(
        input=opened.source,
        warnings=opened.warnings,
        assumptions=("speed is predicted by a cost model, and right within a factor of 1.5 mostly",),
        graph=graph,
        approximation=witness,
        data=data,
        output_errors=errors,
        output=None if output is None else os.fspath(output),
    )


def _random(graph: Graph, seed: int, memory_limit: int) -> Iterable[Mapping[str, Array]]:
    from pathlift.models.probes import Probes, signature

    return [feeds for name, feeds in itertools.islice(Probes(signature(graph, {}, memory_limit), seed), 1)]


def _output_errors(before: Graph, after: Graph, feeds: Iterable[Mapping[str, Array]]) -> dict[str, float]:
    import torch

    from pathlift.ir.algebras.interpret import run
    from pathlift.ir.algebras.numeric import Numeric

    algebra = Numeric(torch.float32)
    rest, whole = dict[str, float](), dict[str, float]()
    with torch.inference_mode():
        for batch in feeds:
            tensors = {name: algebra.tensor(np.asarray(x)) for name, x in batch.items()}
            expected, found = run(before, algebra, tensors), run(after, algebra, tensors)
            for name, y in expected.items():
                if isinstance(y, torch.Tensor) and y.is_floating_point():
                    rest[name] = rest.get(name, 0.0) + float((y - found[name]).double().square().sum())
                    whole[name] = whole.get(name, 0.0) + float(y.double().square().sum())
    return {name: (rest[name] / whole[name]) ** 0.5 if whole[name] else 0.0 for name in whole}
