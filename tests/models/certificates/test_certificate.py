"""Certificates as files: bounds are stated rounded up, and the digest is of all that is said."""

from __future__ import annotations

import json
from fractions import Fraction
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pathlift.ir.errors import InvalidModelError
from pathlift.models.certificates.certificate import Certificate, digest, encode_box, stated, write
from pathlift.passes.certificates.encoding import encode
from pathlift.passes.certificates.search import Step


def content(**changes: Any) -> dict[str, Any]:
    steps = encode([Step("m", {"t": torch.arange(4.0).double()})])
    return {
        "first": {"path": "a", "sha256": "0"}, "second": {"path": "b", "sha256": "1"}, "shape": {"H": 3},
        "domain": {"inputs": {"x": {"low": 0.0, "high": 1.0}}, "samples": 1, "radius": None, "uniform": True},
        "boxes": [{"x": {"low": 0.0, "high": [[0.5, 1.0]]}}], "bound": {"l1": 2.0, "linf": 1.0, "per_output": [1.0]},
        "steps": [steps], **changes,
    }  # fmt: skip


def test_bounds_are_stated_rounded_up() -> None:
    rng = np.random.default_rng(0)
    for proved in [*(rng.random(500) * 10.0 ** rng.integers(-300, 300, 500)).tolist(), 1.0, 5e-324, 0.1, 2.375]:
        said = stated(proved)
        assert said is not None
        assert Fraction(proved) < Fraction(said)
        assert said <= proved * (1 + 2e-9) or proved < 1e-290
    assert stated(0.0) == 0.0
    assert stated(inf) is None
    assert stated(1.7976931348623157e308) is None


def test_reading_what_was_written(tmp_path: Path) -> None:
    write(tmp_path / "c.json", content())
    found = Certificate.read(tmp_path / "c.json")
    assert found.intact
    assert found.shape == (("H", 3),)
    (box,) = found.domains({"x": (1, 2)})
    assert (box.low["x"].tolist(), box.high["x"].tolist()) == ([[0.0, 0.0]], [[0.5, 1.0]])
    assert [s.method for s in found.steps[0]] == ["m"]
    with pytest.raises(InvalidModelError, match="PL0192"):
        found.domains({"z": (1, 2)})
    with pytest.raises(InvalidModelError, match="PL0192"):
        found.domains({"x": (1, 3)})


@pytest.mark.parametrize("change", ["value", "name", "method", "box", "claim"])
def test_a_digest_is_of_everything(change: str, tmp_path: Path) -> None:
    x = torch.arange(4.0).double()
    step = {
        "value": Step("m", {"t": torch.nextafter(x, x + 1)}),
        "name": Step("m", {"u": x}),
        "method": Step("n", {"t": x}),
    }
    other = (
        {"steps": [encode([step[change]])]}
        if change in step
        else {"box": {"boxes": [{}]}, "claim": {"claim": "all"}}[change]
    )
    assert digest(content()) != digest(content(**other))
    write(tmp_path / "c.json", content())
    written = json.loads((tmp_path / "c.json").read_text())
    (tmp_path / "c.json").write_text(json.dumps({**written, "found": 3}))
    assert not Certificate.read(tmp_path / "c.json").intact


def test_a_box_of_one_number_is_one_number() -> None:
    assert encode_box(torch.full((1, 3), 0.25).double()) == 0.25
    assert encode_box(torch.tensor([[0.0, 1.0]])) == [[0.0, 1.0]]
