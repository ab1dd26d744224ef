"""The groups that go: the cheapest for what they take up, until the target is met, and never an axis's last."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pathlift.frontend.load import load
from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph
from pathlift.passes.channels.footprint import Tally, flop_terms, weight_terms
from pathlift.passes.channels.groups import channel_groups
from pathlift.passes.channels.removal import remove
from pathlift.passes.pruning.channel_selection import select_channels

WINDOW = "{strides=[1], pads=[0, 0], dilations=[1]}"
NETWORK = f"""
    %x = Input : f32[N, 2, 8]
    %w = Param {{random=1}} : f32[4, 2, 1]
    %h = Conv(%x, %w) {WINDOW}
    %p = ReduceMean(%h) {{axes=[2], keepdims=false}}
    %v = Param {{random=2}} : f32[4, 6]
    %g = Gemm(%p, %v)
    %u = Param {{random=3}} : f32[6, 1]
    %y = Gemm(%g, %u)
    return %y
"""


def network() -> Graph:
    rng = np.random.default_rng(0)
    text = NETWORK
    for i, shape in ((1, (4, 2, 1)), (2, (4, 6)), (3, (6, 1))):
        text = text.replace(f"{{random={i}}}", f"{{value={rng.random(shape).round(3).tolist()}}}")
    return parse_graph(text)


SCORES = np.array([0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 15], float)


def test_weights_are_ranked_by_score_per_weight() -> None:
    groups = channel_groups(network())
    # A channel of h holds 2 + 6 weights, one of g 4 + 1.
    gone = select_channels(groups, SCORES, 0.4)
    assert np.flatnonzero(gone).tolist() == [1, 2]
    assert Tally(weight_terms(channel_groups(remove(groups, gone)))).total <= 0.6 * 38


def test_operations_are_ranked_by_score_per_operation() -> None:
    groups = channel_groups(network())
    # A channel of h takes 8 · 2 + 6 multiplications, one of g 4 + 1: those of h go first, although they score more.
    scores = np.array([0] + [1.0] * 4 + [0.9] * 6)
    gone = select_channels(groups, scores, 0.5, target="flops")
    assert np.flatnonzero(gone).tolist() == [1, 2, 3]
    assert Tally(flop_terms(channel_groups(remove(groups, gone)))).total <= 0.5 * 2 * 94


def test_an_axis_keeps_a_channel_or_as_many_as_are_asked_for() -> None:
    groups = channel_groups(network())
    gone = select_channels(groups, SCORES, 0.8)
    assert not gone[1:5].all()
    assert not gone[5:].all()
    gone = select_channels(groups, SCORES, 0.4, least=0.6)
    assert gone[1:5].sum() <= 1
    assert gone[5:].sum() <= 2


def test_multiples_stay() -> None:
    groups = channel_groups(network())
    gone = select_channels(groups, SCORES, 0.2, multiple=4)
    assert np.flatnonzero(gone).tolist() == [5, 6]  # of six, four stay; of four, none could
    gone = select_channels(groups, SCORES, 0.4, multiple=3)
    assert gone[1:5].sum() in (0, 1)
    assert gone[5:].sum() in (0, 3)


def test_multiples_count_what_has_to_stay() -> None:
    scores = SCORES.copy()
    scores[5] = np.inf
    gone = select_channels(channel_groups(network()), scores, 0.2, multiple=4)
    assert np.flatnonzero(gone).tolist() == [6, 7]  # of six, four stay, and one of them anyhow


def test_multiples_are_of_channels_where_a_group_has_several() -> None:
    graph = load(Path(__file__).parents[3] / "examples" / "digits.onnx")
    groups = channel_groups(graph)  # four of four channels each, whose halves are sorted, and 48 single ones
    for multiple, left in ((2, {4, 8, 12, 16}), (4, {4, 8, 12, 16}), (8, {8, 16}), (16, {16})):
        gone = select_channels(groups, np.arange(groups.count + 1.0), 0.2, multiple=multiple)
        small = remove(groups, gone)
        widths = [small[name].value.shape[0] for name in ("stem.weight", "hidden.weight")]  # type: ignore[union-attr]  # parameters have a value
        assert widths[0] in left
        assert widths[1] % multiple == 0
    gone = select_channels(groups, np.arange(groups.count + 1.0), 0.5, target="flops", multiple=8)
    assert remove(groups, gone)["body.weight"].value.shape[:2] == (8, 8)  # type: ignore[union-attr]  # a parameter


def test_nothing_is_asked_for() -> None:
    assert not select_channels(channel_groups(network()), SCORES, 0.0).any()


def test_too_much_is_refused() -> None:
    with pytest.raises(UsageError, match=r"PL1495 removing channels takes away 0\.895 of the weights at most"):
        select_channels(channel_groups(network()), SCORES, 0.95)


@pytest.mark.parametrize(("sparsity", "least"), [(1.0, 0.0), (-0.1, 0.0), (float("nan"), 0.0), (0.5, 1.5)])
def test_options_out_of_range(sparsity: float, least: float) -> None:
    with pytest.raises(UsageError, match="PL1497"):
        select_channels(channel_groups(network()), SCORES, sparsity, least=least)


@pytest.mark.parametrize("scores", [np.zeros(3), np.full(11, np.nan)])
def test_scores_that_are_none(scores: np.ndarray) -> None:  # type: ignore[type-arg]  # of any type
    with pytest.raises(UsageError, match="PL1496"):
        select_channels(channel_groups(network()), scores, 0.5)
