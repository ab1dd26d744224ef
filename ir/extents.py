"""Extents that a caller gives for the open axes of inputs: by symbol, or by ``input.axis`` where there is none."""

from __future__ import annotations

from collections.abc import Mapping

from pathlift.ir.errors import UsageError
from pathlift.ir.types import Dim, Dims, named


def address(name: str, axis: int, dim: Dim) -> str:
    """Return what an open extent of an input is given by: its symbol, or ``input.axis`` if a list cannot hold it."""
    return dim if isinstance(dim, str) and named(dim) is not None and "," not in dim else f"{name}.{axis}"


def given(inputs: Mapping[str, Dims], sizes: Mapping[str, int]) -> dict[str, Dims]:
    """Return the shapes of inputs with the given extents in place.

    Parameters
    ----------
    inputs
        Shapes, by name.
    sizes
        Extents by symbol (``{"H": 224}``), or by ``input.axis`` (``{"x.2": 224}``), which goes before.

    Raises
    ------
    UsageError
        If an extent is not positive, contradicts the file, or belongs to nothing in it.
    """
    used: set[str] = set()
    shapes = {}
    for name, shape in inputs.items():
        dims = list(shape)
        for axis, dim in enumerate(dims):
            names = [n for n in (f"{name}.{axis}", address(name, axis, dim)) if n in sizes]
            used.update(names)
            if names and isinstance(dim, int) and sizes[names[0]] != dim:
                raise UsageError("0413", f"axis {axis} of input {name!r} is {dim} in the file, not {sizes[names[0]]}")
            dims[axis] = int(sizes[names[0]]) if names else dim
        shapes[name] = tuple(dims)
    if unknown := sorted(sizes.keys() - used):
        raise UsageError("0413", f"the model has no dimension {unknown[0]!r} to set")
    if any(n <= 0 for n in sizes.values()):
        raise UsageError("0414", f"extents must be positive, got {dict(sizes)}")
    return shapes


def misfit(inputs: Mapping[str, Dims], reason: str) -> UsageError:
    """Return the error that a model cannot run on inputs of these shapes."""
    shapes = ", ".join(f"{name} {list(shape)}" for name, shape in inputs.items())
    return UsageError("0415", f"the model cannot run on inputs of shape {shapes}: {reason}")
