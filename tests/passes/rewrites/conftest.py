"""The laws of every rewrite that keeps the function."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.verify import verify
from pathlift.passes.base import Transform
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.testing import assert_equivalent, in_float64

CheckRewrite = Callable[..., None]

torch.set_num_threads(1)


@pytest.fixture
def check_rewrite() -> CheckRewrite:
    """Call ``check_rewrite(transform, networks, examples=…)``.

    With `rewritten`, the examples are networks with something to rewrite; that there is one is part of the law.
    """

    def check(
        transform: Transform, networks: st.SearchStrategy[Graph], *, examples: int, rewritten: bool = False
    ) -> None:
        networks = networks.map(in_float64)
        if rewritten:
            networks = networks.filter(lambda graph: transform.run(graph).graph is not graph)

        @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
        @given(networks)
        def law(graph: Graph) -> None:
            note(str(graph))
            _check_laws(transform, graph)

        law()

    return check


def _check_laws(transform: Transform, before: Graph) -> None:
    rewritten = transform.run(before)
    after = rewritten.graph
    verify(after)
    rewritten.witness.check(before, after)
    assert_equivalent(before, after)
    assert transform.run(after).graph is after
    if after is not before:
        _check_norms(before, after)


def _check_norms(before: Graph, after: Graph) -> None:
    """Path-norms for q ≤ 1 do not rise."""
    try:
        large, small = (PathNorm(q=(0.5, 1.0)).run(graph).norms for graph in (before, after))
    except UnsupportedError:
        return
    for a, b in zip(large, small, strict=True):
        assert b.zero or b.log10 <= a.log10 + 1e-9
