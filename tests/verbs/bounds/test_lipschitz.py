"""`pathlift bound --kind lipschitz`: exact where that is known, above what is found, and refusals with reasons."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from math import log10
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pathlift as package
from pathlift.frontend.save import save
from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph
from pathlift.models.certificates.lipschitz import Constant, Figures
from pathlift.models.certificates.lipschitz import Lipschitz as Question
from pathlift.passes.attacks.domain import Domain

Cli = Callable[..., Any]
RNG = np.random.default_rng(5)
A, B = RNG.standard_normal((3, 4)), RNG.standard_normal((4, 2))


def net(a: Any, b: Any, between: str = "Relu(%h)") -> Graph:
    shapes = [list(np.shape(w)) for w in (a, b)]
    return parse_graph(f"""
    %x = Input : f64[N, {shapes[0][0]}]
    %a = Param {{value={np.asarray(a).tolist()}}} : f64{shapes[0]}
    %h = Gemm(%x, %a)
    %r = {between}
    %b = Param {{value={np.asarray(b).tolist()}}} : f64{shapes[1]}
    %c = Param {{value={[0.5] * shapes[1][1]}}} : f64[{shapes[1][1]}]
    %y = Gemm(%r, %b, %c)
    return %y
    """)


def figures(graph: Graph, **options: Any) -> dict[str, Any]:
    return package.bound(graph, kind="lipschitz", **{"budget": 0.6} | options).to_json()


def true_constant(norm: str) -> float:
    """Over all activation patterns."""
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=3)))
    found = []
    for pattern in itertools.product((0.0, 1.0), repeat=4):
        j = (A * np.array(pattern)) @ B
        size = {"linf": np.abs(j).sum(0).max(), "l1": np.abs(signs @ j).sum(1).max(), "l2": np.linalg.norm(j, 2)}
        found.append(size[norm])
    return float(max(found))


@pytest.mark.parametrize("norm", ["linf", "l1", "l2"])
def test_no_method_is_below_the_truth_and_none_above_the_best(norm: str) -> None:
    found = figures(net(A, B), norm=norm)
    truth = true_constant(norm)
    bounds = {k: v for k, v in found["methods"].items() if k != "refused" and v is not None}
    assert {"operator_norms", "interval", "relaxation"} <= bounds.keys()
    assert all(value >= truth * (1 - 1e-12) for value in bounds.values())
    assert found["value"] == min(bounds.values()) == bounds[found["method"]]
    assert found["log10"] == pytest.approx(log10(found["value"]))
    assert 0 < found["found"] <= truth * (1 + 1e-9)
    assert found["looseness"] == pytest.approx(found["value"] / found["found"])
    assert (found["norm"], found["vacuous"]) == (norm, None)


@pytest.mark.parametrize(("norm", "sums"), [("linf", max), ("l1", sum)])
def test_monotone_networks_reach_the_path_norm(norm: str, sums: Callable[..., float]) -> None:
    found = figures(net(abs(A), abs(B)), norm=norm, domain={"x": (0, 1)})
    exact = sums((abs(A) @ abs(B)).sum(0))
    assert found["methods"]["path_norm"] == pytest.approx(exact, rel=1e-9)
    assert found["methods"]["path_norm"] >= exact * (1 - 1e-15)
    assert found["found"] == pytest.approx(exact, rel=1e-9)
    assert found["looseness"] == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("norm", ["linf", "l1", "l2"])
def test_linear_networks_are_exact(norm: str) -> None:
    found = figures(net(A, B, "Identity(%h)"), norm=norm)
    j = A @ B
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=3)))
    exact = {"linf": np.abs(j).sum(0).max(), "l1": np.abs(signs @ j).sum(1).max(), "l2": np.linalg.norm(j, 2)}[norm]
    assert found["methods"]["relaxation"] == pytest.approx(exact, rel=2e-3 if norm == "l2" else 1e-9)
    assert found["found"] == pytest.approx(exact, rel=1e-6)


def test_operator_norms_bound_other_norms_by_the_number_of_elements() -> None:
    identity = net(np.eye(4), np.eye(4))
    found = {norm: figures(identity, norm=norm)["methods"]["operator_norms"] for norm in ("linf", "l1", "l2")}
    assert found["linf"] == pytest.approx(1)
    assert found["l1"] == pytest.approx(4)
    assert found["l2"] == pytest.approx(1, rel=1e-2)
    ones = net(np.ones((1, 4)), np.eye(4))  # from one input: ℓ₂ of outputs is √4 times ℓ_∞
    assert figures(ones, norm="l2")["methods"]["operator_norms"] == pytest.approx(2, rel=1e-2)
    assert figures(ones, norm="linf")["methods"]["operator_norms"] == pytest.approx(1)


def test_a_small_domain_has_a_smaller_constant() -> None:
    whole = figures(net(A, B))
    at = {"x": np.array([[0.5, -0.5, 0.25], [-1.0, 1.0, 2.0]])}
    near = figures(net(A, B), at=at, radius=1e-4)
    assert near["value"] < whole["value"]
    boxes = near["terms"]["boxes"]
    assert len(boxes) == 2
    assert near["value"] == max(box["value"] for box in boxes)
    for x, box in zip(at["x"], boxes, strict=True):
        exact = np.abs((A * ((x @ A) > 0)) @ B).sum(0).max()
        assert box["value"] == pytest.approx(exact, rel=1e-9)
        assert box["found"] == pytest.approx(exact, rel=1e-6)


def test_a_slope_above_a_bound_is_our_own_fault() -> None:
    one = Figures({"interval": Constant.of_value(2.0)}, found=2.0 * (1 + 1e-12))
    one.check()
    one.found = 2.0 * (1 + 1e-8)
    with pytest.raises(package.PathliftError, match="interval") as error:
        one.check()
    assert (error.value.code, error.value.exit_code) == ("PL0941", 70)


def test_constants_that_float64_cannot_hold() -> None:
    one = Figures()
    one.attempt("interval", lambda: Constant.of_value(float("inf")))
    assert one.bounds == {}
    assert "float64" in one.refused["interval"]
    assert Constant.of_log10(400.0).value is None
    assert Constant.of_value(0.0) == Constant.of_log10(None)
    assert Constant.of_value(3.0).log10 >= log10(3.0)


def test_constant_networks_do_not_move() -> None:
    found = figures(net(A, np.zeros((4, 2))))
    assert (found["value"], found["log10"], found["looseness"]) == (0.0, None, None)


def test_a_final_softmax_is_left_out_and_said() -> None:
    text = str(net(A, B)).replace("return %y", "%p = Softmax(%y)\n    return %p")
    result = package.bound(parse_graph(text), kind="lipschitz", budget=0.6)
    assert result.to_json()["methods"]["path_norm"] == figures(net(A, B))["methods"]["path_norm"]
    assert any("Softmax" in line for line in result.assumptions)


def test_no_method_no_figure() -> None:
    jumps = 'FakeQuantize(%h) {scale=0.1, zero_point=3, dtype="u8", low=0, high=255}'
    with pytest.raises(package.PathliftError, match="FakeQuantize") as error:
        figures(net(A, B, jumps))
    assert (error.value.code, error.value.exit_code) == ("PL1396", 4)


def test_the_largest_figure_over_boxes_is_of_methods_that_have_one_on_each() -> None:
    question = Question(net(A, B), {"x": (1, 3)}, "linf", (), 10**9)
    domain = Domain.from_interval({"x": (1, 3)}, -1.0, 1.0)
    on = question.on(domain, 0.5, 0)
    assert set(on.bounds) | set(on.refused) == {"interval", "relaxation", "ellipsoid"}
    assert on.bounds["relaxation"].log10 <= on.bounds["interval"].log10
    assert set(question.everywhere().bounds) == {"path_norm", "operator_norms"}


def test_text(pathlift: Cli, tmp_path: Path) -> None:
    save(net(A, B), tmp_path / "m.onnx")
    out = pathlift("bound", str(tmp_path / "m.onnx"), "--kind", "lipschitz", "--budget", "0.6").out
    assert "‖Δf‖_∞ ≤ L·‖Δx‖_∞" in out
    assert "smallest" in out
    assert "found by an adversary" in out
    assert "everywhere" in out
    outcome = pathlift("bound", str(tmp_path / "m.onnx"), "--kind", "lipschitz", "--budget", "0.6", "--format", "json")
    assert json.loads(outcome.out)["result"]["kind"] == "lipschitz"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"budget": 0.0}, "PL1480"),
        ({"samples": 3}, "PL1481"),
        ({"radius": 0.1}, "PL1462"),
        ({"kind": "product", "norm": "l1"}, "PL1481"),
    ],
)
def test_usage(options: dict[str, Any], code: str) -> None:
    with pytest.raises(package.PathliftError) as error:
        package.bound(net(A, B), **{"kind": "lipschitz"} | options)
    assert error.value.code == code
