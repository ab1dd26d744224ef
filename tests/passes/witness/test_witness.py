"""A rewrite that is wrong anywhere does not get past its witness."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import pathlift
from pathlift.ir.builder import Builder
from pathlift.ir.errors import WitnessError
from pathlift.ir.graph import Graph, ModelInfo
from pathlift.ir.text import parse_graph
from pathlift.ir.types import DTYPES, UNKNOWN, OtherType, Param, TensorType
from pathlift.passes.rewrites.fold_batchnorm import FoldBatchnorm
from pathlift.passes.witness.correspondence import _is_refined, check_correspondence
from pathlift.passes.witness.rewritings import RewriteWitness, SequentialWitness
from pathlift.passes.witness.site import Site

NET = parse_graph("""
    %x = Input : f32[N, 2, 20, 30]
    %w = Param {value=[[[[1.0]], [[2.0]]], [[[0.5]], [[-1.0]]]]} : f32[2, 2, 1, 1]
    %v = Param {value=[[[[1.0]], [[-2.0]]]]} : f32[1, 2, 1, 1]
    %s = Param {value=[2.0, -1.0]} : f32[2]
    %t = Param {value=[1.0, 3.0]} : f32[2]
    %h = Conv(%x, %w, %t) {strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1]}
    %n = BatchNormalization(%h, %s, %t, %t, %t) {epsilon=1.0}
    %r = Relu(%n)
    %y = Conv(%r, %v) {strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1]}
    return %y
""")


def changed(graph: Graph, name: str, **values: Any) -> Graph:
    b = graph.edit()
    b.replace_node(b.value(name), **values)
    return b.finish()


def scaled(graph: Graph, name: str, factor: float) -> Graph:
    value = graph[graph.edit().value(name).node].value
    assert value is not None
    return changed(graph, name, value=Param.of(value.numpy() * np.float32(factor)))


def refused(rewriting: RewriteWitness, before: Graph, after: Graph) -> str:
    with pytest.raises(WitnessError) as error:
        rewriting.check(before, after)
    assert error.value.code == "PL0803"
    return error.value.message


def test_a_fold_that_is_wrong() -> None:
    rewritten = FoldBatchnorm().run(NET)
    assert isinstance(rewritten.witness, SequentialWitness)
    ((witness, after),) = rewritten.witness.steps
    assert isinstance(witness, RewriteWitness)
    witness.check(NET, after)
    for name, where in {"w": "h + n: 'n': differs by", "v": "'v' is computed otherwise", "t": "h + n"}.items():
        assert where in refused(witness, NET, scaled(after, name, 1.001))
    with pytest.raises(WitnessError, match="another graph"):
        rewritten.witness.check(NET, scaled(after, "w", 1.0))


@pytest.mark.parametrize(("dtype", "within", "beyond"), [("f64", 1e-10, 1e-8), ("f32", 1e-6, 1e-4), ("f16", 1e-3, 0.1)])
def test_tolerances_are_those_of_the_element_type(dtype: str, within: float, beyond: float) -> None:
    def graph(off: float) -> Graph:
        return parse_graph(
            f"""
            %x = Input : {dtype}[N, 1]
            %w = Param {{value=[[1.0, {1 + off!r}]]}} : {dtype}[1, 2]
            %y = Gemm(%x, %w)
            return %y
            """
        )

    witness = RewriteWitness("k", (Site("y", ("x",), "y"),))
    witness.check(graph(0.0), graph(within))
    assert "differs by" in refused(witness, graph(0.0), graph(beyond))


def test_what_cancels_is_compared_with_rounding_of_what_it_was() -> None:
    def graph(left: float) -> Graph:
        return parse_graph(
            f"""
            %x = Input : f64[N, 1]
            %w = Param {{value=[[1.0]]}} : f64[1, 1]
            %v = Param {{value=[[{-1.0 + left!r}]]}} : f64[1, 1]
            %a = Gemm(%x, %w)
            %b = Gemm(%x, %v)
            %y = Add(%a, %b)
            return %y
            """
        )

    witness = RewriteWitness("k", (Site("y", ("x",), "y"),))
    witness.check(graph(0.0), graph(1e-13))
    assert "differs by" in refused(witness, graph(0.0), graph(1e-6))


def test_the_steps_of_a_rewrite_lead_to_its_result() -> None:
    steps = SequentialWitness(((RewriteWitness("k", ()), NET),))
    steps.check(NET, NET)
    with pytest.raises(WitnessError, match="another graph"):
        steps.check(NET, NET.edit().finish())


def test_a_site_says_all_that_its_value_is_computed_from() -> None:
    site = Site("y", ("n",), "from the middle")
    RewriteWitness("k", (site,)).check(NET, NET)
    assert "it depends on the input 'x'" in refused(RewriteWitness("k", (Site("y", (), "from nothing"),)), NET, NET)
    assert "only one graph has the value 'z'" in refused(RewriteWitness("k", (Site("y", ("z",), "?"),)), NET, NET)


def test_inputs_and_outputs_stay() -> None:
    builder = NET.edit()
    builder.rename("y", "z")
    assert "the outputs were" in refused(RewriteWitness("k", ()), NET, builder.finish())
    types = (TensorType(DTYPES["f32"], ("M", 2, 20, 30)),)
    assert "the inputs were" in refused(RewriteWitness("k", ()), NET, changed(NET, "x", types=types))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("r", {"op": "Abs"}),
        ("y", {"attrs": {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (2, 2)}}),
        ("n", {"attrs": {"epsilon": 0.5}}),
    ],
)
def test_other_ops_and_attributes(name: str, changes: dict[str, Any]) -> None:
    assert f"{name!r} is computed otherwise" in refused(RewriteWitness("k", ()), NET, changed(NET, name, **changes))


def test_identities_do_not_count() -> None:
    builder = NET.edit()
    identity = builder.op("Identity", "n")
    builder.connect("r", 0, identity)
    after = builder.finish()
    check_correspondence("k", NET, after)
    check_correspondence("k", after, NET)


def test_an_operand_that_was_swapped() -> None:
    text = """
        %x = Input : f32[2]
        %z = Input : f32[2]
        %y = Sub({}, {})
        return %y
    """
    before, after = (parse_graph(text.format(*names)) for names in (("%x", "%z"), ("%z", "%x")))
    assert "is computed otherwise" in refused(RewriteWitness("k", ()), before, after)


def test_copies_are_tried() -> None:
    text = """
        %x = Input : f32[2]
        %c = Param {{value=[1.0, {}]}} : f32[2]
        %h = Mul(%x, %c)
        %y = Relu(%h)
        return %y
    """
    builder = parse_graph(text.format(1.0)).edit()
    builder.replace_value("h", "x")
    after = builder.finish()
    rewritings = RewriteWitness("k", (), copies=(("h", "x"),))
    rewritings.check(parse_graph(text.format(1.0)), after)
    assert "differs by" in refused(rewritings, parse_graph(text.format(1.5)), after)


def test_a_parameter_that_a_caller_may_replace_is_no_constant() -> None:
    def net(fold: bool, version: int) -> Graph:
        b = Builder(ModelInfo(ir_version=version, overridable=("c",)))
        x, c = b.input("x", (2,)), b.param([1.0, 2.0], "c")
        return b.finish(b.op("Mul", x, b.param([2.0, 4.0], "d") if fold else b.op("Add", c, c), name="y"))

    rewritings = RewriteWitness("k", (Site("y", ("x",), "c + c"),))
    rewritings.check(net(fold=False, version=3), net(fold=True, version=3))
    assert "differs by" in refused(rewritings, net(fold=False, version=10), net(fold=True, version=10))


def test_two_random_nodes_are_not_one() -> None:
    node = 'Opaque(%x) {op_type="RandomNormalLike", reason="it is random", proto=b64""} : f32[2]'
    two = parse_graph(f"%x = Input : f32[2]\n%a = {node}\n%b = {node}\n%y = Sub(%a, %b)\nreturn %y")
    one = parse_graph(f"%x = Input : f32[2]\n%a = {node}\n%y = Sub(%a, %a)\nreturn %y")
    check_correspondence("k", two, two)
    assert "is computed otherwise" in refused(RewriteWitness("k", ()), two, one)


def test_symbols_are_one_extent_in_all_that_a_site_reads() -> None:
    text = """
        %x = Input : f32[N, T, 2]
        %z = Input : f32[T, 2]
        %y = {}(%x, %z)
        return %y
    """
    before, after = (parse_graph(text.format(op)) for op in ("Add", "Sum"))
    RewriteWitness("k", (Site("y", ("x", "z"), "a sum"),)).check(before, after)


def test_what_needs_the_full_extents_gets_them() -> None:
    text = """
        %x = Input : f32[N, 2, 20, 30]
        %h = {}(%x) {{{}}}
        %y = ReduceSum(%h)
        return %y
    """
    graph = parse_graph(text.format("Flatten", ""))
    rewritings = RewriteWitness("k", (Site("h", ("x",), "a view"),))
    rewritings.check(graph, parse_graph(text.format("Reshape", "shape=[-1, 1200]")))
    wrong = parse_graph(text.format("Reshape", "shape=[1200, -1]"))
    assert "the shape was [2, 1200] and is [1200, 2]" in refused(rewritings, graph, wrong)


def test_what_cannot_be_evaluated_is_not_believed() -> None:
    text = """
        %x = Input : f32[N, C]
        %y = Reshape(%x) {{shape={}}}
        return %y
    """
    before, after = (parse_graph(text.format(shape)) for shape in ("[7, -1]", "[7, 3]"))
    assert "invalid for input of size" in refused(RewriteWitness("k", (Site("y", ("x",), "a view"),)), before, after)


def test_types_may_become_more_precise_but_not_less() -> None:
    def net(shape: str) -> Graph:
        node = f'Opaque(%x) {{op_type="F", reason="it is custom", proto=b64""}} : f32[{shape}]'
        return parse_graph(f"%x = Input : f32[2]\n%y = {node}\nreturn %y")

    check_correspondence("k", net("?, N"), net("3, N"))
    for before, after in (("3", "?"), ("3", "4"), ("N", "M"), ("3", "3, 1")):
        assert "the outputs were" in refused(RewriteWitness("k", ()), net(before), net(after))


@pytest.mark.parametrize("name", ["merge-linears", "merge-parallel", "merge-collinear", "common-subexpressions"])
def test_outputs_that_are_no_tensors_stay(name: str) -> None:
    nodes = [helper.make_node("SplitToSequence", ["x"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])
    y = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    pathlift.opt(helper.make_model(helper.make_graph(nodes, "g", [x], [y]), ir_version=8), name)
    a, b = (OtherType(f"seq(tensor({name}))") for name in ("float", "double"))
    assert _is_refined(a, a)
    assert not _is_refined(a, b)
    assert not _is_refined(a, UNKNOWN)
