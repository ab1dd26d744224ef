"""Assign kernels to Kronecker-sparse layers: which one, how it is scheduled, and why; or that a layer runs dense.

What is assigned travels with a node, and with its node of a saved file, as metadata: an entry like those of a table of
measurements, and a sentence. It is a hint: what runs the model checks it, and may know better.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from pathlift.codegen.architectures import card_named
from pathlift.codegen.cache import Key, Measured, Measurement, entries, entry, measured
from pathlift.codegen.products import Product, products
from pathlift.codegen.route import Route, route
from pathlift.codegen.select import Choice, key
from pathlift.codegen.witness import CodegenWitness
from pathlift.ir.cost import GraphicsCard
from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph, Node, Value
from pathlift.passes.base import Effect, Rewritten, Transform

HINT, REASON = "pathlift.kernel", "pathlift.kernel.reason"
"""Keys of metadata."""


@dataclass(frozen=True)
class AssignKernels(Transform):
    """Assign generated kernels to Kronecker-sparse layers, and say of each layer why.

    Parameters
    ----------
    device
        What they are chosen for: h100, h200 or a100.
    samples
        Rows of samples, where a model leaves them open.
    precision
        Of products of float32 numbers: ieee, tf32 or tf32x3.
    """

    name: ClassVar[str] = "ks-codegen"
    effect: ClassVar[Effect] = Effect.KEEPS

    device: str = "h100"
    samples: int = 4096
    precision: Literal["ieee", "tf32", "tf32x3"] = "tf32x3"

    def run(self, graph: Graph) -> Rewritten:
        """Choose a route for each product of layers.

        Parameters
        ----------
        graph
            Any graph; `ks-epilogue` first fuses what kernels can compute with their products.

        Raises
        ------
        UsageError
            If the device is no graphics card, or the number of samples is below 1.
        """
        card = card_named(self.device)
        check_samples(self.samples)
        steps, notes, told = dict[str, Choice](), dict[str, dict[str, str]](), list[str]()
        for product in products(graph, self.precision):
            assigned = assign(product, self.samples, card, measured())
            notes.update(_notes(graph, product, assigned, product.samples or self.samples, card))
            steps.update({} if assigned is None else _steps(product, assigned))
            told += _told(graph, product, notes)
        return Rewritten(_annotated(graph, notes), CodegenWitness(steps, tuple(told)))


def check_samples(samples: int) -> None:
    """Refuse what is no number of samples.

    Raises
    ------
    UsageError
        If it is none, or below 1.
    """
    if not isinstance(samples, int) or samples < 1:
        raise UsageError("1436", f"{samples!r} is no number of samples", hint="a whole one, 1 at least")


def assign(product: Product, samples: int, card: GraphicsCard, known: Measured | None) -> Route | None:
    """Choose a route for a product; ``None`` where kernels do not know its element type."""
    if product.form is None:
        return None
    return route(product.patterns, product.form, product.samples or samples, card, known)


def unassigned(product: Product) -> str:
    """Say why `assign` found nothing."""
    return f"no kernel: {product.dtype or 'its element type'} is none of float32, float16 and bfloat16"


def hinted(graph: Graph) -> dict[Key, Measurement]:
    """Return what the nodes of a graph carry as hints, as far as it is sound."""
    return entries(
        json.loads(text)
        for node in map(graph.__getitem__, graph.order)
        if (text := dict(node.origin.metadata).get(HINT)) and _is_json(text)
    )


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _steps(product: Product, assigned: Route) -> Mapping[str, Choice]:
    """Steps by the node that is the outermost of theirs."""
    found, end = {}, len(product.keys)
    for step in assigned.steps:
        end -= len(step.patterns)
        found[product.keys[end]] = step
    return found


def _notes(
    graph: Graph, product: Product, assigned: Route | None, samples: int, card: GraphicsCard
) -> dict[str, dict[str, str]]:
    if assigned is None:
        return {k: {REASON: unassigned(product)} for k in product.keys}
    notes: dict[str, dict[str, str]] = {}
    for outermost, step in _steps(product, assigned).items():
        first = product.keys.index(outermost)
        what = Measurement(step.schedule, step.cost.seconds)
        here = replace(key(step.patterns, step.form, samples, card), triton="")
        notes[outermost] = {HINT: json.dumps(entry(here, what)), REASON: step.reason}
        for inner in product.keys[first + 1 : first + len(step.patterns)]:
            notes[inner] = {REASON: f"part of {graph[outermost].label!r} {step.patterns[0]}"}
    return notes


def _annotated(graph: Graph, notes: Mapping[str, Mapping[str, str]]) -> Graph:
    changed = {k: _with(graph[k], note) for k, note in notes.items()}
    changed = {k: node for k, node in changed.items() if node.origin != graph[k].origin}
    if not changed:
        return graph
    builder = graph.edit()
    for k, node in changed.items():
        builder.replace_node(Value(k), origin=node.origin)
    return builder.finish()


def _with(node: Node, note: Mapping[str, str]) -> Node:
    kept = {name: value for name, value in node.origin.metadata if name not in (HINT, REASON)}
    return replace(node, origin=replace(node.origin, metadata=tuple({**kept, **note}.items())))


def _told(graph: Graph, product: Product, notes: Mapping[str, Mapping[str, str]]) -> list[str]:
    layers = zip(product.keys, product.patterns, strict=True)
    return [f"{graph[k].label!r} {pattern}: {notes[k][REASON]}" for k, pattern in layers]
