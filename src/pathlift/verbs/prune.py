"""Weights that are worth least set to zero, and what that costs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pathlift.ir.errors import UsageError
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.ir.stages import stage
from pathlift.models import parse
from pathlift.models.options import (
    AssumeEval,
    Calibration,
    Domain,
    Flag,
    Force,
    MemoryLimit,
    Model,
    ModelOutput,
    Progress,
    Seed,
    Shape,
)
from pathlift.report.pruning import PruneResult
from pathlift.report.pruning import text as prune_text
from pathlift.report.sweep import SweepResult
from pathlift.report.sweep import text as sweep_text
from pathlift.report.tables import Payload

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.ir.graph import Graph
    from pathlift.models.source import Opened
    from pathlift.passes.pruning.recipe import Recipe

Masks = Annotated[str | os.PathLike[str] | None, Flag(metavar="FILE.npz", type=Path)]


def prune(
    model: Model,
    *,
    sparsity: Annotated[float | None, Flag(metavar="S")] = None,
    criterion: Annotated[str, Flag()] = "path",
    scope: Annotated[str, Flag(default="global; row for wanda")] = "",
    pattern: Annotated[str, Flag(metavar="N:M|ks:K")] = "",
    block: Annotated[str, Flag(metavar="BxC")] = "",
    channels: Annotated[bool, Flag()] = False,
    target: Annotated[str, Flag(default="weights")] = "",
    multiple: Annotated[int, Flag(metavar="N")] = 1,
    least: Annotated[float, Flag(metavar="S")] = 0.0,
    fast: Annotated[bool, Flag()] = False,
    keep_dead: Annotated[bool, Flag()] = False,
    schedule: Annotated[Sequence[float], Flag(metavar="S,...", read=parse.fractions)] = (),
    include: Annotated[str, Flag(metavar="GLOB,...")] = "*",
    exclude: Annotated[str, Flag(metavar="GLOB,...")] = "",
    biases: Annotated[bool, Flag()] = False,
    masks: Masks = None,
    save_masks: Masks = None,
    calib: Calibration = None,
    sketch: Annotated[str | os.PathLike[str] | None, Flag(metavar="FILE.npz", type=Path)] = None,
    partial: Annotated[bool, Flag()] = False,
    compensate: Annotated[bool, Flag()] = False,
    domain: Domain = None,
    budget: Annotated[float, Flag(metavar="SECONDS")] = 10.0,
    seed: Seed = 0,
    shape: Shape = None,
    data: Calibration = None,
    sweep: Annotated[str, Flag(metavar="FROM:TO:STEPS")] = "",
    log: Annotated[str | os.PathLike[str] | None, Flag(metavar="FILE.jsonl", type=Path)] = None,
    chart: Annotated[str | os.PathLike[str] | None, Flag(metavar="FILE", type=Path)] = None,
    sparse: Annotated[bool, Flag()] = False,
    output: ModelOutput = None,
    force: Force = False,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    assume_eval: AssumeEval = False,
    example: Any = None,
    progress: Annotated[Callable[[str, int, int], object] | None, Progress("pruning")] = None,
) -> PruneResult | SweepResult:
    """Set the weights of linear layers to zero that are worth least, and prove what that costs.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, a `Graph`, or a ``torch.nn.Module`` (then `example` is needed).
    sparsity
        The share of weights that are zero afterwards. In [0, 1).
    criterion
        path, magnitude, synflow, random, wanda, sketch or taylor. ``path``: the share of the path-norm that passes
        through a weight, which is the same in all rescaled copies of a network. ``synflow``: the same of paths from the
        inputs, pools as maxima. ``wanda`` (|weight| times the norm of what it meets) and ``taylor`` (what the loss
        loses, to first order) need data. ``sketch``, by how much outputs differ without a weight, needs one with
        gradients.
    scope
        global, layer or row: what is compared with each other. A row is all weights of one output.
    pattern
        Keep N of every M consecutive inputs of an output, or one weight of K, in the Kronecker-sparse support that is
        worth most. 2:4 is what sparse tensor cores take; layers of ks:K are what `ks detect` finds.
    block
        Let blocks of B outputs × C inputs go. A layer that they do not tile stays as it is. `ks detect` finds it only
        where those that stay are along a diagonal.
    channels
        Let whole channels go, the cheapest for what they take up: tensors are smaller, and the network is faster.
    target
        What the sparsity of channels is a share of: weights, or flops. Of all linear layers.
    multiple
        Keep multiples of so many channels. Kernels compute blocks of 8 or 16.
    least
        Keep this share of the channels of every layer. One stays in any case.
    fast
        Let a group of channels cost the sum over its weights, which counts some paths of a residual stream again.
    keep_dead
        Leave channels that zeros cut off. By default they are removed, which changes no output, unless zeros have a
        pattern or are blocks.
    schedule
        Sparsities on the way, scored anew after each: 0.5,0.7,0.8. Without --sparsity, the last is where it ends.
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
    sketch
        A sketch of data, for wanda and sketch. `calibrate` writes it.
    partial
        Take a sketch that was interrupted, too.
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
    data
        Labelled samples for --sweep. An ``.npz`` file or arrays, with labels ``y``.
    sweep
        Try sparsities instead: accuracy, size and time of each, for one or more criteria, separated by commas.
    log
        Where a sweep keeps what it has found, to go on after an interruption. By default beside the chart.
    chart
        Draw accuracies of a sweep: .svg, .png or .pdf. Needs ``pathlift[plot]``.
    sparse
        Store mostly zero weights as sparse initializers. The file shrinks; in memory they are dense.
    output
        The file to write: ONNX, or a text if it ends in .plir; - for standard output, where ONNX goes. Its metadata
        says what was done and what it costs.
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
    from pathlift.models.pruning import check_apart
    from pathlift.models.source import extents, open_model
    from pathlift.passes.pruning.channels import Channels
    from pathlift.passes.pruning.prune import Prune
    from pathlift.passes.pruning.recipe import Recipe

    if compensate and calib is None:
        raise UsageError("1407", "weights are refitted to data", hint="--calib FILE.npz")
    if sketch is not None and calib is not None:
        raise UsageError("1516", "both data and a sketch are given to score on", hint="one or the other")
    check_apart([output, save_masks, log, chart], [calib, sketch, data, masks])
    check_apart([save_masks, log, chart], [model])  # a model may be written over itself
    levels = tuple(schedule)
    if sparsity is None and levels:
        sparsity = levels[-1]
    method = Prune(
        0.0 if sparsity is None else sparsity, criterion, scope, pattern, block, levels, include, exclude, biases, seed,
        extents(shape),
    )  # fmt: skip
    method.check()
    how = Channels(target or "weights", multiple, least, fast) if channels else None
    if how is not None:
        how.check(method)
        if masks is not None or keep_dead:
            name = "--keep-dead" if masks is None else "--masks"
            raise UsageError("1404", f"channels go altogether, which has no {name}", hint="one or the other")
    elif target or multiple != 1 or least or fast:
        raise UsageError("1404", "a target, multiples, --least and --fast are of channels", hint="--channels")
    job = _Job(Recipe(method, how, compensate, keep_dead), calib, sketch, partial, force, memory_limit, progress)
    if sweep:
        job.check_sweep(data, sparsity=sparsity, pattern=pattern, masks=masks, save_masks=save_masks, output=output)
    elif data is not None or log is not None or chart is not None:
        raise UsageError("1412", "data, logs and charts are of a sweep", hint="--sweep 0.1:0.95:10")
    elif masks is None and sparsity is None and not pattern:
        raise UsageError("1409", "the sparsity is not said", hint="--sparsity 0.8 leaves a fifth of the weights")
    elif sparsity is not None and (masks is not None or pattern):
        raise UsageError("1404", "masks and patterns have a sparsity of their own", hint="leave out --sparsity")
    opened = open_model(
        model, memory_limit=memory_limit, assume_eval=assume_eval, example=example, shape=extents(shape)
    )
    job = replace(job, recipe=replace(job.recipe, method=replace(method, shape=opened.shape)))
    if sweep:
        return job.swept(opened, data, sweep, log, chart)
    result = job.pruned(opened, sparsity, masks)
    if domain is not None:
        with stage("bounding on the domain"):
            on_domain = _on_domain(opened, result.masked, domain, budget, seed)
        certificate = replace(result.certificate, on_domain=on_domain)
        assumptions = tuple(dict.fromkeys((*result.assumptions, *on_domain.assumptions)))
        result = replace(result, certificate=certificate, assumptions=assumptions)
    return _written(result, output, save_masks, sparse=sparse, force=force)


@dataclass(frozen=True)
class _Job:
    """What is the same for one sparsity and for a sweep."""

    recipe: Recipe
    calib: Any
    sketch: Any
    partial: bool
    force: bool
    memory_limit: int
    progress: Callable[[str, int, int], object] | None

    def pruned(self, opened: Opened, requested: float | None, masks: Any) -> PruneResult:
        """Prune once, and certify."""
        from pathlift.models.data import read_arrays
        from pathlift.models.pruning import certified, sizes

        before = opened.graph
        data, left = self._data(before)
        given = None if masks is None else read_arrays({"": masks})
        with stage("pruning"):
            done = self.recipe.run(before, data, given, self.progress)
        with stage("certifying"):
            certificate = certified(before, done.masked, dict(opened.shape), self.memory_limit)
        gone = tuple(f"nothing is left of {p.node!r} ({p.parameter})" for p in done.pruned.layers if p.empty)
        channels = self.recipe.channels
        return PruneResult(
            input=opened.source,
            assumptions=tuple(dict.fromkeys((*done.pruned.remarks, *left, *certificate.assumptions))),
            warnings=(*opened.warnings, *gone),
            graph=done.graph,
            masked=done.masked,
            criterion=self.recipe.method.criterion if given is None else "masks",
            requested=requested,
            pruned=done.pruned,
            certificate=certificate,
            refit=done.refit,
            target=None if channels is None else channels.target,
            sizes=sizes(before, done.graph),
        )

    def _data(self, graph: Graph) -> tuple[Any, tuple[str, ...]]:
        """Return what to score on, if there is something, and what is to be said of it."""
        if self.sketch is not None:
            from pathlift.models.sketches.scoring import scoring_data

            return scoring_data(graph, self.sketch, self.partial, self.memory_limit)
        if self.calib is None:
            return None, ()
        from pathlift.models.pruning import read_pruning_data

        return read_pruning_data(graph, self.calib)

    def check_sweep(self, data: Any, **others: Any) -> None:
        """Check that nothing is asked for that a sweep does not have.

        Raises
        ------
        UsageError
            If something is, or it has no samples.
        """
        asked = [name for name, value in others.items() if value not in (None, "")]
        if asked:
            raise UsageError("1412", f"a sweep has no --{asked[0].replace('_', '-')}", hint="one or the other")
        if data is None:
            raise UsageError("1412", "a sweep needs samples and their labels", hint="--data FILE.npz, with x and y")

    def swept(self, opened: Opened, data: Any, steps: str, log: Any, chart: Any) -> SweepResult:
        """Try all sparsities and criteria."""
        from pathlift.frontend.files import replacing
        from pathlift.models.pruning import read_pruning_data
        from pathlift.models.sweep import Log, Sweep, read_sweep
        from pathlift.report.pareto_chart import draw_pareto
        from pathlift.report.row_chart import check_chart

        if chart is not None:
            check_chart(str(chart))
        validation, left = read_pruning_data(opened.graph, data)
        if validation.labels is None:
            raise UsageError("1482", "the data of a sweep has no labels y", hint="np.savez(file, x=…, y=…)")
        calibration = self._data(opened.graph)[0]
        criteria = tuple(dict.fromkeys(name.strip() for name in self.recipe.method.criterion.split(",")))
        sweep = Sweep(opened.graph, self.recipe, criteria, read_sweep(steps), validation, calibration)
        beside = Path(log) if log is not None else None if chart is None else Path(chart).with_suffix(".jsonl")
        with ExitStack() as stack:
            staged = None if chart is None else stack.enter_context(replacing(chart, force=self.force))
            record = Log(beside, sweep.about(opened.source.sha256))
            known, points = record.read(force=self.force), []
            for point in sweep.points(known, self.progress):
                points.append(point)
                if (point.criterion, point.sparsity_requested) not in known:
                    record.add(point)
            if staged is not None:
                from pathlift.report.page import save_chart

                name = Path(opened.source.path or "the network").name
                save_chart(draw_pareto(points[0], points[1:], name), staged)
        named = {"chart": chart, "log": beside}
        return SweepResult(
            input=opened.source,
            assumptions=left,
            warnings=opened.warnings,
            dense=points[0],
            points=points[1:],
            samples=sum(map(len, validation.labels)),
            batch=len(validation.labels[0]),
            resumed=sum((p.criterion, p.sparsity_requested) in known for p in points[1:]),
            files={what: os.fspath(path) for what, path in named.items() if path is not None},
        )


def _on_domain(opened: Opened, after: Graph, domain: Any, budget: float, seed: int) -> Any:
    from pathlift.models.certificates.certify import Request, distance

    return distance(opened, opened._replace(graph=after), Request(domain=domain, budget=budget, seed=seed))


def _written(result: PruneResult, output: Any, save_masks: Any, *, sparse: bool, force: bool) -> PruneResult:
    """Write what was asked for: all files or none."""
    import numpy as np

    from pathlift.frontend.files import replacing
    from pathlift.models.output import write_model
    from pathlift.models.pruning import told_in_file, weight_bytes

    files: dict[str, Any] = {"bytes": weight_bytes(result.graph)}
    with ExitStack() as stack:
        if save_masks is not None:
            staged = stack.enter_context(replacing(save_masks, force=force))
            with staged.open("wb") as file:
                arrays: dict[str, Any] = dict(result.pruned.masks)
                np.savez_compressed(file, **arrays)
            files["masks"] = os.fspath(save_masks)
        if output is not None:
            facts = {key: value for key, value in result.to_json().items() if key not in ("layers", "kept", "output")}
            written = write_model(told_in_file(result.graph, facts), output, force=force, sparse=sparse)
            result = replace(result, warnings=(*result.warnings, *written.rounded))
            files |= {"output": written.name, "sparse": sparse, "file_bytes": written.bytes}
    return replace(result, files=files)


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield a row per layer and what that costs, or a row per point of a sweep."""
    yield from sweep_text(payload) if "points" in payload else prune_text(payload)
