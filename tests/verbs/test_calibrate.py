"""``pathlift calibrate``: parts of the data add up, files say of what, and what is wrong is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pathlift
from pathlift.frontend.save import save
from pathlift.ir.errors import InvalidModelError, UnsupportedError, UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph
from pathlift.ir.types import Array
from pathlift.models.sketches.file import read_sketch_file
from pathlift.models.sketches.reading import read_sketch

NETWORK = """
    %x = Input : f32[N, 6]
    %w = Param : f32[6, 5]
    %fc1 = Gemm(%x, %w)
    %r = Relu(%fc1)
    %v = Param : f32[5, 3]
    %fc2 = Gemm(%r, %v)
    return %fc2
"""


def network(seed: int = 0) -> Graph:
    rng = np.random.default_rng(seed)
    return parse_graph(NETWORK, {n: rng.normal(size=s).astype(np.float32) for n, s in (("w", (6, 5)), ("v", (5, 3)))})


def samples(seed: int, count: int) -> dict[str, Array]:
    return {"x": np.random.default_rng(seed).standard_t(4, (count, 6)).astype(np.float32)}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A network, and three files of data, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    save(network(), "m.onnx")
    for i, count in enumerate((70, 131, 20)):
        np.savez(f"d{i}.npz", **samples(i, count))  # type: ignore[arg-type]  # NumPy's types
    return "m.onnx"


def test_what_is_said_of_a_layer(model: str) -> None:
    found = pathlift.calibrate(model, data="d*.npz", output="s.npz").to_json()
    x = np.concatenate([np.load(f"d{i}.npz")["x"] for i in range(3)]).astype(np.float64)
    layer = found["layers"][0]
    assert (found["rows"], layer["rows"], layer["width"], layer["second"], layer["rank"]) == (221, 221, 6, "exact", 6)
    assert [(shard["path"], shard["rows"]) for shard in sorted(found["shards"], key=lambda s: s["path"])] == [
        ("d0.npz", 70), ("d1.npz", 131), ("d2.npz", 20)
    ]  # fmt: skip
    values = np.linalg.eigvalsh(x.T @ x)
    assert layer["effective_rank"] == pytest.approx(values.sum() ** 2 / (values**2).sum())
    assert layer["range"] == [x.min(), x.max()]
    assert layer["p999"] == pytest.approx(np.quantile(np.abs(x), 0.999, method="inverted_cdf"), rel=1 / 128)
    assert found["bytes"] == Path("s.npz").stat().st_size
    assert pathlift.calibrate("s.npz", show=True).to_json()["layers"] == found["layers"]


@pytest.mark.parametrize("outputs", [False, True])
def test_shards_add_up_in_any_order_to_the_bit(model: str, outputs: bool) -> None:
    whole = pathlift.calibrate(model, data="d*.npz", outputs=outputs).sketch
    names = []
    for i in range(1, 4):
        pathlift.calibrate(model, data="d*.npz", shard=(i, 3), outputs=outputs, output=f"s{i}.npz")
        names.append(f"s{i}.npz")
    pathlift.calibrate(*names, merge=True, output="a.npz")
    pathlift.calibrate(*reversed(names), merge=True, output="b.npz")
    assert Path("a.npz").read_bytes() == Path("b.npz").read_bytes()
    pathlift.calibrate("s1.npz", "s2.npz", merge=True, output="c.npz")
    pathlift.calibrate("c.npz", "s3.npz", merge=True, output="d.npz")
    for merged in (read_sketch_file("a.npz"), read_sketch_file("d.npz")):
        assert merged.shards == whole.shards
        for one, other in zip(merged.layers, whole.layers, strict=True):
            np.testing.assert_array_equal(one.counts.counts, other.counts.counts)
            np.testing.assert_allclose(one.total, other.total, rtol=1e-12)
            np.testing.assert_allclose(one.powers.sums, other.powers.sums, rtol=1e-12)
    a, d = read_sketch_file("a.npz"), read_sketch_file("d.npz")
    for one, other in zip(a.layers, d.layers, strict=True):
        np.testing.assert_allclose(one.moments(), other.moments(), rtol=1e-12)


@pytest.mark.parametrize("shards", [1, 2, 7])
def test_a_file_is_divided_by_rows(model: str, shards: int) -> None:
    parts = [pathlift.calibrate(model, data="d1.npz", shard=(i + 1, shards)) for i in range(shards)]
    counts = sum(part.sketch.layers[0].counts.counts for part in parts)
    np.testing.assert_array_equal(counts, pathlift.calibrate(model, data="d1.npz").sketch.layers[0].counts.counts)
    assert sum(part.to_json()["rows"] for part in parts) == 131
    assert all("samples" in part.assumptions[0] for part in parts)


def test_data_in_memory_and_by_functions(model: str) -> None:
    whole = pathlift.calibrate(model, data=samples(1, 131)).sketch
    assert whole.layers[0].counts.counts.sum() == 131 * 6

    def stream(shard: int, shards: int) -> Any:
        for part in np.array_split(samples(1, 131)["x"], 9)[shard::shards]:
            yield {"x": part}

    found = [pathlift.calibrate(model, data=stream, shard=(i, 2)).sketch for i in (1, 2)]
    np.testing.assert_array_equal(
        found[0].layers[0].counts.counts + found[1].layers[0].counts.counts, whole.layers[0].counts.counts
    )
    assert pathlift.calibrate(model, data=stream).sketch.shards[0].digest == whole.shards[0].digest


def test_batches_and_limits(model: str) -> None:
    small, large = (pathlift.calibrate(model, data="d*.npz", batch=n, limit=90) for n in (3, 64))
    assert small.sketch.samples == large.sketch.samples == 90
    assert small.sketch.shards == large.sketch.shards
    x = np.concatenate([np.load(f"d{i}.npz")["x"] for i in (0, 1)])[:90].astype(np.float64)
    np.testing.assert_allclose(small.sketch.layers[0].moments()[0], x.T @ x / 90, rtol=1e-12)


def test_an_interrupt_keeps_what_was_read(model: str) -> None:
    def stream(*_: int) -> Any:
        for i in range(3):
            yield samples(i, 64)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pathlift.calibrate(model, data=stream, output="s.npz")
    shown = pathlift.calibrate("s.npz", show=True).to_json()
    assert (shown["complete"], shown["rows"]) == (False, 192)
    assert {layer["rows"] for layer in shown["layers"]} == {192}
    with pytest.raises(UsageError, match="PL1507"):
        read_sketch("s.npz", network())
    assert read_sketch("s.npz", network(), partial=True).sketch.samples == 192


def test_a_sketch_fits_its_own_network_only(model: str) -> None:
    pathlift.calibrate(model, data="d0.npz", output="s.npz")
    assert len(read_sketch("s.npz", network()).layers) == 2
    with pytest.raises(UsageError, match=r"PL1506 .*other weights in 'fc1'"):
        read_sketch("s.npz", network(1))


def test_what_is_not_finite_is_named(model: str) -> None:
    x = samples(0, 300)
    x["x"][217, 3] = np.nan
    np.savez("bad.npz", **x)  # type: ignore[arg-type]  # NumPy's types
    with pytest.raises(InvalidModelError, match=r"PL0185 node 'fc1' \(Gemm\).*sample 217 of 'bad.npz'"):
        pathlift.calibrate(model, data="bad.npz", output="s.npz")
    assert not Path("s.npz").exists()


def test_no_linear_layer(model: str) -> None:
    graph = parse_graph("%x = Input : f32[N, 6]\n%y = Relu(%x)\nreturn %y")
    with pytest.raises(UnsupportedError, match="PL0305"):
        pathlift.calibrate(graph, data=samples(0, 3))
