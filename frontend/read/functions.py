"""Model-local functions: checked, then inlined, except those that have a meaning of their own here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

import onnx_ir
from onnx import AttributeProto, FunctionProto, ModelProto, NodeProto
from onnx_ir.passes.common import InlinePass

from pathlift.frontend.protos import (
    FunctionId,
    all_graphs,
    all_nodes,
    callee,
    describe,
    foreign,
    function_id,
    nested,
    quoted,
)
from pathlift.ir.errors import InvalidModelError, UnsafeModelError

KEPT_DOMAIN = "pathlift"  # calls of these functions are recognised as operators later
MAX_NODES = 500_000
MAX_TRIALS = 200_000_000
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
    calls = {name: Counter(map(callee, nested(function.node))) for name, function in functions.items()}
    try:
        order = list(
            TopologicalSorter({name: called.keys() & functions.keys() for name, called in calls.items()}).static_order()
        )
    except CycleError as error:
        cycle: list[FunctionId] = error.args[1]
        shown = " -> ".join(quoted(name) for _, name, _ in cycle[:8])
        raise InvalidModelError("0142", f"functions call themselves: {shown}") from error
    copies = Counter(map(callee, nested(model.graph.node)))
    names: Counter[str] = Counter()
    for name in reversed(order):  # callers first
        copies[name] += 1  # the definition itself
        for called, times in calls[name].items():
            if called in functions:
                copies[called] += copies[name] * times
        for node in nested(functions[name].node):
            names.update(dict.fromkeys([*filter(None, node.output), _label(node)], copies[name]))
    # The inliner numbers equal names by trying from 1.
    if names.total() > MAX_NODES or sum(count**2 for count in names.values()) > MAX_TRIALS:
        raise UnsafeModelError("0213", f"the model's functions expand to {names.total()} values, which is too many")


def prepare_inlining(model: ModelProto) -> frozenset[FunctionId]:
    """Rewrite, in place, what the inliner would lose, and return the functions that must stay calls.

    The inliner gives a function's result the name of the call's output. A result that is also an argument would
    rename the argument, one returned twice would lose a name, and an omitted output would leave it without any.
    """
    kept = _kept(model)
    results: dict[FunctionId, int] = {}
    for function in model.functions:
        if function_id(function) not in kept:
            results[function_id(function)] = len(function.output)
            _return_apart(function)
    taken = {name for node in all_nodes(model) for name in (*node.input, *node.output)}
    for graph in all_graphs(model):
        taken |= {info.name for info in graph.input} | {tensor.name for tensor in graph.initializer}
    for node in all_nodes(model):
        if callee(node) in results:
            node.output.extend([""] * (results[callee(node)] - len(node.output)))
            for index, name in enumerate(node.output):
                node.output[index] = name or _fresh(f"{node.op_type}_unused", taken)
    return kept


def _return_apart(function: FunctionProto) -> None:
    """Make every result a value of its own, and name the nodes."""
    taken = {*function.input, *(name for node in function.node for name in node.output)}
    seen = set(function.input)
    for index, name in enumerate(function.output):
        if name in seen:
            function.output[index] = _fresh(f"{name}_returned", taken)
            function.node.add(op_type="Identity", input=[name], output=[function.output[index]])
        seen.add(name)
    for node in nested(function.node):
        node.name = _label(node)


def _label(node: NodeProto) -> str:
    return node.name or next(filter(None, node.output), "node")


def _fresh(name: str, taken: set[str]) -> str:
    suffix = len(taken)  # likely free, so that many names take linear time
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
        imports = {entry.domain: entry.version for entry in function.opset_import}
        if takes_graph or any(versions.setdefault(domain, number) != number for domain, number in imports.items()):
            pending.append(name)
    kept: set[FunctionId] = set()
    while pending:
        if (name := pending.pop()) in functions and name not in kept:
            kept.add(name)
            pending += map(callee, nested(functions[name].node))
    return frozenset(kept)


def inline(model: onnx_ir.Model, kept: frozenset[FunctionId]) -> list[str]:
    """Inline every call of a function that is not kept, and return warnings."""
    with foreign("inline the model's functions"):
        InlinePass(lambda function: function.identifier() not in kept)(model)
    return [
        f"calls of function {quoted(name)} are not inlined: it takes graphs, or imports another opset than the model"
        for domain, name, _ in sorted(kept)
        if domain != KEPT_DOMAIN
    ]
