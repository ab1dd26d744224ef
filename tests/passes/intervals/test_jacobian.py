"""Boxes of Jacobians: exact where that can be told by hand, and around everything that enumeration finds."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.text import parse_graph
from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.intervals import intervals
from pathlift.passes.intervals.jacobian import jacobian
from pathlift.passes.tape.record import input_shapes, record
from pathlift.passes.tape.steps import Bilinear
from pathlift.passes.tape.tape import Tape

INF = float("inf")


def tape_of(text: str) -> Tape:
    graph = parse_graph(text)
    return record(graph, input_shapes(graph))


def box(low: object, high: object) -> Box:
    return Box(torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64))


def everywhere(tape: Tape) -> list[Box]:
    return [Box(torch.full(s, -INF).double(), torch.full(s, INF).double()) for s in tape.inputs.values()]


def rows(tape: Tape, domain: list[Box]) -> Box:
    found = jacobian(tape, intervals(tape, domain))
    ends = ([b.low.flatten(1) for b in found], [b.high.flatten(1) for b in found])
    return Box(torch.cat(ends[0], 1), torch.cat(ends[1], 1))


def net(*ws: np.ndarray) -> str:
    lines, last = [f"%x = Input : f64[1, {ws[0].shape[0]}]"], "x"
    for i, w in enumerate(ws):
        lines += [f"%w{i} = Param {{value={w.tolist()}}} : f64{list(w.shape)}", f"%z{i} = Gemm(%{last}, %w{i})"]
        last = f"z{i}"
        if i < len(ws) - 1:
            lines.append(f"%y{i} = Relu(%z{i})")
            last = f"y{i}"
    return "\n".join([*lines, f"return %{last}"])


def test_a_linear_network_has_its_matrix_rounded_outward() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((5, 400)), rng.standard_normal((400, 3))
    text = net(a, b).replace("%y0 = Relu(%z0)", "%y0 = Identity(%z0)")
    tape = tape_of(text)
    found = rows(tape, everywhere(tape))
    exact = [[sum(Fraction(a[i, k]) * Fraction(b[k, j]) for k in range(400)) for i in range(5)] for j in range(3)]
    for j, i in itertools.product(range(3), range(5)):
        low, high = float(found.low[j, i]), float(found.high[j, i])
        assert Fraction(low) <= exact[j][i] <= Fraction(high)
        assert high - low < 1e-9


def test_one_hidden_layer_is_the_hull_over_activation_patterns() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((4, 5)), rng.standard_normal((5, 3))
    tape = tape_of(net(a, b))
    found = rows(tape, everywhere(tape))
    patterns = [(a * np.array(p)) @ b for p in itertools.product((0.0, 1.0), repeat=5)]
    assert found.low.numpy() == pytest.approx(np.min(patterns, 0).T, abs=1e-12)
    assert found.high.numpy() == pytest.approx(np.max(patterns, 0).T, abs=1e-12)


def test_more_layers_hold_all_activation_patterns() -> None:
    rng = np.random.default_rng(2)
    a, b, c = rng.standard_normal((3, 4)), rng.standard_normal((4, 4)), rng.standard_normal((4, 2))
    tape = tape_of(net(a, b, c))
    found = rows(tape, everywhere(tape))
    for p, q in itertools.product(itertools.product((0.0, 1.0), repeat=4), repeat=2):
        matrix = torch.from_numpy((((a * np.array(p)) @ b) * np.array(q)) @ c).T
        assert bool(((found.low <= matrix) & (matrix <= found.high)).all())


def test_gates_that_a_domain_opens_or_shuts_are_exact() -> None:
    tape = tape_of("%x = Input : f64[1, 3]\n%y = Relu(%x)\nreturn %y")
    found = rows(tape, [box([[1.0, -2.0, -1.0]], [[2.0, -1.0, 1.0]])])
    assert found.low.numpy() == pytest.approx(np.diag([1, 0, 0]), abs=1e-300, rel=1e-15)
    assert found.high.numpy() == pytest.approx(np.diag([1, 0, 1]), abs=1e-300, rel=1e-15)


def test_what_is_read_twice_adds_up() -> None:
    tape = tape_of("%x = Input : f64[1, 2]\n%r = Relu(%x)\n%y = Add(%r, %x)\n%v = Identity(%r)\nreturn %y, %v")
    found = rows(tape, everywhere(tape))
    assert found.low.diagonal().tolist() == pytest.approx([1.0, 1.0])
    assert found.high.diagonal().tolist() == pytest.approx([2.0, 2.0])
    assert found.high[2:].diagonal().tolist() == pytest.approx([1.0, 1.0])


def multiplied(shapes: tuple[tuple[int, ...], ...], shape: tuple[int, ...], terms: int) -> Tape:
    """A tape of one product; of matrices, if elements of the result have several terms."""
    product = torch.mul if terms == 1 else torch.matmul
    step = Bilinear("y", (0, 1), shapes, shape, product, terms)
    return Tape(dict(zip("xz", shapes, strict=True)), (step,), {"y": 2})


def test_products_move_by_either_operand() -> None:
    tape = multiplied(((1, 1), (1, 1)), (1, 1), 1)
    found = rows(tape, [box([[1.0]], [[3.0]]), box([[-2.0]], [[5.0]])])
    assert found.low.tolist()[0] == pytest.approx([-2.0, 1.0])
    assert found.high.tolist()[0] == pytest.approx([5.0, 3.0])
    assert float(found.low[0, 0]) <= -2.0
    assert float(found.high[0, 1]) >= 3.0


def test_products_of_matrices_hold_their_derivatives() -> None:
    tape = multiplied(((2, 3), (3, 2)), (2, 2), 3)
    generator = torch.Generator().manual_seed(0)
    x, z = (torch.randn(s, generator=generator).double() for s in ((2, 3), (3, 2)))
    found = rows(tape, [Box(x - 0.5, x + 0.5), Box(z - 0.25, z + 0.25)])
    for _ in range(20):
        a, b = x + torch.rand(2, 3, generator=generator) - 0.5, z + 0.5 * torch.rand(3, 2, generator=generator) - 0.25
        parts = torch.func.jacrev(torch.matmul, (0, 1))(a, b)
        exact = torch.cat([part.reshape(4, -1) for part in parts], 1)
        assert bool(((found.low <= exact) & (exact <= found.high)).all())
    assert float((found.high - found.low)[:, :6].max()) == pytest.approx(0.5)
    assert float((found.high - found.low)[:, 6:].max()) == pytest.approx(1.0)


def test_slopes_without_a_bound_are_refused() -> None:
    tape = multiplied(((1, 1), (1, 1)), (1, 1), 1)
    with pytest.raises(UnsupportedError, match=r"node 'y' \(product\)") as error:
        rows(tape, everywhere(tape))
    assert error.value.code == "PL1395"


def test_what_jumps_is_refused() -> None:
    tape = tape_of(
        "%x = Input : f64[1, 2]\n"
        '%y = FakeQuantize(%x) {scale=0.1, zero_point=3, dtype="u8", low=0, high=255}\n'
        "return %y"
    )
    with pytest.raises(UnsupportedError, match="node 'y'") as error:
        rows(tape, [box([[0.0, 0.0]], [[1.0, 1.0]])])
    assert error.value.code == "PL1395"


def test_inputs_that_no_output_reads_do_not_matter() -> None:
    tape = tape_of("%x = Input : f64[1, 2]\n%z = Input : f64[1, 2]\n%y = Relu(%x)\nreturn %y")
    assert rows(tape, everywhere(tape)).magnitude.numpy() == pytest.approx(np.eye(2, 4), abs=1e-300, rel=1e-15)


def test_rows_in_parts_are_those_of_one_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    tape = tape_of(net(rng.standard_normal((3, 4)), rng.standard_normal((4, 5))))
    whole = rows(tape, everywhere(tape))
    monkeypatch.setattr("pathlift.passes.intervals.jacobian.MEMORY", 1.0)
    assert torch.equal(rows(tape, everywhere(tape)).low, whole.low)


def test_rows_of_ones_own_are_rounded_outward() -> None:
    rng = np.random.default_rng(4)
    a, r = rng.standard_normal((3, 400)), rng.standard_normal((20, 400))
    tape = tape_of(net(a))
    (found,) = jacobian(tape, intervals(tape, everywhere(tape)), torch.from_numpy(r))
    for j, i in itertools.product(range(20), range(3)):
        exact = sum(Fraction(r[j, k]) * Fraction(a[i, k]) for k in range(400))
        assert Fraction(float(found.low[j, 0, i])) <= exact <= Fraction(float(found.high[j, 0, i]))
