"""Pass pipelines over a model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isinf
from numbers import Integral, Real
from typing import TYPE_CHECKING, Annotated, Any

from pathlift.ir.errors import UsageError
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.models import parse
from pathlift.models.options import Flag, Force, MemoryLimit, Model, Output, Seed, Shape, Trace, pass_completions
from pathlift.report.result import Result
from pathlift.report.tables import Payload, Table, fixed, number, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.ir.graph import Graph
    from pathlift.models.verify import Verification
    from pathlift.passes.path_norm.norm_log import NormLog, Norms
    from pathlift.passes.pipeline import Step


@dataclass(frozen=True, kw_only=True)
class OptResult(Result):
    """The rewritten graph, and what each pass did.

    Parameters
    ----------
    graph
        After the last pass.
    steps
        The passes.
    output
        The file that was written; ``None`` if none was asked for, or if the verification failed.
    norms
        Path-norms of the network as it was and after each pass, if asked for; ``None`` for a network that has none.
    verification
        The comparison with the original, if asked for.
    """

    graph: Graph
    steps: tuple[Step, ...]
    output: str | None
    norms: tuple[Norms, ...] = ()
    verification: Verification | None = None

    ROWS = ("passes",)

    def headline(self) -> str:
        return f"{sum(step.changed for step in self.steps)} of {len(self.steps)} passes changed it"

    def to_json(self) -> dict[str, Any]:
        before, *after = map(_norms, self.norms or ((),) * (1 + len(self.steps)))
        return {
            "output": self.output,
            "passes": [
                {"name": s.name, "changed": s.changed, "note": s.note, "effect": str(s.effect), "norms": norms}
                for s, norms in zip(self.steps, after, strict=True)
            ],
            "ir": str(self.graph).splitlines() if self.output is None and self.exit_code == 0 else [],
            "norms": before,
            "verify": None if self.verification is None else self.verification.to_json(),
        }


def _norms(norms: Norms) -> list[dict[str, Any]] | None:
    if norms is None:
        return None
    return [{"q": "inf" if isinf(norm.q) else norm.q, "log10": norm.log10, "zero": norm.zero} for norm in norms]


def opt(
    model: Model,
    pipeline: Annotated[
        str, Flag("--pipeline", "-p", metavar="PASS{OPTION=VALUE},...", complete=pass_completions)
    ] = "",
    *,
    output: Output = None,
    after_each: Annotated[
        Callable[[str, str], None] | None,
        Trace("--print-after-all", help="Print the IR after each pass, on stderr."),
    ] = None,
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
    """Run passes over a model, and print its IR or write it back as ONNX.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, or a `Graph`.
    pipeline
        Passes to run, in order. Separated by commas, options in braces; empty to only load (and save).
    output
        The ONNX file to write. None is written if None.
    after_each
        Called with each pass's name and the IR text after it.
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
    from pathlift.models.reference import check_onnxruntime
    from pathlift.models.source import open_model
    from pathlift.models.verify import open_original, verify_outputs
    from pathlift.passes.pipeline import parse_pipeline, run_pipeline
    from pathlift.passes.registry import shadowed

    if not isinstance(pipeline, str):
        hint = 'pipeline="strip-head,dead-code"'
        raise UsageError("0431", f"the pipeline is a {type(pipeline).__name__}, not a string", hint=hint)
    _check(verify, tolerance, norms, shape, seed)
    passes, sizes = parse_pipeline(pipeline), dict(shape or {})
    log = None
    if norms:
        from pathlift.passes.path_norm.norm_log import NormLog

        log = NormLog(tuple(map(float, norms)), sizes, memory_limit)
    if verify:
        check_onnxruntime()
    opened = open_model(model, memory_limit=memory_limit)
    original = open_original(model) if verify else None
    if log is not None:
        log.add("before the first pass", opened.graph)

    def look(name: str, graph: Graph) -> None:
        if log is not None:
            log.add(f"after {name}", graph)
        if after_each is not None:
            after_each(name, str(graph))

    graph, steps = run_pipeline(opened.graph, passes, after_each=look)
    verification = None
    if verify:
        limit = None if tolerance is None else float(tolerance)
        verification = verify_outputs(
            original, opened.graph, graph, tolerance=limit, sizes=sizes, seed=seed, memory_limit=memory_limit
        )
    refuted = verification is not None and not verification.passed
    rounded: tuple[str, ...] = ()
    if output is not None and not refuted:
        from pathlift.frontend.save import save

        rounded = save(graph, output, force=force)
    refusals = [log.refusal] if log and log.refusal else []
    return OptResult(
        input=opened.source,
        assumptions=_assumptions(log, verification),
        warnings=(*opened.warnings, *shadowed(p.name for p in passes), *refusals, *rounded),
        exit_code=1 if refuted else 0,
        graph=graph,
        steps=steps,
        output=None if output is None or refuted else os.fspath(output),
        norms=tuple(log.norms) if log else (),
        verification=verification,
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
    yield from payload["ir"]
    output, verified = payload["output"], payload.get("verify")
    norms = [payload.get("norms"), *(step.get("norms") for step in payload["passes"])]
    if output is not None or verified or any(norms):
        yield from _steps(payload["passes"], norms)
    if verified:
        yield from _verification(verified)
    if output is not None:
        yield f"wrote {output}"


def _steps(steps: Sequence[Payload], norms: Sequence[Sequence[Payload] | None]) -> Iterator[Table]:
    """Yield one row per pass, with the path-norms before → after it; `norms` has those before the first one too."""
    exponents = next(([number(norm["q"]) for norm in items] for items in norms if items), [])
    rows = [
        [step["name"], "changed" if step["changed"] else "unchanged", step.get("note", "")]
        + [f"{_log10(before, i)} → {_log10(after, i)}" for i in range(len(exponents))]
        for step, before, after in zip(steps, norms[:-1], norms[1:], strict=True)
    ]
    if exponents and not steps:
        rows = [["none", "", "", *(_log10(norms[0], i) for i in range(len(exponents)))]]
    headings = [f"log10 ‖Φ‖_{q}" for q in exponents]
    if rows:
        yield table(["pass", "", "", *headings], rows, right=headings)


def _log10(norms: Sequence[Payload] | None, index: int) -> str:
    """One of a network's norms; a dash if it has none."""
    if not norms:
        return "-"
    return "zero" if norms[index]["zero"] else fixed(norms[index]["log10"])


def _verification(verified: Payload) -> Iterator[str]:
    difference = "∞" if verified["max_relative_difference"] is None else f"{verified['max_relative_difference']:.2e}"
    where = f"output {verified['output']!r}, input {verified['input']!r}"
    skipped = f" and {n} ill-conditioned ones left out" if (n := verified["ill_conditioned"]) else ""
    tried = f"{verified['samples']} inputs{skipped}, tolerance {number(verified['tolerance'])}"
    verdict = "verified" if verified["passed"] else "refuted"
    yield f"{verdict}: largest relative difference {difference} ({where}; {tried})"
    if not verified["passed"]:
        yield "nothing was written; a pass that changes the function on purpose needs a --tolerance"
