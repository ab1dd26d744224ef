"""Checks of nodes against the schema of their operator: what it does not have must not be read as if it were not there.

An attribute that the operator of that opset does not have says that the file means another function than the one that
is left without it: `min` and `max` are attributes of a Clip before opset 11 and inputs from then on. ONNX's checker and
its runtimes refuse such files too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import onnx
from onnx import AttributeProto, FunctionProto, ModelProto, NodeProto

from pathlift.frontend.protos import callee, describe, function_id, nested, quoted, subgraphs
from pathlift.ir.errors import InvalidModelError

_Option = onnx.defs.OpSchema.FormalParameterOption
# What a schema calls a type of attributes, and its number in a file.
_TYPES = {getattr(onnx.defs.OpSchema.AttrType, name): n for name, n in AttributeProto.AttributeType.items() if n}
EXPERIMENTAL = frozenset({"LayerNormalization", "MeanVarianceNormalization", "ThresholdedRelu"})
"""Operators that runtimes had, and have, before an opset of ONNX defined them."""


@dataclass(frozen=True)
class _Schema:
    """What the checks need of an operator's schema.

    Attributes
    ----------
    attributes
        The type of every attribute.
    required
        Those that a node must give.
    inputs, outputs
        How many there may be, the fewest and the most, and which of them must have a name.
    """

    attributes: Mapping[str, int]
    required: tuple[str, ...]
    inputs: tuple[int, int, tuple[bool, ...]]
    outputs: tuple[int, int, tuple[bool, ...]]


def check_schemas(model: ModelProto) -> None:
    """Raise unless every node of a standard domain is one of its operator, at the opset that holds where it is."""
    functions = {function_id(function) for function in model.functions}
    versions = _imports(model)
    _check(nested(model.graph.node), versions, functions)
    for function in model.functions:
        own = versions | _imports(function)
        _check(nested(function.node), own, functions)
        for graph in subgraphs(function.attribute_proto):
            _check(nested(graph.node), own, functions)


def _imports(owner: ModelProto | FunctionProto) -> dict[str, int]:
    return {entry.domain: entry.version for entry in owner.opset_import}


def _check(nodes: Iterable[NodeProto], versions: Mapping[str, int], functions: set[tuple[str, str, str]]) -> None:
    for node in nodes:
        if callee(node) not in functions:
            check_node(node, versions.get(node.domain, 1))


def check_node(node: NodeProto, version: int) -> None:
    """Raise unless a node is one of its operator at this opset; of an operator that ONNX does not know any node is.

    Parameters
    ----------
    node
        The node; its attributes are well-formed.
    version
        The opset of its domain.
    """
    if not _first(node.op_type, node.domain) or version > _newest(node.domain):
        return
    # Runtimes read a Constant's value in whatever way it is given, at any opset.
    schema = _schema(node.op_type, node.domain, _newest("") if node.op_type == "Constant" else version)
    opset = f"opset {version}" + (f" of {node.domain}" if node.domain else "")
    if schema is None and node.op_type in EXPERIMENTAL:
        return
    if schema is None:
        first = _first(node.op_type, node.domain)
        when = f"it came with {first}" if first > version else "it is gone since then or earlier"
        raise InvalidModelError("0164", f"{describe(node)}: {opset} has no operator {node.op_type}, {when}")
    where = f"{describe(node)}: {node.op_type} of {opset}"
    _check_attributes(node.attribute, schema, where)
    if node.op_type == "Constant" and len(node.attribute) != 1:
        raise InvalidModelError("0165", f"{where} has one value, given as one of its attributes")
    _check_count("input", node.input, schema.inputs, where)
    _check_count("output", node.output, schema.outputs, where)


def _check_attributes(attributes: Sequence[AttributeProto], schema: _Schema, where: str) -> None:
    for attribute in attributes:
        if attribute.name.startswith("__"):  # by ONNX's convention a private note, which means nothing
            continue
        wanted = schema.attributes.get(attribute.name)
        if wanted is None:
            known = ", ".join(sorted(schema.attributes)) or "none"
            raise InvalidModelError(
                "0160", f"{where} has no attribute {quoted(attribute.name)}; its attributes are: {known}"
            )
        if attribute.type != wanted:
            given, declared = (AttributeProto.AttributeType.Name(t) for t in (attribute.type, wanted))
            raise InvalidModelError(
                "0161", f"{where} has an attribute {quoted(attribute.name)} of type {declared}, not {given}"
            )
    missing = [name for name in schema.required if all(name != attribute.name for attribute in attributes)]
    if missing:
        raise InvalidModelError("0162", f"{where} needs an attribute {quoted(missing[0])}")


def _check_count(kind: str, names: Sequence[str], allowed: tuple[int, int, tuple[bool, ...]], where: str) -> None:
    fewest, most, needed = allowed
    if not fewest <= len(names) <= most:
        wanted = str(fewest) if fewest == most else f"{fewest} or more" if most > len(names) else f"{fewest} to {most}"
        raise InvalidModelError("0163", f"{where} has {wanted} {kind}s, not {len(names)}")
    for index, (name, must) in enumerate(zip(names, needed, strict=False)):
        if must and not name:
            raise InvalidModelError("0163", f"{where} cannot leave out its {kind} {index}")


@cache
def _schema(op_type: str, domain: str, version: int) -> _Schema | None:
    """Return the schema of an operator that ONNX knows, ``None`` if this opset does not have it."""
    try:
        schema = onnx.defs.get_schema(op_type, version, domain)
    except onnx.defs.SchemaError:
        return None
    if schema.deprecated:
        return None
    return _Schema(
        {name: _TYPES[attribute.type] for name, attribute in schema.attributes.items()},
        tuple(name for name, attribute in schema.attributes.items() if attribute.required),
        (schema.min_input, schema.max_input, tuple(p.option == _Option.Single for p in schema.inputs)),
        (schema.min_output, schema.max_output, tuple(p.option == _Option.Single for p in schema.outputs)),
    )


@cache
def _history() -> dict[str, dict[str, list[int]]]:
    """Return, for every domain, the opsets that each operator changed in."""
    history: dict[str, dict[str, list[int]]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        history.setdefault(schema.domain, {}).setdefault(schema.name, []).append(schema.since_version)
    return history


def _first(op_type: str, domain: str) -> int:
    """Return the opset that an operator came with; 0 for one that ONNX does not know."""
    return min(_history().get(domain, {}).get(op_type, ()), default=0)


@cache
def _newest(domain: str) -> int:
    """Return the last opset of a domain that the installed ONNX knows the operators of."""
    changes = max((max(versions) for versions in _history().get(domain, {}).values()), default=0)
    return onnx.defs.onnx_opset_version() if domain == "" else changes
