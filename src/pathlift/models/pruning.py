"""Costs of pruning, proved: the path metric, and on a domain what `compare` proves; and the data it scores on."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.graph import Graph
from pathlift.models.data import batches, left_over, read_arrays, read_calibration
from pathlift.passes.channels.footprint import Tally, flop_terms
from pathlift.passes.channels.groups import channel_groups
from pathlift.passes.path_metric.path_metric import path_metric
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.pruning.criteria import Calibration
from pathlift.passes.pruning.prunable import prunables
from pathlift.report.pruning import PruningCertificate, Sizes

METADATA = "pathlift.prune"
"""The key of a file's metadata under which it says how it was pruned, as JSON."""


def read_pruning_data(graph: Graph, data: Any) -> tuple[Calibration, tuple[str, ...]]:
    """Read inputs, and labels if there is an array ``y`` that is no input; and say what is left out.

    Parameters
    ----------
    graph
        What reads them.
    data
        An ``.npz`` file, or arrays by name.

    Raises
    ------
    UsageError
        If the file cannot be read, arrays do not fit or are not finite, or labels are no whole numbers, one per sample.
    """
    arrays = dict(data) if isinstance(data, Mapping) else read_arrays({"": data})
    is_input = "y" in {graph[key].names[0] for key in graph.inputs}
    labels = None if is_input or "y" not in arrays else np.asarray(arrays.pop("y"))
    inputs = read_calibration(graph, arrays)
    count = len(next(iter(inputs.values())))
    if labels is not None and (labels.dtype.kind not in "iu" or labels.shape != (count,)):
        reason = f"labels are {labels.dtype} of shape {list(labels.shape)}, not {count} whole numbers"
        raise UsageError("1482", reason, hint="one class number per sample")
    feeds = tuple(batches(graph, inputs))
    ends = np.cumsum([len(next(iter(batch.values()))) for batch in feeds])
    of_batches = None if labels is None else [part.astype(np.int64) for part in np.split(labels[: ends[-1]], ends[:-1])]
    return Calibration(feeds, of_batches), left_over(graph, inputs)


def check_apart(written: Sequence[Any], read: Sequence[Any]) -> None:
    """Check that files that are to be written are several, and none of those that are read.

    Raises
    ------
    UsageError
        If two are one.
    """
    paths = [os.fspath(path) for path in written if isinstance(path, str | os.PathLike)]  # no streams
    models = {os.path.realpath(path) for path in read if isinstance(path, str | os.PathLike)}
    for i, path in enumerate(paths):
        if os.path.realpath(path) in {os.path.realpath(other) for other in paths[:i]}:
            raise UsageError("1413", f"{path!r} is to be written twice", hint="two names")
        if os.path.realpath(path) in models:
            raise UsageError("1413", f"{path!r} is read, and would be written over", hint="another name")


def certified(before: Graph, after: Graph, shape: Mapping[str, int], memory_limit: int) -> PruningCertificate:
    """Return the path metric of two graphs of the same nodes: by how much |R(x) − R'(x)| may differ for ‖x‖∞ ≤ 1.

    Raises
    ------
    PathliftError
        If extents are missing, or weights are NaN.
    """
    try:
        metric = path_metric(before, after, shape=shape, memory_limit=memory_limit)
        norm = PathNorm(shape=tuple(shape.items()), memory_limit=memory_limit).run(before).norms[0].log10
    except UnsupportedError as refusal:
        return PruningCertificate(refused=f"{refusal.code} {refusal.message}")
    return PruningCertificate(metric, norm)


def told_in_file(graph: Graph, told: Mapping[str, Any]) -> Graph:
    """Return the graph with this in its file's metadata."""
    builder = graph.edit()
    text = json.dumps(told, allow_nan=False)
    builder.info = dataclasses.replace(builder.info, metadata={**builder.info.metadata, METADATA: text})
    return builder.finish()


def weight_bytes(graph: Graph) -> dict[str, int]:
    """Return the bytes of a file's parameters, with all zeros and with sparse initializers."""
    from pathlift.frontend.emit.sparse import stored_bytes

    params = [p for key in graph.params if (p := graph[key].value) is not None]
    return {name: sum(stored_bytes(p, sparse=name == "sparse") for p in params) for name in ("dense", "sparse")}


def sizes(before: Graph, after: Graph) -> Sizes:
    """Return channels of layers, operations and bytes of a network before and after channels went."""
    pair = (before, after)
    channels = [{p.name: p.layout.extents[0] for p in prunables(graph).found} for graph in pair]
    flops, weights = [_operations(graph) for graph in pair], [weight_bytes(graph)["dense"] for graph in pair]
    return Sizes(
        {name: (count, channels[1].get(name, count)) for name, count in channels[0].items()},
        (flops[0], flops[1]), (weights[0], weights[1]),
    )  # fmt: skip


def _operations(graph: Graph) -> int | None:
    """The operations of a sample; ``None`` where an extent is not known."""
    try:
        return Tally(flop_terms(channel_groups(graph))).total
    except UnsupportedError:
        return None
