"""Pipelines: ``"dead-code,canonicalize{norm=l1}"`` parsed into passes, and run with every check in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from pathlift.ir.errors import GraphError, PathliftError, UsageError, WitnessError
from pathlift.ir.graph import Graph
from pathlift.ir.packages import optional_packages
from pathlift.ir.stages import stage
from pathlift.ir.verify import verify
from pathlift.passes.base import Analysis, Effect, Rewritten, Transform, Witness
from pathlift.passes.pipeline_text import parse_passes
from pathlift.passes.registry import label

_AGAIN = "--reproduce-into DIR keeps what it takes to see it again; --bisect narrows it down"


class PassFailedError(PathliftError):
    """A pass failed in a way that no input excuses: a bug in the pass (exit 70): PL081x."""

    family = "08"
    exit_code = 70


@dataclass(frozen=True)
class Step:
    """One pass of a pipeline, after it ran.

    Parameters
    ----------
    name
        Of the pass.
    rewritten
        What it returned.
    changed
        Whether it returned another graph than it was given.
    note
        What its witness says was done.
    effect
        What it may do to path-norms.
    rewriting, checking
        Seconds that the pass took, and that verifying the graph and checking the witness took.
    """

    name: str
    rewritten: Rewritten
    changed: bool
    note: str
    effect: Effect
    rewriting: float = 0.0
    checking: float = 0.0


def parse_pipeline(text: str) -> tuple[Transform, ...]:
    """Parse a pipeline string.

    Parameters
    ----------
    text
        Comma-separated transforms, each with options in braces: ``name{option=value, list=[1,2], text="a,b"}``.

    Raises
    ------
    TextError
        If the text does not parse, a pass or an option does not exist or cannot be used, or a value does not fit.
    UsageError
        If a pass is an analysis.
    """
    transforms = []
    for p in parse_passes(text):
        if not isinstance(p, Transform):
            hint = f"pathlift analyze -p {p.name} runs it"
            raise UsageError("0430", f"{p.name!r} is an analysis, and a pipeline rewrites", hint=hint)
        transforms.append(p)
    return tuple(transforms)


def parse_analyses(text: str) -> tuple[Analysis[Any], ...]:
    """Parse a string of analyses, which is spelled like a pipeline.

    Raises
    ------
    TextError
        As for `parse_pipeline`.
    UsageError
        If a pass is a transform, or none is named.
    """
    analyses = []
    for p in parse_passes(text):
        if not isinstance(p, Analysis):
            hint = f"pathlift opt -p {p.name} runs it"
            raise UsageError("1400", f"{p.name!r} rewrites, and is no analysis", hint=hint)
        analyses.append(p)
    if not analyses:
        raise UsageError("1401", "no analysis is named", hint="`pathlift passes` lists them")
    return tuple(analyses)


def run_analysis(analysis: Analysis[Any], graph: Graph) -> Any:
    """Run an analysis, and return its result.

    Raises
    ------
    PassFailedError
        If it raised what is no error of pathlift's.
    PathliftError
        What it refuses.
    """
    with _blaming(label(type(analysis))), stage(f"analysis {analysis.name}"):
        return analysis.run(graph)


def run_pipeline(
    graph: Graph,
    passes: Sequence[Transform],
    *,
    before_each: Callable[[str, Graph], None] | None = None,
    after_each: Callable[[str, Graph], None] | None = None,
) -> tuple[Graph, tuple[Step, ...]]:
    """Run transforms one after another; after each, the graph is verified and the witness checked.

    Parameters
    ----------
    graph
        Where to start.
    passes
        Transforms.
    before_each, after_each
        Called with the pass's name and the graph before or after it.

    Raises
    ------
    WitnessError
        If a witness does not hold.
    PassFailedError
        If a pass made an invalid graph, returned something else, or raised what is no error of pathlift's.
    PathliftError
        What a pass refuses.
    """
    steps = []
    for p in passes:
        if before_each is not None:
            before_each(p.name, graph)
        with stage(f"pass {p.name}"):
            steps.append(_step(p, graph))
        graph = steps[-1].rewritten.graph
        if after_each is not None:
            after_each(p.name, graph)
    return graph, tuple(steps)


def _step(p: Transform, graph: Graph) -> Step:
    who = label(type(p))
    with _blaming(who):
        began = perf_counter()
        rewritten: object = p.run(graph)
        ended = perf_counter()
        if not isinstance(rewritten, Rewritten):
            raise PassFailedError("0811", f"{who} returned an object of type {type(rewritten).__name__}, not Rewritten")
        if not isinstance(rewritten.graph, Graph) or not isinstance(rewritten.witness, Witness):
            returned = f"{type(rewritten.graph).__name__} and {type(rewritten.witness).__name__}"
            raise PassFailedError("0811", f"{who} returned {returned}, not a Graph and a Witness")
        verify(rewritten.graph)
        rewritten.witness.check(graph, rewritten.graph)
        checked = perf_counter()
        note = str(rewritten.witness.describe())
    changed = rewritten.graph is not graph
    return Step(p.name, rewritten, changed, note, p.effect, ended - began, checked - ended)


@contextmanager
def _blaming(who: str) -> Iterator[None]:
    """Name the pass in every error that only a bug in it explains."""
    try:
        with optional_packages():
            yield
    except GraphError as error:
        raise PassFailedError("0812", f"{who} made an invalid graph: {error.message}", hint=_AGAIN) from error
    except WitnessError as error:
        hint = "; ".join(filter(None, (error.hint, _AGAIN)))
        raise WitnessError(error.code.removeprefix("PL"), f"{who}: {error.message}", hint=hint) from error
    except PathliftError:
        raise
    except Exception as error:
        raise PassFailedError("0810", f"{who} failed with {type(error).__name__}: {error}", hint=_AGAIN) from error
