"""Convex partitions of random graphs, against the definitions."""

from itertools import combinations

import networkx as nx
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph
from pathlift.passes.regions.convex import ConvexPartition


@st.composite
def dags(draw: st.DrawFn) -> tuple[Graph, set[str]]:
    """A graph of up to a dozen sums, each of a few values, and most of its nodes."""
    rng, b = draw(st.randoms(use_true_random=True)), Builder()
    values = [b.input("x", (1,))]
    for i in range(rng.randint(4, 14)):
        read = rng.sample(values[-6:], min(len(values), rng.randint(1, 3)))
        values.append(b.op("Sum", *read, name=f"v{i}"))
    share = rng.choice([0.6, 0.8, 0.95])
    return b.finish(*values), {v.node for v in values[1:] if rng.random() < share}


def is_convex(graph: Graph, keys: set[str]) -> bool:
    after = set().union(*(nx.descendants(graph.nx, key) for key in keys))
    before = set().union(*(nx.ancestors(graph.nx, key) for key in keys))
    return not (after & before) - keys


@settings(max_examples=500)
@given(dags())
def test_parts_are_convex_connected_and_cover_the_members_once(drawn: tuple[Graph, set[str]]) -> None:
    graph, members = drawn
    parts = [part.keys for part in ConvexPartition(graph, members).parts]
    assert sorted(key for part in parts for key in part) == sorted(members)
    for part in parts:
        assert nx.is_weakly_connected(graph.nx.subgraph(part))
        assert is_convex(graph, set(part))


@settings(max_examples=500)
@given(dags())
def test_no_parts_that_edges_connect_could_be_one(drawn: tuple[Graph, set[str]]) -> None:
    graph, members = drawn
    parts = [set(part.keys) for part in ConvexPartition(graph, members).parts]
    for several in (c for n in (2, 3) for c in combinations(parts, n)):
        union = set().union(*several)
        assert not (nx.is_weakly_connected(graph.nx.subgraph(union)) and is_convex(graph, union))


@settings(max_examples=500)
@given(dags())
def test_a_detour_keeps_adjacent_parts_apart(drawn: tuple[Graph, set[str]]) -> None:
    graph, members = drawn
    partition = ConvexPartition(graph, members)
    for producer, key in graph.nx.edges():
        if {producer, key} <= members and partition[producer] is not partition[key]:
            a, b = partition[producer], partition[key]
            detour, union = partition.detour(a, b), {*a.keys, *b.keys}
            assert detour not in union
            assert nx.descendants(graph.nx, detour) & union
            assert nx.ancestors(graph.nx, detour) & union


def network(**reads: str) -> Graph:
    """A graph of sums, by what they read; in topological order."""
    b = Builder()
    for name, read in reads.items():
        b.op("Sum", *read.split(), name=name) if read else b.input(name, (1,))
    return b.finish(*reads)


def test_a_detour_may_lead_from_the_consumer_s_part_to_the_producer_s() -> None:
    graph = network(x="", a1="x", b1="x", cx="b1", a2="a1 cx", b2="b1 a1", b3="b2")
    partition = ConvexPartition(graph, {"a1", "a2", "b1", "b2", "b3"})
    assert partition["a1"] is partition["a2"] is not partition["b1"] is partition["b3"]
    assert partition.detour(partition["a1"], partition["b2"]) == "cx"


def test_a_detour_is_no_member_if_possible() -> None:
    graph = network(x="", a="x", cx="a", d="a cx", ex="d", b="d ex a")
    partition = ConvexPartition(graph, {"a", "b", "d"})
    assert partition.detour(partition["a"], partition["b"]) == "ex"


def test_how_many_nodes_are_left_out_before_two_nodes_does_not_keep_them_apart() -> None:
    graph = network(x="", z="", a="x", bx="a", c="bx", dx="c", e="z", f="dx e")
    parts = ConvexPartition(graph, {"a", "c", "e", "f"}).parts
    assert [part.keys for part in parts] == [["a"], ["c"], ["e", "f"]]
