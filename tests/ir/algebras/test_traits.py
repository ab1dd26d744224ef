"""Traits: each one that is claimed holds in numbers, and what holds in numbers but is not claimed is listed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from pathlift.ir.algebras.interpret import evaluate
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.algebras.traits import Elements, Traits, traits
from pathlift.ir.builder import Builder
from pathlift.ir.errors import PathliftError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.ops import OPS
from pathlift.ir.ops.registry import op
from pathlift.ir.primitives.base import Activation
from pathlift.ir.primitives.reshapes import Reshape
from pathlift.ir.primitives.selections import Extremum
from pathlift.ir.primitives.views import Concat, Pad, Stack, Tile, Transpose
from pathlift.ir.types import TensorType
from pathlift.testing.samples import samples

torch.set_num_threads(1)
TRIALS = 8
OTHERS: dict[str, tuple[int, dict[str, Any]]] = {
    # What no sample has, on square matrices: how many operands, and attributes.
    "Sum/one": (1, {}),
    "Concat/one": (1, {"axis": 1}),
    "Max/one": (1, {}),
    "Min/one": (1, {}),
    "Transpose/identity": (1, {"perm": (0, 1)}),
    "Transpose/square": (1, {"perm": (1, 0)}),
    "Pad/nothing": (1, {"pads": (0, 0, 0, 0)}),
    "Pad/shift": (1, {"pads": (0, 1, 0, -1)}),
    "Slice/whole": (1, {"axes": (1,), "starts": (0,), "ends": (6,), "steps": (1,)}),
    "Slice/turned": (1, {"axes": (1,), "starts": (-1,), "ends": (-(2**31),), "steps": (-1,)}),
    "Gather/turned": (1, {"axis": 1, "indices": (5, 4, 3, 2, 1, 0)}),
    "Reshape/same": (1, {"shape": (-1, 6)}),
    "Flatten/same": (1, {}),
    "Tile/once": (1, {"repeats": (1, 1)}),
    "Expand/same": (1, {"shape": (1, 6)}),
    "Split/whole": (1, {"axis": 1, "parts": (6,)}),
    "Split/and_nothing": (1, {"axis": 1, "parts": (6, 0)}),
    "TopK/all": (1, {"k": 6}),
    "Clip/nothing": (1, {}),
    "Clip/both": (1, {"low": -1.0, "high": 1.0}),
    "LeakyRelu/line": (1, {"alpha": 1.0}),
    "Sub/same": (2, {}),
    "Sum/same": (3, {}),
    "Product/same": (2, {}),
    "Concat/same": (2, {"axis": 1}),
    "PRelu/same": (2, {}),
    "Mul/same": (2, {}),
    "Div/same": (2, {}),
}


def node_of(graph: Graph) -> str:
    (key,) = (k for k in graph.order if graph[k].op not in ("Input", "Param"))
    return key


def others() -> Iterator[tuple[str, Graph]]:
    for name, (count, attrs) in OTHERS.items():
        b = Builder()
        operands = [b.input(f"x{i}", ("N", 6)) for i in range(count)]
        names = [f"y{i}" for i in range(len(attrs.get("parts", (0,))))]
        yield name, b.finish(*b.node(name.split("/")[0], *operands, names=names, **attrs))


GRAPHS = {name: graph for name, graph in samples().items() if name != "Opaque"} | dict(others())


class Trial:
    """A node as a function of all its operands, parameters too, and random ones."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.key = graph, node_of(graph)
        self.sources = graph.inputs_of(self.key)
        self.shapes = [self._shape(v) for v in self.sources if v is not None]

    def _shape(self, value: Value) -> list[int]:
        type_ = self.graph.type_of(value)
        assert isinstance(type_, TensorType)
        assert type_.shape is not None
        return [d if isinstance(d, int) else 6 for d in type_.shape]

    def operands(self, seed: int) -> list[torch.Tensor]:
        """Random ones, small in some trials and large in others."""
        g = torch.Generator().manual_seed(seed)
        return [torch.randn(s, generator=g, dtype=torch.float64) * 10.0 ** (seed % 4 - 1) for s in self.shapes]

    def __call__(self, *xs: torch.Tensor) -> torch.Tensor:
        """All results in a row, in a shape that tells them apart."""
        given = iter(xs)
        operands = tuple(None if v is None else next(given) for v in self.sources)
        results = evaluate(Numeric(), self.graph[self.key], operands)
        return results[0] if len(results) == 1 else torch.cat([r.reshape(-1) for r in results])

    @property
    def results(self) -> int:
        return len(self.graph[self.key].types)


def is_elementwise(f: Trial, seed: int) -> bool:
    """Whether elements that are permuted, and perhaps repeated, come out as they would have otherwise."""
    if len(f.shapes) > 1:
        return False
    (x,) = f.operands(seed)
    g = torch.Generator().manual_seed(seed)
    order = torch.randint(x.numel(), (x.numel(),), generator=g)
    y, z = f(x), f(x.reshape(-1)[order].reshape(x.shape))
    return y.shape == x.shape and torch.allclose(z.reshape(-1), y.reshape(-1)[order], rtol=1e-12, atol=0)


def numbered(f: Trial) -> tuple[list[torch.Tensor], torch.Tensor]:
    """What numbers that all differ become, in no order, half of them negative, none small."""
    sizes = [torch.Size(shape).numel() for shape in f.shapes]
    shuffled = torch.randperm(sum(sizes), generator=torch.Generator().manual_seed(0))
    numbers = (shuffled - sum(sizes) // 2).to(torch.float64) * 7 + 3.5
    xs = [part.reshape(shape) for part, shape in zip(numbers.split(sizes), f.shapes, strict=True)]
    return xs, f(*xs)


def elements(f: Trial) -> Elements:
    """Where elements come from, as two assignments of numbers tell it, the second in another order."""
    xs, y = numbered(f)
    every = torch.cat([x.reshape(-1) for x in xs])
    g = torch.Generator().manual_seed(len(every))
    mixed = (torch.randperm(len(every), generator=g) - len(every) // 2).to(torch.float64) / 3
    table = dict(zip(every.tolist(), mixed.tolist(), strict=True))
    parts = torch.split(mixed, [x.numel() for x in xs])
    z = f(*(part.reshape(x.shape) for part, x in zip(parts, xs, strict=True)))
    if z.reshape(-1).tolist() != [table.get(v) for v in y.reshape(-1).tolist()]:
        return Elements.COMPUTED
    if len(xs) > 1 or f.results > 1 or sorted(y.reshape(-1).tolist()) != sorted(every.tolist()):
        return Elements.PICKED
    if y.reshape(-1).tolist() != every.tolist():
        return Elements.PERMUTED
    return Elements.UNCHANGED if y.shape == xs[0].shape else Elements.ROW_MAJOR


def is_in_order(f: Trial) -> bool | None:
    """Whether the result is the operand; ``None`` if they have not one shape."""
    xs, y = numbered(f)
    if len(xs) > 1 or f.results > 1:
        return False
    return torch.equal(y, xs[0]) if y.shape == xs[0].shape else None


def is_sum(f: Trial, coefficients: tuple[float, ...], seed: int) -> bool:
    xs = f.operands(seed)
    return torch.allclose(f(*xs), sum(c * x for c, x in zip(coefficients, xs, strict=True)), rtol=1e-12, atol=1e-12)


def found_coefficients(f: Trial) -> tuple[float, ...]:
    """The coefficients, if the node is a sum of multiples of its operands; they can be read off constants."""
    ones = [torch.ones(s, dtype=torch.float64) for s in f.shapes]
    try:
        at = [f(*(one if i == j else one * 0 for j, one in enumerate(ones))) for i in range(len(ones))]
        coefficients = tuple(float(y.reshape(-1)[0]) for y in at)
        return coefficients if all(is_sum(f, coefficients, seed) for seed in range(TRIALS)) else ()
    except (RuntimeError, IndexError):  # shapes that do not broadcast
        return ()


def is_commutative(f: Trial, seed: int) -> bool:
    xs = f.operands(seed)
    try:
        orders = [f(*order) for order in itertools.permutations(xs)]
    except (RuntimeError, PathliftError, ValueError, IndexError):  # operands of other shapes do not fit
        return False
    return len(xs) > 1 and all(y.shape == orders[0].shape and torch.allclose(y, orders[0]) for y in orders)


def every_trial(check: Callable[[Trial, int], bool], f: Trial) -> bool:
    return all(check(f, seed) for seed in range(TRIALS))


@pytest.fixture(params=GRAPHS)
def case(request: pytest.FixtureRequest) -> tuple[str, Trial, Traits]:
    f = Trial(GRAPHS[request.param])
    return request.param, f, traits(f.graph, f.key)


# What holds in numbers and is not claimed. Traits are of ops with attributes, so that shapes which happen to be equal
# do not count; `in_order` is what is claimed of these.
BY_SHAPE = {"Slice/whole", "Reshape/same", "Flatten/same", "Tile/once", "Expand/same", "Split/whole"}
# A gate hands on nothing, whatever its attributes make of it.
BY_GATE = {"Clip/nothing", "LeakyRelu/line"}
# Which elements a slice or a gather takes all of, the extent decides, too.
BY_EXTENT = {"Slice/turned", "Gather/turned"}
# Nearest neighbours are averages to all analyses.
BY_WEIGHT = {"Resize"}
# Another number format is another sum; a result that grows is another shape.
BY_FORMAT = {"Cast"}
BY_GROWTH = {"Expand"}
# The factor of a Mul is a constant, and its other operand is not.
BY_SLOT = {"Mul", "Mul/broadcast", "Mul/same"}


def test_elementwise(case: tuple[str, Trial, Traits]) -> None:
    name, f, found = case
    holds = every_trial(is_elementwise, f)
    assert holds or not found.elementwise
    assert (holds and not found.elementwise) == (name in BY_SHAPE)


def test_elements(case: tuple[str, Trial, Traits]) -> None:
    name, f, found = case
    assert found.elements <= elements(f)
    assert (found.elements < elements(f)) == (name in BY_SHAPE | BY_GATE | BY_EXTENT | BY_WEIGHT | BY_FORMAT)


def test_in_order(case: tuple[str, Trial, Traits]) -> None:
    name, f, found = case
    holds = is_in_order(f)
    assert holds is not False or not found.in_order
    assert (holds is True and not found.in_order) == (name in BY_GATE)


def test_coefficients(case: tuple[str, Trial, Traits]) -> None:
    name, f, found = case
    assert not found.coefficients or all(is_sum(f, found.coefficients, seed) for seed in range(TRIALS))
    unclaimed = found_coefficients(f) != found.coefficients
    assert unclaimed == (name in BY_SHAPE | BY_GATE | BY_FORMAT | BY_GROWTH)


def test_commutative(case: tuple[str, Trial, Traits]) -> None:
    name, f, found = case
    holds = every_trial(is_commutative, f)
    assert holds or not found.commutative or len({tuple(shape) for shape in f.shapes}) > 1
    assert (holds and not found.commutative) == (name in BY_SLOT)


# What passes listed before traits were derived.
ACTIVATIONS = "Abs Clip Elu Erf Gelu HardSigmoid HardSwish LeakyRelu Relu Sigmoid Softplus Softsign Tanh"
RESHAPES = "Reshape Flatten Squeeze Unsqueeze"
LISTED: dict[str, tuple[Callable[[Traits], bool], str]] = {
    "elementwise": (lambda t: t.elementwise, f"{ACTIVATIONS} Identity Neg"),
    "permutes": (lambda t: t.permutes, f"{RESHAPES} Identity Transpose"),
    "row-major": (lambda t: t.elements >= Elements.ROW_MAJOR, RESHAPES),
    "picks": (lambda t: t.elements >= Elements.PICKED, f"{RESHAPES} Identity Cast Transpose Slice Split Concat Gather"),
    "in order": (lambda t: t.in_order, f"{RESHAPES} Cast Expand Tile"),
    "commutative": (lambda t: t.commutative, "Add Sum Max Min Product"),
    "transparent": (lambda t: t.transparent, "Identity Cast"),
    "sums": (lambda t: len(t.coefficients) > 0, "Add Sub Sum Sum/one"),
    "unchanged": (
        lambda t: t.elements == Elements.UNCHANGED,
        "Identity Concat/one Sum/one Max/one Min/one Transpose/identity Pad/nothing",
    ),
}


@pytest.mark.parametrize("trait", LISTED)
def test_what_was_listed_is_derived(trait: str) -> None:
    claimed, names = LISTED[trait]
    for name in names.split():
        assert claimed(traits(GRAPHS[name], node_of(GRAPHS[name]))), name


def test_inputs_parameters_and_opaque_nodes_have_no_traits() -> None:
    graph = samples()["Gemm"]
    assert {traits(graph, key) for key in graph.order} == {Traits()}
    graph = samples()["Opaque"]
    assert traits(graph, node_of(graph)) == Traits()


def test_a_cast_to_integers_rounds() -> None:
    b = Builder()
    x = b.input("x", (2,))
    assert traits(b.finish(b.op("Cast", x, to="i64")), "cast") == Traits()


GATED = Activation("Gated", (-1.0, 1.0), lambda x, y: x * (y > 0))
BENT = Activation("Bent", (0.0, 1.0), lambda x: x.clamp(max=1.0))


def chain(alg: Any, x: Any, *views: Any) -> Any:
    for view in views:
        x = alg.move((x,), view)
    return x


def largest(alg: Any, *xs: Any) -> Any:
    return alg.select(alg.move(xs, Stack()), Extremum((0,), False))


PROGRAMS: dict[str, tuple[Callable[..., Any], Traits]] = {
    "activation": (lambda alg, x: alg.add(alg.scale(alg.gate(x, BENT), -2.0), x), Traits(elementwise=True)),
    "double": (lambda alg, x: alg.add(x, x), Traits(elementwise=True, coefficients=(2.0,))),
    "difference": (lambda alg, x, y: alg.add(alg.scale(x, -2.0), y), Traits(coefficients=(-2.0, 1.0))),
    "shuffle": (
        lambda alg, x: chain(alg, x, Reshape((6, 2, 3)), Transpose((0, 2, 1)), Reshape((6, 6))),
        Traits(elements=Elements.PERMUTED),
    ),
    # Of the same shape, and not the same: what is done in order, one after another, need not be.
    "repeat": (
        lambda alg, x: chain(alg, x, Pad((0, 0, 0, -3)), Tile((1, 2))),
        Traits(elements=Elements.PICKED),
    ),
    "twice": (lambda alg, x: alg.move((x, x), Concat(0)), Traits(elements=Elements.PICKED)),
    "turned": (lambda alg, x: alg.add(x, chain(alg, x, Transpose((1, 0)))), Traits()),
    "largest": (lambda alg, x, y: largest(alg, y, x), Traits(commutative=True)),
    "largest_of_one": (lambda alg, x: largest(alg, x, alg.scale(x, 2.0)), Traits()),
    "lopsided": (lambda alg, x, y: largest(alg, x, alg.scale(y, 2.0)), Traits()),
    "rows": (lambda alg, x, y: alg.select(alg.move((x, y), Stack()), Extremum((1,), False)), Traits()),
    "gated": (lambda alg, x: alg.gate(x, GATED, chain(alg, x, Transpose((1, 0)))), Traits()),
    "biased": (lambda alg, x, bias: alg.add(x, bias, axis=0), Traits()),
    "padded": (lambda alg, x: chain(alg, x, Pad((0, 1, 0, -1))), Traits()),
}


@pytest.fixture(params=PROGRAMS)
def new(request: pytest.FixtureRequest) -> Iterator[tuple[Graph, Traits]]:
    """A graph of an op that nothing here knows."""
    program, expected = PROGRAMS[request.param]
    op("Test")(program)
    try:
        b = Builder()
        operands = [b.input(name, (6,) if name == "bias" else (6, 6)) for name in OPS["Test"].inputs]
        yield b.finish(b.op("Test", *operands, name="out")), expected
    finally:
        del OPS["Test"]


def test_a_new_op_has_its_traits_at_once(new: tuple[Graph, Traits]) -> None:
    graph, expected = new
    f = Trial(graph)
    assert traits(graph, "out") == expected
    assert every_trial(is_elementwise, f) or not expected.elementwise
    assert elements(f) >= expected.elements
    assert is_in_order(f) or not expected.in_order
    assert found_coefficients(f) == expected.coefficients
    assert every_trial(is_commutative, f) or not expected.commutative
