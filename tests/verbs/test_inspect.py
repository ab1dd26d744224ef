"""`pathlift.inspect` foresees what `pathlift.norm` refuses."""

from __future__ import annotations

import pytest

import pathlift
from pathlift.ir.text import parse_graph


def padded(value: str, then: str) -> str:
    return f"""
        %x = Input : f32[N, 1, 4]
        %p = Pad(%x) {{pads=[0, 0, 1, 0, 0, 0], value={value}}}
        %y = {then}
        %z = Relu(%y)
        return %z
    """


COMPUTED_WEIGHT = """
    %x = Input : f32[N, 2]
    %w = Param {value=[[1.0, 2.0], [3.0, 4.0]]} : f32[2, 2]
    %r = Relu(%w)
    %y = Gemm(%x, %r)
    return %y
"""


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (COMPUTED_WEIGHT, "PL0311"),
        (padded("-inf", "Relu(%p)"), "PL0316"),
        (padded("-3.4e38", "Relu(%p)"), "PL0316"),
        (padded("0.0", "Gelu(%p)"), "PL0315"),
    ],
)
def test_refusals_are_foreseen(text: str, code: str) -> None:
    graph = parse_graph(text)
    (foreseen,) = pathlift.inspect(graph).refusals["path-norm"]
    assert foreseen.code == code
    with pytest.raises(pathlift.PathliftError) as caught:
        pathlift.norm(graph)
    assert str(caught.value).startswith(str(foreseen))


@pytest.mark.parametrize(
    "text", [padded("2.0", "Relu(%p)"), padded("0.0", "Relu(%p)").replace("= Relu(%y)", "= Sigmoid(%y)")]
)
def test_nothing_is_foreseen_of_a_supported_network(text: str) -> None:
    graph = parse_graph(text)
    assert pathlift.inspect(graph).refusals == {"path-norm": []}
    assert pathlift.norm(graph).log10 is not None
