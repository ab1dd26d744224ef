"""Pass pipelines over a model."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.types import MEMORY_LIMIT
from pathlift.passes.pipeline import Step, parse_pipeline, run_pipeline
from pathlift.verbs.result import Result
from pathlift.verbs.source import Model, open_model


@dataclass(frozen=True, kw_only=True)
class OptResult(Result):
    """The rewritten graph, and what each pass did."""

    graph: Graph
    steps: tuple[Step, ...]
    output: str | None

    def to_json(self) -> dict[str, Any]:
        return {
            "output": self.output,
            "passes": [
                {"name": s.name, "changed": s.changed, "note": s.rewritten.witness.describe()} for s in self.steps
            ],
            "ir": str(self.graph).splitlines() if self.output is None else [],
        }


def opt(
    model: Model,
    pipeline: str = "",
    *,
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    memory_limit: int = MEMORY_LIMIT,
    after_each: Callable[[str, str], None] | None = None,
) -> OptResult:
    """Run a pipeline of passes over a model.

    Parameters
    ----------
    model
        A path, bytes, a ModelProto, or a `Graph`.
    pipeline
        Comma-separated passes with options in braces; empty to only load (and save).
    output
        Where to write the result as ONNX; nowhere if None.
    force
        Replace `output` if it exists.
    memory_limit
        Bytes that no tensor may pass.
    after_each
        Called with each pass's name and the IR text after it.

    Raises
    ------
    PathliftError
        If the model, the pipeline or a pass's precondition is at fault, or the output cannot be written.
    """
    if not isinstance(pipeline, str):
        hint = 'pipeline="strip-head,dead-code"'
        raise UsageError("0431", f"the pipeline is a {type(pipeline).__name__}, not a string", hint=hint)
    passes = parse_pipeline(pipeline)
    opened = open_model(model, memory_limit=memory_limit)
    show = None if after_each is None else lambda name, graph: after_each(name, str(graph))
    graph, steps = run_pipeline(opened.graph, passes, after_each=show)
    if output is not None:
        from pathlift.frontend.save import save

        save(graph, output, force=force)
    return OptResult(
        input=opened.source,
        warnings=opened.warnings,
        graph=graph,
        steps=steps,
        output=None if output is None else os.fspath(output),
    )
