"""Any analysis, by its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pathlift.ir.errors import UsageError
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.models.options import AssumeEval, Flag, MemoryLimit, Model, Shape, pass_completions
from pathlift.report.plain import plain
from pathlift.report.result import Result
from pathlift.report.tables import Payload, json_tables

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.ir.graph import Graph
    from pathlift.models.source import Opened
    from pathlift.passes.base import Analysis


@dataclass(frozen=True)
class Finding:
    """What one analysis found.

    Parameters
    ----------
    analysis
        With its options.
    result
        As its `run` returned it.
    """

    analysis: Analysis[Any]
    result: Any

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types; the result says itself what it is where it has ``to_json``."""
        found = plain(self.result)
        if dataclasses.is_dataclass(self.result) and not hasattr(self.result, "to_json"):
            found.pop("assumptions", None)  # the verb's result repeats them
        options = {name: plain(getattr(self.analysis, f.name)) for name, f in self.analysis.options().items()}
        return {"name": self.analysis.name, "options": options, "result": found}

    def for_text(self) -> dict[str, Any]:
        """Add the lines that the result shows itself as, where it has ``to_text``."""
        lines = {"lines": list(self.result.to_text())} if hasattr(self.result, "to_text") else {}
        return self.to_json() | lines


@dataclass(frozen=True, kw_only=True)
class AnalyzeResult(Result):
    """What the analyses found, in the order of the pipeline."""

    findings: tuple[Finding, ...]

    ROWS = ("analyses",)

    def headline(self) -> str:
        return ", ".join(finding.analysis.name for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        return {"analyses": [finding.to_json() for finding in self.findings]}

    def for_text(self) -> dict[str, Any]:
        return {"analyses": [finding.for_text() for finding in self.findings]}


def analyze(
    model: Model,
    pipeline: Annotated[str, Flag("--pipeline", "-p", metavar="ANALYSIS{OPTION=VALUE},...", complete=pass_completions)],
    *,
    shape: Shape = None,
    memory_limit: MemoryLimit = MEMORY_LIMIT,
    assume_eval: AssumeEval = False,
    example: Any = None,
) -> AnalyzeResult:
    """Run analyses by name, also those of other packages.

    An analysis returns what it likes. Its result is an object by field, unless it has ``to_json``; as text, it is
    tables of that, unless it has ``to_text``, which yields lines.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, a `Graph`, or a ``torch.nn.Module`` (then `example` is needed).
    pipeline
        Analyses to run, in order. Separated by commas, options in braces: ``path-norm{q=[1,2]},heaviest-path``.
    shape
        Fill in symbolic dimensions. Extents by name, for the analyses that take some; the batch needs none.
    memory_limit
        Refuse larger tensors and models. In bytes.
    assume_eval
        Read training-mode layers as in evaluation.
    example
        For a module: the shape of its input, or one shape or tensor per input.

    Raises
    ------
    UsageError
        If the pipeline names a transform, or nothing, or no analysis in it takes extents.
    PathliftError
        If the model cannot be read, or an analysis refuses it.
    """
    from pathlift.models.source import extents, open_model
    from pathlift.passes.pipeline import parse_analyses, run_analysis
    from pathlift.passes.registry import shadowed

    given = {"shape": extents(shape), "memory_limit": memory_limit}
    analyses = [_filled(p, given) for p in parse_analyses(pipeline)]
    if shape and not any(getattr(p, "shape", None) == given["shape"] for p in analyses):
        raise UsageError("1402", "no analysis of the pipeline takes extents", hint="leave --shape out")
    opened = {
        sizes: open_model(model, memory_limit=memory_limit, assume_eval=assume_eval, example=example, shape=sizes)
        for sizes in dict.fromkeys(map(_sizes, analyses))
    }
    findings = tuple(Finding(p, run_analysis(*_on(p, opened[_sizes(p)]))) for p in analyses)
    assumed = [str(line) for finding in findings for line in getattr(finding.result, "assumptions", ())]
    return AnalyzeResult(
        input=opened[_sizes(analyses[0])].source,
        assumptions=tuple(dict.fromkeys(assumed)),
        warnings=tuple(dict.fromkeys(w for o in opened.values() for w in o.warnings))
        + shadowed(p.name for p in analyses),
        findings=findings,
    )


def _sizes(analysis: Analysis[Any]) -> tuple[tuple[str, int], ...]:
    """Return the extents that an analysis takes; none if it takes no such thing."""
    sizes = getattr(analysis, "shape", ())
    return sizes if isinstance(sizes, tuple) and all(isinstance(s, tuple) for s in sizes) else ()


def _on(analysis: Analysis[Any], opened: Opened) -> tuple[Analysis[Any], Graph]:
    """Return an analysis, with the extents that the model leaves open, and the model."""
    if not _sizes(analysis):
        return analysis, opened.graph
    return dataclasses.replace(analysis, shape=opened.shape), opened.graph  # type: ignore[type-var]  # an analysis is a dataclass


def _filled(analysis: Analysis[Any], given: dict[str, Any]) -> Analysis[Any]:
    """Give an analysis what the verb was given, where it has such an option and the pipeline leaves it alone."""
    new = {
        f.name: given[f.name]
        for f in analysis.options().values()
        if f.name in given and type(f.default) is type(given[f.name]) and getattr(analysis, f.name) == f.default
    }
    filled: Analysis[Any] = dataclasses.replace(analysis, **new)  # type: ignore[type-var]  # an analysis is a dataclass
    return filled


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield the lines of each result, or tables of its JSON."""
    for i, finding in enumerate(payload["analyses"]):
        if i:
            yield ""
        if "lines" in finding:
            yield from (finding["name"], *finding["lines"])
        else:
            yield from json_tables(finding["name"], finding["result"])
