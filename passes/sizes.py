"""Extents for the inputs of an analysis: batch axes are 1, other symbols must be given, nothing is guessed."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.shape import Shape
from pathlift.ir.errors import GraphError, UnsafeModelError, UsageError
from pathlift.ir.extents import address, given, misfit
from pathlift.ir.graph import Graph, Node
from pathlift.ir.types import Dims, TensorType, ValueType, named

Extents = tuple[int, ...]


def resolve_inputs(graph: Graph, sizes: Mapping[str, int]) -> dict[str, Extents]:
    """Return the shape of every tensor input.

    Parameters
    ----------
    graph
        The graph.
    sizes
        Extents by symbol (``{"H": 224}``), or by ``input.axis`` for an axis that has no name (``{"x.2": 224}``).
        An unknown axis 0 is a batch and defaults to 1.

    Raises
    ------
    UsageError
        If an extent is missing (names all of them), not positive, or belongs to nothing in the graph.
    """
    ranked: dict[str, Dims] = {}
    for name, shape in _shapes(graph).items():
        if shape is None:
            raise UsageError("0410", f"the rank of input {name!r} is not known")
        ranked[name] = shape
    shapes = given(ranked, sizes)
    if missing := _missing(shapes):
        hint = f"--shape {','.join(f'{n}=…' for n in missing)}"
        raise UsageError("0412", f"the extent of {', '.join(missing)} is not in the file", hint=hint)
    return {name: tuple(d if isinstance(d, int) else 1 for d in shape) for name, shape in shapes.items()}


def open_extents(graph: Graph) -> tuple[str, ...]:
    """Return what `resolve_inputs` would have to be given, and the inputs whose rank is not known."""
    shapes = _shapes(graph)
    unranked = tuple(name for name, shape in shapes.items() if shape is None)
    return unranked + _missing({name: shape for name, shape in shapes.items() if shape is not None})


def _shapes(graph: Graph) -> dict[str, Dims | None]:
    """Return the shapes of the tensors among the inputs, by name."""
    types = {node.names[0]: node.types[0] for node in map(graph.__getitem__, graph.inputs)}
    return {name: type_.shape for name, type_ in types.items() if isinstance(type_, TensorType)}


def _missing(shapes: Mapping[str, Dims]) -> tuple[str, ...]:
    axes = ((name, axis, d) for name, shape in shapes.items() for axis, d in enumerate(shape))
    return tuple(dict.fromkeys(address(*at) for at in axes if at[1] and not isinstance(at[2], int)))


def missing_batches(graph: Graph, inputs: Mapping[str, Extents]) -> list[str]:
    """Say which symbolic first axes were taken for a batch of 1 although some output does not have them."""
    lines = []
    outputs = [t.shape for t in map(graph.type_of, graph.outputs) if isinstance(t, TensorType)]
    for key in graph.inputs:
        name, type_ = graph[key].names[0], graph[key].types[0]
        symbol = type_.shape[0] if isinstance(type_, TensorType) and type_.shape else None
        if isinstance(symbol, str) and inputs[name][0] == 1 and any(s is not None and symbol not in s for s in outputs):
            named_so = f" ({symbol})" if named(symbol) else ""
            lines.append(f"axis 0{named_so} of input {name!r} has extent 1, although not every output has that axis")
    return lines


def check_sizes(graph: Graph, inputs: Mapping[str, Extents], limit: int) -> None:
    """Check that the graph can run on inputs of these shapes, and that no value passes `limit` bytes in float64.

    Raises
    ------
    UsageError
        If a shape does not fit; says where.
    UnsafeModelError
        If a value would be larger; names it.
    """

    def check(key: str, node: Node, _: object, types: tuple[ValueType, ...]) -> None:
        for type_ in types:
            dims = type_.shape if isinstance(type_, TensorType) else None
            size = 8 * prod(d for d in dims or () if isinstance(d, int))
            if size > limit:
                raise UnsafeModelError(
                    "0230", f"node {node.label!r} ({node.op}): value {key!r} would take {size} bytes",
                    hint="give smaller extents by --shape; raise --memory-limit if this is meant",
                )  # fmt: skip

    types = {
        node.names[0]: TensorType(t.dtype, inputs[node.names[0]]) if isinstance(t := node.types[0], TensorType) else t
        for node in map(graph.__getitem__, graph.inputs)
    }
    try:
        run(graph, Shape(), types, observe=check)
    except GraphError as error:
        raise misfit(inputs, error.message) from None
