"""Sequences that are put together and taken apart at constant positions, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pathlift.frontend.load import load
from pathlift.testing import op_names
from pathlift.testing.onnx_models import f32, node

Rng = np.random.Generator


def at(i: int, name: str = "y") -> Any:
    return node("SequenceAt", f"s i{i}", name)


NUMBERS = {f"i{i}": np.int64(i).reshape(()) for i in range(4)} | {"last": np.int64(-1).reshape(())}


def used(nodes: Any, constants: dict[str, Any]) -> dict[str, Any]:
    return {name: a for name, a in constants.items() if any(name in n.input for n in nodes)}


@pytest.mark.parametrize("parts", [np.int64(3), np.int64(4), np.int64(9), [1, 2, 4], [0, 7, 0]])
@pytest.mark.parametrize("axis", [1, -1])
def test_split(compare: Any, dyn: Any, rng: Rng, parts: Any, axis: int) -> None:
    nodes = [node("SplitToSequence", "x p", "s", axis=axis), at(0, "a"), node("SequenceAt", "s last", "b")]
    nodes.append(node("Concat", "b a", axis=1))
    constants = used(nodes, NUMBERS) | {"p": np.array(parts)}
    graph = compare(nodes, {"x": dyn(f32(rng, 2, 7), ("N", 7))}, constants, ["y"])
    assert op_names(graph) == ["Split", "Identity", "Identity", "Concat"]


@pytest.mark.parametrize("keepdims", [0, 1])
def test_split_into_single_elements(compare: Any, dyn: Any, rng: Rng, keepdims: int) -> None:
    nodes = [node("SplitToSequence", "x", "s", axis=1, keepdims=keepdims), at(2)]
    graph = compare(nodes, {"x": dyn(f32(rng, 2, 3), ("N", 3))}, used(nodes, NUMBERS), ["y"])
    assert ("Squeeze" in op_names(graph)) == (not keepdims)
    assert "Opaque" not in op_names(graph)


def test_parts_of_given_sizes_keep_their_axis(compare: Any, dyn: Any, rng: Rng) -> None:
    nodes = [node("SplitToSequence", "x p", "s", axis=1, keepdims=0), at(1)]
    constants = used(nodes, NUMBERS) | {"p": np.array([1, 1, 1])}
    assert "Squeeze" not in op_names(compare(nodes, {"x": dyn(f32(rng, 2, 3), ("N", 3))}, constants, ["y"]))


@pytest.mark.parametrize("parts", [np.int64(2), [1, 2], None])
def test_split_of_a_constant(compare: Any, rng: Rng, parts: Any) -> None:
    operands = "w p" if parts is not None else "w"
    nodes = [
        node("SplitToSequence", operands, "s", axis=0, keepdims=int(parts is not None)),
        at(1, "v"),
        node("Mul", "x v"),
    ]
    constants = used(nodes, NUMBERS | {"p": np.array(parts), "w": f32(rng, 3, 4)})
    assert op_names(compare(nodes, {"x": f32(rng, 2, 4)}, constants, ["y"])) == ["Mul"]


def test_sequences_of_values(compare: Any, rng: Rng) -> None:
    nodes = [
        node("SequenceConstruct", "a b", "s0"), node("SequenceInsert", "s0 c", "s1"),
        node("SequenceInsert", "s1 d i1", "s2"), node("SequenceInsert", "s2 a last", "s3"),
        node("SequenceErase", "s3 i2", "s4"), node("SequenceErase", "s4", "s"), node("SequenceLength", "s", "n"),
        node("SequenceErase", "s4 last", "e"), node("ConcatFromSequence", "e", "o", axis=0),
        at(0, "p"), at(1, "q"), at(2, "r"), node("Sub", "p q", "pq"), node("Div", "r two", "h"), node("Sub", "pq h"),
        node("ConcatFromSequence", "s", "j", axis=1), node("ConcatFromSequence", "s", "k", axis=-1, new_axis=1),
    ]  # fmt: skip
    feeds = {name: f32(rng, 2, 3) for name in "abcd"}
    graph = compare(nodes, feeds, used(nodes, NUMBERS) | {"two": np.float32(2)}, ["y", "j", "k", "n", "o"])
    assert "Opaque" not in op_names(graph)


def test_a_sequence_passes_through(compare: Any, model_of: Any, rng: Rng) -> None:
    nodes = [node("SplitToSequence", "x", "t", axis=0), node("Identity", "t", "s"), at(1)]
    assert "Opaque" not in op_names(compare(nodes, {"x": f32(rng, 2, 3)}, used(nodes, NUMBERS), ["y"]))


def test_what_something_else_needs_stays(compare: Any, model_of: Any, dyn: Any, rng: Rng) -> None:
    x = f32(rng, 2, 3)
    nodes = [node("SplitToSequence", "x", "s", axis=0), node("SequenceAt", "s n")]
    graph = compare(nodes, {"x": x, "n": np.array(1)}, {}, ["y"])
    assert op_names(graph) == ["Opaque", "Opaque"]
    assert graph["y"].attrs["reason"] == "a position that is computed from data"
    unknown = [node("SplitToSequence", "x", "s", axis=0), at(0)]
    graph = compare(unknown, {"x": dyn(x, ("N", 3))}, used(unknown, NUMBERS), ["y"])
    assert op_names(graph) == ["Opaque", "Opaque"]
    outside = load(model_of([unknown[0], at(3)], {"x": x}, used([at(3)], NUMBERS), ["y"]).SerializeToString())
    assert outside["y"].attrs["reason"] == "position 3 of 2"
    many = load(model_of(unknown, {"x": dyn(x, (2**40, 3))}, used(unknown, NUMBERS), ["y"]).SerializeToString())
    assert op_names(many) == ["Opaque", "Opaque"]
