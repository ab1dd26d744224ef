"""Removal of channels: what is left computes what the network does with their weights masked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.frontend.load import load
from pathlift.frontend.save import to_onnx
from pathlift.ir.errors import PathliftError, UsageError
from pathlift.ir.graph import Graph
from pathlift.passes.channels.groups import channel_groups
from pathlift.passes.channels.removal import remove
from pathlift.runtime.session import onnxruntime_session
from pathlift.testing import zoo
from pathlift.testing.assertions import assert_close, assert_equivalent, execute, random_feeds
from pathlift.testing.removal import masked, random_choice
from pathlift.testing.strategies import feeds, graphs


def weights(graph: Graph) -> int:
    return sum(p.size for key in graph.params if (p := graph[key].value) is not None)


def dims(type_: Any) -> Any:
    return type_.shape


def test_what_is_left_computes_the_same(network: tuple[Graph, int]) -> None:
    graph, count = network
    groups = channel_groups(graph)
    assert groups.count == count
    for seed in range(5):
        gone = random_choice(groups, np.random.default_rng(seed))
        small = remove(groups, gone)
        assert gone.any()
        assert weights(small) < weights(graph)
        assert_equivalent(masked(graph, groups.masks(gone)), small)


def test_every_group_alone(network: tuple[Graph, int]) -> None:
    graph, _ = network
    groups = channel_groups(graph)
    for group in range(1, groups.count + 1):
        gone = np.arange(groups.count + 1) == group
        small = remove(groups, gone)
        for slot in groups.slots(group):
            before, after = (g[slot.param].types[0] for g in (graph, small))
            assert dims(after)[slot.axis] == dims(before)[slot.axis] - len(slot.indices)
        assert_equivalent(masked(graph, groups.masks(gone)), small, trials=1)


def test_no_choice_changes_nothing(network: tuple[Graph, int]) -> None:
    groups = channel_groups(network[0])
    assert remove(groups, np.zeros(groups.count + 1, bool)) is network[0]


def test_the_last_channel_stays(networks: Callable[[str], Graph]) -> None:
    groups = channel_groups(networks("residual"))
    gone = np.arange(groups.count + 1) > 0
    with pytest.raises(UsageError, match=r"PL1498 node '.*' \(.*\): axis \d of '.*' would lose its last channel"):
        remove(groups, gone)


@pytest.mark.parametrize("gone", [np.zeros(3, bool), np.ones(20, bool), np.zeros(20, int)])
def test_a_choice_says_yes_or_no_of_each_group(networks: Callable[[str], Graph], gone: Any) -> None:
    with pytest.raises(UsageError, match="PL1499"):
        remove(channel_groups(networks("residual")), gone)


def in_onnxruntime(graph: Graph, x: dict[str, Any]) -> dict[str, Any]:
    session = onnxruntime_session(to_onnx(graph).SerializeToString())
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, x), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "image", "width", "most"),
    [
        ("resnet18", 32, 0.125, 0.6),
        ("resnet50", 32, 0.0625, 0.6),
        ("densenet121", 32, 0.25, 0.6),
        ("inception_v3", 75, 0.125, 0.6),
        ("mobilenet_v2", 32, 0.25, 0.7),
        ("unet", 32, 0.125, 0.6),
        ("vgg11_bn", 32, 0.1, 0.6),
        ("vit_s16", 32, 0.34, 0.8),
        ("gpt2_tiny", None, 1.0, 0.8),
    ],
)
def test_architectures(name: str, image: int | None, width: float, most: float, tmp_path: Any) -> None:
    (tmp_path / "m.onnx").write_bytes(zoo.export(name, image=image, width=width).SerializeToString())
    graph = load(tmp_path / "m.onnx")
    groups, rng = channel_groups(graph), np.random.default_rng(0)
    gone = random_choice(groups, rng)
    small, x = remove(groups, gone), random_feeds(graph, rng)
    assert weights(small) < most * weights(graph)
    expected = in_onnxruntime(masked(graph, groups.masks(gone)), x)
    assert_close(in_onnxruntime(small, x), expected, rtol=1e-5)


def compare(data: Any, graph: Graph) -> None:
    groups = channel_groups(graph)
    gone = random_choice(groups, np.random.default_rng(data.draw(st.integers(0, 99))))
    small, x = remove(groups, gone), data.draw(feeds(graph))
    try:
        expected = execute(masked(graph, groups.masks(gone)), x)
    except PathliftError:
        return
    assert_close(execute(small, x), expected, rtol=1e-9)


@settings(max_examples=25)
@given(st.data())
def test_random_graphs(data: Any) -> None:
    compare(data, data.draw(graphs()))


@pytest.mark.slow
@settings(max_examples=500)
@given(st.data())
def test_many_random_graphs(data: Any) -> None:
    compare(data, data.draw(graphs()))
