"""Extents for the inputs of an analysis: batch axes are 1, other symbols must be given, nothing is guessed."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.shape import Shape
from pathlift.ir.errors import GraphError, UnsafeModelError, UsageError
from pathlift.ir.graph import Graph, Node
from pathlift.ir.types import Dim, TensorType, ValueType, named

Extents = tuple[int, ...]


def address(name: str, axis: int, dim: Dim) -> str:
    """Return what an open extent of an input is given by: its symbol, or ``input.axis`` if it has no name."""
    return dim if isinstance(dim, str) and named(dim) is not None else f"{name}.{axis}"


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
    resolved: dict[str, Extents] = {}
    missing: list[str] = []
    used: set[str] = set()
    for key in graph.inputs:
        name, type_ = graph[key].names[0], graph[key].types[0]
        if not isinstance(type_, TensorType):
            continue
        if type_.shape is None:
            raise UsageError("0410", f"the rank of input {name!r} is not known")
        extents: list[int] = []
        for axis, dim in enumerate(type_.shape):
            names = (f"{name}.{axis}", address(name, axis, dim))
            given = next((n for n in names if n in sizes), None)
            used.update(n for n in names if n in sizes)
            if isinstance(dim, int):
                if given is not None and sizes[given] != dim:
                    raise UsageError("0413", f"axis {axis} of input {name!r} is {dim} in the file, not {sizes[given]}")
                extents.append(dim)
            elif given is not None:
                extents.append(sizes[given])
            elif axis == 0:
                extents.append(1)
            else:
                missing.append(address(name, axis, dim))
        resolved[name] = tuple(extents)
    if missing:
        missing = list(dict.fromkeys(missing))
        hint = f"--shape {','.join(f'{n}=…' for n in missing)}"
        raise UsageError("0412", f"the extent of {', '.join(missing)} is not in the file", hint=hint)
    unknown = sorted(set(sizes) - used)
    if unknown:
        raise UsageError("0413", f"the model has no dimension {unknown[0]!r} to set")
    if any(n <= 0 for n in sizes.values()):
        raise UsageError("0414", f"extents must be positive, got {dict(sizes)}")
    return resolved


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
                    hint="smaller extents (--shape) or a higher --memory-limit",
                )  # fmt: skip

    types = {
        node.names[0]: TensorType(t.dtype, inputs[node.names[0]]) if isinstance(t := node.types[0], TensorType) else t
        for node in map(graph.__getitem__, graph.inputs)
    }
    try:
        run(graph, Shape(), types, observe=check)
    except GraphError as error:
        shapes = ", ".join(f"{name} {list(shape)}" for name, shape in inputs.items())
        raise UsageError("0415", f"the model cannot run on inputs of shape {shapes}: {error.message}") from None
