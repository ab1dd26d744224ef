"""Every op has a sample and is drawn; every pair of an op and an algebra works, or is refused with a reason."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from math import inf

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, settings

import pathlift.ir
import pathlift.passes
from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.algebras.protocol import Algebra
from pathlift.ir.algebras.shape import Shape
from pathlift.ir.algebras.two_sorted import TwoSorted
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.ops import OPS
from pathlift.passes.channels.axes import AxisAlgebra
from pathlift.passes.channels.groups import channel_groups
from pathlift.passes.channels.slots import SlotAlgebra
from pathlift.passes.channels.symmetry import symmetry
from pathlift.passes.channels.ties import Ties
from pathlift.passes.channels.zeros import ZeroAlgebra, zero_slices
from pathlift.passes.equivalence.neurons import NeuronAlgebra
from pathlift.passes.equivalence.walk import neurons_of
from pathlift.passes.fields.algebra import FieldAlgebra
from pathlift.passes.fields.weight_parameters import WeightParameters
from pathlift.passes.generalization.constants import outgoing
from pathlift.passes.generalization.noise import Noisy
from pathlift.passes.generalization.product import NormProduct, norm_product
from pathlift.passes.generalization.words import PathWords
from pathlift.passes.heaviest_path.algebra import HeaviestPathAlgebra
from pathlift.passes.heaviest_path.heaviest_path import HeaviestPath
from pathlift.passes.path_metric.algebra import PathMetricAlgebra
from pathlift.passes.path_metric.path_metric import path_metric
from pathlift.passes.path_norm.algebra import PathNormAlgebra
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.path_norm.support import KindAlgebra, support
from pathlift.passes.pruning.gradients import Differentiated
from pathlift.passes.sizes import resolve_inputs
from pathlift.passes.tape.record import Recorder, record
from pathlift.passes.witness.magnitudes import Magnitudes
from pathlift.testing import execute, random_feeds, samples
from pathlift.testing.perturbations import perturbed
from pathlift.testing.steps import all_steps
from pathlift.testing.strategies import graphs


def tensors(graph: Graph) -> dict[str, object]:
    feeds = random_feeds(graph, np.random.default_rng(0))
    return {name: Numeric().tensor(x) for name, x in feeds.items()}


# How each algebra runs on a graph. A sample is built by Shape.
ALGEBRAS: dict[type[Algebra], Callable[[Graph], object]] = {
    Shape: lambda graph: graph.edit().finish(),
    Numeric: lambda graph: execute(graph, random_feeds(graph, np.random.default_rng(0))),
    KindAlgebra: support,
    PathNormAlgebra: lambda graph: PathNorm(q=(0.0, 0.5, 1.0, 2.0, inf)).run(graph),
    PathMetricAlgebra: lambda graph: path_metric(graph, perturbed(graph, "flip", np.random.default_rng(0), share=1)),
    Ties: symmetry,
    NeuronAlgebra: neurons_of,
    Magnitudes: lambda graph: run(graph, Magnitudes(), tensors(graph)),
    HeaviestPathAlgebra: lambda graph: HeaviestPath().run(graph),
    PathWords: lambda graph: outgoing(graph, resolve_inputs(graph, {})),
    NormProduct: lambda graph: norm_product(graph, resolve_inputs(graph, {}), "l2"),
    Noisy: lambda graph: run(graph, Noisy(0.1, (0,)), tensors(graph)),
    SlotAlgebra: channel_groups,
    ZeroAlgebra: zero_slices,
    Differentiated: lambda graph: run(graph, Differentiated({}), tensors(graph)),
    Recorder: lambda graph: record(graph, resolve_inputs(graph, {})),
}
BASES = {TwoSorted, WeightParameters, FieldAlgebra, AxisAlgebra}
"""Parts of analyses, which lack what their subclasses say."""


def test_every_op_has_a_sample() -> None:
    assert {name.split("/")[0] for name in samples()} == set(OPS)


def test_a_sample_is_of_its_op() -> None:
    for name, graph in samples().items():
        assert [graph[key].op for key in graph.order if graph[key].op not in ("Input", "Param")] == [name.split("/")[0]]


@pytest.mark.parametrize("op", OPS)
def test_every_op_is_drawn(op: str) -> None:
    ops = min((s.ops for s in all_steps() if op in s.ops), key=len, default=frozenset[str]())
    assert ops, f"the samples of {op} make no step: write one in pathlift/testing/steps"
    profile = settings(max_examples=200, derandomize=True, database=None, phases=[Phase.generate])
    profile = settings(profile, suppress_health_check=list(HealthCheck))
    assert find(graphs(ops=ops), lambda g: any(g[key].op == op for key in g.order), settings=profile)


def algebras() -> Iterator[type[Algebra]]:
    for package in (pathlift.ir, pathlift.passes):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            importlib.import_module(module.name)
    pending = Algebra.__subclasses__()
    while pending:
        found = pending.pop()
        pending.extend(found.__subclasses__())
        if found.__module__.startswith(("pathlift.ir", "pathlift.passes")) and not found.__name__.startswith("_"):
            yield found


def test_every_algebra_is_tried() -> None:
    assert set(algebras()) - BASES == set(ALGEBRAS)


@pytest.mark.parametrize("algebra", ALGEBRAS, ids=lambda a: a.__name__)
@pytest.mark.parametrize("name", samples())
def test_works_or_is_refused(name: str, algebra: type[Algebra]) -> None:
    try:
        ALGEBRAS[algebra](samples()[name])
    except UnsupportedError as refusal:
        assert_names_the_node(refusal, samples()[name])


def test_path_norm_works_or_is_refused(check_law: Callable[..., None]) -> None:
    def law(graph: Graph) -> None:
        try:
            (norm,) = PathNorm().run(graph).norms
        except UnsupportedError as refusal:
            assert_names_the_node(refusal, graph)
        else:
            assert norm.zero or -inf < norm.log10 < inf

    check_law(law, graphs(), examples=2)


def assert_names_the_node(refusal: UnsupportedError, graph: Graph) -> None:
    assert refusal.node in {graph[key].label for key in graph.order}
    assert refusal.op in str(refusal)
    assert len(refusal.message.split("): ", 1)[1]) > 10, "a reason"
