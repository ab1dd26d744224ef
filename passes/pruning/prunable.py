"""Prunable weights: the parameters that linear ops multiply by, each once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Array, Param, not_finite
from pathlift.passes.layers.dense import LISTED, is_named, naming_hint, split_globs, unmatched
from pathlift.passes.layers.layers import LINEAR_OPS
from pathlift.passes.layers.weights import constant
from pathlift.passes.pruning.layout import Layout


@dataclass(frozen=True, eq=False)
class Prunable:
    """A parameter whose elements may be set to zero.

    Parameters
    ----------
    name
        Of the parameter.
    keys
        Of the nodes that hold it: one tensor may be there under several names.
    node
        The label of the first node that reads it.
    readers
        Keys of all nodes that do.
    param
        Its values.
    layout
        How the first reader reads it.
    is_bias
        Whether it is added, and not multiplied by.
    """

    name: str
    keys: tuple[str, ...]
    node: str
    readers: tuple[str, ...]
    param: Param
    layout: Layout
    is_bias: bool = False

    def values(self) -> Array:
        """Return its values in float64.

        Raises
        ------
        InvalidModelError
            If one is NaN or infinite.
        """
        values = self.param.numpy()
        if self.param.non_finite:
            raise not_finite(self.name, values)
        return values.astype("float64")


@dataclass(frozen=True)
class Prunables:
    """What may be pruned, in topological order of its readers, and why other weights of that name may not, by node."""

    found: tuple[Prunable, ...]
    kept: dict[str, str]

    def checked(self) -> Prunables:
        """Return the same, if there is something.

        Raises
        ------
        UsageError
            If not; says why.
        """
        if not self.found:
            reasons = "; ".join(f"{node}: {reason}" for node, reason in list(self.kept.items())[:3])
            raise UsageError(
                "1403",
                f"there is nothing to prune ({reasons or 'no linear layer has that name'})",
                hint=LISTED,
            )
        return self


def prunables(graph: Graph, include: str = "*", exclude: str = "", *, biases: bool = False) -> Prunables:
    """Find the weights of Gemm, Conv, ConvTranspose, Einsum and KSLinear.

    Parameters
    ----------
    graph
        Any graph. What a caller may replace, what is computed from other parameters, and what anything but linear
        nodes read too is not pruned.
    include, exclude
        Globs of nodes or weights, separated by commas: see `is_named`.
    biases
        Whether to find these nodes' biases, too.

    Raises
    ------
    UsageError
        If a glob names no layer.
    """
    wanted, unwanted = split_globs(include), split_globs(exclude)
    if missing := unmatched(graph, (*wanted, *unwanted)):
        raise UsageError("1403", f"no layer is called {missing!r}", hint=naming_hint(graph, missing))
    found, kept, seen = list[Prunable](), dict[str, str](), set[int]()
    holders = _holders(graph)
    for key in graph.order:
        node = graph[key]
        named = is_named(graph, key, wanted) and not is_named(graph, key, unwanted)
        if key not in graph.live or node.op not in LINEAR_OPS or not named:
            continue
        for slot, value in enumerate(graph.inputs_of(key)[1 : 3 if biases else 2], start=1):
            if value is None:
                continue
            param = constant(graph, value)
            if param is None:
                kept[node.label] = "its weights are computed, are no real numbers, or may be replaced by a caller"
            elif id(param) not in seen:
                seen.add(id(param))
                keys = holders[id(param)]
                reason = next(_others(graph, keys, slot), "")
                if reason:
                    kept[node.label] = reason
                    continue
                readers = tuple(dict.fromkeys(user for k in keys for user, _, _ in graph.users(k)))
                layout = Layout.of(node, slot, param.shape)
                name = graph.name_of(value)
                found.append(Prunable(name, keys, node.label, readers, param, layout, slot == 2))
    return Prunables(tuple(found), kept)


def _holders(graph: Graph) -> dict[int, tuple[str, ...]]:
    """The nodes that hold each parameter, by its identity."""
    keys: dict[int, tuple[str, ...]] = {}
    for key in graph.params:
        keys[id(graph[key].value)] = (*keys.get(id(graph[key].value), ()), key)
    return keys


def _others(graph: Graph, keys: tuple[str, ...], slot: int) -> Iterator[str]:
    """Say what else reads a parameter, which zeros might do anything to."""
    for key in keys:
        if Value(key) in graph.outputs:
            yield "its weights are an output of the network"
        if constant(graph, Value(key)) is None:
            yield "a caller may replace its weights"
        for user, at, _ in graph.users(key):
            if user in graph.live and not (graph[user].op in LINEAR_OPS and at == slot):
                yield f"its weights are read by {graph[user].label!r} ({graph[user].op}), too"
