"""Opset upgrades: what becomes of an ONNX node under a newer version of the default opset."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx import NodeProto, helper, version_converter

from pathlift.frontend.protos import subgraphs
from pathlift.frontend.read.schemas import check_node
from pathlift.ir.errors import InvalidModelError, UnsupportedError
from pathlift.ir.opsets import keeps_meaning

OLDEST, UNSET = 13, 18
"""The oldest opset that is written, and that of a model that came from no file."""
NEWEST = onnx.defs.onnx_opset_version()

# All that changed is that an attribute became an input, or the name: here the converter does what it should.
_CONVERTED = {"Clip", "Dropout", "Pad", "Slice", "Split", "Squeeze", "TopK", "Unsqueeze", "Scatter"}
_CONVERTED |= {
    f"Reduce{kind}" for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
}


class NewerOpsetError(Exception):
    """A spelling needs a newer opset than the one that is being written."""

    def __init__(self, opset: int) -> None:
        super().__init__(f"needs opset {opset}")
        self.opset = opset


def carried(node: NodeProto, old: int, new: int, fresh: Callable[[str], str]) -> list[NodeProto]:
    """Return nodes that mean under opset `new` what `node` means under `old`; itself, as a rule.

    Parameters
    ----------
    node
        Changed in place, subgraphs included.
    old, new
        Versions of the default opset.
    fresh
        Makes names for values that have to be added.

    Raises
    ------
    UnsupportedError
        If nothing is known to mean the same.
    """
    if old == new:
        return [node]
    for body in subgraphs(node.attribute):
        inner = [moved for n in body.node for moved in carried(n, old, new, fresh)]
        del body.node[:]
        body.node.extend(inner)
    masked = node.op_type == "Dropout" and old < 12 and any(node.output[1:])  # masks were of other numbers then
    if node.domain not in ("", "ai.onnx") or (keeps_meaning(node, old, new) and not masked):
        return [node]
    if node.op_type in _CONVERTED and not masked and (converted := _converted(node, old, new, fresh)):
        return converted
    raise UnsupportedError("0372", f"{node.op_type} of opset {old} has no known equal in opset {new}")


def _converted(node: NodeProto, old: int, new: int, fresh: Callable[[str], str]) -> list[NodeProto]:
    """Return what the version converter makes of a node, constants and a node that reads them; nothing if it fails."""
    inputs, outputs = (
        [helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(names) if name]
        for names in (node.input, node.output)
    )
    model = helper.make_model(
        helper.make_graph([node], "one", inputs, outputs), opset_imports=[helper.make_opsetid("", old)]
    )
    try:
        graph = version_converter.convert_version(model, new).graph
    except (RuntimeError, ValueError, onnx.shape_inference.InferenceError):
        return []
    constants = [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in graph.initializer]
    constants += graph.node[:-1]
    result = graph.node[-1]
    if list(result.output) != list(node.output) or any(c.op_type != "Constant" for c in constants):
        return []
    names = {c.output[0]: fresh(f"{node.output[0]}_{node.op_type.lower()}") for c in constants}
    for constant in constants:
        constant.output[0] = names[constant.output[0]]
    result.input[:] = [names.get(name, name) for name in result.input]
    result.name, result.doc_string = node.name, node.doc_string
    try:
        check_node(result, new)
    except InvalidModelError:  # the converter leaves what it does not know
        return []
    return [*constants, result]
