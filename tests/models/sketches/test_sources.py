"""Sources of samples: files read a few rows at a time, functions of modules, and how they are divided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathlift.ir.errors import UsageError
from pathlift.ir.text import parse_graph
from pathlift.ir.types import Array
from pathlift.models.sketches.arrays import members
from pathlift.models.sketches.feeds import Feeds
from pathlift.models.sketches.sources import Part, parts

GRAPH = parse_graph("%x = Input : f32[N, 2]\n%k = Input : i64[N]\n%y = Relu(%x)\nreturn %y")


def arrays(count: int) -> dict[str, Any]:
    return {"x": np.arange(2.0 * count, dtype=np.float32).reshape(count, 2), "k": np.arange(count)}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_come_a_few_at_a_time(tmp_path: Path, save: Any, order: Any) -> None:
    x = np.asarray(np.random.default_rng(0).normal(size=(3000, 5)), order=order)
    save(tmp_path / "a.npz", x=x, one=np.float32(3))
    with members(tmp_path / "a.npz") as found:
        member = found["x"]
        assert (member.shape, member.dtype) == ((3000, 5), np.float64)
        np.testing.assert_array_equal(member.take(7), x[:7])
        member.skip(1500)
        np.testing.assert_array_equal(member.take(4000), x[1507:])
        assert not len(member.take(1))
        assert found["one"].all() == 3


@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 60))
def test_batches_are_the_samples_in_order(count: int, batch: int, limit: int) -> None:
    def chunked(*_: int) -> Any:
        whole = arrays(count)
        for start in range(0, count, 7):
            yield {name: array[start : start + 7] for name, array in whole.items()}

    shards = set()
    for part in (Part("f", factory=chunked), Part("f", arrays=arrays(count))):
        feeds = Feeds(GRAPH, part, batch, limit=limit)
        rows: list[Array] = []
        for found in feeds:
            assert 0 < len(found["k"]) <= batch
            np.testing.assert_array_equal(found["x"][:, 0], 2 * found["k"])
            rows.append(found["k"])
            feeds.done(found)
        np.testing.assert_array_equal(np.concatenate(rows), np.arange(min(count, limit)))
        shards.add(feeds.shard)
    assert len(shards) == 1
    feeds = Feeds(GRAPH, Part("f", arrays=arrays(count)), batch, whole=True)
    assert {len(found["k"]) for found in feeds} <= {batch}
    assert feeds.left == count % batch


def test_digests_tell_samples_apart() -> None:
    def digest(data: dict[str, Any]) -> str:
        feeds = Feeds(GRAPH, Part("f", arrays=data), 4)
        for batch in feeds:
            feeds.done(batch)
        return feeds.shard.digest

    whole, other, longer = arrays(9), arrays(9), arrays(10)
    other["x"][8, 1] += 1
    assert len({digest(whole), digest(other), digest(longer)}) == 3
    assert digest({"x": whole["x"].astype(np.float64), "k": whole["k"].astype(np.int32)}) == digest(whole)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x": None}, r"lacks input 'x'"), ({"z": np.zeros(3)}, r"holds 'z', which is no input"),
        ({"x": np.zeros((3, 5))}, r"input 'x' is .* the data is \[3, 5\]"), ({"k": np.zeros(3)}, r"input 'k' takes"),
        ({"k": np.arange(4)}, r"they must be as many"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_with_its_file(change: dict[str, Any], said: str) -> None:
    data = {name: array for name, array in {**arrays(3), **change}.items() if array is not None}
    with pytest.raises(UsageError, match=f"PL1510 .*'part'.*{said}"):
        list(Feeds(GRAPH, Part("part", arrays=data), 2))


def test_how_data_is_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for i in range(5):
        np.savez(f"a{i}.npz", **arrays(10 + i))
    found = [parts(["a?.npz", "a0.npz"], (i, 2)) for i in (1, 2)]
    assert [[part.path for part in one] for one, _ in found] == [["a0.npz", "a2.npz", "a4.npz"], ["a1.npz", "a3.npz"]]
    assert "3 of 5 files" in found[0][1]
    rows = [parts("a3.npz", (i, 4))[0][0] for i in (1, 2, 3, 4)]
    assert [(part.start, part.stop) for part in rows] == [(0, 3), (3, 6), (6, 9), (9, 13)]
    assert [part.length() for part in rows] == [3, 3, 3, 4]
    assert parts("a3.npz", (1, 1))[0][0].length() == 13
    for data, shard, code in (
        ("a?.npz", (1, 6), "PL1509"), ("a0.npz", (1, 11), "PL1509"), (["a0.npz", "m:f"], (1, 2), "PL1509"),
        ("a?.npz", (3, 2), "PL1514"), ("a?.npz", (0, 2), "PL1514"), ("b?.npz", None, "PL1500"), ([], None, "PL1500"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=code):
            parts(data, shard)


def test_functions_of_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_up_samples.py").write_text(
        "import numpy as np\nNO = 3\n"
        "def make(shard, shards):\n    yield {'x': np.full((2, 2), 10 * shard + shards, 'f4'), 'k': np.arange(2)}\n"
        "def wrong(shard, shards):\n    yield 3\n"
        "def fails(shard, shards):\n    raise KeyError('nothing')\n"
        "def late(shard, shards):\n    yield {'x': np.zeros((1, 2), 'f4'), 'k': np.arange(1)}\n"
        "    raise OSError('gone')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for shard, value in ((None, 1), ((2, 3), 13)):
        (part,), _ = parts("made_up_samples:make", shard)
        (chunk,) = part.chunks()
        assert (chunk["x"] == value).all()
        assert part.length() is None
    for name in ("wrong", "fails", "late", "NO", "absent"):
        with pytest.raises(UsageError, match="PL1502"):
            list(parts(f"made_up_samples:{name}", None)[0][0].chunks())
    with pytest.raises(UsageError, match="PL1502"):
        list(parts("no_such_module_here:f", None)[0][0].chunks())


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no zip")
    np.savez(tmp_path / "objects.npz", x=np.array([{}], object))
    np.savez(tmp_path / "uneven.npz", x=np.zeros(3), k=np.zeros(2))
    np.savez(tmp_path / "whole.npz", x=np.zeros((500, 3)))
    cut = (tmp_path / "whole.npz").read_bytes()[:4000]
    (tmp_path / "cut.npz").write_bytes(cut)
    for name, code in (("text", "PL1501"), ("objects", "PL1501"), ("uneven", "PL1510"), ("cut", "PL1501")):
        with pytest.raises(UsageError, match=code):
            list(Part(name, str(tmp_path / f"{name}.npz")).chunks())
    with pytest.raises(UsageError, match="PL1500"):
        list(Part("absent", str(tmp_path / "absent.npz")).chunks())
