"""The evaluator: what is run and observed, and what it says where it cannot go on."""

from __future__ import annotations

import subprocess
import sys
import weakref
from collections.abc import Sequence

import networkx as nx
import numpy as np
import pytest
import torch

from pathlift.ir.algebras.interpret import evaluate, run, walk
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.algebras.protocol import Algebra
from pathlift.ir.algebras.shape import Shape
from pathlift.ir.errors import GraphError, PathliftError, UnsupportedError, UsageError
from pathlift.ir.graph import Graph, Origin
from pathlift.ir.ops import OPS
from pathlift.ir.text import parse_graph
from pathlift.ir.types import ValueType
from pathlift.testing import samples

TEXT = """
%x = Input : f32[N, 2]
%w = Param {value=[[1.0, 2.0], [3.0, 4.0]]}
%h = Gemm(%x, %w)  # loc: fc1
%dead = Softmax(%h)
%deader = Relu(%dead)
%a, %b = Split(%h) {axis=1, parts=[1, 1]}
%y = Sub(%b, %a)
return %y, %h
"""


def test_run_and_observe():
    seen = []
    x = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    outputs = run(parse_graph(TEXT), Numeric(), {"x": x}, observe=lambda key, *_: seen.append(key))
    assert {k: v.tolist() for k, v in outputs.items()} == {"y": [[2.0]], "h": [[4.0, 6.0]]}
    assert seen == ["w", "h", "a", "y"], "dead code is not evaluated"


def test_a_missing_feed_and_a_missing_rule_are_named():
    graph = parse_graph(TEXT)
    with pytest.raises(UsageError, match="PL0405 input 'x' is not fed hint: inputs: x"):
        run(graph, Numeric(), {})

    class Nothing(Algebra[int]):
        name = "nothing"

        def param(self, p):
            return 0

    with pytest.raises(UnsupportedError, match=r"PL0302 node 'fc1' \(Gemm\): nothing has no rule for a linear map"):
        run(graph, Nothing(), {"x": 0})


REFUSED = """
%x = Input : f32[N, 4]
%w = Param {value=[1.0, 2.0]} : f32[2]
%a = Relu(%x)
%p, %q = Split(%a) {axis=1, parts=[2, 2]}
%dead = Relu(%q)
%r = Mul(%p, %w)
%s = Relu(%q)
%y = Add(%r, %s)
return %y, %q
"""


def test_a_walk_goes_on_after_a_refusal() -> None:
    class Depth(Algebra[int]):
        name = "depth"

        def param(self, p):
            return 0

        def gate(self, x, f, *params):
            return x + 1

        def scale(self, x, c, axis=None, *, reciprocal=False):
            return x + 1

        def add(self, x, y, axis=None):
            return max(x, y)

    graph, seen, refused = parse_graph(REFUSED), [], []

    def step(key, inputs):
        seen.append(key)
        node = graph[key]
        if node.op == "Input":
            return [0]
        try:
            return evaluate(Depth(), node, inputs)
        except UnsupportedError as refusal:
            refused.append((refusal.node, inputs))
            return [10, 20]

    assert walk(graph, step) == {"y": 21, "q": 20}
    assert refused == [("p", (1,))]
    assert seen == ["x", "w", "a", "p", "r", "s", "y"], "dead code is not evaluated"


def test_a_walk_hands_out_each_slot_and_drops_what_is_used_up() -> None:
    class Held:
        pass

    graph = parse_graph(TEXT)
    alive, slots = {}, {}

    def step(key, inputs):
        slots[key] = len(inputs)
        outputs = [Held() for _ in graph[key].types]
        alive[key] = weakref.ref(outputs[0])
        assert all(alive[v.node]() is not None for v in graph.inputs_of(key))
        if key == "y":
            assert {k for k, value in alive.items() if value() is None} == {"x", "w"}
        return outputs

    outputs = walk(graph, step)
    assert slots == {"x": 0, "w": 0, "h": 2, "a": 1, "y": 2}
    assert outputs.keys() == {"y", "h"}
    assert {k for k, value in alive.items() if value() is None} == {"x", "w", "a"}


def test_a_walk_without_refusals_is_a_run() -> None:
    for graph in samples().values():
        feeds = {graph[key].names[0]: graph[key].types[0] for key in graph.inputs}

        def step(key: str, inputs: tuple[ValueType | None, ...], graph: Graph = graph) -> Sequence[ValueType]:
            return graph[key].types if graph[key].op == "Input" else evaluate(Shape(), graph[key], inputs)

        assert walk(graph, step) == run(graph, Shape(), feeds)
        assert walk(graph, step) == {graph.name_of(v): graph.type_of(v) for v in graph.outputs}


def test_a_refusal_keeps_the_first_name():
    refusal = UnsupportedError("0304", "reason", hint="hint").at("conv", "Conv")
    assert refusal.at("other", "Add") is refusal
    assert str(refusal) == "PL0304 node 'conv' (Conv): reason hint: hint"


def test_error_families_have_their_exit_codes():
    families = {c.family: c.exit_code for c in PathliftError.__subclasses__() if c.__module__.startswith("pathlift.ir")}
    assert families["03"] == 4
    assert families["05"] == families["01"] == families["02"] == 3
    assert families["04"] == families["06"] == families["07"] == 2
    assert families["08"] == families["09"] == 70


def test_shape_errors_name_the_node():
    with pytest.raises(GraphError, match=r"node 'fc1' \(Concat\): axis 5 is out of range"):
        parse_graph(TEXT).edit().op("Concat", "x", "y", axis=5, origin=Origin(("fc1",)))


def test_networkx_applies():
    graph = parse_graph(TEXT)
    assert list(graph) == list(graph.order) == ["x", "w", "h", "dead", "deader", "a", "y"]
    assert nx.ancestors(graph.nx, "y") == {"x", "w", "h", "a"}
    assert nx.is_frozen(graph.nx)
    assert graph.params == ("w",)


def test_every_op_has_a_doc_and_a_schema():
    for op in OPS.values():
        assert op.doc.endswith((".", ":", ";")) or op.doc
        assert op.required <= len(op.inputs)


def test_text_needs_no_torch():
    code = f"import sys\nfrom pathlift.ir.text import parse_graph\nstr(parse_graph({TEXT!r}))\n"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_origins_merge_without_repeats():
    a, b = Origin(("c", "d"), "one", (("k", "1"),)), Origin(("d", "e"), "one", (("k", "2"), ("l", "3")))
    assert a.merged(b) == Origin(("c", "d", "e"), "one", (("k", "1"), ("l", "3")))


def test_numeric_reads_small_formats_exactly():
    graph = parse_graph("%w = Param {value=[0.1, -3.0]} : bf16[2]\n%i = Param {value=[-8, 7]} : i4[2]\nreturn %w, %i")
    outputs = run(graph, Numeric(), {})
    assert outputs["w"].tolist() == graph["w"].value.numpy().astype(np.float64).tolist()
    assert outputs["i"].tolist() == [-8, 7]
    wide = parse_graph(f"%w = Param {{value=[{1 + 2.0**-40!r}]}} : f64[1]\nreturn %w")
    assert run(wide, Numeric(), {})["w"].tolist() == [1 + 2.0**-40]
