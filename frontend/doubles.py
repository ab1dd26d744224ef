"""Double precision on the way from a module of float64 into the IR.

ONNX attributes are float32, and torch's exporter writes Python's numbers as float32 constants that it casts. For data
of float32 that is what torch's kernels compute with. A module of float64 means the double: it is put back where the
rounded number meets data of float64, from what the exporter was given (constants) or still holds (attributes).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir
from onnx_ir.traversal import RecursiveGraphIterator

from pathlift.ir.errors import UsageError

if TYPE_CHECKING:
    from torch.export import ExportedProgram

Doubles = Mapping[str, Mapping[str, float]]
"""By the name of a node's first output, and the attribute's."""

_FLOAT, _DOUBLE = onnx_ir.DataType.FLOAT, onnx_ir.DataType.DOUBLE
_SELU = {"alpha": 1.6732632423543772848170429916717, "gamma": 1.0507009873554804934193349852946}
"""What torch computes with; ONNX's defaults are these in float32."""


def rounded(exact: Doubles) -> Iterator[str]:
    """Yield what a file does not hold of these attributes, one sentence each."""
    for output, attributes in exact.items():
        for name, value in attributes.items():
            yield rounding(f"node producing {output!r}", name, value)


def rounding(where: str, name: str, value: float) -> str:
    """Say that a file does not hold an attribute."""
    return f"{where}: ONNX has {name} in float32, {value!r} as {float(np.float32(value))!r}"


def is_single(value: float) -> bool:
    """Whether float32 holds a number."""
    with np.errstate(over="ignore"):
        return value != value or float(np.float32(value)) == value


def literals(program: ExportedProgram) -> frozenset[float]:
    """Return the numbers in the code of a traced module."""
    import torch

    found: set[float] = set()
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            found.update(_numbers((node.args, node.kwargs)))
    return frozenset(found)


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _numbers(each)
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for each in value:
            yield from _numbers(each)


def restore_constants(model: onnx_ir.Model, given: frozenset[float]) -> None:
    """Put doubles back where a float32 constant is cast to float64.

    Parameters
    ----------
    model
        As torch's exporter made it.
    given
        The numbers in the module's code.

    Raises
    ------
    UsageError
        If two of these numbers are one in float32, so that it is not known which was meant.
    """
    for node in list(RecursiveGraphIterator(model.graph)):
        if node.op_type not in ("Cast", "CastLike") or not _to_double(node):
            continue
        source = node.inputs[0]
        producer = None if source is None else source.producer()
        if producer is None or producer.op_type != "Constant" or producer.domain:
            continue
        exact = _exact(producer, given)
        if exact is None:
            continue
        constant = onnx_ir.node("Constant", [], {"value": onnx_ir.tensor(np.array(exact))})
        assert node.graph is not None
        node.graph.insert_before(node, constant)
        node.replace_input_with(0, constant.outputs[0])


def _to_double(node: onnx_ir.Node) -> bool:
    if node.op_type == "Cast":
        return bool(node.attributes.get_int("to", 0) == _DOUBLE)
    like = node.inputs[1]
    return like is not None and like.dtype == _DOUBLE


def _exact(constant: onnx_ir.Node, given: frozenset[float]) -> float | None:
    """The number that a constant of float32 stands for; ``None`` if it stands for itself."""
    if "value_float" in constant.attributes:
        value = float(constant.attributes["value_float"].value)
        return None if is_single(value) else value
    tensor = constant.attributes["value"].value if "value" in constant.attributes else None
    if tensor is None or tensor.dtype != _FLOAT or tensor.size != 1:
        return None
    value = float(tensor.numpy().reshape(-1)[0])
    with np.errstate(over="ignore"):
        meant = [number for number in given if float(np.float32(number)) == value]
    if len(meant) > 1:
        shown = " and ".join(map(repr, sorted(meant)))
        raise UsageError("1424", f"the module computes with {shown}, which torch's exporter takes for one number")
    return meant[0] if meant and meant[0] != value else None


def doubles(model: onnx_ir.Model) -> Doubles:
    """Return the attributes of nodes on float64 that float32 does not hold, by name; torch's own numbers for SELU."""
    found: dict[str, dict[str, float]] = {}
    for node in RecursiveGraphIterator(model.graph):
        if node.domain or not node.inputs or node.inputs[0] is None or node.inputs[0].dtype != _DOUBLE:
            continue
        given = {a.name: float(a.value) for a in node.attributes.values() if a.type == onnx_ir.AttributeType.FLOAT}
        given = given or (_SELU if node.op_type == "Selu" else {})
        if exact := {name: value for name, value in given.items() if not is_single(value)}:
            found[_name(node)] = exact
    return found


def restore_attributes(model: onnx_ir.Model, exact: Doubles) -> None:
    """Give a model that has been a protobuf the doubles back that its attributes were."""
    for node in RecursiveGraphIterator(model.graph) if exact else ():
        for name, value in exact.get(_name(node), {}).items():
            node.attributes.add(onnx_ir.AttrFloat32(name, value))


def _name(node: onnx_ir.Node) -> str:
    return str(node.outputs[0].name) if node.outputs else ""
