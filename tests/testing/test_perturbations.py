"""Pairs differ in their parameters, as they say."""

from __future__ import annotations

import numpy as np
import pytest

from pathlift.testing import samples
from pathlift.testing.perturbations import CHANGES, perturbed, with_parameters


def test_values_are_replaced_and_keep_their_type() -> None:
    graph = samples()["Gemm"]
    key = graph.params[0]
    changed = with_parameters(graph, {key: 2.0})
    assert (changed[key].value.numpy() == 2).all()
    assert changed[key].types == graph[key].types
    assert list(changed.order) == list(graph.order)


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_what_they_are_called(change: str) -> None:
    graph = samples()["BatchNormalization"]
    changed = perturbed(graph, change, np.random.default_rng(0), share=1)
    for slot, key in enumerate(v.node for v in graph.inputs_of(graph.outputs[0].node)[1:]):
        a, b = (g[key].value.numpy().astype(np.float64) for g in (graph, changed))
        if slot == 3:
            assert (b > 0).all()  # a variance
        elif change in ("prune", "shrink"):
            assert (np.abs(b) <= np.abs(a)).all()
            assert (a * b >= 0).all()
        elif change == "flip":
            assert (np.abs(a) == np.abs(b)).all()
    assert any((graph[key].value.numpy() != changed[key].value.numpy()).any() for key in graph.params)


def test_slopes_stay() -> None:
    graph = samples()["PRelu"]
    changed = perturbed(graph, "noise", np.random.default_rng(0), share=1)
    assert [graph[k].value for k in graph.params] == [changed[k].value for k in graph.params]
