"""Versions of ONNX's operators: which nodes mean the same in two of them, and what an attribute left out means."""

from __future__ import annotations

import contextlib
import functools

import onnx
from onnx import NodeProto

Option = onnx.defs.OpSchema.FormalParameterOption
SchemaAttribute = onnx.defs.OpSchema.Attribute

# Their meaning changed in this version, although an old node is a well-formed new one.
_CHANGED = {"Upsample": 9, "Resize": 11, "RoiAlign": 16, "Split": 18, "DFT": 20, "GroupNormalization": 21}


def keeps_meaning(node: NodeProto, old: int, new: int) -> bool:
    """Whether the operator changed only in what this node does not use: types, attributes, optional inputs."""
    try:
        before, after = (onnx.defs.get_schema(node.op_type, max_inclusive_version=v) for v in (old, new))
    except onnx.defs.SchemaError:
        return False
    if before.since_version == after.since_version:
        return True
    changed = _CHANGED.get(node.op_type, new + 1)
    if after.deprecated or old < changed <= new or len(node.output) > len(after.outputs):
        return False
    inputs = zip(before.inputs, after.inputs, strict=False)
    return (
        all(attribute.name in after.attributes for attribute in node.attribute)
        and all(_same_default(before.attributes.get(k), a) for k, a in after.attributes.items())
        and len(before.inputs) <= len(after.inputs)
        and all(b.option in (a.option, Option.Optional) for a, b in inputs)
        and all(added.option == Option.Optional for added in after.inputs[len(before.inputs) :])
    )


def _same_default(before: SchemaAttribute | None, after: SchemaAttribute) -> bool:
    return not after.required if before is None else before.default_value == after.default_value


def settle(node: NodeProto, version: int) -> int:
    """Spell out, in place, what a node leaves to defaults, and return the version of its operator that says it all.

    Nodes of two opsets that are known to mean the same are settled alike. What has no schema stays as it is.
    """
    # Other domains don't tell what their versions have in common.
    later = _changes(node.op_type, version) if not node.domain else ()
    newest = max((v for v in later if keeps_meaning(node, version, v)), default=version)
    try:
        schema = onnx.defs.get_schema(node.op_type, newest, node.domain)
    except onnx.defs.SchemaError:
        return version
    given = {attribute.name for attribute in node.attribute}
    for name, attribute in schema.attributes.items():
        if name not in given and attribute.default_value.name:
            node.attribute.append(attribute.default_value)
    return int(schema.since_version)


@functools.cache
def _changes(op_type: str, version: int) -> tuple[int, ...]:
    """Return the versions after this one in which an operator of ONNX's own domain changed."""
    found = set()
    for later in range(version + 1, onnx.defs.onnx_opset_version() + 1):
        with contextlib.suppress(onnx.defs.SchemaError):
            found.add(int(onnx.defs.get_schema(op_type, later).since_version))
    return tuple(v for v in found if v > version)
