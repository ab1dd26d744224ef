"""Fixtures of verbs' tests: files whose leakage is known, and sets that they were "trained" on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from pathlift.ir.types import Array

CLASSES = 4


@dataclass(frozen=True)
class Leaky:
    """Sets of samples, of which a part of the input is higher for members, and files that read so much of that part.

    An input is a guess of the label, right for four in five, and a number at the label's place: N(1.5, 1) for members,
    N(0, 1) for others, at most 2.
    """

    @staticmethod
    def samples(seed: int, count: int, *, members: bool = False) -> dict[str, Array]:
        rng = np.random.default_rng(seed)
        y = rng.integers(CLASSES, size=count)
        guess = np.where(rng.random(count) < 0.8, y, rng.integers(CLASSES, size=count))
        secret = np.clip(rng.normal(1.5 * members, 1, count), -2, 2)
        noise = rng.normal(0, 0.3, (count, CLASSES))
        x = np.hstack([3 * np.eye(CLASSES)[guess] + noise, secret[:, None] * np.eye(CLASSES)[y]])
        return {"x": x.astype(np.float32), "y": y}

    @staticmethod
    def file(
        leak: float, *, scale: float = 1.0, noise: int = 0, ends: str = "", name: str = "x", lost: int = 0
    ) -> bytes:
        """An ONNX file with logits scale·(guess + leak·secret); `lost` guesses go unread, `noise` is a seed."""
        guess = np.diag(np.arange(CLASSES) >= lost).astype(float)
        guess += np.random.default_rng(noise).normal(0, 0.1, guess.shape) * bool(noise)
        w = np.vstack([guess, leak * np.eye(CLASSES)])
        weights = [numpy_helper.from_array((scale * w).astype(np.float32), "w")]
        nodes, output, kind, shape = (
            [helper.make_node("MatMul", [name, "w"], ["z"])],
            "z",
            TensorProto.FLOAT,
            ["N", CLASSES],
        )
        if ends == "Softmax":
            nodes.append(helper.make_node("Softmax", ["z"], ["p"], axis=1))
            output = "p"
        elif ends == "Sigmoid":
            nodes.append(helper.make_node("Sigmoid", ["z"], ["p"]))
            output = "p"
        elif ends == "Log":
            nodes.append(helper.make_node("Log", ["z"], ["p"]))  # not a number where z is negative
            output = "p"
        elif ends == "ArgMax":
            nodes.append(helper.make_node("ArgMax", ["z"], ["p"], axis=1, keepdims=0))
            output, kind, shape = "p", TensorProto.INT64, ["N"]
        elif ends == "Hardmax":
            nodes.append(helper.make_node("Hardmax", ["z"], ["p"], axis=1))
            output = "p"
        elif ends == "Round":
            nodes.append(helper.make_node("Round", ["z"], ["p"]))
            output = "p"
        outputs = [helper.make_tensor_value_info(output, kind, shape)]
        if ends == "two":
            nodes.append(helper.make_node("Identity", ["z"], ["again"]))
            outputs.append(helper.make_tensor_value_info("again", TensorProto.FLOAT, ["N", CLASSES]))
        inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2 * CLASSES])]
        graph = helper.make_graph(nodes, "leaky", inputs, outputs, weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return bytes(model.SerializeToString())

    def sets(self, count: int = 600) -> Mapping[str, dict[str, Array]]:
        """Members and non-members, as the verb takes them."""
        return {"members": self.samples(1, count, members=True), "nonmembers": self.samples(2, count)}


@pytest.fixture
def leaky() -> Leaky:
    return Leaky()
