"""The fastest choice of Kronecker-sparse layers within an error, verified by measurement."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.ir.stages import stage
from pathlift.ir.work import Map, in_turn
from pathlift.models.options import (
    AssumeEval,
    Calibration,
    Cluster,
    Flag,
    Force,
    MemoryLimit,
    Model,
    ModelOutput,
    Progress,
    Seed,
    Shape,
)
from pathlift.report.tables import Payload
from pathlift.report.tuning import TuneResult
from pathlift.report.tuning import text as tuning_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.models.sketches.reading import GraphSketch
    from pathlift.models.source import Opened
    from pathlift.models.tuning.candidates import Space
    from pathlift.models.tuning.errors import Errors
    from pathlift.models.tuning.held_out import Parts
    from pathlift.models.tuning.judge import Judge
    from pathlift.models.tuning.latency import Track
    from pathlift.models.tuning.outcome import Aim, Outcome
    from pathlift.models.tuning.strategies import Strategy

NOISY, BUSY = 0.05, 1.2
"""What repeated measurements may differ by; wall over processor time from which on a machine is busy."""


def tune(
    model: Model,
    *,
    calib: Calibration = None,
    sketch: Annotated[str | os.PathLike[str] | None, Flag(metavar="FILE.npz", type=Path)] = None,
    partial: Annotated[bool, Flag()] = False,
    max_error: Annotated[float, Flag(metavar="R")] = 0.01,
    accuracy: Annotated[str | None, Flag(metavar="NAME|FILE.npy")] = None,
    max_drop: Annotated[float | None, Flag(metavar="R")] = None,
    minimize: Annotated[Literal["latency", "bytes", "flops"], Flag()] = "latency",
    layers: Annotated[str, Flag(metavar="GLOB,...")] = "*",
    patterns: Annotated[str, Flag(metavar="PATTERNS;...")] = "auto",
    shape: Shape = None,
    threads: Annotated[int, Flag(metavar="N")] = 1,
    budget: Annotated[float, Flag(metavar="SECONDS")] = 120.0,
    verify: Annotated[int, Flag(metavar="N")] = 10,
    search: Annotated[Literal["auto", "exact", "bayes", "random", "exhaustive"], Flag()] = "auto",
    log: Annotated[str | os.PathLike[str] | None, Flag(metavar="FILE.jsonl", type=Path)] = None,
    chart: Annotated[str | os.PathLike[str] | None, Flag(metavar="FILE.svg", type=Path)] = None,
    seed: Seed = 0,
    device: Annotated[str, Flag()] = "cpu",
    cluster: Cluster = None,
    output: ModelOutput = None,
    force: Force = False,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    assume_eval: AssumeEval = False,
    example: Any = None,
    progress: Annotated[Callable[[str, int, int], object] | None, Progress("tuning")] = None,
) -> TuneResult:
    """Choose which dense layers become Kronecker-sparse, so that the file is fastest within an error on data.

    Options of layers are screened by a cost model and fitted to data. Then the time of each is measured with all layers
    of one kind replaced, and its error with one layer replaced; the best choices by these are found exactly, written,
    and measured themselves, beside the dense file. What is written was measured to be faster.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, a `Graph`, or a ``torch.nn.Module`` (then `example` is needed).
    calib
        Data, by input name. An ``.npz`` file or arrays: three quarters of the samples are fitted to, errors are of the
        others.
    sketch
        What `calibrate` wrote, to fit to instead. All samples of `calib` are then held out; without any, and with
        gradients of the outputs (``calibrate --outputs``), errors are estimates of the first order.
    partial
        Take a sketch that was interrupted, too.
    max_error
        The most that outputs may be off, ‖y − y'‖/‖y‖ on held-out data. Of the output that is off most.
    accuracy
        Labels, an array of the data or an .npy file: accuracies are reported.
    max_drop
        The most that the accuracy may fall. A share of the held-out samples, besides `max_error`.
    minimize
        latency, bytes of all weights, or flops of all linear layers. The latter two are not timed.
    layers
        Nodes, or their weights. Globs, separated by commas.
    patterns
        auto, or products (a,b,c,d)(a,b,c,d)..., separated by semicolons. What does not fit a layer is no option of it.
    shape
        Fill in symbolic dimensions of what is timed. Extents by name; a first axis that is not given is 2.
    threads
        Of one op. One thread is timed by its processor time, more are timed by the wall.
    budget
        For measurements. In seconds, fits aside; each race has at least five rounds.
    verify
        How many choices are written and measured in each round.
    search
        auto, exact, bayes, random or exhaustive. ``exact`` is a knapsack on the additive model, ``bayes`` models what
        that leaves by Gaussian processes, and ``auto`` goes on with it where that is more than twice the noise.
    log
        Where measurements are kept: one that was interrupted goes on from there. Those of other models, data or options
        are not taken; limits, budgets and searches may differ.
    chart
        Draw the front and the choice: .svg, .png or .pdf. Needs ``pathlift[plot]``.
    seed
        Of all that is random.
    device
        cpu, cuda, cuda:0, ... On a CUDA device generated kernels are timed.
    cluster
        Fit options and measure errors in N processes of this machine, or on a Dask cluster: tcp://host:8786. Times are
        always of this machine, with the processes ended.
    output
        The file to write: ONNX, or a text if it ends in .plir; - for standard output, where ONNX goes. It is written if
        a choice is verified to be within the limit, and faster than the dense file by more than the interval.
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
        If the model or a file cannot be read, an option is wrong, or no layer can be replaced.
    """
    from pathlift.frontend.files import check_replaceable
    from pathlift.models.pruning import check_apart
    from pathlift.models.source import extents, open_model
    from pathlift.models.timing import check_device
    from pathlift.models.tuning.candidates import read_patterns
    from pathlift.models.tuning.outcome import Aim
    from pathlift.report.row_chart import check_chart

    if calib is None and (sketch is None or accuracy is not None):
        raise UsageError("1540", "layers are chosen by their errors on data", hint="--calib FILE.npz")
    _check(max_error=max_error, budget=budget, verify=verify, threads=threads)
    if max_drop is not None and (accuracy is None or not 0 <= max_drop <= 1):
        message = f"max-drop is {max_drop:g}: it is of an accuracy, from 0 to 1"
        raise UsageError("1545", message, hint="--accuracy y has labels")
    check_device(device)
    read_patterns(patterns)
    check_apart([output, log, chart], [calib, sketch, accuracy])
    check_apart([log, chart], [model])
    if chart is not None:
        check_chart(str(chart))
    for path in (output, chart):
        if isinstance(path, str | os.PathLike):
            check_replaceable(path, force=force)
    opened = open_model(model, memory_limit=memory_limit, assume_eval=assume_eval, example=example)
    aim = Aim(minimize, max_error, max_drop, budget, verify, seed)
    how = _How(
        layers, partial, patterns, extents(shape), threads, search, device, None if log is None else Path(log), force,
        memory_limit, cluster, progress,
    )  # fmt: skip
    return _written(_Job(opened, aim, how).run(calib, sketch, accuracy), output, chart, force=force)


def _check(**numbers: float) -> None:
    for name, value in numbers.items():
        if not 1e-12 <= value <= 1e12:
            raise UsageError("1541", f"{name.replace('_', '-')} is {value:g}: it must be from 1e-12 to 1e12")


@dataclass(frozen=True)
class _How:
    """Options that say how to search."""

    layers: str
    partial: bool
    patterns: str
    shape: tuple[tuple[str, int], ...]
    threads: int
    search: str
    device: str
    log: Path | None
    force: bool
    memory_limit: int
    cluster: int | str | None
    progress: Callable[[str, int, int], object] | None


@dataclass(frozen=True)
class _Job:
    """One model and what is looked for in it."""

    opened: Opened
    aim: Aim
    how: _How

    def run(self, calib: Any, sketch: Any, accuracy: str | None) -> TuneResult:
        """Search, and say what was found."""
        from pathlift.models.probes import Probes, signature
        from pathlift.models.sketches.reading import read_sketch
        from pathlift.models.spread import spread
        from pathlift.models.timing import placed
        from pathlift.models.tuning.candidates import named, spelled
        from pathlift.models.tuning.errors import ForwardErrors
        from pathlift.models.tuning.held_out import split
        from pathlift.models.tuning.latency import Track
        from pathlift.models.tuning.told import assumed, told
        from pathlift.models.tuning.trials import Trials
        from pathlift.models.tuning.tune import Tuning

        graph, aim, how = self.opened.graph, self.aim, self.how
        drawn = None if sketch is None else read_sketch(sketch, graph, how.partial, memory_limit=how.memory_limit)
        parts = None if calib is None else split(graph, calib, accuracy, aim.seed, judge_all=drawn is not None)
        feeds = dict(Probes(signature(graph, dict(how.shape), how.memory_limit), aim.seed))["normal"]
        with spread(how.cluster) as each:
            space = self._space(parts, drawn, feeds, each)
            track = Track(space, placed(feeds, how.device), how.threads, how.device, aim.seed)
            errors, judge = self._judges(space, track, parts, drawn)
            trials = Trials.read(
                how.log, self._about(parts, sketch, feeds), named(space), list(spelled(space)), force=how.force,
            )  # fmt: skip
            tuning = Tuning(space, track, errors, judge, trials, aim, how.progress)
            # What a sketch says takes products of matrices, and less time than to send it.
            squares = tuning.squares(each if isinstance(errors, ForwardErrors) else in_turn)
        outcome = tuning.run(squares, self._strategies)  # no worker is left while files race
        code = _exit_code(outcome, aim)
        return TuneResult(
            input=self.opened.source,
            assumptions=tuple(assumed(space, aim, parts, drawn, feeds)),
            warnings=(*self.opened.warnings, *_remarks(outcome, trials.noises, code)),
            exit_code=code,
            graph=space.apply(outcome.best.choice) if outcome.best and not code else graph,
            found={
                **told(space, aim, outcome, trials), "output": None, "chart": None,
                "log": how.log and os.fspath(how.log),
            },
        )  # fmt: skip

    def _space(self, parts: Parts | None, drawn: GraphSketch | None, feeds: Mapping[str, Any], each: Map) -> Space:
        """Fit the options of layers; refuse what has none."""
        from pathlift.models.tuning.candidates import build
        from pathlift.models.tuning.from_sketch import moments as sketched
        from pathlift.models.tuning.signatures import signatures
        from pathlift.passes.layers.dense import named_layers
        from pathlift.passes.sketches.moments import second_moments

        graph, how = self.opened.graph, self.how
        found, skipped = named_layers(graph, how.layers)
        with stage("moments of the data"):
            moments = (
                sketched([layer.key for layer in found], drawn)
                if drawn is not None
                else second_moments(graph, found, parts.fit if parts else [])
            )
        model = "cpu" if how.device == "cpu" else "h100"  # on a card, only the order of predictions counts
        with stage("fitting options"):
            space = build(
                graph, found, skipped, signatures(graph, found, feeds), moments, patterns=how.patterns,
                by_size=self.aim.objective != "latency", device=model, seed=self.aim.seed,
                progress=how.progress, each=each,
            )  # fmt: skip
        if not space.layers:
            reasons = "; ".join(f"{node}: {reason}" for node, reason in space.skipped.items())
            raise UnsupportedError("0308", f"no layer can be replaced: {reasons or 'there is none'}")
        return space

    @staticmethod
    def _judges(space: Space, track: Track, parts: Parts | None, drawn: GraphSketch | None) -> tuple[Errors, Judge]:
        """What errors are found by: files and samples, or else the sketch alone."""
        from pathlift.models.tuning.errors import ForwardErrors
        from pathlift.models.tuning.from_sketch import SketchErrors, SketchJudge
        from pathlift.models.tuning.judge import FileJudge

        if parts is not None:
            judge = FileJudge(track.dense[0].session, parts)
            has_gradients = drawn is not None and drawn.sketch.outputs
            return (SketchErrors(space, drawn) if drawn and has_gradients else ForwardErrors(space, parts.judge)), judge
        assert drawn is not None
        errors = SketchErrors(space, drawn)
        return errors, SketchJudge(errors)

    def _strategies(self, noise: float) -> Sequence[Strategy]:
        from pathlift.models.tuning.bayes import Bayes
        from pathlift.models.tuning.strategies import Exact, Exhaustive, Random

        exact, bayes = Exact(noise), Bayes(noise, self.aim.seed)
        found: dict[str, Sequence[Strategy]] = {
            "auto": [exact, bayes], "exact": [exact], "bayes": [bayes], "random": [Random(self.aim.seed)],
            "exhaustive": [Exhaustive()],
        }  # fmt: skip
        return found[self.how.search]

    def _about(self, parts: Parts | None, sketch: Any, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """What measurements depend on."""
        import hashlib
        import platform

        import numpy as np

        digest, how = hashlib.sha256(), self.how
        if sketch is not None:
            digest.update(Path(sketch).read_bytes())
        if parts is not None:
            for batch in (*parts.fit, *parts.judge):
                for name, array in batch.items():
                    digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
            for labels in parts.labels or ():
                digest.update(np.ascontiguousarray(labels).tobytes())
        return {
            "model": self.opened.source.sha256 or _digest(self.opened.graph),
            "data": digest.hexdigest(),
            "options": {
                "layers": how.layers, "patterns": how.patterns, "minimize": self.aim.objective,
                "threads": how.threads, "device": how.device, "seed": self.aim.seed,
                "shapes": {name: list(x.shape) for name, x in feeds.items()},
            },
            "machine": [platform.machine(), os.cpu_count()],
        }  # fmt: skip


def _digest(graph: Any) -> str:
    import hashlib
    import io

    from pathlift.frontend.save import save_stream

    stream = io.BytesIO()
    save_stream(graph, stream)
    return hashlib.sha256(stream.getvalue()).hexdigest()


def _exit_code(outcome: Outcome, aim: Aim) -> int:
    """0 if the best is faster beyond the interval, 5 where that could not be told, else 1."""
    if not outcome.in_time or (aim.objective == "latency" and outcome.noise > NOISY):
        return 5
    best = outcome.best
    return 0 if best is not None and best.cost is not None and best.cost.high < 1 else 1


def _remarks(outcome: Outcome, noises: Sequence[Any], code: int) -> Iterator[str]:
    busy = max((n.wall_over_cpu for n in noises if n.wall_over_cpu is not None), default=0.0)
    if busy > BUSY:
        yield f"the machine is busy: wall time is {busy:.2f} times the processor time"
    if not outcome.in_time:
        yield "the time ended before a choice was verified: a larger --budget, or fewer --layers"
    elif code == 5:
        yield f"the machine is too noisy: the dense file differs from itself by {100 * outcome.noise:.2g} %"


def _written(result: TuneResult, output: Any, chart: Any, *, force: bool) -> TuneResult:
    """Write the model, if there is one, and the chart."""
    from dataclasses import replace

    from pathlift.frontend.files import replacing
    from pathlift.models.output import write_model

    found, rounded = dict(result.found), tuple[str, ...]()
    with ExitStack() as stack:
        if chart is not None and (page := result.chart()) is not None:
            from pathlift.report.page import save_chart

            save_chart(page, stack.enter_context(replacing(chart, force=force)))
            found["chart"] = os.fspath(chart)
        if output is not None and result.exit_code == 0:
            written = write_model(result.graph, output, force=force)
            found["output"], rounded = written.name, written.rounded
    return replace(result, found=found, warnings=(*result.warnings, *rounded))


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield what became of each layer, and what was measured."""
    yield from tuning_text(payload)
