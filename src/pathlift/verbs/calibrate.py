"""The verb `calibrate`: one pass over data, of which sums are kept that add up."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pathlift.ir.errors import PathliftError, UsageError
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.ir.stages import stage
from pathlift.models import parse
from pathlift.models.options import AssumeEval, Cluster, Flag, Force, MemoryLimit, Model, Output, Progress, Seed
from pathlift.report.calibration import CalibrateResult, missing_of, warnings_of
from pathlift.report.calibration import text as calibration_text
from pathlift.report.result import Source
from pathlift.report.tables import Payload

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.passes.sketches.sketch import Sketch

_HELP = "An ONNX file or a text; - for standard input. With --merge and --show, sketches."


def calibrate(
    model: Annotated[Model, Flag("model", argument=True, type=Path, read=parse.model, help=_HELP)],
    *others: Annotated[
        str | os.PathLike[str], Flag(argument=True, metavar="[SKETCH]...", type=list[Path], help="More, to merge.")
    ],
    data: Annotated[Any, Flag(metavar="GLOB|MODULE:FUNCTION", type=list[str])] = None,
    layers: Annotated[str, Flag(metavar="GLOB,...")] = "*",
    outputs: Annotated[bool, Flag()] = False,
    shard: Annotated[tuple[int, int] | None, Flag(metavar="I/N", read=parse.shard)] = None,
    batch: Annotated[int, Flag(metavar="N")] = 64,
    limit: Annotated[int | None, Flag(metavar="N")] = None,
    rank: Annotated[int, Flag(metavar="K")] = 256,
    full_width: Annotated[int, Flag(metavar="N")] = 4096,
    mask: Annotated[str, Flag(metavar="INPUT")] = "",
    merge: Annotated[bool, Flag()] = False,
    show: Annotated[bool, Flag()] = False,
    partial: Annotated[bool, Flag()] = False,
    cluster: Cluster = None,
    seed: Seed = 0,
    chart: Annotated[str | os.PathLike[str] | None, Flag(metavar="FILE", type=Path)] = None,
    output: Output = None,
    force: Force = False,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    assume_eval: AssumeEval = False,
    example: Any = None,
    progress: Annotated[Callable[[str, int, int], object] | None, Progress("reading")] = None,
) -> CalibrateResult:
    """Stream data through a model once, and keep sums of what its linear layers read.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, a `Graph`, or a ``torch.nn.Module`` (then `example` is needed). With `merge` and
        `show`, a sketch instead.
    others
        More sketches, to merge.
    data
        Samples, by input name: .npz files, or a function of a module. It is called with a shard, from 0, and the number
        of shards, and yields dicts of arrays. In Python also arrays, a function, or a list of these.
    layers
        Nodes, or their weights. Globs, separated by commas.
    outputs
        Also keep gradients of the outputs by what layers write. One backward pass a batch.
    shard
        Read the I-th of N parts of the data. Every N-th file where there are several, else a range of samples;
        functions are told.
    batch
        Samples at a time. A file may fix another number.
    limit
        Stop after so many samples.
    rank
        Random vectors that second moments of wide layers are projected onto. 0 keeps their diagonal.
    full_width
        Keep whole second moments up to this width. Memory grows with its square.
    mask
        An input of ones and zeros, which leaves positions out: padded tokens, for example.
    merge
        Add sketches of parts of the data.
    show
        Show a sketch.
    partial
        Take sketches that were interrupted, too.
    cluster
        Read parts of the data in N processes of this machine, or on a Dask cluster: tcp://host:8786. Parts are files,
        or up to 64 ranges of one file, or what a function yields for 64 shards. Sums do not depend on how many workers
        there are.
    seed
        Of all that is random.
    chart
        Draw eigenvalues, kurtosis and sizes of what layers read: .svg, .png or .pdf. Needs ``pathlift[plot]``.
    output
        The file to write, .npz.
    force
        Replace output files that exist.
    memory_limit
        Refuse larger tensors and models. In bytes.
    assume_eval
        Read training-mode layers as in evaluation.
    example
        For a module: the shape of its input, or one shape or tensor per input.
    progress
        Called with a part of the data, how many samples were read, and how many there are, as far as that is known.

    Raises
    ------
    PathliftError
        If the model or data cannot be read, do not fit, or give numbers that are not finite; if there is no linear
        layer; if sketches do not add up.
    KeyboardInterrupt
        If it was interrupted; what was read before is in the file, which says so. So it is where a cluster is lost, and
        the exit code is then 5.
    """
    files = _Files(output, chart, force)
    if merge or show:
        return _of_files((model, *others), data, merge, show, partial, files, memory_limit)
    if others:
        raise UsageError("1508", f"{1 + len(others)} models are given", hint="--merge adds sketches, --show shows one")
    if data is None or data == []:
        raise UsageError("1508", "there is no data to read", hint="--data 'train-*.npz'")
    for name, value, least in (("batch", batch, 1), ("rank", rank, 0), ("full-width", full_width, 0)):
        if value < least:
            raise UsageError("1515", f"--{name} is {value}", hint=f"at least {least}")
    if limit is not None and limit < 1:
        raise UsageError("1515", f"--limit is {limit}", hint="at least 1")

    from pathlift.models.pruning import check_apart
    from pathlift.models.sketches.make import Request, make_sketch, no_samples
    from pathlift.models.sketches.sources import parts
    from pathlift.models.source import open_model
    from pathlift.passes.sketches.recorder import Settings

    read, said = parts(data, shard)
    check_apart([output, chart], [model, *(part.path for part in read if part.path)])
    files.check()
    opened = open_model(model, memory_limit=memory_limit, assume_eval=assume_eval, example=example)
    request = Request(layers, Settings(full_width, rank, seed, outputs, mask), batch, limit)
    about = opened.graph, opened.source.sha256
    if cluster is None:
        with stage("reading data"):
            made = make_sketch(*about, read, request, progress)
    else:
        from pathlift.models.sketches.division import add_up, divide
        from pathlift.models.spread import spread

        read = divide(opened.graph, read, request, sharded=shard is not None)
        with spread(cluster) as each, stage("reading data"):
            made = add_up(each, *about, read, request, progress)
    if not made.sketch.samples and made.interrupt is None:
        raise no_samples()
    lost = made.interrupt if isinstance(made.interrupt, PathliftError) else None
    result = files.written(
        made.sketch,
        input=opened.source,
        assumptions=(*([said] if said else []), *made.remarks),
        warnings=(*opened.warnings, *([missing_of(lost, made.missing)] if lost else []), *warnings_of(made.sketch)),
        missing=made.missing,
        exit_code=5 if lost else 0,
    )
    if made.interrupt is not None and not lost:
        raise made.interrupt
    return result


@dataclass(frozen=True)
class _Files:
    """What is to be written."""

    output: Any
    chart: Any
    force: bool

    def check(self) -> None:
        """Check that it can be, before any work is done."""
        from pathlift.frontend.files import check_replaceable
        from pathlift.report.row_chart import check_chart

        if self.chart is not None:
            check_chart(str(self.chart))
        for path in (self.output, self.chart):
            if path is not None:
                check_replaceable(path, force=self.force)

    def written(self, sketch: Sketch, **facts: Any) -> CalibrateResult:
        """Write a sketch, if it is to be and there is something in it, and its chart."""
        from pathlift.frontend.files import replacing

        size = sum(layer.bytes for layer in sketch.layers)
        output = None if self.output is None else os.fspath(self.output)
        if self.output is not None and sketch.samples:
            from pathlift.models.sketches.file import write_sketch

            with stage("writing"), replacing(self.output, force=self.force) as staged:
                write_sketch(sketch, staged)
            size = os.path.getsize(self.output)
        result = CalibrateResult(sketch=sketch, bytes=size, output=output, **facts)
        if self.chart is not None and (page := result.chart()) is not None:
            from pathlift.report.page import save_chart

            with replacing(self.chart, force=self.force) as staged:
                save_chart(page, staged)
        return result


def _of_files(
    models: Sequence[Any], data: Any, merge: bool, show: bool, partial: bool, files: _Files, limit: int
) -> CalibrateResult:
    """Merge sketches, or show one."""
    if data is not None and data != []:
        raise UsageError("1508", "sketches are merged and shown without data", hint="leave out --data")
    if show and (merge or files.output is not None or len(models) != 1):
        raise UsageError("1508", "--show is of one sketch, and writes nothing", hint="--show s.npz")
    if merge and (len(models) < 2 or files.output is None):
        raise UsageError("1508", "--merge is of several sketches into one", hint="--merge s1.npz s2.npz -o s.npz")
    odd = next((m for m in models if not isinstance(m, str | os.PathLike)), None)
    if odd is not None:
        raise UsageError("1508", f"a sketch is a file, not a {type(odd).__name__}", hint="--merge s1.npz s2.npz")
    from pathlift.models.pruning import check_apart
    from pathlift.models.sketches.file import read_sketch_file
    from pathlift.models.sketches.reading import merge_files

    check_apart([files.output, files.chart], models)
    files.check()
    if show:
        sketch = read_sketch_file(models[0], memory_limit=limit)
        source = Source(os.fspath(models[0]), None)
        return replace(
            files.written(sketch, input=source, warnings=warnings_of(sketch)), bytes=os.path.getsize(models[0])
        )
    sketch = merge_files(models, memory_limit=limit, partial=partial)
    return files.written(sketch, warnings=warnings_of(sketch))


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield a row per layer, and what data that is of."""
    yield from calibration_text(payload)
