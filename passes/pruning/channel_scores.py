"""Scores of groups of channels: what a group's paths weigh, and sums of the scores of single weights.

No path passes through two channels of a group that are read by maps of which none leads to another. Then the paths of
the group are those through the weights that read it, each once, and their share of ‖Φ‖₁ is the sum of the shares
π = θ ∂log‖Φ‖₁/∂θ of these weights. Where channels of several depths are one group (on a residual stream), that sum
counts paths again; the share itself is found by propagating what is lost: non-negative terms, nothing is subtracted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from math import exp2, inf

import networkx as nx
import numpy as np
import torch

from pathlift.ir.algebras.interpret import run
from pathlift.ir.errors import PathliftError, UnsupportedError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.primitives.base import LinearMap
from pathlift.ir.types import Array
from pathlift.passes.channels.groups import Groups
from pathlift.passes.fields.arithmetic import exact_arithmetic
from pathlift.passes.fields.field import Field, plus, times
from pathlift.passes.fields.figures import total
from pathlift.passes.fields.rounding import rounding_mode
from pathlift.passes.fields.scaled import Scaled, log2_of
from pathlift.passes.path_metric.algebra import PairField, PathMetricAlgebra
from pathlift.passes.path_metric.weights import PairWeight
from pathlift.passes.path_norm.batch import batch_extent
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.rewrites.strip_head import StripHead
from pathlift.passes.sizes import Extents, resolve_inputs

AT_ONCE = 32
"""Groups that are propagated together."""
_CPU = torch.device("cpu")


def summed_scores(groups: Groups, scores: Mapping[str, Array]) -> Array:
    """Add up the scores of all weights of linear maps that go with a group, ``(count + 1,)``; of what stays, 0.

    Parameters
    ----------
    groups
        Those of the graph.
    scores
        Of single weights, by the name of the parameter; of those left out, 0.
    """
    result = np.zeros(groups.count + 1)
    for key in groups.linear:
        values = scores.get(groups.graph[key].names[0])
        axes = groups.marks[Value(key)]
        for axis, marks in enumerate(axes) if values is not None else ():
            if marks is not None:
                assert values is not None
                _add(result, marks, np.moveaxis(values, axis, 0).reshape(len(marks), -1).sum(1, dtype=np.float64))
    result[0] = 0.0
    return result


def reading_shares(groups: Groups, shares: Mapping[str, Array]) -> Array:
    """Add up the shares of the weights that read a group, ``(count + 1,)``: its paths, some perhaps several times.

    Parameters
    ----------
    groups
        Those of the graph.
    shares
        π of single weights, by the name of the parameter.

    Raises
    ------
    UnsupportedError
        If weights that read channels are computed from others.
    """
    result, seen = np.zeros(groups.count + 1), set[tuple[str, int]]()
    for r in groups.readings:
        if not r.param:
            node = groups.graph[r.node]
            raise UnsupportedError("1341", "weights that read channels are computed", node=node.label, op=node.op)
        marks = groups.marks[Value(r.param)][r.axis]
        if marks is not None and (r.param, r.axis) not in seen:  # π of shared weights is that of all their uses
            seen.add((r.param, r.axis))
            values = shares[groups.graph[r.param].names[0]]
            _add(result, marks, np.moveaxis(values, r.axis, 0).reshape(len(marks), -1).sum(1, dtype=np.float64))
    result[0] = 0.0
    return result


def _add(result: Array, marks: Array, values: Array) -> None:
    np.add.at(result, marks, values)


def path_costs(groups: Groups, *, fast: bool = False, shape: Mapping[str, int] | None = None) -> Array:
    """Return what removing each group alone costs: (‖Φ(θ)‖₁ − ‖Φ(θ without the group)‖₁)/‖Φ(θ)‖₁.

    Parameters
    ----------
    groups
        Those of a graph that path-norms cover.
    fast
        Take the sum over the weights that read a group, even where it counts paths several times: an upper bound then.
    shape
        Extents of symbolic dimensions, by name; a batch needs none.

    Returns
    -------
    array
        float64, ``(count + 1,)``; the first is 0. Not rounded in any direction.

    Raises
    ------
    UnsupportedError
        If a node has no proved rule; names node, op and reason.
    """
    sizes = tuple((shape or {}).items())
    weights = PathNorm(per_weight=True, shape=sizes).run(groups.graph).weights
    costs = reading_shares(groups, {name: pi.double().cpu().numpy() for name, pi in weights.items()})
    if not fast:
        joined = _several_depths(groups)
        if joined:
            costs[joined] = _propagated(groups, joined, dict(sizes))
    return costs


def _several_depths(groups: Groups) -> list[int]:
    """The groups of which a path may pass through several channels."""
    readers: dict[int, set[str]] = defaultdict(set)
    for r in groups.readings:
        for marks in (groups.marks[x][r.read] for x in groups.graph.inputs_of(r.node)[:1] if x is not None):
            for group in np.unique(marks).tolist() if marks is not None else ():
                readers[group].add(r.node)
    below: dict[str, set[str]] = {}
    verdict: dict[frozenset[str], bool] = {}
    for nodes in {frozenset(nodes) for nodes in readers.values() if len(nodes) > 1}:
        for node in nodes:
            if node not in below:
                below[node] = nx.descendants(groups.graph.nx, node)
        verdict[nodes] = any(below[node] & nodes for node in nodes)
    return sorted(g for g, nodes in readers.items() if g and verdict.get(frozenset(nodes), False))


class _LossAlgebra(PathMetricAlgebra):
    """What is lost where maps no longer read some channels, for several choices at once, one per sample of a batch.

    Parameters
    ----------
    reads
        By the key of a map: the groups along the axis of its operand, and which axis.
    chosen
        The group that goes in each sample.
    """

    def __init__(self, reads: Mapping[str, tuple[Array, int]], chosen: Array) -> None:
        super().__init__({})
        self.reads, self.chosen = reads, chosen

    def apply_weights(self, f: LinearMap, x: PairField, w: PairWeight) -> PairField:
        assert self.node is not None
        marks, axis = self.reads.get(self.node.names[0], (None, 0))
        if marks is not None and np.isin(self.chosen, marks).any():
            gone = self.chosen[:, None] == marks
            kept, lost = (self._times(x.common, mask, axis) for mask in (~gone, gone))
            before = x.excess[0]
            x = PairField(kept, (lost if before is None else plus(before, lost, self.norms.semiring), None))
        return super().apply_weights(f, x, w)

    def _times(self, x: Field, mask: Array, axis: int) -> Field:
        shape = [1] * x.rank
        shape[axis] = mask.shape[1]
        shape[0] = len(mask) if len(mask) > 1 else shape[0]
        return times(x, Field.plain(Scaled.of(torch.from_numpy(mask.astype(np.float64)).reshape(shape))))


def _propagated(groups: Groups, joined: list[int], sizes: Mapping[str, int]) -> Array:
    """The shares of paths that groups lose, each found on its own sample of a batch."""
    graph = StripHead().run(groups.graph).graph
    inputs = resolve_inputs(graph, sizes)
    reads = {}
    for r in groups.readings:
        x = groups.graph.inputs_of(r.node)[0]
        assert x is not None
        marks = groups.marks[x][r.read]
        if marks is not None:
            reads[groups.graph[r.node].names[0]] = marks, r.read
    at_once = AT_ONCE if _has_batch(graph, inputs) else 1
    costs = []
    for start in range(0, len(joined), at_once):
        costs += _losses(graph, inputs, reads, np.array(joined[start : start + at_once]))
    return np.array(costs)


def _has_batch(graph: Graph, inputs: Mapping[str, Extents]) -> bool:
    """Whether axis 0 of the inputs is a batch of any size."""
    if any(shape[:1] != (1,) for shape in inputs.values()):
        return False
    try:
        return batch_extent(graph, {name: (2, *shape[1:]) for name, shape in inputs.items()}) == 2
    except (PathliftError, RuntimeError):  # an extent that the graph fixes
        return False


def _losses(
    graph: Graph, inputs: Mapping[str, Extents], reads: Mapping[str, tuple[Array, int]], chosen: Array
) -> list[float]:
    algebra, count = _LossAlgebra(reads, chosen), len(chosen)
    with rounding_mode(up=False), exact_arithmetic(_CPU, torch.float64):
        feeds = {
            name: PairField(Field.ones((count, *shape[1:]) if count > 1 else shape, torch.float64, _CPU))
            for name, shape in inputs.items()
        }
        results = run(graph, algebra, feeds)
        listed = [algebra.signal(results[graph.name_of(v)]) for v in graph.outputs]
        return [_share(algebra, listed, i if count > 1 else None) for i in range(count)]


def _share(algebra: PathMetricAlgebra, listed: list[PairField], sample: int | None) -> float:
    semiring = algebra.norms.semiring

    def of(fields: list[Field]) -> float:
        rows = fields if sample is None else [y.taken(0, np.array([sample])) for y in fields]
        whole = total(rows, semiring)
        return log2_of(whole.m.item(), int(whole.e))

    lost = of([e for y in listed if (e := y.excess[0]) is not None])
    kept = of([y.common for y in listed])
    if lost == -inf:
        return 0.0
    return 1.0 if kept == -inf else 1 / (1 + exp2(min(kept - lost, 1000.0)))
