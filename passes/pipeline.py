"""Pipelines: ``"dead-code,canonicalize{norm=l1}"`` parsed into passes, and run with every check in between."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pathlift.ir.errors import TextError, UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.verify import verify
from pathlift.passes.base import Pass, Rewritten, Transform, find_pass

_PASS = re.compile(r"\s*(?P<name>[a-z0-9][a-z0-9-]*)\s*(?:\{(?P<options>[^{}]*)\})?\s*(?:,|$)")
_OPTION = re.compile(r"\s*(?P<name>[a-z][a-z0-9-]*)\s*=\s*(?P<value>\[[^\]]*\]|[^,\[\]]+?)\s*(?:,|$)")


@dataclass(frozen=True)
class Step:
    """One pass of a pipeline, after it ran."""

    name: str
    rewritten: Rewritten
    changed: bool


def parse_pipeline(text: str) -> tuple[Pass, ...]:
    """Parse a pipeline string.

    Parameters
    ----------
    text
        Comma-separated passes, each with options in braces: ``name{option=value, list=[1,2]}``.

    Raises
    ------
    TextError
        If the text does not parse, a pass or an option does not exist, or a value has the wrong type.
    """
    passes, position = [], 0
    while position < len(text):
        match = _PASS.match(text, position)
        if match is None:
            raise TextError("0651", f"pipeline {text!r}: expected a pass at column {position + 1}",
                            hint="for example strip-head,dead-code")  # fmt: skip
        passes.append(_make(find_pass(match["name"]), match["options"] or ""))
        position = match.end()
    return tuple(passes)


def _make(cls: type[Pass], text: str) -> Pass:
    hints, known = typing.get_type_hints(cls), cls.options()
    values: dict[str, Any] = {}
    position = 0
    while position < len(text.rstrip()):
        match = _OPTION.match(text, position)
        if match is None:
            raise TextError("0652", f"pass {cls.name!r}: options {text!r} do not parse at column {position + 1}")
        if match["name"] not in known:
            raise TextError("0653", f"pass {cls.name!r} has no option {match['name']!r}",
                            hint=f"options: {', '.join(known) or 'none'}")  # fmt: skip
        field = known[match["name"]]
        try:
            values[field.name] = _coerce(match["value"], hints[field.name])
        except ValueError:
            raise TextError(
                "0654", f"pass {cls.name!r}: option {match['name']!r} cannot be {match['value']!r}"
            ) from None
        position = match.end()
    required = [n for n, f in known.items() if f.default is f.default_factory is dataclasses.MISSING]
    missing = [n for n in required if known[n].name not in values]
    if missing:
        raise TextError("0655", f"pass {cls.name!r} needs the option {missing[0]!r}")
    return cls(**values)


def _coerce(text: str, expected: Any) -> Any:
    """Read an option's value as its field's type."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin is typing.Literal:
        if text not in arguments:
            raise ValueError(text)
        return text
    if origin is tuple:
        return tuple(_coerce(item.strip(), arguments[0]) for item in text.strip("[]").split(",") if item.strip())
    if origin in (typing.Union, types.UnionType):
        if text == "none" and type(None) in arguments:
            return None
        return _coerce(text, next(a for a in arguments if a is not type(None)))
    if expected is bool:
        return {"true": True, "false": False}[text] if text in ("true", "false") else _refuse(text)
    return expected(text)


def _refuse(text: str) -> Any:
    raise ValueError(text)


def run_pipeline(
    graph: Graph, passes: Sequence[Pass], *, after_each: Callable[[str, Graph], None] | None = None
) -> tuple[Graph, tuple[Step, ...]]:
    """Run transforms one after another; after each, the graph is verified and the witness checked.

    Parameters
    ----------
    graph
        Where to start.
    passes
        Transforms.
    after_each
        Called with the pass's name and the graph after it.

    Raises
    ------
    UsageError
        If a pass is an analysis.
    GraphError, WitnessError
        If a pass made an invalid graph, or its witness does not hold.
    """
    steps = []
    for p in passes:
        if not isinstance(p, Transform):
            raise UsageError("0430", f"{p.name!r} is an analysis, and a pipeline rewrites", hint="use its own verb")
        rewritten = p.run(graph)
        verify(rewritten.graph)
        rewritten.witness.check(graph, rewritten.graph)
        steps.append(Step(p.name, rewritten, rewritten.graph is not graph))
        graph = rewritten.graph
        if after_each is not None:
            after_each(p.name, graph)
    return graph, tuple(steps)
