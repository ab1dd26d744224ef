"""Linear layers that are Kronecker-sparse already become `KSLinear`, where that is predicted to be faster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph, Origin, Value
from pathlift.ir.types import Array, Param
from pathlift.passes.base import Effect, Rewritten, Transform
from pathlift.passes.kronecker.detect import DetectedLayer, KsDetect
from pathlift.passes.kronecker.products import Reordering
from pathlift.passes.layers.edits import disconnect, drop_constants, is_read_once, source
from pathlift.passes.witness.rewritings import RewriteWitness
from pathlift.passes.witness.site import Site


@dataclass(frozen=True)
class KsReplace(Transform):
    """Make `KSLinear` of the layers that `ks-detect` finds, where that is predicted to be faster.

    Parameters
    ----------
    gain
        The least predicted speed-up; the default leaves room for errors of the prediction.
    always
        Replace slower ones, too.
    permutation
        Also find blocks in another order of inputs and outputs.
    samples
        Rows, batch times positions, that times are predicted for.
    device
        What they are predicted for: cpu, h100, h200 or a100.
    """

    name: ClassVar[str] = "ks-replace"
    effect: ClassVar[Effect] = Effect.KEEPS

    gain: float = 1.25
    always: bool = False
    permutation: bool = False
    samples: int = 1024
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not self.gain > 0:
            raise UsageError("0456", f"a speed-up of {self.gain} is not positive")
        self._detect()

    def _detect(self) -> KsDetect:
        return KsDetect(self.permutation, self.samples, self.device)

    def run(self, graph: Graph) -> Rewritten:
        """Replace layers, with transpositions and gathers around them where features are elsewhere, or out of order.

        Parameters
        ----------
        graph
            Any graph. The non-zeros are those of the file, so that nothing is rounded.
        """
        rewrite, skipped = _Rewrite(graph), list[str]()
        for found in self._detect().run(graph).layers:
            label = graph[found.product.key].label
            if not self.always and found.speedup < self.gain:
                reason = f"as {found.pattern} it is predicted to be {found.speedup:.2f} times as fast"
                skipped.append(f"{label!r} stays: {reason}")
            elif not np.isfinite(found.factor.astype(np.float32)).all():
                skipped.append(f"{label!r} stays: a weight is NaN or infinite")
            else:
                rewrite.replace(found)
        witness = RewriteWitness("layers made Kronecker-sparse", tuple(rewrite.sites.values()), tuple(skipped))
        return Rewritten(rewrite.builder.finish() if rewrite.sites else graph, witness)


class _Rewrite:
    """A graph in which layers are replaced one after the other, in topological order."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.builder = graph, graph.edit()
        self.sites: dict[Value, Site] = {}
        self.flat: dict[Value, Value] = {}  # results whose features were reshaped apart, and what they were before
        self.params: dict[tuple[Value, bytes], Value] = {}  # those of tied weights stay tied

    def replace(self, found: DetectedLayer) -> None:
        """Replace one layer."""
        graph, p, origin = self.graph, found.product, Origin()
        name, last = graph.name_of(p.y.value), len(p.x.samples)
        _, weight, bias = (*graph.inputs_of(p.key), None)[:3]
        vector = p.vector()
        if vector is not None and found.rows is not None:
            vector = vector[found.rows.places]
        h, site = self._operand(found)
        h = self._reordered(name, h, last, found.cols)
        operands = h, self._param(weight, found.factor), self._param(bias, vector)
        origin = origin.merged(*(graph[key].origin for key in p.nodes))
        h = self._step(name, "KSLinear", *operands, origin=origin, pattern=tuple(found.pattern))
        h = self._reordered(name, h, last, found.rows and found.rows.inverse)
        if len(p.y.features) > 1:
            h, flat = self._step(name, "Reshape", h, shape=(0,) * last + p.y.extents), h
            self.flat[h] = flat
        if not p.y.is_last:
            h = self._step(name, "Transpose", h, perm=_ints(np.argsort(p.y.perm)))
        self._put(found, h)
        self.sites[p.y.value] = site

    def _operand(self, found: DetectedLayer) -> tuple[Value, Site]:
        """What a layer reads, with its features on the last axis; and the place that is rewritten."""
        graph, p = self.graph, found.product
        name, label = graph.name_of(p.y.value), graph[p.key].label
        x = source(self.builder, p.nodes[0])
        alone = p.x.value in self.sites and is_read_once(graph, p.x.value)
        if alone and x in self.flat and p.x.is_last and len(p.x.features) > 1:
            before = self.sites.pop(p.x.value)  # features that were taken apart to be put together again
            disconnect(self.builder, p.nodes[0], 0)
            disconnect(self.builder, x.node)
            self.builder.remove(x.node)
            return self.flat.pop(x), Site(name, before.inputs, f"{before.what} … {label}")
        h = x if p.x.is_last else self._step(name, "Transpose", x, perm=p.x.perm)
        if len(p.x.features) > 1:
            h = self._step(name, "Reshape", h, shape=(0,) * len(p.x.samples) + (p.pattern.cols,))
        return h, Site(name, (graph.name_of(p.x.value),), label)

    def _reordered(self, name: str, h: Value, last: int, order: Reordering | None) -> Value:
        """Features, on the last axis, in another order."""
        if order is None:
            return h
        if not order.perm:
            return self._step(name, "Gather", h, axis=last, indices=_ints(order.places))
        h = self._step(name, "Reshape", h, shape=(0,) * last + order.sizes)
        h = self._step(name, "Transpose", h, perm=(*range(last), *(last + i for i in order.perm)))
        return self._step(name, "Reshape", h, shape=(0,) * last + (len(order.places),))

    def _step(self, name: str, op: str, *operands: Value | None, **options: Any) -> Value:
        return self.builder.op(op, *operands, name=self.builder.fresh(f"{name}_{op.lower()}"), **options)

    def _param(self, old: Value | None, values: Array | None) -> Value | None:
        """A parameter in place of an old one, which stays if it holds the same."""
        param = None if old is None else self.graph[old.node].value
        if old is None or param is None or values is None:
            return None
        if param.shape == values.shape and param.numpy().tobytes() == values.tobytes():
            return old
        key = old, values.tobytes()
        if key not in self.params:
            made = Param.of(np.ascontiguousarray(values))
            name = self.builder.fresh(f"{self.graph.name_of(old)}.ks")
            self.params[key] = self.builder.param(made, name, self.graph[old.node].origin)
        return self.params[key]

    def _put(self, found: DetectedLayer, h: Value) -> None:
        """Let a value be the result of a layer, whose nodes go."""
        graph, builder, y = self.graph, self.builder, found.product.y.value
        builder.replace_value(y, h)
        for key in found.product.nodes:
            disconnect(builder, key)
        for key in found.product.nodes:
            builder.remove(key)
        builder.rename(h, graph.name_of(y))
        builder.replace_node(h, types=graph[y.node].types)
        drop_constants(builder, graph, found.product.nodes)


def _ints(values: Array) -> tuple[int, ...]:
    return tuple(map(int, values))
