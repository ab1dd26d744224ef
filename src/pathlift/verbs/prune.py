"""Weights that are worth least set to zero, and what that costs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pathlift.ir.errors import UsageError
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.models.options import (
    AssumeEval,
    Calibration,
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
from pathlift.report.pruning import PruneResult, prune_text
from pathlift.report.tables import Payload

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.ir.graph import Graph
    from pathlift.models.source import Opened
    from pathlift.passes.pruning.masks import Pruned

Masks = Annotated[str | os.PathLike[str] | None, Flag(metavar="FILE.npz", type=Path)]


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
    calib: Calibration = None,
    compensate: Annotated[bool, Flag()] = False,
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
        path, magnitude, synflow, random, wanda or taylor. ``path``: the share of the path-norm that passes through a
        weight, which is the same in all rescaled copies of a network. ``synflow``: the same of paths from the inputs,
        pools as maxima. ``wanda`` (|weight| times the norm of what it meets) and ``taylor`` (what the loss loses, to
        first order) need data.
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
    calib
        Data, by input name, for wanda, taylor and --compensate. An ``.npz`` file or arrays; labels are ``y``.
    compensate
        Refit the weights that stay to what their layer computed on the data. By least squares.
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
    from pathlift.models.data import read_arrays
    from pathlift.models.pruning import certified, read_pruning_data, told_in_file
    from pathlift.models.source import extents, open_model
    from pathlift.passes.pruning.compensation import Compensated, compensated
    from pathlift.passes.pruning.masks import Pruned
    from pathlift.passes.pruning.prune import Prune

    if compensate and calib is None:
        raise UsageError("1407", "weights are refitted to data", hint="--calib FILE.npz")
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
    data, left = (None, ()) if calib is None else read_pruning_data(before, calib)
    rewritten = (
        method.prune(before, data, progress) if masks is None else method.apply(before, read_arrays({"": masks}))
    )
    graph, witness = rewritten.graph, rewritten.witness
    assert isinstance(witness, Pruned)
    witness.check(before, graph)
    refit: Compensated | None = None
    if compensate and data is not None:
        again = compensated(before, graph, method.prunables(before).found, data.batches)
        assert isinstance(again.witness, Compensated)
        again.witness.check(graph, again.graph)
        graph, refit = again.graph, again.witness
    certificate = certified(before, graph, dict(opened.shape), memory_limit)
    if domain is not None:
        certificate = replace(certificate, on_domain=_on_domain(opened, graph, domain, budget, seed))
    result = PruneResult(
        input=opened.source,
        assumptions=tuple(dict.fromkeys((*witness.remarks, *left, *certificate.assumptions))),
        warnings=(*opened.warnings, *_warnings(witness)),
        graph=graph,
        criterion=criterion if masks is None else "masks",
        requested=sparsity,
        pruned=witness,
        certificate=certificate,
        refit=refit,
    )
    return _written(result, output, save_masks, force, told_in_file)


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
    yield from prune_text(payload)
