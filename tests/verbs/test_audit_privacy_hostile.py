"""Attempts to make ``audit privacy`` say "less" of a file that tells as much: each is refused, or inconclusive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pathlift as api
from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.text import parse_graph


def audit(leaky: Any, *models: Any, **options: Any) -> Any:
    return api.audit_privacy(*models, **{**leaky.sets(), "bootstrap": 200, **options})


def test_a_file_that_is_less_accurate(leaky: Any) -> None:
    """It tells less because it knows less."""
    result = audit(leaky, leaky.file(1.0), leaky.file(0.3, lost=2))
    difference = result.comparisons[0].difference
    assert (result.verdict, result.exit_code) == ("not_comparable", 5)
    assert difference.interval[1] < -0.02
    assert difference.accuracy < -0.1


def test_fewer_than_a_hundred(leaky: Any) -> None:
    few = leaky.sets(99)
    result = audit(leaky, leaky.file(1.0), leaky.file(0.0), nonmembers=few["nonmembers"])
    assert (result.verdict, result.exit_code) == ("inconclusive", 5)
    single = audit(leaky, leaky.file(1.0), members=few["members"], max_auc=0.6)
    assert (single.verdict, single.exit_code) == ("inconclusive", 5)


def test_as_many_samples_as_just_allowed_prove_no_accuracy(leaky: Any) -> None:
    """Of 100 that all are right twice, three could be wrong in truth: more than the margin."""
    result = audit(leaky, leaky.file(1.0), leaky.file(0.3), **leaky.sets(100), auc_margin=0.001)
    assert result.verdict == "not_comparable"
    assert result.comparisons[0].difference.accuracy == 0


def test_samples_in_both_sets(leaky: Any) -> None:
    """Shared ones tell nothing apart, whatever their label, and whatever the sign of their zeros."""
    sets = leaky.sets()
    shared = {name: a[:7].copy() for name, a in sets["members"].items()}
    shared["x"][shared["x"] == 0] = -0.0
    others = {name: np.concatenate([a, shared[name]]) for name, a in sets["nonmembers"].items()}
    others["y"][-7:] = (others["y"][-7:] + 1) % 4
    with pytest.raises(UsageError, match="PL1563 7 of 607"):
        audit(leaky, leaky.file(1.0), nonmembers=others)
    given = {"reference": [leaky.file(0, noise=1)], "population": sets["nonmembers"]}
    with pytest.raises(UsageError, match="PL1563 600 of 600"):
        audit(leaky, leaky.file(1.0), **given)


def test_samples_that_only_rounding_tells_apart(leaky: Any) -> None:
    """What the model reads counts: doubles that are one float."""
    sets = leaky.sets()
    near = {"x": sets["members"]["x"].astype(np.float64) * (1 + 1e-12), "y": sets["members"]["y"]}
    with pytest.raises(UsageError, match="PL1563 600 of 600"):
        audit(leaky, leaky.file(1.0), nonmembers=near)


def test_copies_make_no_figure_more_certain(leaky: Any) -> None:
    """Copies are left out: intervals are as wide as before, and too few stay too few."""
    sets = leaky.sets(150)
    copied = {
        key: {name: np.tile(a, (9,) + (1,) * (a.ndim - 1)) for name, a in data.items()} for key, data in sets.items()
    }
    plain, result = (audit(leaky, leaky.file(1.0), leaky.file(0.9), **given) for given in (sets, copied))
    assert result.to_json()["files"] == plain.to_json()["files"]
    assert result.to_json()["difference"] == plain.to_json()["difference"]
    assert result.samples == {"members": 150, "non-members": 150}
    assert any("1200 copies among the members" in warning for warning in result.warnings)
    few = {key: {name: a[:50].repeat(9, 0) for name, a in data.items()} for key, data in sets.items()}
    assert audit(leaky, leaky.file(1.0), leaky.file(0.0), **few).verdict == "inconclusive"


def test_sets_that_are_swapped(leaky: Any) -> None:
    """The file that tells more looks like the one that tells less; and every gate would be passed."""
    sets = leaky.sets()
    swapped = {"members": sets["nonmembers"], "nonmembers": sets["members"]}
    pair = audit(leaky, leaky.file(0.3), leaky.file(1.0), **swapped)
    assert pair.comparisons[0].difference.interval[1] < -0.02
    assert (pair.verdict, pair.exit_code) == ("inconclusive", 5)
    gate = audit(leaky, leaky.file(1.0), **swapped, max_auc=0.6)
    assert (gate.verdict, gate.exit_code) == ("inconclusive", 5)
    assert any("swapped" in said for said in audit(leaky, leaky.file(1.0), **swapped).warnings)


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_references_that_saw_the_others(leaky: Any, share: float) -> None:
    """They make every file look as if it told more, and the one that says most of all look better than it is."""
    sets, rng = leaky.sets(2000), np.random.default_rng(0)
    n = sets["nonmembers"]
    seen = rng.random(2000) < share
    tainted = {**n, "x": n["x"].copy()}
    tainted["x"][seen, 4:] += np.eye(4, dtype=np.float32)[n["y"][seen]]  # what a memory of them would do
    given = {"population": leaky.samples(3, 600), "reference": [leaky.file(1.0, noise=2)]}
    still = {"members": leaky.samples(5, 2000), "nonmembers": n}
    assert audit(leaky, leaky.file(0.3), **still, **given).exit_code == 0, "clean: a model that reads it finds nothing"
    with pytest.raises(UsageError, match="PL1567"):
        audit(leaky, leaky.file(0.3), members=still["members"], nonmembers=tainted, **given)
    given["reference"].append(leaky.file(0, noise=1))
    with pytest.raises(UsageError, match="PL1567"):
        audit(leaky, leaky.file(0.3), members=still["members"], nonmembers=tainted, **given)


def test_references_that_saw_the_members(leaky: Any) -> None:
    with pytest.raises(UsageError, match="PL1567"):
        audit(leaky, leaky.file(1.0), reference=[leaky.file(1.0, noise=1)], population=leaky.samples(3, 600))


def test_others_from_another_distribution(leaky: Any) -> None:
    """Harder ones: references, which have seen neither set, tell them apart."""
    hard = leaky.samples(2, 600)
    hard["x"][:, :4] *= 0.5
    given = {"reference": [leaky.file(0, noise=i) for i in (1, 2)], "population": leaky.samples(3, 600)}
    with pytest.raises(UsageError, match="PL1567"):
        audit(leaky, leaky.file(1.0), nonmembers=hard, **given)
    alone = audit(leaky, leaky.file(1.0), nonmembers=hard)
    assert "which no reference tests" in alone.assumptions[0]


@pytest.mark.parametrize("scale", [0.02, 0.3, 3.0, 10.0])
def test_scores_at_another_temperature(leaky: Any, scale: float) -> None:
    """The same file but for a factor of its logits, which an attack relative to references takes for much."""
    given = {"reference": [leaky.file(0, noise=i) for i in (1, 2, 3)], "population": leaky.samples(3, 600)}
    result = audit(leaky, leaky.file(1.0), leaky.file(1.0, scale=scale), **given)
    low, high = result.comparisons[0].difference.interval
    assert high < -0.02 or low > 0.02
    assert (result.verdict, result.exit_code) == ("inconclusive", 5)


def test_a_constant_classifier(leaky: Any) -> None:
    """Beside one that is no better."""
    constant = parse_graph(
        "%x = Input : f32[N, 8]\n%w = Param : f32[8, 4]\n%b = Param : f32[4]\n%y = Gemm(%x, %w, %b)\nreturn %y",
        {"w": np.zeros((8, 4), np.float32), "b": np.float32([0.2, 0, 0, 0.1])},
    )
    shuffled = leaky.sets()
    rng = np.random.default_rng(0)
    shuffled = {key: {**data, "y": rng.permutation(data["y"])} for key, data in shuffled.items()}
    result = audit(leaky, constant, constant, **shuffled)
    assert result.verdict == "no_difference"
    result = audit(leaky, leaky.file(1.0), constant)
    assert (result.verdict, result.exit_code) == ("not_comparable", 5)


def test_labels_that_are_permuted(leaky: Any) -> None:
    """Of the others: no file is right on them, so that none is less accurate; and members stand out."""
    sets = leaky.sets(1000)
    others = {**sets["nonmembers"], "y": np.random.default_rng(0).permutation(sets["nonmembers"]["y"])}
    result = audit(leaky, leaky.file(1.0), leaky.file(1.0, lost=2), members=sets["members"], nonmembers=others)
    assert result.comparisons[0].difference.interval[1] < -0.02
    assert (result.verdict, result.exit_code) == ("inconclusive", 5)
    assert "do not depend on their labels" in result.reason


def test_scores_that_are_coarse(leaky: Any) -> None:
    """Rounded, a file hides from these attacks what another attack may still find."""
    result = audit(leaky, leaky.file(1.5), leaky.file(1.5, scale=0.4, ends="Round"), accuracy_margin=0.5)
    assert result.comparisons[0].difference.interval[1] < -0.02
    assert (result.verdict, result.exit_code) == ("inconclusive", 5)


@pytest.mark.parametrize("ends,code", [("Log", "PL0324"), ("Hardmax", "PL0323")])
def test_scores_that_are_no_numbers_or_only_classes(leaky: Any, ends: str, code: str) -> None:
    with pytest.raises(UnsupportedError, match=code):
        audit(leaky, leaky.file(1.0), leaky.file(1.0, ends=ends))


def test_references_that_are_audited_or_given_twice(leaky: Any, tmp_path: Path) -> None:
    """A glob that takes in the audited file, by another name of it."""
    sets = leaky.sets()
    (tmp_path / "a.onnx").write_bytes(leaky.file(0.0))
    (tmp_path / "r.onnx").write_bytes(leaky.file(0.0, noise=1))
    (tmp_path / "again.onnx").symlink_to(tmp_path / "r.onnx")
    given = {"population": leaky.samples(5, 200), **sets}
    with pytest.raises(UsageError, match=r"PL1574.*a.onnx is one of the files that are audited"):
        audit(leaky, tmp_path / "a.onnx", **given, reference=str(tmp_path / "[ar].onnx"))
    with pytest.raises(UsageError, match=r"PL1575.*twice"):
        audit(leaky, tmp_path / "a.onnx", **given, reference=[tmp_path / "r.onnx", tmp_path / "again.onnx"])
    with pytest.raises(UsageError, match=r"PL1574.*audited"):
        audit(leaky, leaky.file(0.0), **given, reference=[leaky.file(0.0)])


def test_a_population_of_few(leaky: Any) -> None:
    """RMIA of one z takes two values."""
    given = {"reference": [leaky.file(0.0, noise=1)], "population": leaky.samples(5, 99)}
    result = audit(leaky, leaky.file(1.0), leaky.file(0.0), **given)
    assert (result.verdict, result.exit_code) == ("inconclusive", 5)
    assert "99 distinct samples of the population" in result.reason


def test_labels_beyond_what_is_counted_in(leaky: Any) -> None:
    """−1 as an unsigned number is no class: the last one it would be, otherwise."""
    members = leaky.sets()["members"]
    members = {**members, "y": members["y"].astype(np.uint64)}
    members["y"][0] = 2**64 - 1
    with pytest.raises(UsageError, match=r"PL1562.*18446744073709551615"):
        audit(leaky, leaky.file(1.0), members=members)


@pytest.mark.filterwarnings("error")
def test_a_single_member(leaky: Any) -> None:
    given = {"reference": [leaky.file(0.0, noise=1)], "population": leaky.samples(5, 200)}
    result = audit(leaky, leaky.file(1.0), members=leaky.sets(1)["members"], **given)
    assert result.exit_code == 5
    assert result.to_json()["references"]["files"][0]["ci"] == [0, 1]
