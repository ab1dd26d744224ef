"""Arithmetic on dimensions that are known, symbolic or unknown: nothing false is claimed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathlift.ir import dims as D
from pathlift.ir.errors import GraphError
from pathlift.ir.types import Dims

SYMBOLS = ("N", "M")
SHAPES = st.lists(st.integers(0, 4) | st.sampled_from(SYMBOLS) | st.none(), max_size=4).map(tuple)
VALUES = st.fixed_dictionaries({s: st.integers(0, 5) for s in SYMBOLS})


def known(shape: Dims, values: dict[str, int], unknown: int = 3) -> tuple[int, ...]:
    return tuple(unknown if d is None else values[d] if isinstance(d, str) else d for d in shape)


def agree(claim: Dims, actual: tuple[int, ...], values: dict[str, int]) -> bool:
    """Whether what is claimed of a shape holds; an unknown extent claims nothing."""
    return len(claim) == len(actual) and all(
        d is None or (values[d] if isinstance(d, str) else d) == n for d, n in zip(claim, actual, strict=True)
    )


@given(SHAPES, SHAPES, VALUES)
def test_a_broadcast_claims_nothing_false(a, b, values):
    try:
        actual = np.broadcast_shapes(known(a, values), known(b, values))
    except ValueError:
        return
    assert agree(D.broadcast(a, b), actual, values)


@given(SHAPES, SHAPES, VALUES)
def test_of_one_shape_nothing_false_is_claimed(a, b, values):
    actual = known(a, values)
    if actual == known(b, values):
        assert agree(D.alike(a, b), actual, values)


@pytest.mark.parametrize("other", [(2,), (1, 2), (3, 1), (3, 2, 1), (1, 3, 2), ()])
def test_one_shape_is_no_broadcast(other):
    assert D.alike((3, "N"), (None, 2)) == D.alike((None, 2), (3, "N")) == (3, 2)
    for a, b in (((3, 2), other), (other, (3, 2))):
        with pytest.raises(GraphError, match="PL0547"):
            D.alike(a, b)


@given(SHAPES, st.lists(st.integers(-1, 4), max_size=4).map(tuple), VALUES)
def test_a_reshape_claims_nothing_false(shape, target, values):
    concrete = known(shape, values)
    resolved = [concrete[i] if t == 0 and i < len(concrete) else t for i, t in enumerate(target)]
    try:
        actual = np.zeros(concrete).reshape(resolved).shape
    except ValueError:
        return
    if -1 in resolved and 0 in resolved:
        return  # ambiguous; ONNX Runtime refuses it
    try:
        found = D.reshaped(shape, target)
    except GraphError:  # what fits no extents but 0 is refused
        assert 0 in [values[d] for d in shape if isinstance(d, str)]
        return
    assert agree(found, actual, values)


def test_symbols_cancel():
    assert D.reshaped(("N",), (0, 0)) == ("N", 0)  # right where N is 0
    assert D.reshaped(("N", 2, 3), (0, -1)) == ("N", 6)
    assert D.reshaped(("N", 2, 3), (-1, 6)) == ("N", 6)
    assert D.reshaped(("N", "M"), (-1,)) == (None,)
    assert D.reshaped(("N", 4), (-1, 2)) == (None, 2)
    assert D.reshaped((None, 4), (0, -1)) == (None, None)
    with pytest.raises(GraphError, match="PL0522"):
        D.reshaped(("N", 4), (0, 5))


def test_windows_of_a_symbolic_extent():
    assert D.windows("N", 1, 1, 0, 1) == "N"
    assert D.windows("N", 3, 1, 2, 1) is None
    assert D.pooled(5, 2, 2, 0, 0, 1, True) == 3
    assert D.pooled(5, 2, 2, 0, 0, 1, False) == 2
    assert D.pooled(3, 1, 2, 1, 1, 1, True) == 2  # the third window would start in the end padding


def test_unify_and_axis():
    assert D.unify(3, "N") == D.unify("N", 3) == (True, 3)
    assert D.unify(None, "N") == D.unify("N", None) == (True, "N")
    assert not D.unify(2, 3)[0]
    assert [D.axis(i, 2) for i in (-2, -1, 0, 1)] == [0, 1, 0, 1]
    with pytest.raises(GraphError, match="PL0536"):
        D.axis(0, 0)


def test_windows_fit_up_to_the_last_value():
    for dilation in (1, 2):
        span = 2 * dilation + 1
        assert D.windows(span, 3, 1, 0, dilation) == D.windows(span - 1, 3, 1, 1, dilation) == 1
        for size in (span - 1, span - 2, 0):
            with pytest.raises(GraphError, match="PL0521"):
                D.windows(size, 3, 1, 0, dilation)


def test_an_axis_just_past_the_ends_is_none():
    for index in (2, -3):
        with pytest.raises(GraphError, match="PL0536"):
            D.axis(index, 2)


@pytest.mark.parametrize(("dims", "target"), [((2, 3), (2, 4)), ((2, 3), (-1, 4)), ((5,), (6,)), ((0,), (1, -1, 0))])
def test_a_reshape_keeps_the_number_of_elements(dims, target):
    with pytest.raises(GraphError, match="PL0522"):
        D.reshaped(dims, target)


@pytest.mark.parametrize("shapes", [((2,), (3,)), ((2, 1), (3, 4)), ((1, 2), (1, 1), (4, 3))])
def test_extents_that_differ_do_not_broadcast(shapes):
    with pytest.raises(GraphError, match="PL0520"):
        D.broadcast(*shapes)


def test_a_last_window_may_not_start_behind_the_input():
    assert D.pooled(3, 1, 3, 0, 1, 1, True) == 1  # at 3, the first of the padding
    assert D.pooled(4, 1, 3, 0, 0, 1, True) == 2  # at 3, the last of the input
    assert D.pooled(3, 1, 3, 1, 1, 1, True) == 2
