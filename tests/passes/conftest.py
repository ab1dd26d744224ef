"""Graphs in float64, built node by node."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Value


class Double(Builder):
    """A builder whose parameters are float64."""

    def param(self, value: object, name: str = "", **_: object) -> Value:
        return super().param(np.asarray(value, np.float64), name)


@pytest.fixture
def start() -> Callable[..., tuple[Builder, Value]]:
    """Make a builder whose parameters are float64, and the input ``x`` of a shape."""

    def start(*shape: int | str | None) -> tuple[Builder, Value]:
        b = Double()
        return b, b.input("x", shape, "f64")

    return start
