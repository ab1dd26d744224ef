"""Lipschitz constants by paths, and networks that have none."""

from __future__ import annotations

import pytest

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.ir.text import parse_graph
from pathlift.models.lipschitz import path_constant

NET = "%x = Input : f32[N, 1]\n%w = Param {value=[[3.0]]} : f32[1, 1]\n%h = Gemm(%x, %w)\n"
QUANTIZED = '%y = FakeQuantize(%h) {scale=0.5, zero_point=0, dtype="i8", low=-128, high=127}\nreturn %y'


def test_a_constant_by_paths_is_that_of_one_weight() -> None:
    log10 = path_constant(parse_graph(NET + "%y = Relu(%h)\nreturn %y"), "linf", (), MEMORY_LIMIT)
    assert log10 is not None
    assert 3.0 <= 10**log10 * (1 + 1e-12) < 3.0 * (1 + 1e-9)


def test_a_quantizer_jumps_and_has_no_constant() -> None:
    with pytest.raises(UnsupportedError, match="PL1397 .*FakeQuantize"):
        path_constant(parse_graph(NET + QUANTIZED), "linf", (), MEMORY_LIMIT)
