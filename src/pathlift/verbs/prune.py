"""Weights that are worth least set to zero, and what that costs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pathlift.ir.errors import UsageError
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.models.options import (
    AssumeEval,
    Domain,
    Flag,
    Force,
    MemoryLimit,
    Model,
    Output,
    Progress,
    Seed,
    Shape,
)
from pathlift.report.result import Result
from pathlift.report.tables import Bar, Payload, percent, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.ir.graph import Graph
    from pathlift.models.pruning import PruningCertificate
    from pathlift.models.source import Opened
    from pathlift.passes.pruning.masks import Pruned

Masks = Annotated[str | os.PathLike[str] | None, Flag(metavar="FILE.npz", type=Path)]


@dataclass(frozen=True, kw_only=True)
class PruneResult(Result):
    """The pruned graph, what went, and what that costs.

    Parameters
    ----------
    graph
        With zeros; of the same nodes.
    criterion
        By which weights were chosen; ``masks`` for given ones.
    requested
        The sparsity that was asked for; ``None`` where masks or N:M say it.
    pruned
        Masks by parameter, and counts per layer.
    certificate
        What is proved of the difference.
    files
        Names of the files that were written, by what is in them.
    """

    graph: Graph
    criterion: str
    requested: float | None
    pruned: Pruned
    certificate: PruningCertificate
    files: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        layers = [
            {"node": layer.node, "parameter": layer.parameter, "total": layer.total, "zeroed": layer.zeroed}
            for layer in self.pruned.layers
        ]
        return {
            "criterion": self.criterion,
            "sparsity_requested": self.requested,
            "sparsity": self.pruned.sparsity,
            "total": self.pruned.total,
            "zeroed": self.pruned.zeroed,
            "layers": layers,
            "kept": [{"node": node, "reason": reason} for node, reason in self.pruned.kept.items()],
            "certificate": self.certificate.to_json(),
            "output": None,
            **self.files,
        }


def prune(
    model: Model,
    *,
    sparsity: Annotated[float | None, Flag(metavar="S")] = None,
    criterion: Annotated[str, Flag()] = "path",
    scope: Annotated[str, Flag(default="global; row for wanda")] = "",
    pattern: Annotated[str, Flag(metavar="N:M")] = "",
    block: Annotated[str, Flag(metavar="BxC")] = "",
    schedule: Annotated[int, Flag(metavar="ROUNDS")] = 1,
    include: Annotated[str, Flag(metavar="GLOB,...")] = "*",
    exclude: Annotated[str, Flag(metavar="GLOB,...")] = "",
    biases: Annotated[bool, Flag()] = False,
    masks: Masks = None,
    save_masks: Masks = None,
    domain: Domain = None,
    budget: Annotated[float, Flag(metavar="SECONDS")] = 10.0,
    seed: Seed = 0,
    shape: Shape = None,
    output: Output = None,
    force: Force = False,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    assume_eval: AssumeEval = False,
    example: Any = None,
    progress: Annotated[Callable[[str, int, int], object] | None, Progress("pruning")] = None,
) -> PruneResult:
    """Set the weights of linear layers to zero that are worth least, and prove what that costs.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, a `Graph`, or a ``torch.nn.Module`` (then `example` is needed).
    sparsity
        The share of weights that are zero afterwards. In [0, 1).
    criterion
        path, magnitude, synflow or random. ``path``: the share of the path-norm that passes through a weight, which is
        the same in all rescaled copies of a network. ``synflow``: the same of paths from the inputs, pools as maxima.
    scope
        global, layer or row: what is compared with each other. A row is all weights of one output.
    pattern
        Keep N of every M consecutive inputs of an output. 2:4 is what sparse tensor cores take.
    block
        Let blocks of B outputs × C inputs go. A layer that they do not tile stays as it is.
    schedule
        In so many rounds, scored anew after each.
    include
        Layers to prune, or their weights. Globs, separated by commas.
    exclude
        Layers, or weights, that stay as they are.
    biases
        Prune biases, too.
    masks
        What stays, by parameter, instead of a criterion. An .npz file of booleans.
    save_masks
        Write what stays, by parameter. An .npz file.
    domain
        Also bound the difference on a box of inputs, as `compare` does: x=LO:HI, or x=FILE.npz with arrays low and
        high.
    budget
        Seconds to search for that bound.
    seed
        Of all that is random.
    shape
        Fill in symbolic dimensions. Extents by name; the batch needs none.
    output
        The ONNX file to write. None is written if None. Its metadata says what was done and what it costs.
    force
        Replace output files that exist.
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
    PathliftError
        If the model or a file cannot be read, an option is wrong, or nothing can be pruned.

    References
    ----------
    Gonon, Brisebarre, Riccietti, Gribonval, "A Rescaling-Invariant Lipschitz Bound Based on Path-Metrics", arXiv
    2405.15006.
    """
    from pathlift.models.pruning import certified, told_in_file
    from pathlift.models.source import extents, open_model
    from pathlift.passes.pruning.masks import Pruned
    from pathlift.passes.pruning.prune import Prune

    if masks is None and sparsity is None and not pattern:
        raise UsageError("1409", "the sparsity is not said", hint="--sparsity 0.8 leaves a fifth of the weights")
    if sparsity is not None and (masks is not None or pattern):
        raise UsageError("1404", "masks and patterns have a sparsity of their own", hint="leave out --sparsity")
    given = extents(shape)
    method = Prune(
        0.0 if sparsity is None else sparsity, criterion, scope, pattern, block, schedule, include, exclude, biases,
        seed, given,
    )  # fmt: skip
    method.check()
    opened = open_model(model, memory_limit=memory_limit, assume_eval=assume_eval, example=example, shape=given)
    method = replace(method, shape=opened.shape)
    before = opened.graph
    rewritten = method.prune(before, progress=progress) if masks is None else method.apply(before, _read_masks(masks))
    witness = rewritten.witness
    assert isinstance(witness, Pruned)
    witness.check(before, rewritten.graph)
    certificate = certified(before, rewritten.graph, dict(opened.shape), memory_limit)
    if domain is not None:
        certificate = replace(certificate, on_domain=_on_domain(opened, rewritten.graph, domain, budget, seed))
    result = PruneResult(
        input=opened.source,
        assumptions=tuple(dict.fromkeys((*witness.remarks, *certificate.assumptions))),
        warnings=(*opened.warnings, *_warnings(witness)),
        graph=rewritten.graph,
        criterion=criterion if masks is None else "masks",
        requested=sparsity,
        pruned=witness,
        certificate=certificate,
        files={},
    )
    return _written(result, output, save_masks, force, told_in_file)


def _read_masks(path: str | os.PathLike[str]) -> dict[str, Any]:
    from pathlift.models.data import read_arrays

    return read_arrays({"": path})


def _on_domain(opened: Opened, after: Graph, domain: Any, budget: float, seed: int) -> Any:
    from pathlift.models.certify import Request, distance

    return distance(opened, opened._replace(graph=after), Request(domain=domain, budget=budget, seed=seed))


def _warnings(pruned: Pruned) -> tuple[str, ...]:
    """Say which layers are gone altogether."""
    return tuple(f"nothing is left of {p.node!r} ({p.parameter})" for p in pruned.layers if p.empty)


def _written(
    result: PruneResult, output: Any, save_masks: Any, force: bool, told: Callable[[Graph, dict[str, Any]], Graph]
) -> PruneResult:
    """Write what was asked for: all files or none."""
    from contextlib import ExitStack

    import numpy as np

    from pathlift.frontend.files import replacing
    from pathlift.frontend.save import save

    with ExitStack() as stack:
        if save_masks is not None:
            staged = stack.enter_context(replacing(save_masks, force=force))
            with staged.open("wb") as file:
                arrays: dict[str, Any] = dict(result.pruned.masks)
                np.savez_compressed(file, **arrays)
            result = replace(result, files={**result.files, "masks": os.fspath(save_masks)})
        if output is not None:
            facts = {key: value for key, value in result.to_json().items() if key not in ("layers", "kept", "output")}
            rounded = save(told(result.graph, facts), output, force=force)
            files = {**result.files, "output": os.fspath(output)}
            result = replace(result, files=files, warnings=(*result.warnings, *rounded))
    return result


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield a row per layer, what is zero in all, what that costs, and what was written."""
    figures = ["weights", "zero", "share"]
    rows: list[list[str | Bar]] = [
        [layer["node"], f"{layer['total']:,}", f"{layer['zeroed']:,}", percent(layer["zeroed"] / layer["total"]),
         Bar(layer["zeroed"] / layer["total"])]
        for layer in payload["layers"] if layer["total"]
    ]  # fmt: skip
    yield table(["layer", *figures, ""], rows, right=figures)
    for kept in payload["kept"]:
        yield f"{kept['node']} stays as it is: {kept['reason']}"
    share = percent(payload["sparsity"], ".4g")
    yield f"{payload['zeroed']:,} of {payload['total']:,} weights are zero ({share}), by {payload['criterion']}"
    yield from _certificate_text(payload["certificate"])
    yield from (f"wrote {payload[what]}" for what in ("output", "masks") if payload.get(what))


def _certificate_text(told: Payload) -> Iterator[str]:
    if told["refused"]:
        yield f"nothing is proved of what this costs: {told['refused']}"
    if metric := told["path_metric"]:
        what = "‖Φ(θ) − Φ(θ')‖₁ =" if metric["is_path_metric"] else "outputs differ by at most"
        yield f"{what} {_figure(metric['l1'])}, {percent(metric['relative'], '.3g')} of ‖Φ(θ)‖₁"
    if domain := told["domain"]:
        bound = "-" if domain["l1"] is None else f"{domain['l1']:.4g}"
        found = "-" if domain["sampled_max_l1"] is None else f"{domain['sampled_max_l1']:.4g}"
        yield f"on the domain, outputs differ by at most {bound} ({domain['method']}) in sum; found: {found}"


def _figure(figure: Payload) -> str:
    if figure["log10"] is None:
        return "0"
    return f"10^{figure['log10']:.4f}" if figure["value"] is None else f"{figure['value']:.4g}"
