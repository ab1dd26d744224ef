"""Text and files keep a graph as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pathlift.frontend.load import load
from pathlift.frontend.plir import save_text, whole_text
from pathlift.frontend.save import to_onnx
from pathlift.ir.compare import graphs_equal
from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph, print_graph
from pathlift.testing import assert_equivalent, samples, zoo
from pathlift.testing.strategies import graphs

CheckLaw = Callable[..., None]


def text_round_trip(graph: Graph) -> None:
    text = print_graph(graph, max_inline=10**6)
    parsed = parse_graph(text)
    assert graphs_equal(parsed, graph) == ""
    assert print_graph(parsed, max_inline=10**6) == text


def file_round_trip(graph: Graph) -> None:
    # The first file settles what is open in a graph that never was one: the opset, names of nodes, canonical spellings.
    loaded = load(to_onnx(graph))
    assert_equivalent(graph, loaded, rtol=1e-5)  # attributes of ONNX are float32
    assert graphs_equal(load(to_onnx(loaded)), loaded) == ""


@pytest.mark.parametrize("name", samples())
def test_text_on_samples(name: str) -> None:
    text_round_trip(samples()[name])


def test_text(check_law: CheckLaw) -> None:
    check_law(text_round_trip, graphs())


@pytest.mark.parametrize("name", samples())
def test_file_on_samples(name: str) -> None:
    file_round_trip(samples()[name])


def test_file(check_law: CheckLaw) -> None:
    check_law(file_round_trip, graphs())


def text_file_round_trip(graph: Graph) -> None:
    with TemporaryDirectory() as folder:
        save_text(graph, path := Path(folder) / "m.plir")
        loaded = load(path)
        assert graphs_equal(loaded, graph) == ""
        save_text(loaded, path, force=True)  # what is read of a file is not in the way of a new one
        assert graphs_equal(load(path), graph) == ""
    assert graphs_equal(load(whole_text(graph).encode()), graph) == ""


@pytest.mark.parametrize("name", samples())
def test_text_file_on_samples(name: str) -> None:
    text_file_round_trip(samples()[name])


def test_text_file(check_law: CheckLaw) -> None:
    check_law(text_file_round_trip, graphs())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*zoo.LIGHT_NAMES} - {*zoo.HEAVY_LIGHT}))  # more weights are but more text
def test_text_file_on_networks(name: str) -> None:
    text_file_round_trip(load(zoo.light(name)))
