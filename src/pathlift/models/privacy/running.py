"""Files run on sets of samples, in batches, of which little is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.types import Array
from pathlift.models.data import batches, fixed_batch
from pathlift.models.privacy.data import SampleSet
from pathlift.models.privacy.scores import Scores, Traits
from pathlift.models.session import start
from pathlift.models.source import Opened
from pathlift.runtime.session import CheckedSession, ExecutorName


@dataclass(frozen=True, eq=False)
class Answers:
    """What a file says of sets of samples.

    Parameters
    ----------
    scores
        By name of the set.
    classes
        How many it tells apart.
    probabilities
        Whether its output is probabilities; else it is read as logits.
    """

    scores: Mapping[str, Scores]
    classes: int
    probabilities: bool


def answers(opened: Opened, name: str, sets: Sequence[SampleSet], output: str, executor: ExecutorName) -> Answers:
    """Run a file on sets of samples.

    Parameters
    ----------
    opened, name
        The file, and what to call it.
    sets
        What to run it on.
    output
        The output of class scores; may be empty if there is one.
    executor
        What runs it.

    Raises
    ------
    UnsupportedError
        If there are no scores of classes, or they are not finite.
    UsageError
        If there is no such output, or a label is no class.
    """
    session = CheckedSession(*start(opened, "cpu", threads=None, executor=executor))
    output = _output(session, name, output)
    both: dict[bool, dict[str, Scores]] = {False: {}, True: {}}
    traits, classes = Traits(), 0
    for own in sets:
        parts: dict[bool, list[Scores]] = {False: [], True: []}
        done = 0
        for rows in _rows(session, opened, own, name, output):
            labels = own.labels[done : done + len(rows)]
            _check(rows, labels, own, done, name)
            traits.see(rows)
            done, classes = done + len(rows), rows.shape[1]
            for probabilities in (True, False) if traits.sums else (False,):
                parts[probabilities].append(Scores.of(rows, labels, probabilities=probabilities))
        for probabilities in (True, False) if traits.sums else (False,):
            both[probabilities][own.name] = Scores.joined(parts[probabilities])
    if traits.hard:
        raise UnsupportedError(
            "0323", f"output {output!r} of {name} is a class, without scores", hint="leave out argmax"
        )
    if traits.bounded and not traits.sums and not traits.constant:
        reason = (
            f"output {output!r} of {name} is between 0 and 1, and does not sum to 1: neither logits nor probabilities"
        )
        raise UnsupportedError("0323", reason)
    return Answers(both[traits.sums], classes, traits.sums)


def _output(session: CheckedSession, name: str, wanted: str) -> str:
    """Return the name of the output of class scores."""
    found = [port.name for port in session.outputs]
    if len(found) == 1 and not wanted:
        return found[0]
    if not wanted:
        raise UnsupportedError("0322", f"{name} has {len(found)} outputs: {found}", hint="--output NAME says which")
    if wanted not in found:
        raise UsageError("1564", f"{name} has no output {wanted!r}", hint=f"outputs: {', '.join(found)}")
    return wanted


def _rows(session: CheckedSession, opened: Opened, own: SampleSet, name: str, output: str) -> Iterator[Array]:
    """Yield scores ``(batch, classes)``, float64, of all samples: the last fills up a batch that is fixed."""
    fixed, left = fixed_batch(opened.graph), own.count
    inputs: Mapping[str, Any] = own.inputs
    if fixed and left % fixed:
        inputs = {key: np.concatenate([a, a[-1:].repeat(fixed - left % fixed, 0)]) for key, a in inputs.items()}
    for feeds in batches(opened.graph, inputs):
        size = len(next(iter(feeds.values())))
        y = np.asarray(session.run(feeds)[output])
        if y.ndim != 2 or y.shape[0] != size or y.shape[1] < 2 or y.dtype.kind not in "fiubV":
            reason = f"output {output!r} of {name} is {y.dtype} of shape {list(y.shape)}, not scores (samples, classes)"
            raise UnsupportedError("0322", reason, hint="--output NAME")
        yield y[:left].astype(np.float64)
        left -= size


def _check(rows: Array, labels: Array, own: SampleSet, done: int, name: str) -> None:
    """Check that rows are scores, and labels are classes."""
    bad = np.isnan(rows).any(1) | (rows == np.inf).any(1) | (rows == -np.inf).all(1)
    if bad.any():
        where = f"sample {own.kept[done + int(bad.argmax())]} of the {own.name}"
        raise UnsupportedError("0324", f"scores of {name} are not finite on {where}")
    if labels.max() >= rows.shape[1]:
        reason = f"a label of the {own.name} is {labels.max()}, of {rows.shape[1]} classes from 0"
        raise UsageError("1562", reason, hint=f"what {name} tells apart")
