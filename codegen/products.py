"""Products of Kronecker-sparse layers in a graph: what one route, of one or several kernels, computes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import cast

from pathlift.codegen.schedule import ITEMSIZE, DType, Form, Precision
from pathlift.ir.graph import Graph, Value
from pathlift.ir.kronecker import Pattern
from pathlift.ir.types import TensorType
from pathlift.passes.layers.edits import is_read_once


@dataclass(frozen=True)
class Product:
    """Layers of which each but the outermost is read by the next one alone, and has no epilogue.

    Parameters
    ----------
    keys
        Of the nodes, the outermost first.
    patterns
        Of their factors, as they multiply.
    form
        What is computed; ``None`` if kernels do not know the element type.
    samples
        Rows of the input, if its extents are known.
    dtype
        The element type's name.
    """

    keys: tuple[str, ...]
    patterns: tuple[Pattern, ...]
    form: Form | None
    samples: int | None
    dtype: str


def products(graph: Graph, precision: Precision = "tf32x3") -> Iterator[Product]:
    """Yield the products of a graph; every `KSLinear` node that counts belongs to one.

    Parameters
    ----------
    graph
        Any graph.
    precision
        Of products of float32 numbers.
    """
    inner: set[str] = set()
    for key in reversed(graph.order):
        if key in inner or key not in graph.live or graph[key].op != "KSLinear":
            continue
        keys = [key]
        while (before := _before(graph, keys[-1])) is not None:
            keys.append(before)
        inner.update(keys)
        yield _product(graph, tuple(keys), precision)


def _before(graph: Graph, key: str) -> str | None:
    """The layer whose result a layer reads, and alone reads, as a factor of the same product."""
    x = graph.inputs_of(key)[0]
    if x is None or graph[x.node].op != "KSLinear" or not is_read_once(graph, x):
        return None
    before, after = graph[x.node], graph[key]
    plain = sum(v is not None for v in graph.inputs_of(x.node)) == 2 and not before.attrs.get("activation")
    alike = bool(before.attrs.get("feature_major")) == bool(after.attrs.get("feature_major"))
    return x.node if plain and alike and _dtype(graph, x) == _dtype(graph, Value(key)) else None


def _product(graph: Graph, keys: tuple[str, ...], precision: Precision) -> Product:
    node, operands = graph[keys[0]], graph.inputs_of(keys[0])
    layout = "features" if node.attrs.get("feature_major") else "rows"
    dtype = _dtype(graph, Value(keys[0]))
    form = None
    if dtype in ITEMSIZE:
        bias, residual = (len(operands) > slot and operands[slot] is not None for slot in (2, 3))
        activation = str(node.attrs.get("activation", ""))
        exact: Precision = precision if dtype == "float32" else "ieee"
        form = Form(cast(DType, dtype), exact, layout, layout, bias, residual, activation)  # type: ignore[arg-type]  # an activation that was fused
    patterns = tuple(Pattern(*graph[key].attrs["pattern"]) for key in keys)  # type: ignore[misc]  # an attribute has the type that its op gives it
    return Product(keys, patterns, form, _samples(graph, keys[-1], layout), dtype)


def _dtype(graph: Graph, value: Value) -> str:
    type_ = graph.type_of(value)
    return type_.dtype.name if isinstance(type_, TensorType) and type_.dtype is not None else ""


def _samples(graph: Graph, key: str, layout: str) -> int | None:
    x = graph.inputs_of(key)[0]
    type_ = None if x is None else graph.type_of(x)
    shape = type_.shape if isinstance(type_, TensorType) else None
    if shape is None:
        return None
    lead = shape[:-1] if layout == "rows" else shape[1:]
    return prod(d for d in lead if isinstance(d, int)) if all(isinstance(d, int) for d in lead) else None
