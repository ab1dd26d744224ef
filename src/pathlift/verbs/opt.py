"""Pass pipelines over a model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal

from pathlift.ir.errors import UsageError
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.models import parse
from pathlift.models.options import Flag, Force, MemoryLimit, Model, Seed, Shape, Trace, pass_completions
from pathlift.models.rewriting import OptResult
from pathlift.models.rewriting import text as opt_text
from pathlift.report.tables import Payload

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.ir.graph import Graph
    from pathlift.models.verify import Verification
    from pathlift.passes.path_norm.norm_log import NormLog


def opt(
    model: Model,
    pipeline: Annotated[
        str, Flag("--pipeline", "-p", metavar="PASS{OPTION=VALUE},...", complete=pass_completions)
    ] = "",
    *,
    output: Annotated[
        str | os.PathLike[str] | BinaryIO | None, Flag("--output", "-o", type=Path, read=parse.stream_or_path)
    ] = None,
    as_text: Annotated[bool, Flag("--text")] = False,
    weights: Annotated[Literal["inline", "beside"], Flag(default="inline on standard output, else beside")] = "beside",
    after_each: Annotated[
        Callable[[str, str], None] | None,
        Trace("--print-after-all", help="Print the IR after each pass, on stderr."),
    ] = None,
    print_ir_before: Annotated[Sequence[str], Flag(metavar="PASS,...", read=parse.names)] = (),
    print_ir_after: Annotated[Sequence[str], Flag(metavar="PASS,...", read=parse.names)] = (),
    print_ir_changes: Annotated[bool, Flag()] = False,
    print_metadata: Annotated[bool, Flag()] = False,
    time_passes: Annotated[bool, Flag()] = False,
    stats: Annotated[bool, Flag()] = False,
    reproduce_into: Annotated[str | os.PathLike[str] | None, Flag(metavar="DIR", type=Path)] = None,
    only_sites: Annotated[Sequence[str] | None, Flag(metavar="NAME,...", read=parse.names)] = None,
    bisect: Annotated[bool, Flag()] = False,
    verify: Annotated[bool, Flag()] = False,
    tolerance: Annotated[
        float | None, Flag(metavar="R", default="1e-9 for float64, 1e-4 for float32, 5e-2 below")
    ] = None,
    norms: Annotated[Sequence[float], Flag(metavar="Q,...", read=partial(parse.exponents, flag="--norms"))] = (),
    shape: Shape = None,
    seed: Seed = 0,
    force: Force = False,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
) -> OptResult:
    """Run passes over a model, and print its IR or write it back as ONNX or text.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, or a `Graph`.
    pipeline
        Passes to run, in order. Separated by commas, options in braces; empty to only load (and save).
    output
        The file to write: ONNX, or a text if it ends in .plir; - for standard output. None is written if None.
    as_text
        Write a text, whatever the name of the file. ``pathlift opt m.onnx -o - --text | pathlift norm -`` is a pipe.
    weights
        inline, beside: put a text's weights of more than 64 elements into it, in base64, or in a file beside it.
    after_each
        Called with each pass's name and the IR text after it.
    print_ir_before, print_ir_after
        Print the IR before (after) these passes, on stderr; ``all`` for every pass.
    print_ir_changes
        Print the IR after each pass that changed it, on stderr.
    print_metadata
        Keep what the model says about itself and its nodes where IR is printed on stderr.
    time_passes
        Say how long each pass took, and how long checking it took.
    stats
        Count ops, parameters, bytes and flops before and after.
    reproduce_into
        If a pass fails, write the graph before it, the command and versions into a new folder.
    only_sites
        Let rewrites take only these places: names of the values that are computed otherwise.
    bisect
        Find the first pass that fails, the sites that it takes, and a small graph. Nothing is written; `exit_code` is 1
        if a pass fails. With --verify, one whose outputs differ fails, too.
    verify
        Compare outputs with the original's in ONNX Runtime; write if they agree. On random and on adversarially scaled
        inputs. Above `tolerance` nothing is written, and `exit_code` is 1.
    tolerance
        Relative difference that --verify accepts; inf to only report it. By default, by the coarsest float type of any
        value: float64 1e-9, float32 1e-4, others 5e-2.
    norms
        Compute path-norms before and after each pass. Exponents q of ‖Φ‖_q.
    shape
        Fill in symbolic dimensions, for --verify and --norms. Extents by name; the batch needs none.
    seed
        Of the inputs that --verify draws.
    force
        Replace output files that exist.
    memory_limit
        Refuse larger tensors and models. In bytes.

    Raises
    ------
    PathliftError
        If the model, the pipeline or a pass's precondition is at fault, the output cannot be written, or ONNX Runtime
        cannot run the original.
    """
    from pathlift.models.graph_size import graph_size
    from pathlift.models.ir_printing import IrPrinter
    from pathlift.models.output import check_sink, write_model
    from pathlift.models.reference import check_onnxruntime
    from pathlift.models.reproducer import keeping
    from pathlift.models.source import open_model
    from pathlift.models.verify import open_original, verify_outputs
    from pathlift.passes.pipeline import parse_pipeline, run_pipeline
    from pathlift.passes.registry import shadowed
    from pathlift.passes.witness.site import limited

    if not isinstance(pipeline, str):
        hint = 'pipeline="strip-head,dead-code"'
        raise UsageError("0431", f"the pipeline is a {type(pipeline).__name__}, not a string", hint=hint)
    check_sink(output, as_text)
    _check(verify, tolerance, norms, shape, seed)
    passes, sizes = parse_pipeline(pipeline), dict(shape or {})
    log = None
    if norms:
        from pathlift.passes.path_norm.norm_log import NormLog

        log = NormLog(tuple(map(float, norms)), sizes, memory_limit)
    if verify:
        check_onnxruntime()
    opened = open_model(model, memory_limit=memory_limit)
    original = open_original(opened.original) if verify else None
    if log is not None:
        log.add("before the first pass", opened.graph)
    printer = IrPrinter(print_ir_before, print_ir_after, print_ir_changes, print_metadata, after_each)
    printer.check([p.name for p in passes])

    def after_pass(name: str, graph: Graph) -> None:
        if log is not None:
            log.add(f"after {name}", graph)
        printer.after_pass(name, graph)

    def compare(original: Any, before: Graph, after: Graph) -> Verification:
        limit = None if tolerance is None else float(tolerance)
        return verify_outputs(
            original, before, after, tolerance=limit, sizes=sizes, seed=seed, memory_limit=memory_limit
        )

    if bisect:
        from pathlift.models.bisection import bisect as narrow

        def differ(before: Graph, after: Graph) -> str:
            found = compare(open_original(before), before, after)
            return "" if found.passed else f"output {found.output!r} differs on input {found.input!r}"

        failure = narrow(opened.graph, passes, differ if verify else None)
        return OptResult(
            input=opened.source,
            warnings=(*opened.warnings, *shadowed(p.name for p in passes)),
            exit_code=0 if failure is None else 1,
            graph=opened.graph if failure is None else failure.graph,
            steps=(),
            output=None,
            bisected=True,
            failure=failure,
        )
    with limited(only_sites), keeping(reproduce_into, passes, only_sites) as keeper:
        graph, steps = run_pipeline(
            keeper.begin(opened.graph), passes, before_each=printer.before_pass, after_each=keeper.then(after_pass)
        )
    verification = compare(original, opened.graph, graph) if verify else None
    refuted = verification is not None and not verification.passed
    written = None
    if output is not None and not refuted:
        written = write_model(graph, output, force=force, text=as_text, whole=weights == "inline")
    refusals = [log.refusal] if log and log.refusal else []
    return OptResult(
        input=opened.source,
        assumptions=_assumptions(log, verification),
        warnings=(
            *opened.warnings,
            *shadowed(p.name for p in passes),
            *refusals,
            *(written.rounded if written else ()),
        ),
        exit_code=1 if refuted else 0,
        graph=graph,
        steps=steps,
        output=written and written.name,
        norms=tuple(log.norms) if log else (),
        verification=verification,
        sizes=(graph_size(opened.graph), graph_size(graph)) if stats else None,
        timed=time_passes,
    )


def _assumptions(log: NormLog | None, verification: Verification | None) -> tuple[str, ...]:
    lines = dict.fromkeys(log.assumptions if log else ())
    if verification is None:
        return tuple(lines)
    shapes = ", ".join(f"{name} {list(shape)}" for name, shape in verification.shapes.items())
    return (*lines, f"outputs were compared on inputs of shape {shapes}")


def _check(verify: bool, tolerance: object, norms: object, shape: object, seed: object) -> None:
    """Check the arguments that are about verification and norms.

    Raises
    ------
    UsageError
        If one is of the wrong type or out of range, or has nothing to apply to.
    """
    if tolerance is not None and not (isinstance(tolerance, Real) and float(tolerance) >= 0):
        raise UsageError("0433", f"tolerance is {tolerance!r}, not a relative difference", hint="tolerance=1e-4")
    if isinstance(norms, str) or not _are(Real, norms):
        raise UsageError("0435", f"norms is {norms!r}, not a list of exponents", hint="norms=[1, 2]")
    if shape is not None and not (isinstance(shape, Mapping) and _are(Integral, shape.values())):
        raise UsageError("0437", f"shape is {shape!r}, not extents by name", hint='shape={"H": 224}')
    parse.seed(seed)
    if tolerance is not None and not verify:
        raise UsageError("0436", "a tolerance is for a verification", hint="add --verify (verify=True)")
    if shape and not (verify or norms):
        raise UsageError("0436", "extents are for a verification or norms", hint="add --verify or --norms")


def _are(type_: type, values: object) -> bool:
    return isinstance(values, Iterable) and all(isinstance(value, type_) for value in values)


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield the IR text, unless a file was written; then what each pass did, and how far the outputs moved."""
    yield from opt_text(payload)
