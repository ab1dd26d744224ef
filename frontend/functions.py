"""Model-local functions: checked, then inlined, except those that have a meaning of their own here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

import onnx_ir
from onnx import AttributeProto, FunctionProto, ModelProto, NodeProto
from onnx_ir.passes.common import InlinePass

from pathlift.frontend.protos import FunctionId, all_nodes, callee, describe, foreign, function_id, quoted, subgraphs
from pathlift.ir.errors import InvalidModelError, UnsafeModelError

KEPT_DOMAIN = "pathlift"  # calls of these functions are recognised as operators later
MAX_NODES = 500_000
_GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def check_functions(model: ModelProto) -> None:
    """Raise unless functions are defined once, do not recurse, are called with arguments they have, and stay small."""
    functions: dict[FunctionId, FunctionProto] = {}
    for function in model.functions:
        if functions.setdefault(function_id(function), function) is not function:
            raise InvalidModelError("0141", f"function {quoted(function.name)} is defined twice")
    for node in all_nodes(model):
        called = functions.get(callee(node))
        if called and (len(node.input) > len(called.input) or len(node.output) > len(called.output)):
            raise InvalidModelError("0143", f"{describe(node)}: more arguments than function {quoted(called.name)} has")
    _check_expansion(model, functions)


def _check_expansion(model: ModelProto, functions: Mapping[FunctionId, FunctionProto]) -> None:
    # Functions that call functions double at each level: forty levels fit in a few hundred bytes.
    bodies = {name: Counter(map(callee, _nested(function.node))) for name, function in functions.items()}
    try:
        order = list(TopologicalSorter({name: body.keys() & functions.keys() for name, body in bodies.items()}).static_order())
    except CycleError as error:
        cycle: list[FunctionId] = error.args[1]
        shown = " -> ".join(quoted(name) for _, name, _ in cycle[:8])
        raise InvalidModelError("0142", f"functions call themselves: {shown}") from error
    sizes: dict[FunctionId, int] = {}
    for name in order:
        sizes[name] = sum(times * sizes.get(called, 1) for called, times in bodies[name].items())
    if sum(sizes.get(callee(node), 1) for node in _nested(model.graph.node)) > MAX_NODES:
        raise UnsafeModelError("0213", f"the model's functions expand to more than {MAX_NODES} nodes")


def _nested(nodes: Sequence[NodeProto]) -> Iterator[NodeProto]:
    for node in nodes:
        yield node
        for graph in subgraphs(node.attribute):
            yield from _nested(graph.node)


def prepare_inlining(model: ModelProto) -> frozenset[FunctionId]:
    """Rewrite, in place, what the inliner would lose, and return the functions that must stay calls.

    The inliner gives a function's result the name of the call's output. A result that is also an argument would
    rename the argument, one returned twice would lose a name, and an omitted output would leave it without any.
    """
    for function in model.functions:
        taken = {*function.input, *(name for node in function.node for name in node.output)}
        seen = set(function.input)
        for index, name in enumerate(function.output):
            if name in seen:
                function.output[index] = _fresh(f"{name}_returned", taken)
                function.node.add(op_type="Identity", input=[name], output=[function.output[index]])
            seen.add(name)
    ids = {function_id(function) for function in model.functions}
    taken = {name for node in all_nodes(model) for name in (*node.input, *node.output)}
    for node in all_nodes(model):
        if callee(node) in ids:
            for index, name in enumerate(node.output):
                node.output[index] = name or _fresh(f"{node.op_type}_unused", taken)
    return _kept(model)


def _fresh(name: str, taken: set[str]) -> str:
    suffix = 1
    while (candidate := f"{name}_{suffix}") in taken:
        suffix += 1
    taken.add(candidate)
    return candidate


def _kept(model: ModelProto) -> frozenset[FunctionId]:
    """Return the functions that cannot be inlined, or must not be, and all that they call."""
    functions = {function_id(function): function for function in model.functions}
    pending = [name for name in functions if name[0] == KEPT_DOMAIN]
    pending += [callee(node) for node in all_nodes(model) if any(a.type in _GRAPHS for a in node.attribute)]
    versions = {entry.domain: entry.version for entry in model.opset_import}
    for name, function in functions.items():
        takes_graph = any(attribute.type in _GRAPHS for attribute in function.attribute_proto)
        other = any(versions.setdefault(entry.domain, entry.version) != entry.version for entry in function.opset_import)
        if takes_graph or other:
            pending.append(name)
    kept: set[FunctionId] = set()
    while pending:
        if (name := pending.pop()) in functions and name not in kept:
            kept.add(name)
            pending += map(callee, _nested(functions[name].node))
    return frozenset(kept)


def inline(model: onnx_ir.Model, kept: frozenset[FunctionId]) -> list[str]:
    """Inline every function but the kept ones, drop those nobody calls, and return warnings."""
    with foreign("inline the model's functions"):
        InlinePass(lambda function: function.identifier() not in kept)(model)
    return [
        f"function {quoted(name)} is not inlined: it takes graphs or another opset than the model's"
        for domain, name, _ in model.functions
        if domain != KEPT_DOMAIN
    ]
