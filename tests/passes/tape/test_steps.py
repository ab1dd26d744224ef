"""Steps: shapes that fit each other."""

from __future__ import annotations

import pytest

from pathlift.ir.errors import UnsupportedError
from pathlift.passes.tape.steps import check_broadcast


def test_shapes_that_broadcast() -> None:
    assert check_broadcast([(2, 1), (3,)]) == (2, 3)
    assert check_broadcast([(), ()]) == ()
    with pytest.raises(UnsupportedError, match="PL1365"):
        check_broadcast([(2,), (3,)])
