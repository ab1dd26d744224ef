"""Groups of channels: which are one, what stays, and what goes with each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph, Value
from pathlift.passes.channels.footprint import Tally, flop_terms, weight_terms
from pathlift.passes.channels.groups import Slot, channel_groups
from pathlift.passes.channels.removal import remove
from pathlift.testing.removal import random_choice


def attention(heads: int = 3, wide: int = 4) -> Graph:
    """Heads of fixed width, whose queries, keys and values come from three layers; L = 5."""
    b, rng, inner = Builder(), np.random.default_rng(0), heads * wide
    x = b.input("x", ("N", 5, 8))

    def param(name: str, *shape: int) -> Value:
        return b.param(rng.standard_normal(shape).astype(np.float32), name)

    def split(name: str, perm: tuple[int, ...]) -> Value:
        h = b.op("Reshape", b.op("Gemm", x, param(name, 8, inner)), shape=(-1, 5, heads, wide))
        return b.op("Transpose", h, perm=perm)

    # Keys are turned as exporters do it, the heads for a while part of the batch.
    k = b.op("Reshape", split("k", (0, 2, 1, 3)), shape=(-1, 5, wide))
    k = b.op("Reshape", b.op("Transpose", k, perm=(0, 2, 1)), shape=(-1, heads, wide, 5))
    s = b.op("Softmax", matmul(b, split("q", (0, 2, 1, 3)), k, 5))
    h = b.op("Transpose", matmul(b, s, split("v", (0, 2, 1, 3)), wide), perm=(0, 2, 1, 3))
    return b.finish(b.op("Gemm", b.op("Reshape", h, shape=(0, 5, inner)), param("o", inner, 8)))


def matmul(b: Builder, x: Value, y: Value, columns: int) -> Value:
    import onnx

    from pathlift.ir.types import DTYPES, TensorType

    type_ = TensorType(DTYPES["f32"], ("N", 3, 5, columns))
    proto = onnx.helper.make_node("MatMul", ["a", "b"], ["c"]).SerializeToString()
    return b.op("Opaque", x, y, types=[type_], op_type="MatMul", reason="product of two activations", proto=proto)


def test_heads_go_as_a_whole() -> None:
    graph = attention()
    groups = channel_groups(graph)
    assert groups.count == 3
    second = tuple(range(4, 8))
    assert groups.slots(2) == [Slot("k", 1, second), Slot("q", 1, second), Slot("v", 1, second), Slot("o", 0, second)]
    small = remove(groups, np.array([False, False, True, True]))
    shapes = {small[key].names[0]: small.type_of(Value(key)) for key in small}
    assert str(shapes["q"]) == "f32[8, 4]"
    targets = [small[key].attrs["shape"] for key in small if small[key].op == "Reshape"]
    assert sorted(targets) == sorted([(-1, 5, 1, 4)] * 3 + [(-1, 5, 4), (-1, 1, 4, 5), (0, 5, 4)])


def test_skips_join_channels(networks: Callable[[str], Graph]) -> None:
    groups = channel_groups(networks("residual"))
    (first, *_) = [g for g in range(1, 20) if groups.slots(g)[0].param == "a.w"]
    places = [(s.param, s.axis) for s in groups.slots(first)]
    assert places == [("a.w", 0), ("a.b", 0), ("c.w", 1), ("d.w", 0), ("d.b", 0), ("last.w", 1)]
    assert groups.writers()[first] == ("a.w", "d.w")
    assert [entry["count"] for entry in groups.to_json()["written_by"]] == [12, 7]


def test_what_stays_has_a_reason() -> None:
    b = Builder()
    x = b.input("x", ("N", 4))
    w = b.param(np.ones((4, 6), np.float32), "w")
    h = b.op("TopK", b.op("Gemm", x, w, name="h"), k=3, name="top")
    graph = b.finish(b.op("Gemm", h, b.param(np.ones((3, 2), np.float32), "v")))
    groups = channel_groups(graph)
    assert groups.count == 0
    pins = {(p.node, p.count) for p in groups.pins}
    assert ("top", 6) in pins
    assert all(p.reason for p in groups.pins)


def test_parameters_that_a_caller_may_replace_stay(networks: Callable[[str], Graph]) -> None:
    import dataclasses

    b = networks("residual").edit()
    b.info = dataclasses.replace(b.info, ir_version=8, overridable=("c.b",))
    assert channel_groups(b.finish()).count == 12


def test_footprints_are_those_of_what_is_left(network: tuple[Graph, int]) -> None:
    groups = channel_groups(network[0])
    gone = random_choice(groups, np.random.default_rng(1))
    left = channel_groups(remove(groups, gone))
    for terms in (weight_terms, flop_terms):
        tally = Tally(terms(groups))
        for group in np.flatnonzero(gone).tolist():
            before, lost = tally.total, tally.without(group)
            tally.remove(group)
            assert tally.total == before - lost
        assert tally.total == Tally(terms(left)).total


def test_operations_are_counted(networks: Callable[[str], Graph]) -> None:
    graph = networks("residual")
    assert Tally(weight_terms(channel_groups(graph))).total == 12 * 4 + 7 * 12 * 9 + 12 * 7 + 3 * 12
    assert Tally(flop_terms(channel_groups(graph))).total == 2 * 16 * (12 * 4 + 7 * 12 * 9 + 12 * 7 + 3 * 12)
    heads = Tally(flop_terms(channel_groups(attention()))).total
    assert heads == 2 * (5 * 8 * 12 * 3 + 5 * 12 * 8 + 2 * 3 * 5 * 5 * 4)


def test_operations_of_unknown_extents_are_refused() -> None:
    b = Builder()
    w = b.param(np.ones((4, 6), np.float32))
    graph = b.finish(b.op("Gemm", b.input("x", ("N", "L", 4)), w, name="fc"))
    with pytest.raises(UnsupportedError, match="PL1340 node 'fc'"):
        flop_terms(channel_groups(graph))
