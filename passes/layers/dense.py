"""Dense layers: those that one matrix says all of, found by name."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pathlift.ir.graph import Graph
from pathlift.ir.types import Array, TensorType
from pathlift.passes.layers.layers import LINEAR_OPS, Layer, read_layer

LISTED = "`pathlift inspect --nodes` lists layers"


@dataclass(frozen=True)
class DenseLayer:
    """A Gemm, MatMul or 1×1 Conv with constant weights.

    Parameters
    ----------
    key
        Of the node.
    label
        What the user calls it.
    axis
        Of the features: 1 for a Conv, else −1.
    """

    graph: Graph
    key: str
    label: str
    axis: int

    def read(self) -> Layer:
        """Return the layer; its weights are float64, ``(out, in)`` or ``(out, in, 1, …)``."""
        layer = read_layer(self.graph, self.key)
        assert layer is not None
        return layer

    @property
    def tensor(self) -> str:
        """The name of the weights."""
        value = self.graph.inputs_of(self.key)[1]
        assert value is not None
        return self.graph.name_of(value)

    def weight(self) -> Array:
        """Return the matrix, ``(out, in)``, float64."""
        weight = self.read().weight
        return weight.reshape(weight.shape[:2])


def dense_layers(graph: Graph, names: str) -> tuple[list[DenseLayer], dict[str, str]]:
    """Find the layers that a glob names.

    Parameters
    ----------
    graph
        Any graph.
    names
        Globs, separated by commas: see `is_named`.

    Returns
    -------
    tuple
        The layers, in topological order; and why others of that name cannot be replaced, by label.
    """
    globs = split_globs(names)
    found, refused = list[DenseLayer](), dict[str, str]()
    for key in graph.order:
        node = graph[key]
        if key not in graph.live or not is_named(graph, key, globs):
            continue
        reason = _refusal(graph, key)
        if reason:
            refused[node.label] = reason
        else:
            found.append(DenseLayer(graph, key, node.label, 1 if node.op == "Conv" else -1))
    return found, refused


def split_globs(text: str) -> list[str]:
    """Read globs, separated by commas or semicolons."""
    return [glob.strip() for glob in text.replace(";", ",").split(",") if glob.strip()]


def is_named(graph: Graph, key: str, globs: Sequence[str]) -> bool:
    """Whether a glob is the name of a linear node, or of its weights, with or without a final ``.weight``."""
    return any(fnmatch.fnmatchcase(name, glob) for name in _names(graph, key) for glob in globs)


def unmatched(graph: Graph, globs: Sequence[str]) -> str:
    """Return the first glob that is the name of no layer; empty if there is none."""
    names = [name for key in graph.order for name in _names(graph, key)]
    return next((glob for glob in globs if glob != "*" and not fnmatch.filter(names, glob)), "")


def naming_hint(graph: Graph, glob: str) -> str:
    """Return a hint for a glob that names no layer: the name that was meant, and what lists all."""
    names = dict.fromkeys(name for key in graph.order for name in _names(graph, key))
    meant = difflib.get_close_matches(glob.strip("*?"), names, n=1)
    return f"did you mean {meant[0]!r}?; {LISTED}" if meant else LISTED


def _names(graph: Graph, key: str) -> Iterator[str]:
    node, operands = graph[key], graph.inputs_of(key)
    if node.op in LINEAR_OPS:
        yield node.label
        weight = operands[1]
        if weight is not None:
            yield graph.name_of(weight)
            yield graph.name_of(weight).removesuffix(".weight")


def _refusal(graph: Graph, key: str) -> str:
    """Why a layer cannot be replaced; empty if it can."""
    node, operands = graph[key], graph.inputs_of(key)
    if node.op == "KSLinear":
        return "it is Kronecker-sparse already"
    type_ = graph.type_of(operands[1]) if operands[1] is not None else None
    shape = type_.shape if isinstance(type_, TensorType) else None
    if node.op == "ConvTranspose" or (node.op == "Conv" and shape is not None and any(n != 1 for n in shape[2:])):
        return "it is a convolution with a kernel larger than 1×1"
    if node.op == "Conv" and node.attrs.get("groups", 1) != 1:
        return "its channels are in groups: `ks detect` reads it as Kronecker-sparse"
    if node.op == "Conv" and (any(node.attrs["pads"]) or set(node.attrs["strides"]) != {1}):  # type: ignore[arg-type]  # an attribute has the type that its op gives it
        return "it has padding or strides"
    if read_layer(graph, key) is None:
        return "its weights are not constant, or it is no product with one matrix"
    return ""
