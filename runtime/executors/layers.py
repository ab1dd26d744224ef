"""Kronecker-sparse layers of a graph, by generated kernels."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from pathlift.codegen.cache import Key, Measured, Measurement, measured
from pathlift.codegen.ks_codegen import hinted
from pathlift.codegen.products import products
from pathlift.codegen.schedule import Layout, Precision
from pathlift.ir.algebras.interpret import Kernel
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Ints
from pathlift.runtime.kernels import ks_linear


class _Hinted(Measured):
    """Measurements of this machine, and what a graph carries where there is none.

    Parameters
    ----------
    hints
        For any version of Triton.
    """

    def __init__(self, hints: Mapping[Key, Measurement]) -> None:
        self._hints = hints

    def get(self, key: Key) -> Measurement | None:
        """Return a measurement, or else a hint."""
        return measured().get(key) or self._hints.get(replace(key, triton=""))


class _Part(NamedTuple):
    """What an inner layer of a product stands for: its input, and factors so far, as they multiply."""

    x: Tensor
    factors: tuple[Tensor, ...]


def ks_kernels(graph: Graph, precision: Precision | None) -> dict[str, Kernel[Any]]:
    """Return what computes `KSLinear` nodes, by their keys.

    An inner layer of a product computes nothing: the outermost one runs them all, in kernels of one or two factors, and
    in the layouts between them that are fastest.

    Parameters
    ----------
    graph
        Nodes may carry hints of how to run them. Its parameters never change: they are packed once.
    precision
        As in `pathlift.runtime.kernels.ks_linear`.
    """
    known = _Hinted(hinted(graph))

    def inner(x: Tensor | _Part, w: Tensor, *_: object, **__: object) -> Any:
        x, factors = x if isinstance(x, _Part) else (x, ())
        return (_Part(x, (w, *factors)),)

    def outermost(
        x: Tensor | _Part,
        w: Tensor,
        b: Tensor | None = None,
        residual: Tensor | None = None,
        *,
        pattern: Ints,
        feature_major: bool = False,
        activation: str = "",
        frozen: bool,
    ) -> Tensor:
        layout: Layout = "features" if feature_major else "rows"
        x, factors = x if isinstance(x, _Part) else (x, ())
        return ks_linear(
            x,
            [w, *factors],
            bias=b,
            residual=residual,
            activation=activation,
            reads=layout,
            writes=layout,
            precision=precision,
            known=known,
            frozen=frozen,
        )

    found: dict[str, Kernel[Any]] = {}
    for product in products(graph):
        last = functools.partial(
            outermost, frozen=all(_is_parameter(graph, graph.inputs_of(k)[1]) for k in product.keys)
        )
        found |= dict.fromkeys(product.keys, inner) | {product.keys[0]: last}
    return found


def _is_parameter(graph: Graph, w: Value | None) -> bool:
    """Whether factors are the graph's own: an input, or what is computed of one, changes from run to run."""
    return w is not None and graph[w.node].value is not None
