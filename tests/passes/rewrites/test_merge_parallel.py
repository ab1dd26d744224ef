"""Layers over one value whose results are added become one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pathlift.frontend.export import export
from pathlift.frontend.load import load
from pathlift.ir.builder import Builder
from pathlift.ir.errors import WitnessError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.text import parse_graph
from pathlift.ir.types import Param
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.pipeline import parse_pipeline, run_pipeline
from pathlift.passes.rewrites.merge_parallel import MergeParallel
from pathlift.testing import assert_equivalent, assert_same_as_onnxruntime, op_names
from pathlift.testing.strategies import graphs

Draw = Callable[[st.SearchStrategy[Any]], Any]
BLOCK = """
    %x = Input : f32[N, 2, 4, 4]
    %large.weight = Param {value=[[[[1.0, 2.0, 3.0]], [[0.0, 1.0, 0.0]]], [[[0.0, 0.0, 1.0]], [[1.0, 1.0, 1.0]]]]} : f32[2, 2, 1, 3]
    %large.bias = Param {value=[1.0, -1.0]} : f32[2]
    %small.weight = Param {value=[[[[0.5]], [[1.0]]], [[[-1.0]], [[0.0]]]]} : f32[2, 2, 1, 1]
    %scale = Param {value=[[[0.5]], [[2.0]]]} : f32[2, 1, 1]
    %s = Conv(%x, %small.weight) {strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1]}  # loc: small {doc="1×1"}
    %l = Conv(%x, %large.weight, %large.bias) {strides=[1, 1], pads=[0, 1, 0, 1], dilations=[1, 1]}  # loc: large
    %m = Mul(%x, %scale)
    %d = Sub(%l, %s)  # loc: minus
    %y = Sum(%d, %m, %x)  # loc: plus
    %z = Relu(%y)
    return %z
"""  # noqa: E501


def test_golden(golden: Callable[[str, str], None]) -> None:
    before = parse_graph(BLOCK)
    rewritten = MergeParallel().run(before)
    rewritten.witness.check(before, rewritten.graph)
    golden("passes/rewrites/merge_parallel.txt", f"{before}\n\n{rewritten.graph}\n\n{rewritten.witness.describe()}")


def test_laws(check_rewrite: Callable[..., None]) -> None:
    check_rewrite(MergeParallel(), sums(), examples=80, rewritten=True)
    check_rewrite(MergeParallel(), graphs(), examples=40)


def test_signs_and_copies_are_looked_through() -> None:
    def block(b: Builder, x: Value) -> Value:
        a, c = (b.op("Gemm", x, b.param(np.array(w, np.float32))) for w in ([[1, 2], [3, 4]], [[5, 0], [0, 5]]))
        return b.op("Neg", b.op("Add", b.op("Identity", a), b.op("Neg", b.op("Sum", c))), name="y")

    b = Builder()
    before = b.finish(block(b, b.input("x", ("N", 2))))
    rewritten = MergeParallel().run(before)
    rewritten.witness.check(before, rewritten.graph)
    assert_equivalent(before, rewritten.graph)
    (weight,) = (rewritten.graph[key].value for key in rewritten.graph.params)
    assert weight is not None
    assert weight.numpy().tolist() == [[4, -2], [-3, 1]]


@st.composite
def sums(draw: Draw) -> Graph:
    """What several branches make of one value, added and subtracted in any order."""
    b, rng, n = Builder(), np.random.default_rng(draw(st.integers(0, 2**16))), draw(st.integers(0, 2))
    inside, out, stride, dilation = (draw(st.sampled_from(s)) for s in ([2, 4], [2, 4], [1, 1, 2], [1, 1, 2]))
    spare = draw(st.sampled_from([0, 0, 1]))
    x = b.input("x", ("N", inside, 5, 6)[: 2 + n] if n else ("N", 3, inside)[draw(st.integers(0, 1)) :])
    keeps_shape = inside == out and (not n or (stride, spare) == (1, 0))
    branches = []
    for _ in range(draw(st.integers(2, 4))):
        kind = draw(st.integers(0, 7))
        if kind >= 4 or not keeps_shape:
            branches.append(_layer(draw, b, rng, x, (inside, out), n, (stride, spare, dilation)))
        else:
            branches.append(_scaling(b, rng, x, inside, n, kind))
    while len(branches) > 1:
        i, op = draw(st.integers(0, len(branches) - 2)), draw(st.sampled_from(["Add", "Sub", "Sum"]))
        taken = draw(st.integers(1, 3)) if op == "Sum" else 2
        branches[i : i + taken] = [b.op(op, *branches[i : i + taken])]
    return b.finish(b.op("Identity", branches[0]))


def _layer(
    draw: Draw, b: Builder, rng: np.random.Generator, x: Value, channels: tuple[int, int], n: int,
    geometry: tuple[int, int, int],
) -> Value:  # fmt: skip
    (inside, out), (stride, spare, d) = channels, geometry
    bias = b.param(_quarters(rng, out)) if draw(st.booleans()) else None
    if not n:
        return b.op("Gemm", x, b.param(_quarters(rng, inside, out)), bias)
    groups, kernel = draw(st.sampled_from([1, 1, 2])), [draw(st.integers(1, 3)) for _ in range(n)]
    begins = [draw(st.sampled_from([d * (k // 2), d * (k // 2), 0])) for k in kernel]
    ends = [spare + d * (k - 1) - p for k, p in zip(kernel, begins, strict=True)]
    return b.op(
        "Conv", x, b.param(_quarters(rng, out, inside // groups, *kernel)), bias, groups=groups,
        strides=(stride,) * n, pads=(*begins, *ends), dilations=(d,) * n,
    )  # fmt: skip


def _scaling(b: Builder, rng: np.random.Generator, x: Value, channels: int, n: int, kind: int) -> Value:
    c = rng.choice([0.5, 1.0, 2.0], (channels, *[1] * n)).astype(np.float32)
    if kind == 2 and b.type_of(x).shape[1] == channels:
        statistics = [_quarters(rng, channels) for _ in range(3)]
        return b.op("BatchNormalization", x, *map(b.param, statistics), b.param(c.reshape(-1)), epsilon=0.0)
    return x if kind == 3 else b.op(("Mul", "Div", "Mul")[kind], x, b.param(c))


def _quarters(rng: np.random.Generator, *size: int) -> np.ndarray:
    return np.asarray(rng.integers(-4, 5, size) / 4, np.float32)


class RepVGG(nn.Module):
    """A re-parameterized block as it is trained, stride and groups included, between two layers."""

    def __init__(self, stride: int, groups: int, *, fused: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, 3)
        kernels = [nn.Conv2d(4, 4, k, stride, k // 2, groups=groups, bias=False) for k in (3, 1)]
        norms = [nn.BatchNorm2d(4) for _ in range(3)]
        for norm in norms:
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
        self.eval()
        pairs = list(zip(kernels, norms, strict=False))
        branches = [fuse_conv_bn_eval(c.eval(), n.eval()) if fused else nn.Sequential(c, n) for c, n in pairs]
        self.branches = nn.ModuleList(branches)
        self.identity = norms[2] if stride == 1 else None
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.stem(x))
        y = self.branches[0](h) + self.branches[1](h)
        return torch.relu(y if self.identity is None else y + self.identity(h))


@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (1, 2), (2, 1)])
@pytest.mark.parametrize("passes", ["merge-parallel", "fold-batchnorm,merge-parallel"])
def test_a_repvgg_block_becomes_one_convolution(stride: int, groups: int, passes: str, tmp_path: Path) -> None:
    model = export(RepVGG(stride, groups, fused=passes == "merge-parallel"), (torch.randn(2, 3, 8, 8),))
    onnx_ir.save(model, path := tmp_path / "block.onnx")
    before = load(path)
    after, _ = run_pipeline(before, parse_pipeline(passes))
    assert [after[key].op for key in after if after[key].op != "Param"] == ["Input", "Conv", "Relu", "Conv", "Relu"]
    assert [after.name_of(v) for v in after.outputs] == [before.name_of(v) for v in before.outputs]
    assert_equivalent(before, after, rtol=1e-6)
    assert_same_as_onnxruntime(after)
    norms = [PathNorm(q=(0.5, 1.0)).run(graph).norms for graph in (before, after)]
    assert all(small.value < large.value for large, small in zip(*norms, strict=True))


def test_the_square_sum_of_paths_may_rise() -> None:
    # About half of random pairs: (a + b)² is above a² + b² wherever a and b have one sign.
    rng, rises = np.random.default_rng(0), 0
    for _ in range(40):
        b = Builder()
        x = b.input("x", ("N", 3), "f64")
        layers = [b.op("Gemm", x, b.param(rng.standard_normal((3, 3)))) for _ in range(2)]
        before = b.finish(b.op("Add", *layers))
        norms = [PathNorm(q=(1.0, 2.0)).run(g).norms for g in (before, MergeParallel().run(before).graph)]
        assert norms[1][0].value <= norms[0][0].value * (1 + 1e-12)
        rises += norms[1][1].value > norms[0][1].value
    assert 10 < rises < 30


@pytest.mark.parametrize(
    ("old", "new", "ops"),
    [
        ("[[[0.5]], [[2.0]]]} : f32[2, 1, 1]", "[[[2.0]]]} : f32[1, 1, 1]", ["Conv", "Relu"]),
        ("Mul(%x, %scale)", "Abs(%x)", ["Abs", "Conv", "Sum", "Relu"]),  # this branch is no layer
        ("return %z", "return %z, %l", None),  # a branch is an output
        ("return %z", "%r = Relu(%s)\n return %z, %r", None),  # something else reads a branch
        ("%s = Conv(%x", "%o = Abs(%x)\n %s = Conv(%o", None),  # a branch reads something else
    ],
)
def test_what_merges_in_a_block(old: str, new: str, ops: list[str] | None) -> None:
    before = parse_graph(BLOCK.replace(old, new))
    after = MergeParallel().run(before).graph
    if ops is None:
        assert after is before
    else:
        assert [after[key].op for key in after if after[key].op not in ("Input", "Param")] == ops
        assert_equivalent(before, after)


def test_kernels_whose_union_is_larger_than_both() -> None:
    # Two crossing lines have a square around them that is larger than both; with a square it is no larger than all.
    b, rng = Builder(), np.random.default_rng(0)
    x = b.input("x", ("N", 1, 5, 5))
    row, column, square = (
        b.op("Conv", x, b.param(_quarters(rng, 1, 1, *k)), strides=(1, 1), pads=(k[0] // 2, k[1] // 2) * 2,
             dilations=(1, 1)) for k in ((1, 3), (3, 1), (3, 3))
    )  # fmt: skip
    cross = b.op("Add", row, column, name="cross")
    b.op("Add", cross, square, name="y")
    whole = MergeParallel().run(b.finish("y"))
    assert [whole.graph[key].op for key in whole.graph if key in whole.graph.live] == ["Input", "Param", "Conv"]
    b.outputs = [cross]
    b.remove("y")
    alone = MergeParallel().run(b.finish())
    assert alone.witness.describe() == "the branches of 'cross' stay apart: 9 weights instead of 6"


@pytest.mark.parametrize("second", ["[3.0, -1.0]", None])
def test_a_branch_that_is_subtracted_takes_its_bias_along(second: str | None) -> None:
    before = parse_graph(f"""
        %x = Input : f32[N, 2]
        %v = Param {{value=[[1.0, 2.0], [3.0, 4.0]]}} : f32[2, 2]
        %w = Param {{value=[[5.0, 1.0], [-2.0, 0.5]]}} : f32[2, 2]
        %b = Param {{value=[0.5, 1.5]}} : f32[2]
        %c = Param {{value={second or "[0.0, 0.0]"}}} : f32[2]
        %p = Gemm(%x, %v, %b)
        %q = Gemm(%x, %w{", %c" if second else ""})
        %y = Sub(%q, %p)
        return %y
    """)
    after = MergeParallel().run(before).graph
    assert op_names(after) == ["Gemm"]
    assert_equivalent(before, after)


def test_windows_of_one_dilation_may_lie_between_each_other() -> None:
    before = parse_graph("""
        %x = Input : f32[1, 1, 9]
        %v = Param {value=[[[1.0, 2.0, 3.0]]]} : f32[1, 1, 3]
        %w = Param {value=[[[5.0, 7.0]]]} : f32[1, 1, 2]
        %a = Conv(%x, %v) {strides=[1], pads=[2, 2], dilations=[2]}
        %b = Conv(%x, %w) {strides=[1], pads=[1, 1], dilations=[2]}
        %y = Add(%a, %b)
        return %y
    """)
    assert MergeParallel().run(before).graph is before


@pytest.mark.parametrize(
    ("attrs", "reason"),
    [
        ("strides=[1, 1], pads=[0, 0, 0, 2], dilations=[1, 2]", "their windows do not lie on one grid"),
        ("strides=[1, 2], pads=[0, 1, 0, 4], dilations=[1, 1]", "they differ in channels or strides"),
    ],
)
def test_windows_that_do_not_fit(attrs: str, reason: str) -> None:
    before = parse_graph(f"""
        %x = Input : f32[N, 1, 4, 4]
        %v = Param {{value=[[[[1.0, 2.0, 3.0]]]]}} : f32[1, 1, 1, 3]
        %w = Param {{value=[[[[1.0, 2.0]]]]}} : f32[1, 1, 1, 2]
        %a = Conv(%x, %v) {{strides=[1, 1], pads=[0, 1, 0, 1], dilations=[1, 1]}}
        %b = Conv(%x, %w) {{{attrs}}}
        %y = Add(%a, %b)
        return %y
    """)
    rewritten = MergeParallel().run(before)
    assert rewritten.graph is before
    assert rewritten.witness.describe() == f"the branches of 'y' stay apart: {reason}"


def test_a_lost_branch_is_caught() -> None:
    before = parse_graph(BLOCK)
    rewritten = MergeParallel().run(before)
    b = rewritten.graph.edit()
    weight = rewritten.graph["large.weight"].value.numpy().copy()
    weight[1, 1, 0, 1] -= 1  # the value itself, in one channel
    b.replace_node(Value("large.weight"), value=Param.of(weight))
    with pytest.raises(WitnessError, match="PL0803 "):
        rewritten.witness.check(before, b.finish())
