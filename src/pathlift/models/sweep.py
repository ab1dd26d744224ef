"""Sweeps over sparsities: networks pruned, classified with, saved and timed, one after another, and resumed."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pathlift.frontend.save import save
from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.graph import Graph
from pathlift.models.session import Session
from pathlift.models.timing import race
from pathlift.passes.pruning.criteria import Calibration
from pathlift.passes.pruning.inputs import uses_per_sample
from pathlift.passes.pruning.prunable import prunables
from pathlift.passes.pruning.recipe import Recipe
from pathlift.report.pareto import Point

ProgressCallback = Callable[[str, int, int], object]
VERSION = 2
_ROUNDS, _SECONDS = 50, 1.0


def read_sweep(text: str) -> tuple[float, ...]:
    """Read ``0.1:0.95:10``: so many sparsities, the first and the last of which are these.

    Raises
    ------
    UsageError
        If it is something else.
    """
    parts = text.split(":")
    try:
        first, last, count = float(parts[0]), float(parts[1]), int(parts[2])
    except (ValueError, IndexError):
        first, last, count = 0.0, 0.0, 0
    if len(parts) != 3 or not 0 <= first <= last < 1 or not 1 <= count <= 1000:
        raise UsageError(
            "1410", f"{text!r} is no sweep of sparsities", hint="0.1:0.95:10, from 0.1 to 0.95 in 10 steps"
        )
    return tuple(round(float(s), 12) for s in np.linspace(first, last, count))


def read_point(row: Mapping[str, Any]) -> Point:
    """Read a line of a sweep's log."""
    return Point(**{**row, "seconds_quartiles": tuple(row["seconds_quartiles"])})


@dataclass(frozen=True, eq=False)
class Sweep:
    """What is tried, and on what.

    Parameters
    ----------
    graph
        The network.
    recipe
        How networks are pruned; criterion and sparsity are replaced.
    criteria, sparsities
        To try, all pairs of them.
    validation
        Labelled samples.
    calibration
        To score on, and to refit to.
    threads
        Of ONNX Runtime.
    """

    graph: Graph
    recipe: Recipe
    criteria: Sequence[str]
    sparsities: Sequence[float]
    validation: Calibration
    calibration: Calibration | None = None
    threads: int = 1

    def about(self, sha256: str | None) -> dict[str, Any]:
        """Return what tells this sweep from others: the model, the data, and the options."""
        digest = hashlib.sha256()
        for data in (self.validation, *([self.calibration] if self.calibration else [])):
            for i, batch in enumerate(data.batches):
                for name, array in batch.items():
                    digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
                digest.update(b"" if data.labels is None else np.ascontiguousarray(data.labels[i]).tobytes())
        options = asdict(self.recipe)
        for replaced in ("criterion", "sparsity"):
            del options["method"][replaced]
        found = {"model": sha256, "data": digest.hexdigest(), "options": options}
        return json.loads(json.dumps(found))  # type: ignore[no-any-return]  # json says Any

    def points(
        self, known: Mapping[tuple[str, float], Point], progress: ProgressCallback | None = None
    ) -> Iterator[Point]:
        """Yield the dense network's point, and then all others, those that are known as they are.

        Raises
        ------
        PathliftError
            If the network is no classifier, or cannot be pruned or run.
        """
        total = 1 + len(self.criteria) * len(self.sparsities)
        with tempfile.TemporaryDirectory(prefix="pathlift-", ignore_cleanup_errors=True) as folder:
            judge = _Judge(self, Path(folder))
            if progress is not None:
                progress("dense", 0, total)
            yield known.get(("", 0.0)) or judge.point("", 0.0, self.graph)
            pairs = ((c, s) for c in self.criteria for s in self.sparsities)
            for i, (criterion, sparsity) in enumerate(pairs, start=1):
                if progress is not None:
                    progress(f"{criterion} {sparsity:g}", i, total)
                yield known.get((criterion, sparsity)) or self._pruned(judge, criterion, sparsity)

    def _pruned(self, judge: _Judge, criterion: str, sparsity: float) -> Point:
        levels = tuple(level for level in self.recipe.method.schedule if level < sparsity)
        method = replace(self.recipe.method, criterion=criterion, sparsity=sparsity, schedule=levels)
        graph = replace(self.recipe, method=method).run(self.graph, self.calibration).graph
        return judge.point(criterion, sparsity, graph)


class _Judge:
    """What is measured of a network, beside the dense one."""

    def __init__(self, sweep: Sweep, folder: Path) -> None:
        self.sweep, self.folder = sweep, folder
        self.batch = sweep.validation.batches[0]
        self.uses = uses_per_sample(sweep.graph, prunables(sweep.graph).found, self.batch)
        self.total = sum(p.param.size for p in sweep.recipe.method.prunables(sweep.graph).found)
        self.dense, self.dense_bytes = self._session(sweep.graph, "dense")

    def _session(self, graph: Graph, name: str) -> tuple[Session, int]:
        path = self.folder / f"{name}.onnx"
        save(graph, path, force=True)
        return Session(path, threads=self.sweep.threads), path.stat().st_size

    def point(self, criterion: str, sparsity: float, graph: Graph) -> Point:
        """Classify, save and time."""
        session, size = (self.dense, self.dense_bytes) if graph is self.sweep.graph else self._session(graph, "pruned")
        thin = self.folder / "sparse.onnx"
        save(graph, thin, force=True, sparse=True)
        first, own = race([self.dense, session], self.batch, "cpu", _ROUNDS, _SECONDS, 0, None)
        low, median, high = (float(q) for q in np.quantile(own, (0.25, 0.5, 0.75)))
        allowed = self.sweep.recipe.method.prunables(graph).found
        left = sum(np.count_nonzero(p.param.numpy()) for p in allowed)
        flops = sum(2.0 * self.uses[p.name] * np.count_nonzero(p.param.numpy()) for p in prunables(graph).found)
        return Point(
            criterion, sparsity, 1 - left / max(1, self.total), self._accuracy(session),
            float(flops), size, thin.stat().st_size, median, (low, high),
            1.0 if session is self.dense else float(np.median(first / own)),
        )  # fmt: skip

    def _accuracy(self, session: Session) -> float:
        data, right, count = self.sweep.validation, 0, 0
        assert data.labels is not None
        for feeds, labels in zip(data.batches, data.labels, strict=True):
            found = list(session.run(feeds).values())
            if len(found) != 1 or np.ndim(found[0]) != 2 or len(found[0]) != len(labels):
                raise UnsupportedError("1379", "a classifier has one output of scores (samples, classes)")
            scores = np.asarray(found[0], np.float64)
            right += int((np.isfinite(scores).all(1) & (scores.argmax(1) == labels)).sum())
            count += len(labels)
        return right / count
