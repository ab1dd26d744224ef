"""``pathlift calibrate``: parts of the data add up, files say of what, and what is wrong is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
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
from pathlift.passes.layers.dense import dense_layers

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


@pytest.mark.parametrize("solver", ["als", "auto"])
def test_a_fit_to_a_sketch_is_that_to_the_data(tmp_path: Path, solver: str) -> None:
    rng = np.random.default_rng(0)
    graph = parse_graph(
        "%x = Input : f32[N, 16]\n%w = Param : f32[16, 16]\n%y = Gemm(%x, %w)\nreturn %y",
        {"w": rng.normal(size=(16, 16)).astype(np.float32)},
    )
    data = {"x": (rng.normal(size=(333, 16)) * 2.0 ** -np.arange(16)).astype(np.float32)}
    pathlift.calibrate(graph, data=data, output=tmp_path / "s.npz")
    options: Any = {"patterns": "(1,4,4,4)(4,4,4,1)", "solver": solver}
    one = pathlift.ks_fit(graph, calib=data, **options).approximation.layers
    other = pathlift.ks_fit(graph, sketch=tmp_path / "s.npz", **options).approximation.layers
    for key, fit in one.items():
        assert fit.weighted_error == pytest.approx(other[key].weighted_error, rel=1e-8)
        assert fit.weighted_error != fit.error
        for a, b in zip(fit.factors, other[key].factors, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
    with pytest.raises(UsageError, match="PL1516"):
        pathlift.ks_fit(graph, sketch=tmp_path / "s.npz", calib=data)


def test_a_fit_needs_a_sketch_of_the_layers(model: str) -> None:
    pathlift.calibrate(model, data="d0.npz", layers="fc1", output="s.npz")
    with pytest.raises(UsageError, match=r"PL1511 .*'fc2'"):
        pathlift.ks_fit(model, sketch="s.npz")


def test_pruning_by_a_sketch_is_that_by_the_data(model: str) -> None:
    data = samples(1, 131)
    pathlift.calibrate(model, data=data, outputs=True, output="s.npz")
    one = pathlift.prune(model, sparsity=0.5, criterion="wanda", calib=data)
    other = pathlift.prune(model, sparsity=0.5, criterion="wanda", sketch="s.npz")
    for name, mask in one.pruned.masks.items():
        np.testing.assert_array_equal(mask, other.pruned.masks[name])
    found = pathlift.prune(model, sparsity=0.5, criterion="sketch", sketch="s.npz")
    graph, layers = network(), read_sketch("s.npz", network()).layers
    scores = []
    for layer in dense_layers(graph, "*")[0]:
        sketch = layers[layer.key]
        outgoing = sketch.gradient_moments()
        assert outgoing is not None
        scores.append(np.abs(layer.weight().T) * np.sqrt(np.outer(sketch.moments()[0].diagonal(), outgoing.diagonal())))
    zeros = sum(int((~mask).sum()) for mask in found.pruned.masks.values())
    assert zeros in (22, 23)
    least = np.sort(np.concatenate([score.reshape(-1) for score in scores]))[zeros]
    for score, mask in zip(scores, found.pruned.masks.values(), strict=True):
        np.testing.assert_array_equal(mask, score >= least)


def test_what_pruning_lacks_of_a_sketch(model: str) -> None:
    pathlift.calibrate(model, data="d0.npz", output="s.npz")
    for options, code in (
        ({"criterion": "sketch", "sketch": "s.npz"}, "PL1512"),
        ({"criterion": "sketch", "calib": samples(0, 5)}, "PL1512"),
        ({"criterion": "taylor", "sketch": "s.npz"}, "PL1407"),
        ({"criterion": "wanda", "sketch": "s.npz", "calib": samples(0, 5)}, "PL1516"),
    ):
        with pytest.raises(UsageError, match=code):
            pathlift.prune(model, sparsity=0.5, **options)  # type: ignore[arg-type]  # options of several types


def test_pruning_says_what_a_sketch_is_not_of(model: str) -> None:
    """Other weights stay."""
    nodes = [layer["node"] for layer in pathlift.calibrate(model, data="d0.npz").to_json()["layers"]]
    pathlift.calibrate(model, data="d0.npz", layers=nodes[0], output="s.npz")
    found = pathlift.prune(model, sparsity=0.5, criterion="wanda", sketch="s.npz").to_json()
    assert {row["node"]: row["reason"] for row in found["kept"]} == dict.fromkeys(
        nodes[1:], "the sketch is not of all layers that read its weights"
    )


def test_buffers_that_are_used_again(model: str) -> None:
    """A chunk's memory may be the next one's, whatever is left of a batch; arrays of no axis are no samples."""
    x = samples(0, 40)

    def stream(*_: int) -> Any:
        buffers = {name: np.empty_like(array[:10]) for name, array in x.items()}
        for start in range(0, 40, 10):
            for name, array in x.items():
                buffers[name][:] = array[start : start + 10]
            yield buffers

    first, second = (pathlift.calibrate(model, data=data, batch=7).sketch for data in (stream, x))
    assert [shard.digest for shard in first.shards] == [shard.digest for shard in second.shards]
    for own, other in zip(first.layers, second.layers, strict=True):
        np.testing.assert_array_equal(own.total, other.total)
    with pytest.raises(UsageError, match="PL1510"):
        pathlift.calibrate(model, data=dict.fromkeys(x, 3.0))


def test_masks(tmp_path: Path) -> None:
    """Also where a batch has as many samples as there are positions."""
    rng = np.random.default_rng(0)
    text = "%x = Input : f32[N, T, 4]\n%m = Input : i64[N, T]\n%w = Param : f32[4, 3]\n%h = Gemm(%x, %w)\nreturn %h"
    graph = parse_graph(text, {"w": rng.normal(size=(4, 3)).astype(np.float32)})
    x, mask = rng.normal(size=(12, 5, 4)).astype(np.float32), rng.integers(0, 2, (12, 5))
    rows = x[mask == 1].astype(np.float64)
    for batch in (1, 5, 12):
        found = pathlift.calibrate(graph, data={"x": x, "m": mask}, mask="m", batch=batch)
        np.testing.assert_allclose(found.sketch.layers[0].moments()[0], rows.T @ rows / len(rows), rtol=1e-12)
        assert found.to_json()["layers"][0]["rows"] == len(rows)
    for options in ({"mask": "mask"}, {"mask": "m", "data": {"x": x, "m": mask + 1}}):
        with pytest.raises(UsageError, match="PL1505"):
            pathlift.calibrate(graph, **{"data": {"x": x, "m": mask}, **options})


def test_a_batch_that_the_file_fixes(tmp_path: Path) -> None:
    graph = parse_graph(
        "%x = Input : f32[8, 2]\n%w = Param : f32[2, 2]\n%y = Gemm(%x, %w)\nreturn %y", {"w": np.ones((2, 2), "f4")}
    )
    found = pathlift.calibrate(graph, data={"x": np.ones((21, 2), np.float32)})
    assert found.to_json()["rows"] == 16
    assert found.assumptions == ("the last 5 samples of arrays are left out: the file fixes batches of 8",)


def test_what_is_remarkable_is_said(model: str) -> None:
    x = samples(0, 2000)["x"]
    x[:, 2] = 0.01 * x[:, 2]
    x[7, 2] = 30.0
    found = pathlift.calibrate(model, data={"x": x})
    layer = found.to_json()["layers"][0]
    assert layer["outlier_channels"] == [2]
    assert layer["kurtosis_max"] > 1000
    assert "fc1: outliers in channel 2" in str(found)
    assert "not private" in str(found)
    assert not found.warnings
    (warning,) = pathlift.calibrate(model, data={"x": x[:11]}).warnings
    assert "'fc1' has read 11 rows of 6 channels" in warning


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, "PL1508"), ({"data": []}, "PL1508"), ({"merge": True}, "PL1508"),
        ({"show": True, "output": "x"}, "PL1508"),
        ({"merge": True, "show": True}, "PL1508"), ({"show": True, "data": "d0.npz"}, "PL1508"),
        ({"data": "d0.npz", "batch": 0}, "PL1515"), ({"data": "d0.npz", "limit": 0}, "PL1515"),
        ({"data": "d0.npz", "rank": -1}, "PL1515"), ({"data": "d0.npz", "full_width": -1}, "PL1515"),
        ({"data": "d0.npz", "layers": "conv*"}, "PL1513"), ({"data": "d0.npz", "output": "d0.npz"}, "PL1413"),
        ({"data": "d9.npz"}, "PL1500"), ({"data": "d0.npz", "shard": (3, 2)}, "PL1514"),
    ],
)  # fmt: skip
def test_options_that_do_not_go(model: str, options: dict[str, Any], code: str) -> None:
    with pytest.raises(UsageError, match=code):
        pathlift.calibrate(model, **options)


def test_the_same_samples_twice(model: str) -> None:
    Path("again.npz").write_bytes(Path("d0.npz").read_bytes())
    with pytest.raises(UsageError, match=r"PL1503 shard 'd0.npz' .* 'again.npz'"):
        pathlift.calibrate(model, data="*.npz", output="s.npz")
    with pytest.raises(UsageError, match="PL1508"):
        pathlift.calibrate(model, "m.onnx", data="d0.npz")


@pytest.fixture
def cli(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """The command line; its own name is the package's here."""
    found: Callable[..., Any] = request.getfixturevalue("pathlift")
    return found


def test_the_command_line(model: str, cli: Callable[..., Any]) -> None:
    for i in (1, 2):
        found = cli("calibrate", model, "--data", "d*.npz", "--shard", f"{i}/2", "-o", f"s{i}.npz", "--format", "json")
        assert json.loads(found.out)["result"]["output"] == f"s{i}.npz"
    assert cli("calibrate", "--merge", "s1.npz", "s2.npz", "-o", "s.npz").code == 0
    shown = json.loads(cli("calibrate", "--show", "s.npz", "--format", "json").out)["result"]
    assert (shown["rows"], [layer["node"] for layer in shown["layers"]]) == (221, ["fc1", "fc2"])
    assert cli("calibrate", model, "--data", "d0.npz", "--shard", "2of8").code == 2
    assert cli("calibrate", "--merge", "s1.npz", "s1.npz", "-o", "t.npz").code == 2
    assert cli("ks", "fit", model, "--sketch", "s.npz", "--patterns", "auto").code in (0, 1)
    assert cli("prune", model, "--criterion", "wanda", "--sketch", "s.npz", "--sparsity", "0.5").code == 0


def test_charts_are_drawn(model: str) -> None:
    pytest.importorskip("matplotlib")
    pathlift.calibrate(model, data="d0.npz", output="s.npz", chart="a.svg")
    assert pathlift.calibrate("s.npz", show=True, chart="b.svg").bytes == Path("s.npz").stat().st_size
    assert Path("a.svg").read_bytes() == Path("b.svg").read_bytes()
    with pytest.raises(UsageError, match="PL0446"):
        pathlift.calibrate("s.npz", show=True, chart="b.txt")
