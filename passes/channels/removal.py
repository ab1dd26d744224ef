"""Removal of channels: smaller parameters, and the attributes that speak of extents and indices written anew."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from pathlift.ir import dims as D
from pathlift.ir.builder import Builder
from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph, Node, Value
from pathlift.ir.types import Array, Param, TensorType, ValueType
from pathlift.passes.channels.groups import Groups
from pathlift.passes.channels.slots import dims_of

Axes = Sequence[Array | None]


def remove(groups: Groups, gone: Array) -> Graph:
    """Return the graph without some groups of channels: what it computes with `Groups.masks` in place.

    Parameters
    ----------
    groups
        Those of the graph.
    gone
        A boolean per group, ``(count + 1,)``; that at index 0, of what stays, is false.

    Returns
    -------
    Graph
        Types are inferred anew, and agree with what was removed.

    Raises
    ------
    UsageError
        If an axis would lose its last index; names the value.
    """
    if gone.shape != (groups.count + 1,) or gone.dtype != bool or gone[0]:
        raise UsageError("1499", f"{gone.dtype}{list(gone.shape)} does not say which of {groups.count} groups go")
    return _Removal(groups, gone).run()


class _Removal:
    def __init__(self, groups: Groups, gone: Array) -> None:
        self.graph, self.marks, self.gone = groups.graph, groups.marks, gone
        self.shrunk: dict[int, Param] = {}

    def kept(self, value: Value, axis: int) -> Array | None:
        """Which indices along an axis stay; ``None`` if all do."""
        marks = self.marks[value][axis]
        return None if marks is None or not self.gone[marks].any() else ~self.gone[marks]

    def run(self) -> Graph:
        graph, changed = self.graph, self._changed()
        if not changed:
            return graph
        builder = graph.edit()
        for key in graph.order:
            node = graph[key]
            ports = [Value(key, i) for i in range(len(node.types))]
            if changed.intersection(ports):
                builder.replace_node(Value(key), types=tuple(map(self._type, ports)))
            if node.value is not None and ports[0] in changed:
                param = self._param(ports[0], node.value)
                builder.replace_node(ports[0], value=param)
            elif changed.intersection([*ports, *(v for v in graph.inputs_of(key) if v is not None)]):
                self._rewrite(builder, key, node)
        names = {graph.name_of(v) for v in changed}
        declared = {name: type_ for name, type_ in graph.info.declared.items() if name not in names}
        builder.info = dataclasses.replace(graph.info, declared=declared)
        return builder.finish()

    def _changed(self) -> set[Value]:
        """The values that lose indices."""
        changed = set()
        for value, axes in self.marks.items():
            for axis in range(len(axes)):
                kept = self.kept(value, axis)
                if kept is not None:
                    changed.add(value)
                    if not kept.any():
                        node = self.graph[value.node]
                        where = f"node {node.label!r} ({node.op})"
                        what = f"axis {axis} of {self.graph.name_of(value)!r} would lose its last channel"
                        raise UsageError("1498", f"{where}: {what}", hint="let more channels stay")
        return changed

    def _type(self, value: Value) -> ValueType:
        type_ = self.graph.type_of(value)
        if not isinstance(type_, TensorType) or type_.shape is None:
            return type_
        return TensorType(type_.dtype, tuple(self._extent(value, i, d) for i, d in enumerate(type_.shape)))

    def _extent(self, value: Value, axis: int, extent: Any) -> Any:
        kept = self.kept(value, axis)
        return int(kept.sum()) if kept is not None and isinstance(extent, int) else extent

    def _param(self, value: Value, param: Param) -> Param:
        if id(param) not in self.shrunk:
            array = param.numpy()
            for axis in range(array.ndim):
                kept = self.kept(value, axis)
                array = array if kept is None else array.compress(kept, axis)
            self.shrunk[id(param)] = Param.of(np.ascontiguousarray(array))
        return self.shrunk[id(param)]

    # ---- attributes

    def _rewrite(self, builder: Builder, key: str, node: Node) -> None:
        rule = getattr(self, f"_{node.op.lower()}", None)
        if rule is not None:
            changes = rule(key, node, self.graph.inputs_of(key)[0])
            op = changes.pop("op", node.op)
            builder.replace_node(Value(key), op=op, attrs={**(node.attrs if op == node.op else {}), **changes})

    def _reshape(self, key: str, node: Node, x: Value) -> dict[str, Any]:
        target = list(node.attrs["shape"])  # type: ignore[arg-type]  # as its op has it
        for i, extent in enumerate(target):
            new = self._extent(Value(key), i, (dims_of(node.types[0]) or ())[i])
            target[i] = extent if extent == -1 or self.kept(Value(key), i) is None else new
        return {"shape": tuple(target)}

    def _expand(self, key: str, node: Node, x: Value) -> dict[str, Any]:
        target = list(node.attrs["shape"])  # type: ignore[arg-type]  # as its op has it
        dims = dims_of(node.types[0]) or ()
        for i in range(len(target)):
            axis = i + len(dims) - len(target)
            if target[i] != 1:
                target[i] = self._extent(Value(key), axis, target[i])
        return {"shape": tuple(target)}

    def _split(self, key: str, node: Node, x: Value) -> dict[str, Any]:
        parts: Any = node.attrs["parts"]
        axis = self._axis(x, node.attrs.get("axis", 0))
        return {"parts": tuple(self._extent(Value(key, i), axis, n) for i, n in enumerate(parts))}

    def _slice(self, key: str, node: Node, x: Value) -> dict[str, Any]:
        names = ("axes", "starts", "ends", "steps")
        columns: Any = [list(node.attrs[name]) for name in names]  # type: ignore[arg-type]  # as its op has it
        axes, starts, ends, steps = columns
        for i, axis in enumerate(axes):
            kept = self.kept(x, axis)
            if kept is None:
                continue
            picked = D.picked(len(kept), starts[i], ends[i], steps[i])
            if steps[i] != 1:  # what is left of every other index is no range; there is one axis only
                return {"op": "Gather", "axis": self._axis(x, axis), "indices": _places(kept, picked)}
            starts[i] = int(kept[: picked.start].sum())
            ends[i] = starts[i] + int(kept[picked.start : picked.stop].sum())
        return {name: tuple(column) for name, column in zip(names, columns, strict=True)}

    def _gather(self, key: str, node: Node, x: Value) -> dict[str, Any]:
        kept = self.kept(x, node.attrs.get("axis", 0))  # type: ignore[arg-type]  # as its op has it
        # As its op has it.
        return {} if kept is None else {"indices": _places(kept, node.attrs["indices"])}  # type: ignore[arg-type]

    def _pad(self, key: str, node: Node, x: Value) -> dict[str, Any]:
        pads: Any = list(node.attrs["pads"])  # type: ignore[arg-type]  # as its op has it
        rank = len(pads) // 2
        for axis in range(rank):
            kept = self.kept(x, axis)
            if kept is not None:
                begin, end = pads[axis], pads[axis + rank]
                pads[axis] = begin if begin >= 0 else -int(kept[:-begin].sum())
                pads[axis + rank] = end if end >= 0 else -int(kept[end:].sum())
        return {"pads": tuple(pads)}

    def _conv(self, key: str, node: Node, x: Value) -> dict[str, Any]:
        weights = self.graph.inputs_of(key)[1]
        kept, dims = self.kept(x, 1), dims_of(self.graph.type_of(weights)) if weights is not None else None
        groups: Any = node.attrs.get("groups", 1)
        assert dims is not None
        inside: Any = dims[0] // groups if node.op == "ConvTranspose" else dims[1]
        if kept is None or groups == 1 or groups < inside:  # the same place of every group, if any, is gone
            return {}
        return {"groups": int(kept.reshape(groups, -1)[:, 0].sum())}

    _convtranspose = _conv

    def _axis(self, x: Value, axis: Any) -> int:
        return D.axis(int(axis), len(dims_of(self.graph.type_of(x)) or ()))


def _places(kept: Array, indices: Sequence[int] | range) -> tuple[int, ...]:
    """Where indices that stay are, once the others are gone."""
    places = np.cumsum(kept) - 1
    return tuple(int(places[i]) for i in indices if kept[i])
