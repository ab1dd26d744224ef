"""Functions that are recursive, called wrongly or explode are refused."""

import pytest
from onnx import helper

from pathlift.ir.errors import UnsafeModelError
from pathlift.testing.onnx_models import info, model, node


def functions(*bodies, calls=1):
    """Return a model that calls the first of some functions; each body is a list of nodes from ``a`` to ``b``."""
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    nodes = [node("F0", "x", f"y{i}", domain="f") for i in range(calls)]
    made = model(nodes, [info("x")], [info("y0")], opsets=(("", 18), ("f", 1)))
    for index, body in enumerate(bodies):
        made.functions.append(helper.make_function("f", f"F{index}", ["a"], ["b"], body, imports))
    return made


def test_functions_are_defined_once(refused):
    made = functions([node("Relu", "a", "b")])
    made.functions.append(made.functions[0])
    refused(made, "0141", "'F0'")


def test_recursive_functions(refused):
    refused(functions([node("F0", "a", "b", domain="f")]), "0142", "'F0'")
    refused(functions([node("F1", "a", "b", domain="f")], [node("F0", "a", "b", domain="f")]), "0142", "'F0'", "'F1'")
    inner = helper.make_graph([node("F0", "a", "o", domain="f")], "g", [], [info("o")])
    refused(functions([node("If", "a", "b", then_branch=inner, else_branch=inner)]), "0142", "'F0'")


def test_calls_have_the_arguments_of_the_function(refused):
    made = functions([node("Relu", "a", "b")])
    made.graph.node[0].input.append("x")
    refused(made, "0143", "'F0'")
    made = functions([node("Relu", "a", "b")])
    made.graph.node[0].output.append("z")
    refused(made, "0143", "'F0'")


def test_functions_see_their_own_inputs_only(refused):
    refused(functions([node("Add", "a x", "b", name="n")]), "0112", "'n'", "'x'")
    refused(functions([node("Relu", "a", "c")]), "0113", "'b'")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("called", [True, False])
def test_function_bombs(refused, called):
    depth = 40
    bodies = [[node(f"F{i + 1}", "a", "h", domain="f"), node(f"F{i + 1}", "h", "b", domain="f")] for i in range(depth)]
    made = functions(*bodies, [node("Relu", "a", "b")], calls=called)
    if not called:
        made.graph.output.pop()
    refused(made, "0213", error=UnsafeModelError)


@pytest.mark.timeout(60)
def test_many_calls_of_one_function(refused):
    refused(functions([node("Relu", "a", "b")], calls=100_000), "0213", error=UnsafeModelError)
