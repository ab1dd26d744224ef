"""From two models to the answer whether they are numerically the same."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pathlift.frontend.files import replacing
from pathlift.ir.errors import ExecutionError, InvalidModelError, PathliftError, UnsupportedError
from pathlift.models.probes import Probes
from pathlift.models.reference import check_onnxruntime
from pathlift.models.sameness.difference import Limits
from pathlift.models.sameness.parting import parting
from pathlift.models.sameness.ports import ports
from pathlift.models.sameness.samples import samples
from pathlift.models.sameness.trials import Trial, Trials
from pathlift.models.session import model_source
from pathlift.models.verify import rounding
from pathlift.report.sameness import SamenessResult

if TYPE_CHECKING:
    from pathlift.models.source import Opened

LEFT_OUT = "no inputs were drawn, only given ones were tried: {}"


@dataclass(frozen=True)
class Question:
    """What is asked; the fields are `compare`'s options."""

    at: Any = None
    tolerance: float | None = None
    seed: int = 0
    shape: tuple[tuple[str, int], ...] = ()
    memory_limit: int = 0
    witness: str | os.PathLike[str] | None = None
    force: bool = False


def sameness(opened: tuple[Opened, Opened], question: Question) -> SamenessResult:
    """Run two models on the same inputs, and say whether outputs agree, and where they part if not.

    Parameters
    ----------
    opened
        The models.
    question
        What is asked.

    Raises
    ------
    UsageError
        If samples or extents do not fit the models, or ONNX Runtime is not installed.
    UnsupportedError
        If ONNX Runtime cannot run the models, outputs are random, or no inputs can be made.
    """
    check_onnxruntime()
    ours, theirs = opened
    unit, default = rounding(ours.graph, theirs.graph)
    limits = Limits(default) if question.tolerance is None else Limits(question.tolerance, question.tolerance)
    told: dict[str, Any] = {
        "input": ours.source,
        "other": theirs.source,
        "tolerance": limits.real,
        "discrete_tolerance": limits.discrete,
    }
    warnings = (*ours.warnings, *theirs.warnings)
    found = ports(ours.graph, theirs.graph)
    if isinstance(found, str):
        return SamenessResult(
            **told, warnings=warnings, verdict="different", outputs=(), samples=0, given=0, ill_conditioned=0,
            reason=found, exit_code=1,
        )  # fmt: skip
    if not found.outputs:
        raise UnsupportedError("0378", "a model without outputs leaves nothing to compare")
    with tempfile.TemporaryDirectory(prefix="pathlift-", ignore_cleanup_errors=True) as folder:
        sources = _sources(opened, Path(folder))
        trials = Trials(*_sessions(sources), found, limits, unit)
        given, left, assumptions = _tried(trials, question)
        worst = trials.worst
        where = None if worst.same or worst.reason else parting(found, sources, limits, worst.kind, worst.feeds)
    files = {} if worst.same else _written(worst, question)
    return SamenessResult(
        **told,
        warnings=(*warnings, *left),
        assumptions=assumptions,
        verdict="same" if worst.same else "different",
        exit_code=0 if worst.same else 1,
        outputs=trials.outputs(),
        samples=len(trials.ran),
        given=given,
        ill_conditioned=trials.ill_conditioned,
        reason=f"{worst.reason} (input {worst.kind})" if worst.reason else "",
        parting=where,
        files=files,
    )


def _tried(trials: Trials, question: Question) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    """Run all trials; returns how many were given, what to warn of, and what figures rest on."""
    given, left = samples(trials.ports.first, question.at) if question.at is not None else ([], ())
    trials.given(given)
    try:
        inputs = trials.ports.signature(dict(question.shape), question.memory_limit)
    except PathliftError as error:
        if not given:
            raise
        left, assumptions = (*left, LEFT_OUT.format(error.message)), tuple[str, ...]()
    else:
        shapes = ", ".join(f"{name} {list(shape)}" for name, (_, shape) in inputs.items())
        assumptions = (f"inputs are drawn, of shape {shapes}: models that agree on them may differ elsewhere",)
        trials.probed(Probes(inputs, question.seed))
    trials.check()
    return sum(trial.is_given for trial in trials.ran), left, assumptions


def _sources(opened: tuple[Opened, Opened], folder: Path) -> tuple[str | bytes, str | bytes]:
    found = []
    for i, read in enumerate(opened):
        (place := folder / str(i)).mkdir()
        is_module = hasattr(read.original, "forward")
        found.append(model_source(read.graph if is_module else read.original, read.graph, place))
    return found[0], found[1]


def _sessions(sources: tuple[str | bytes, str | bytes]) -> tuple[Any, Any]:
    from pathlift.runtime.session import onnxruntime_session

    found = []
    for which, source in zip(("first", "second"), sources, strict=True):
        try:
            found.append(onnxruntime_session(source))
        except (ExecutionError, InvalidModelError) as error:
            raise UnsupportedError("0399", f"the {which} model does not run: {error.message}") from error
    return found[0], found[1]


def _written(worst: Trial, question: Question) -> Mapping[str, str]:
    """Write the input that shows the difference, if that is asked for."""
    if question.witness is None:
        return {}
    arrays: dict[str, Any] = dict(worst.feeds)
    with replacing(question.witness, force=question.force) as stage, stage.open("wb") as file:
        np.savez(file, **arrays)
    return {"witness": os.fspath(question.witness)}
