"""Data in parts on their way over a map: each sample once, and the same sums whoever made them in whatever order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pathlift.ir.errors import ExecutionError, PathliftError, UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph
from pathlift.ir.types import Array
from pathlift.ir.work import in_turn
from pathlift.models.sketches.division import PARTS, add_up, divide
from pathlift.models.sketches.file import write_sketch
from pathlift.models.sketches.make import Made, Request, make_sketch
from pathlift.models.sketches.sources import Part, parts
from pathlift.passes.sketches.recorder import Settings
from pathlift.passes.sketches.sketch import Sketch, merged


def network(batch: str = "N") -> Graph:
    weight = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    text = f"%x = Input : f32[{batch}, 3]\n%w = Param : f32[3, 2]\n%y = Gemm(%x, %w)\nreturn %y"
    return parse_graph(text, {"w": weight})


def samples(seed: int, count: int) -> Array:
    return np.random.default_rng(seed).standard_t(4, (count, 3)).astype(np.float32)


def files(folder: Path, counts: Iterable[int]) -> list[Part]:
    for i, count in enumerate(counts):
        np.savez(folder / f"{i}.npz", x=samples(i, count))
    return parts(str(folder / "*.npz"), None)[0]


def in_memory(counts: Iterable[int]) -> list[Part]:
    return parts([{"x": samples(i, count)} for i, count in enumerate(counts)], None)[0]


def summed(graph: Graph, found: list[Part], request: Request, each: Any = in_turn, **options: Any) -> Made:
    return add_up(each, graph, None, divide(graph, found, request), request, **options)


def written(sketch: Sketch, folder: Path) -> bytes:
    write_sketch(sketch, folder / "written.npz")
    return (folder / "written.npz").read_bytes()


@given(st.integers(1, 3000), st.integers(1, 70), st.integers(1, 5), st.integers(0, 4))
def test_ranges_are_the_whole_between_batches(rows: int, batch: int, shards: int, at: int) -> None:
    shards = min(shards, rows)
    read, _ = parts({"x": np.zeros((rows, 3))}, (min(at, shards - 1) + 1, shards))
    (whole,) = read
    found = divide(network(), read, Request(batch=batch), sharded=True)
    assert len(found) <= PARTS
    assert (found[0].start, found[-1].stop) == (whole.start, whole.stop)
    for one, other in pairwise(found):
        assert one.stop == other.start
        assert (other.start - whole.start) % batch == 0
    lengths = [part.length() or 0 for part in found]
    assert min(lengths) >= min(batch, lengths[-1]) > 0
    assert max(lengths) <= -(-rows // shards // PARTS // batch + 1) * batch + batch


@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=4), st.integers(1, 50) | st.none(), st.sampled_from(["N", "4"])
)
@example([5, 5, 5], 12, "4")
def test_the_samples_are_those_of_one_process(counts: list[int], limit: int | None, batch: str) -> None:
    graph, request, read = network(batch), Request(limit=limit, batch=3), in_memory(counts)
    one = make_sketch(graph, None, read, request).sketch
    if not one.samples:
        with pytest.raises(UsageError, match="PL1500"):
            summed(graph, read, request)
        return
    found = summed(graph, read, request).sketch
    assert found.samples == one.samples
    for a, b in zip(found.layers, one.layers, strict=True):
        np.testing.assert_array_equal(a.counts.counts, b.counts.counts)
        np.testing.assert_allclose(a.moments(), b.moments(), rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(a.powers.high, b.powers.high)


def backwards(work: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[tuple[int, Any]]:
    yield from reversed(list(in_turn(work, items)))


@pytest.mark.parametrize("counts", [[9, 70, 33], [700]])
def test_the_bits_are_those_of_runs_by_part_and_a_merge(tmp_path: Path, counts: list[int]) -> None:
    graph, request = network(), Request(settings=Settings(outputs=True), batch=16)
    read = files(tmp_path, counts)
    found = [summed(graph, read, request, each).sketch for each in (in_turn, backwards)]
    by_part = [make_sketch(graph, None, [part], request).sketch for part in divide(graph, read, request)]
    assert len(by_part) == (3 if len(counts) > 1 else 44)
    assert found[0].complete
    assert len({written(sketch, tmp_path) for sketch in (*found, merged(by_part))}) == 1


def test_parts_take_along_their_own_samples_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sent: list[Part] = []

    def seen(work: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[tuple[int, Any]]:
        sent.extend(items)
        return in_turn(work, sent)

    graph, request = network(), Request(batch=16)
    summed(graph, in_memory([100]), request, seen)
    assert [len(part.arrays["x"]) for part in sent if part.arrays] == [16] * 6 + [4]
    monkeypatch.chdir(tmp_path)
    files(tmp_path, [5])
    sent.clear()
    found = summed(graph, parts("0.npz", None)[0], request, seen)
    assert [part.path for part in sent] == [str(tmp_path / "0.npz")]
    assert [shard.path for shard in found.sketch.shards] == ["0.npz"]


def ending(count: int, error: BaseException) -> Any:
    """A map that ends early."""

    def each(work: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[tuple[int, Any]]:
        found = list(in_turn(work, items))
        yield from reversed(found[-count:])
        raise error

    return each


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ExecutionError("0943", "lost"), ExecutionError("0944", "2")])
def test_what_was_done_before_the_end_stands(tmp_path: Path, error: BaseException) -> None:
    graph, request = network(), Request()
    made = summed(graph, files(tmp_path, [3, 4, 5, 6]), request, ending(2, error))
    assert made.interrupt is error
    assert not made.sketch.complete
    assert [Path(name).name for name in made.missing] == ["0.npz", "1.npz"]
    assert sorted(Path(shard.path).name for shard in made.sketch.shards) == ["2.npz", "3.npz"]
    np.testing.assert_allclose(
        made.sketch.layers[0].powers.sums[0], sum(samples(i, 3 + i).sum(0) for i in (2, 3)), rtol=1e-5, atol=1e-5
    )


def test_the_end_is_raised_where_nothing_stands() -> None:
    def none(*_: Any) -> Any:
        raise ExecutionError("0943", "the cluster was lost")

    for each, code in ((none, "PL0943"), (ending(2, ExecutionError("0902", "its own")), "PL0902")):
        with pytest.raises(ExecutionError, match=code):
            summed(network(), in_memory([3, 4, 5]), Request(), each)


def test_what_is_left_out_is_said_in_order() -> None:
    made = summed(network("4"), in_memory([9, 8, 6]), Request(), backwards)
    assert [remark.split(" samples")[0] for remark in made.remarks] == ["the last 1", "the last 2"]
    assert made.sketch.samples == 20


def test_progress_counts_samples() -> None:
    told: list[tuple[int, int]] = []
    summed(network(), in_memory([3, 4, 5]), Request(), backwards, progress=lambda _, *n: told.append(n))
    assert told == [(5, 12), (9, 12), (12, 12)]


def strided(shard: int, shards: int) -> Iterator[dict[str, Array]]:
    for x in np.array_split(samples(0, 131), 9)[shard::shards]:
        yield {"x": x}


def test_functions_are_told_their_shards() -> None:
    graph, request = network(), Request()
    found = divide(graph, parts(strided, None)[0], request)
    assert [(part.shard, part.shards) for part in found] == [(i, PARTS) for i in range(PARTS)]
    assert add_up(in_turn, graph, None, found, request).sketch.samples == 131
    with pytest.raises(UsageError, match="PL1526"):
        divide(graph, parts(strided, None)[0], Request(limit=5))
    with pytest.raises(UsageError, match="PL1525"):
        divide(graph, parts(strided, (1, 2))[0], request, sharded=True)


def test_a_function_that_does_not_divide_is_refused() -> None:
    with pytest.raises(PathliftError, match="PL1503"):
        summed(network(), parts(lambda *_: strided(0, 1), None)[0], Request())
