"""``pathlift calibrate --cluster``: the same sums, each part once, and what stands when it ends early."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pathlift as package
from pathlift.frontend.save import save
from pathlift.ir.errors import ExecutionError, UsageError
from pathlift.ir.text import parse_graph
from pathlift.ir.work import in_turn
from pathlift.models.sketches.file import read_sketch_file
from pathlift.testing.workers import kill

pytestmark = pytest.mark.timeout(120)
Cli = Callable[..., Any]

SHARDS = '''
import os, signal
import numpy as np
from pathlift.testing.workers import wait_once

HERE = os.path.dirname(__file__)

def rows(shard, shards):
    """Integers, whose sums are exact."""
    yield {"x": np.random.default_rng(shard).integers(-8, 9, (20, 6)).astype(np.float32)}

def waiting(shard, shards):
    if shard == 9:
        wait_once(HERE)
    yield from rows(shard, shards)

def deadly(shard, shards):
    if shard == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    yield from rows(shard, shards)
'''


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A network, and a file of data, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    text = "%x = Input : f32[N, 6]\n%w = Param : f32[6, 5]\n%h = Gemm(%x, %w)\n%r = Relu(%h)\n"
    text += "%v = Param : f32[5, 3]\n%y = Gemm(%r, %v)\nreturn %y"
    save(parse_graph(text, {n: rng.normal(size=s).astype("f4") for n, s in (("w", (6, 5)), ("v", (5, 3)))}), "m.onnx")
    np.savez("d.npz", x=rng.standard_t(4, (500, 6)).astype(np.float32))
    return "m.onnx"


@pytest.fixture(scope="module")
def shards(importable: Path) -> Path:
    (importable / "shards_of_a_test.py").write_text(SHARDS)
    return importable


def mapped(monkeypatch: pytest.MonkeyPatch, end: int, error: BaseException | None) -> None:
    """Let a cluster be this process, which ends after so many parts."""

    @contextmanager
    def spread(_: object) -> Iterator[Any]:
        def each(work: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[tuple[int, Any]]:
            for number, result in in_turn(work, items):
                if error is not None and number == end:
                    raise error
                yield number, result

        yield each

    monkeypatch.setattr("pathlift.models.spread.spread", spread)


def test_one_file_is_read_in_ranges(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mapped(monkeypatch, 0, None)
    whole = package.calibrate(model, data="d.npz")
    found = package.calibrate(model, data="d.npz", cluster=2, output="s.npz")
    assert (found.exit_code, found.sketch.complete, len(found.sketch.shards)) == (0, True, 8)
    for a, b in zip(found.sketch.layers, whole.sketch.layers, strict=True):
        np.testing.assert_array_equal(a.counts.counts, b.counts.counts)
        np.testing.assert_allclose(a.moments(), b.moments(), rtol=1e-12)
    halves = [package.calibrate(model, data="d.npz", shard=(i, 2), batch=50, cluster=2) for i in (1, 2)]
    assert [len(half.sketch.shards) for half in halves] == [5, 5]
    assert halves[0].assumptions[0].startswith("shard 1 of 2")
    assert sum(half.sketch.samples for half in halves) == 500


def test_a_lost_cluster_leaves_what_is_done(
    model: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    pathlift: Cli = request.getfixturevalue("pathlift")  # the command line; its own name is the package's here
    mapped(monkeypatch, 6, ExecutionError("0943", "the cluster was lost: its scheduler does not answer"))
    outcome = pathlift("calibrate", model, "--data", "d.npz", "--cluster", "2", "-o", "s.npz", "--format", "json")
    assert outcome.code == 5
    told = json.loads(outcome.out)
    assert (told["result"]["rows"], told["result"]["complete"]) == (384, False)
    assert told["result"]["missing"] == ["d.npz[384:448]", "d.npz[448:500]"]
    assert not read_sketch_file("s.npz").complete
    said = "PL0943 the cluster was lost: its scheduler does not answer; 2 parts of the data are missing: d.npz[384:448]"
    assert said in outcome.err
    assert pathlift("ks", "fit", model, "--sketch", "s.npz").err[:6] == "PL1507"
    mapped(monkeypatch, 0, ExecutionError("0943", "the cluster was lost: at once"))
    outcome = pathlift("calibrate", model, "--data", "d.npz", "--cluster", "2", "-o", "t.npz")
    assert (outcome.code, outcome.err[:6], Path("t.npz").exists()) == (4, "PL0943", False)


def test_an_interrupt_leaves_what_is_done(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mapped(monkeypatch, 99, None)

    def interrupt(_: str, rows: int, __: int) -> None:
        if rows == 128:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        package.calibrate(model, data="d.npz", cluster=2, output="s.npz", progress=interrupt)
    assert (read_sketch_file("s.npz").samples, read_sketch_file("s.npz").complete) == (128, False)


def test_options_that_do_not_go(model: str) -> None:
    def stream(*_: int) -> Any:
        yield {"x": np.zeros((1, 6), np.float32)}

    for options, code in (({"shard": (1, 2)}, "PL1525"), ({"limit": 3}, "PL1526"), ({"data": "d.npz"}, "PL1520")):
        with pytest.raises(UsageError, match=code):
            package.calibrate(model, **{"data": stream, "cluster": 0 if code == "PL1520" else 2, **options})


@pytest.mark.slow
def test_workers_find_the_same_and_may_die(model: str, shards: Path, address: str, monkeypatch: Any) -> None:
    """A file to the bit; then one worker is killed, as dead as can be, in the middle of a part."""
    package.calibrate(model, data="d.npz", cluster=address, outputs=True, output="s.npz")
    killer = threading.Thread(target=kill, args=(shards,))
    killer.start()
    found = package.calibrate(model, data="shards_of_a_test:waiting", cluster=address)
    killer.join()
    mapped(monkeypatch, 0, None)
    package.calibrate(model, data="d.npz", cluster=2, outputs=True, output="t.npz")
    assert Path("s.npz").read_bytes() == Path("t.npz").read_bytes()
    expected = package.calibrate(model, data="shards_of_a_test:rows", cluster=2).sketch
    assert (found.sketch.samples, len(found.sketch.shards), found.exit_code) == (1280, 64, 0)
    for a, b in zip(found.sketch.layers, expected.layers, strict=True):
        np.testing.assert_array_equal(a.counts.counts, b.counts.counts)
        np.testing.assert_array_equal(a.moments(), b.moments())


@pytest.mark.slow
def test_a_part_that_kills_workers_is_missing(model: str, shards: Path, address: str) -> None:
    """Ctrl-C, too, leaves what these workers have done."""
    from distributed import Client

    def once(dask_scheduler: Any) -> None:
        dask_scheduler.allowed_failures = 0

    with Client(address, set_as_default=False) as client:
        client.run_on_scheduler(once)
    found = package.calibrate(model, data="shards_of_a_test:deadly", cluster=address, output="s.npz")
    assert (found.exit_code, read_sketch_file("s.npz").complete) == (5, False)
    assert "shards_of_a_test:deadly[10/64]" in found.missing
    assert len(found.missing) + len(found.sketch.shards) == 64
    assert found.sketch.samples == 20 * len(found.sketch.shards)

    def interrupt(_: str, rows: int, __: int) -> None:
        if rows == 40:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        package.calibrate(
            model, data="shards_of_a_test:rows", cluster=address, output="t.npz", progress=interrupt
        )  # fmt: skip
    assert (read_sketch_file("t.npz").samples, read_sketch_file("t.npz").complete) == (40, False)
