"""Domains as verbs read them: boxes, boxes per sample, balls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.text import parse_graph
from pathlift.models import parse
from pathlift.models.domain import read_domains

TWO = "%x = Input : f32[N, 3]\n%z = Input : f32[N, 2]\n%y = Relu(%x)\n%v = Relu(%z)\nreturn %y, %v"
ONE = "%x = Input : f32[N, 3]\n%y = Relu(%x)\nreturn %y"


def test_two_numbers_are_bounds_of_all_elements() -> None:
    (box,) = read_domains(parse_graph(TWO), {"x": (0, 1), "z": (-2.5, 0.5)})
    assert box.low["x"].tolist() == [[0.0, 0.0, 0.0]]
    assert box.high["z"].tolist() == [[0.5, 0.5]]


def test_what_is_not_said_is_assumed_and_told() -> None:
    found = read_domains(parse_graph(TWO), {"x": (0, 1)})
    assert found.boxes[0].low["z"].tolist() == [[-1.0, -1.0]]
    assert len(found.assumptions) == 1
    assert "'z'" in found.assumptions[0]


def test_arrays_of_a_batch_are_as_many_boxes(tmp_path: Path) -> None:
    low = np.array([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    np.savez(tmp_path / "d.npz", low=low, high=low + 1)
    first, second = read_domains(parse_graph(ONE), {"x": str(tmp_path / "d.npz")})
    assert first.low["x"].tolist() == [[0.0, 1.0, 2.0]]
    assert second.high["x"].tolist() == [[4.0, 5.0, 6.0]]


def test_balls_hold_all_real_points_and_stay_within_the_domain() -> None:
    at = np.array([[0.1, 0.5, 1.0]])
    (ball,) = read_domains(parse_graph(ONE), {"x": (0, 1)}, at={"x": at}, radius=0.2)
    assert ball.low["x"][0, 0] == 0.0
    assert ball.high["x"][0, 2] == 1.0
    (free,) = read_domains(parse_graph(ONE), None, at={"x": at}, radius=0.2)
    from fractions import Fraction

    for low, centre, high in zip(free.low["x"][0].tolist(), at[0].tolist(), free.high["x"][0].tolist(), strict=True):
        assert Fraction(low) <= Fraction(centre) - Fraction(0.2)
        assert Fraction(high) >= Fraction(centre) + Fraction(0.2)


def test_a_lone_array_need_not_be_named_as_the_input(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", samples=np.ones((2, 3), np.float32))
    found = read_domains(parse_graph(ONE), None, at=str(tmp_path / "s.npz"), radius=0.5)
    assert len(found.boxes) == 2
    inputs = {"x": {"low": 0.5, "high": 1.5}}
    assert found.to_json() == {"inputs": inputs, "samples": 2, "radius": 0.5, "uniform": True}


@pytest.mark.parametrize(
    ("domain", "options", "code"),
    [
        ({"q": (0, 1)}, {}, "PL1463"),
        ({"x": (1, 0)}, {}, "PL1464"),
        ({"x": (0, float("inf"))}, {}, "PL1464"),
        ({"x": (0, float("nan"))}, {}, "PL1464"),
        ({"x": (np.zeros((2, 4)), 1)}, {}, "PL1464"),
        ({"x": 3}, {}, "PL1464"),
        (None, {"radius": 0.1}, "PL1462"),
        (None, {"at": {"x": np.zeros((1, 3))}}, "PL1462"),
        (None, {"at": {"x": np.zeros((1, 3))}, "radius": -1.0}, "PL1462"),
        (None, {"at": {"x": np.zeros((1, 4))}, "radius": 1.0}, "PL1462"),
        (None, {"at": {"x": np.full((1, 3), np.nan)}, "radius": 1.0}, "PL1462"),
        (None, {"at": {"x": np.zeros((0, 3))}, "radius": 1.0}, "PL1462"),
        ({"x": (0, 1)}, {"at": {"x": np.full((1, 3), 5.0)}, "radius": 1.0}, "PL1462"),
    ],
)
def test_what_is_no_domain_is_refused(domain: Any, options: dict[str, Any], code: str) -> None:
    with pytest.raises(UsageError) as error:
        read_domains(parse_graph(ONE), domain, **options)
    assert error.value.code == code


def test_domains_on_the_command_line() -> None:
    assert parse.domains(["x=0:1,z=-1e-2:.5"]) == {"x": (0.0, 1.0), "z": (-0.01, 0.5)}
    assert parse.domains(["x=box.npz"]) == {"x": "box.npz"}


@pytest.mark.parametrize("text", ["x", "x=", "=0:1", "x=0", "x=0:1,x=0:2", "x=a:b", "x=box.txt", "x=1:2:3", "x=-:1"])
def test_what_no_domain_is_spelled_like(text: str) -> None:
    with pytest.raises(UsageError, match="PL1465"):
        parse.domains([text])


def test_bounds_are_float64() -> None:
    (box,) = read_domains(parse_graph(ONE), {"x": (np.zeros(3, np.float32), np.ones(3, np.float32))})
    assert box.low["x"].dtype == torch.float64


def test_a_fixed_batch_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="axis 0 of input 'x' is fixed at 4") as refusal:
        read_domains(parse_graph(ONE.replace("N", "4")), {"x": (0, 1)})
    assert refusal.value.code == "PL0347"
