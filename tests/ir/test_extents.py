"""Extents of open axes: what they are given by, and what cannot be given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pathlift.ir.errors import UsageError
from pathlift.ir.extents import address, given, misfit
from pathlift.ir.types import Dims, unnamed

INPUTS: dict[str, Dims] = {"x": ("N", 3, unnamed("x", 2), "H"), "z": ("N", "H", unnamed("z", 2))}


def test_addresses() -> None:
    found = [address(name, axis, dim) for name, dims in INPUTS.items() for axis, dim in enumerate(dims)]
    assert found == ["N", "x.1", "x.2", "H", "N", "H", "z.2"]
    assert address("x", 1, None) == "x.1"


@pytest.mark.parametrize(
    ("sizes", "x", "z"),
    [
        ({}, INPUTS["x"], INPUTS["z"]),
        ({"N": 2, "x.2": 5}, (2, 3, 5, "H"), (2, "H", unnamed("z", 2))),
        ({"H": 4, "x.0": 1, "z.2": np.int64(6)}, (1, 3, unnamed("x", 2), 4), ("N", 4, 6)),
        ({"N": 2, "z.0": 7, "x.1": 3}, (2, 3, unnamed("x", 2), "H"), (7, "H", unnamed("z", 2))),
    ],
)
def test_given_extents(sizes: dict[str, int], x: Dims, z: Dims) -> None:
    found = given(INPUTS, sizes)
    assert found == {"x": x, "z": z}
    assert not any(isinstance(d, np.integer) for dims in found.values() for d in dims)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"K": 3}, "PL0413 the model has no dimension 'K' to set"),
        ({"x.4": 3}, "PL0413 the model has no dimension 'x.4'"),
        ({"?x.2": 3}, "PL0413 the model has no dimension"),
        ({"x.1": 4}, "PL0413 axis 1 of input 'x' is 3 in the file, not 4"),
        ({"H": 0}, "PL0414 extents must be positive"),
        ({"x.2": -1}, "PL0414"),
    ],
)
def test_what_cannot_be_given(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        given(INPUTS, sizes)


def test_misfits_name_the_shapes() -> None:
    assert str(misfit({"x": (1, 2)}, "why")) == "PL0415 the model cannot run on inputs of shape x [1, 2]: why"


def test_addresses_can_be_written_in_a_list() -> None:
    assert address("x", 2, "H") == "H"
    assert address("x", 2, "H,W") == address("x", 2, None) == "x.2"
    assert given({"x": (1, "H,W")}, {address("x", 1, "H,W"): 3}) == {"x": (1, 3)}
