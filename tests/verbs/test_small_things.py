"""Answers to slips: only what is wrong, and what to do."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import pathlift as library
from pathlift.ir.errors import PathliftError, UsageError

Cli = Callable[..., Any]


def test_canonicalize_says_that_nothing_is_written(pathlift: Cli, digits: Path, tmp_path: Path) -> None:
    said = "nothing is written: --output FILE.onnx does"
    assert said in pathlift("canonicalize", str(digits)).out.splitlines()
    assert said not in pathlift("canonicalize", str(digits), "-o", str(tmp_path / "c.onnx")).out


@pytest.mark.parametrize("archive", [True, False])
def test_a_file_of_torch_is_recognized(pathlift: Cli, tmp_path: Path, archive: bool) -> None:
    path = tmp_path / "m.pt"
    torch.save(torch.nn.Linear(2, 2).state_dict(), path, _use_new_zipfile_serialization=archive)
    outcome = pathlift("inspect", str(path))
    assert (outcome.code, outcome.err[:6]) == (3, "PL0101")
    assert "it looks like a PyTorch file" in outcome.err
    assert "`pathlift export" in outcome.err


def test_another_archive_is_no_file_of_torch(pathlift: Cli, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as file:
        file.writestr("a.txt", "text")
    assert "PyTorch" not in pathlift("inspect", str(tmp_path / "m.zip")).err


def test_a_dimension_has_one_extent(pathlift: Cli, digits: Path) -> None:
    outcome = pathlift("norm", str(digits), "--shape", "N=2,H=3,N=4")
    assert (outcome.code, outcome.err) == (
        2, "PL1427 --shape 'N=2,H=3,N=4' gives two extents for 'N' hint: name each once\n",
    )  # fmt: skip


@pytest.mark.parametrize("figure", ["value", "log10"])
def test_of_several_norms_none_is_the_value(digits: Path, figure: str) -> None:
    several, one = library.norm(digits, q=[1, 2]), library.norm(digits, q=[2])
    with pytest.raises(UsageError, match="PL1428 there is a norm for each of q = 1, 2"):
        getattr(several, figure)
    assert getattr(one, figure) == getattr(several.norms[1], figure)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"pooling": "mean"}, "PL1429 there is no pooling 'mean' hint: sum or max"),
        ({"dtype": "float16"}, "PL0421 there is no dtype 'float16' hint: float64 or float32"),
    ],
)
def test_only_what_is_wrong_is_named(digits: Path, option: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        library.norm(digits, **option)
    assert str(error.value) == message


def test_no_model() -> None:
    with pytest.raises(UsageError, match="PL0474 no model is given"):
        library.norm(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("example", "told"), [((1, 5), True), ((3, 5), False)])
def test_a_batch_that_was_made_two_is_told(example: tuple[int, ...], told: bool) -> None:
    pytest.importorskip("onnxscript")
    with pytest.raises(PathliftError, match="PL0486") as error:
        library.norm(torch.nn.Linear(4, 4), example=example)
    assert ("the example's batch of 1 was set to 2" in str(error.value)) == told
