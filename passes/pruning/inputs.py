"""Inputs of linear layers as their weights meet them: one row per output, of as many inputs as an output has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch

from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.errors import InvalidModelError
from pathlift.ir.foreign import running
from pathlift.ir.graph import Graph, Node
from pathlift.ir.primitives.maps import Contract
from pathlift.ir.types import Array
from pathlift.passes.layers.rows import met
from pathlift.passes.pruning.layout import Layout
from pathlift.passes.pruning.prunable import Prunable

Tensor = torch.Tensor


def input_norms(graph: Graph, found: Sequence[Prunable], batches: Iterable[Mapping[str, Array]]) -> dict[str, Array]:
    """Compute ‖X_j‖₂ over all samples and positions for what each weight is multiplied by.

    Parameters
    ----------
    graph
        What executes the batches, in float32; sums are in float64.
    found
        Its weights. Biases are multiplied by ones.
    batches
        Inputs by name.

    Returns
    -------
    dict
        By name, in the parameter's shape, float64.

    Raises
    ------
    InvalidModelError
        If a layer reads something that is not finite; names it.
    """
    squares: dict[str, Array | float] = {p.name: 0.0 for p in found}

    def add(p: Prunable, node: Node, layout: Layout, x: Tensor) -> None:
        sums = np.ones(()) * x.shape[1] if p.is_bias else x.square().sum(1).numpy()
        squares[p.name] = squares[p.name] + (sums if p.is_bias else spread(sums, node, layout, p))

    watch(graph, found, batches, add)
    return {p.name: np.broadcast_to(np.sqrt(squares[p.name]), p.param.shape) for p in found}


def watch(
    graph: Graph,
    found: Sequence[Prunable],
    batches: Iterable[Mapping[str, Array]],
    seen: Callable[[Prunable, Node, Layout, Tensor], None],
) -> None:
    """Execute batches, and show what layers read: ``seen(p, node, layout, x)``, x as `met` returns it."""
    readers = {key: [p for p in found if key in p.readers] for p in found for key in p.readers}

    def observe(key: str, node: Node, inputs: tuple[Tensor | None, ...], _: tuple[Tensor, ...]) -> None:
        if key not in readers or inputs[0] is None or inputs[1] is None:
            return
        if not bool(inputs[0].isfinite().all()):
            raise InvalidModelError("0181", f"node {node.label!r} ({node.op}): what it reads is not finite")
        for p in readers[key]:
            layout = Layout.of(node, 2 if p.is_bias else 1, p.param.shape)
            seen(p, node, layout, met(node, inputs[0].double(), inputs[1].shape))

    algebra = Numeric(torch.float32)
    with running(), torch.inference_mode():
        for batch in batches:
            run(graph, algebra, {name: algebra.tensor(np.asarray(x)) for name, x in batch.items()}, observe=observe)


def groups_of(node: Node, layout: Layout, shape: Sequence[int]) -> Array:
    """Return which group of inputs each row of a layer's matrix reads, ``(rows,)``."""
    rows = layout.extents[0]
    match node.op:
        case "Conv" | "ConvTranspose":
            count = int(node.attrs.get("groups", 1))  # type: ignore[arg-type]  # an int
            return np.arange(rows) * count // rows
        case "KSLinear":
            a, d, b, _ = shape
            return np.arange(a * d).repeat(b)
        case "Einsum":
            xs, ws, _ = Contract(str(node.attrs["equation"])).terms
            number, sizes = np.zeros((), np.int64), [shape[i] for i in layout.rows]
            for at, axis in enumerate(layout.rows):
                if ws[axis] in xs:
                    index = np.arange(shape[axis]).reshape([-1 if i == at else 1 for i in range(len(sizes))])
                    number = number * shape[axis] + index
            return np.broadcast_to(number, sizes).reshape(-1)
    return np.zeros(rows, np.int64)


def spread(sums: Array, node: Node, layout: Layout, p: Prunable) -> Array:
    """Return sums per group, ``(groups, taps · inputs)``, as a number per weight, in the parameter's shape."""
    rows, taps, inputs = layout.extents
    by_row = sums[groups_of(node, layout, p.param.shape)].reshape(rows, -1, inputs)
    return layout.weights(np.broadcast_to(by_row, (rows, taps, inputs)), p.param.shape)


def uses_per_sample(graph: Graph, found: Sequence[Prunable], batch: Mapping[str, Array]) -> dict[str, float]:
    """Return how often each weight is multiplied by something per sample, by name, on average over its readers' calls.

    Parameters and errors are those of `input_norms`.
    """
    samples, counts = len(next(iter(batch.values()))), dict.fromkeys((p.name for p in found), 0.0)

    def add(p: Prunable, node: Node, layout: Layout, x: Tensor) -> None:
        counts[p.name] += x.shape[1] / samples

    watch(graph, found, [batch], add)
    return counts
