"""A random permutation of neurons, for networks whose channels lie along one axis of every parameter."""

from __future__ import annotations

import numpy as np

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Array, Param
from pathlift.passes.channels.symmetry import symmetry


def random_permutation(graph: Graph, rng: np.random.Generator) -> Graph:
    """Return the same function with its neurons in another order.

    Parameters
    ----------
    graph
        A network in which every channel has a scale of its own, and the same place in all that it meets: no GroupSort,
        no grouped convolutions other than depthwise ones.
    rng
        What the order is drawn from.

    Raises
    ------
    UnsupportedError
        If channels lie along two axes of a parameter.
    """
    found = symmetry(graph)
    axes = [
        (use.param, [at for s in (use.scale.times, use.scale.over) for at in _axes(s, len(use.param.shape))])
        for use in found.uses
    ]
    pairs = [(parts[0][1], parts[1][1]) for _, parts in axes if len(parts) == 2 and parts[0][0] == parts[1][0]]
    place = _permuted(found.count + 1, [vector for _, parts in axes for _, vector in parts], pairs, rng)
    # A batch norm's variance has no scale, but a channel all the same.
    channels = {use.node: parts[0] for use, (_, parts) in zip(found.uses, axes, strict=True) if parts}
    unscaled = [(use.param, [channels[use.node]]) for use, (p, parts) in zip(found.uses, axes, strict=True)
                if not parts and use.node in channels and p.shape == channels[use.node][1].shape]  # fmt: skip
    moved: dict[int, Param] = {}
    for param, parts in axes + unscaled:
        values = param.numpy()
        for axis, vector in dict(parts).items():
            if (place[vector] != vector).any():
                values = values.take(_order(vector, place), axis)
        if values is not param.numpy():
            moved.setdefault(id(param), Param.of(np.ascontiguousarray(values)))
    builder = graph.edit()
    for key in graph.params:
        value = graph[key].value
        if id(value) in moved:
            builder.replace_node(Value(key), value=moved[id(value)])
    return builder.finish()


def _axes(classes: Array, rank: int) -> list[tuple[int, Array]]:
    """The axis along which classes vary, and the classes along it."""
    wide = [axis for axis, n in enumerate(classes.shape) if n > 1]
    if len(wide) > 1:
        raise UnsupportedError("0333", "channels lie along two axes of a parameter")
    return [(axis + rank - classes.ndim, classes.reshape(-1)) for axis in wide]


def _permuted(count: int, vectors: list[Array], pairs: list[tuple[Array, Array]], rng: np.random.Generator) -> Array:
    """Where each class goes: to one that occurs in the same vectors, and whose partners (in `pairs`) go along."""
    colours = np.zeros(count, np.int64)
    features = np.zeros((count, 1), np.uint64)
    for vector in vectors:
        classes, times = np.unique(vector, return_counts=True)
        features[classes, 0] += rng.integers(0, 2**62, dtype=np.uint64) * times.astype(np.uint64)
    while True:
        mixed = features.copy()
        for a, b in pairs:
            salt = rng.integers(1, 2**62, size=count, dtype=np.uint64) | np.uint64(1)
            np.add.at(mixed[:, 0], a, salt[colours[b]])
            np.add.at(mixed[:, 0], b, salt[::-1][colours[a]])
        _, refined = np.unique(mixed[:, 0], return_inverse=True)
        if refined.max() == colours.max():
            break
        colours = refined
    place, partners = np.zeros(count, np.int64), _partners(count, pairs)
    done = np.zeros(count, bool)
    done[0] = True
    for colour in np.unique(colours):
        group = np.flatnonzero((colours == colour) & ~done)
        pending = [(group, rng.permutation(group))] if len(group) else []
        while pending:
            group, target = pending.pop()
            if not done[group].any():
                place[group], done[group] = target, True
                pending += [(p[group], p[target]) for p in partners if (p[group] > 0).all()]
    return place


def _partners(count: int, pairs: list[tuple[Array, Array]]) -> list[Array]:
    found = []
    for a, b in pairs:
        for x, y in ((a, b), (b, a)):
            partner = np.zeros(count, np.int64)
            partner[x] = y
            found.append(partner)
    return found


def _order(vector: Array, place: Array) -> Array:
    """For each position, the position that moves there: the n-th of a class to the n-th of its new class."""
    order = np.empty(len(vector), np.int64)
    before, after = np.argsort(place[vector], kind="stable"), np.argsort(vector, kind="stable")
    order[after] = before
    return order
