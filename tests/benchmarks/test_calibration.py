"""Parts of the benchmark of `calibrate`: streams of rows, ranges, and how sums are compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks import calibration, calibration_networks, calibration_ranges

import pathlift
from pathlift.passes.sketches.sketch import Sketch

pytest.importorskip("onnxruntime")
WIDTH, ROWS = 16, 2048


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A perceptron."""
    calibration_networks.mlp(WIDTH, calibration_ranges.LAYERS, tmp_path / "mlp.onnx")
    return tmp_path / "mlp.onnx"


def sketch(model: Path, rows: int = 192) -> Sketch:
    return pathlift.calibrate(model, data=calibration_networks.stream(rows, WIDTH)).sketch


def test_a_stream_yields_all_rows_and_its_spike_last() -> None:
    plain = list(calibration_networks.stream(2500, 3)(0, 1))
    assert [len(chunk["x"]) for chunk in plain] == [1024, 1024, 452]
    spiked = calibration_networks.gathered(2500, 3, 77.0)
    assert np.argwhere(spiked != calibration_networks.gathered(2500, 3)).tolist() == [[2499, 2]]
    assert spiked[-1, -1] == 77


def test_shards_of_a_stream_are_all_rows_of_other_samples() -> None:
    shards = [np.concatenate([c["x"] for c in calibration_networks.stream(10, 3)(i, 3)]) for i in range(3)]
    assert [len(shard) for shard in shards] == [3, 3, 4]
    assert len(np.unique(np.concatenate(shards))) == 30


def test_onnxruntime_is_given_the_same_rows() -> None:
    given = [batch["x"] for batch in calibration_ranges.batches(1536, 3, 9.0)]
    assert {len(x) for x in given} == {calibration_ranges.BATCH}
    assert np.array_equal(np.concatenate(given), calibration_networks.gathered(1536, 3, 9.0))


def test_what_layers_read_is_what_onnxruntime_computes(model: Path) -> None:
    from onnxruntime import InferenceSession

    weights = calibration_networks.mlp(WIDTH, calibration_ranges.LAYERS, model)
    x = calibration_networks.gathered(50, WIDTH)
    *_, last = calibration_networks.read_by_layers(x, weights)
    (y,) = InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    assert np.allclose(last @ weights[-1], y, rtol=1e-4, atol=1e-4)


def test_the_extent_is_an_order_statistic() -> None:
    x = np.random.default_rng(0).permutation(np.arange(1, 20_001)).astype(np.float32).reshape(100, 200)
    x[0] *= -1
    assert calibration_ranges.extent(x) == (20_000, 19_998)


@pytest.mark.parametrize("calibrator", [*calibration_ranges.CALIBRATORS, "pathlift"])
def test_ranges_are_those_of_what_layers_read(model: Path, calibrator: str) -> None:
    if calibrator == "pathlift":
        found = calibration_ranges.found_here(model, ROWS, WIDTH, 0.0)
    else:
        if not calibration_ranges.has_calibrators():
            pytest.skip("onnxruntime.quantization cannot be imported: it needs sympy, which may be missing")
        found = calibration_ranges.found_by_onnxruntime(calibrator, model, ROWS, WIDTH, 0.0)
    truth = calibration_ranges.exact(ROWS, WIDTH, 0.0, model.parent)
    assert list(found) == list(truth) == ["x", *(f"r{i}" for i in range(5))]
    largest, quantiles = np.array([np.divide(found[name], truth[name]) for name in truth]).T
    assert np.allclose(quantiles if "Percentile" in calibrator else largest, 1, atol=0.01)
    if calibrator == "pathlift":
        assert np.allclose(quantiles, 1, atol=0.009)


def test_differences_of_sketches_are_seen(model: Path) -> None:
    whole = sketch(model)
    same = calibration.compared(whole, whole, 1, reordered=True)
    assert (same.rows, same.moved, same.moments) == (192, 0, 0)
    assert same.counted == 192 * WIDTH * 6
    second = whole.layers[1]
    counts = second.counts.counts.copy()
    counts[[0, 5]] += [-3, 3]
    changed = replace(second, total=second.total * 1.5, counts=replace(second.counts, counts=counts))
    other = replace(whole, layers=(whole.layers[0], changed, *whole.layers[2:]))
    found = calibration.compared(whole, other, 1, reordered=True)
    assert (found.moved, found.moments) == (3, pytest.approx(0.5))


@pytest.mark.parametrize("shards", [1, 2])
def test_merged_shards_are_the_whole(tmp_path: Path, shards: int) -> None:
    found = calibration.merge(256, shards, WIDTH, tmp_path)
    assert (found.rows, found.shards, found.moved, found.reordered) == (256, shards, 0, True)
    assert found.moments < 1e-12


def test_the_convolutional_network_is_read(tmp_path: Path) -> None:
    timed = calibration.update("cnn", 2, 3, 1, tmp_path)
    assert [len(times) for times in (timed.forward, timed.inputs, timed.outputs)] == [1, 1, 1]
    convolutions = pathlift.calibrate(tmp_path / "network.onnx", data={"x": np.ones((1, 3, 32, 32), np.float32)}).sketch
    assert [layer.layer.width for layer in convolutions.layers] == [27, 288, 288, 64]


def test_errors_are_the_worst_with_their_sign() -> None:
    assert calibration_ranges.error(np.array([1.01, 0.97, 1.02])) == "-3.00 %"
    assert calibration_ranges.error(np.array([1.4, 0.97])) == "+40 %"
    assert calibration_ranges.error(np.array([1.0, 1 + 1e-7])) == "0"


def test_growth_is_from_the_last_but_one() -> None:
    peaks = [calibration.Memory(10**n, 0, 0, peak, 0.0) for n, peak in ((4, 50), (5, 100), (6, 104))]
    assert (
        calibration.verdict(peaks)
        == "From 100,000 rows to 10 times as many it grows by 4.0 %: the target of 5 % is met."
    )
    assert "missed" in calibration.verdict(peaks[:2])


def test_what_is_left_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: dict[str, list[object]] = {name: [] for name in ("memory", "update", "ranges", "merge", "fits")}
    monkeypatch.setattr(calibration, "has_calibrators", lambda: True)
    assert calibration.MISSING not in calibration.report(nothing, {}, (256, 512))
    monkeypatch.setattr(calibration, "has_calibrators", lambda: False)
    assert calibration.MISSING in calibration.report(nothing, {}, (256, 512))


def test_the_update_is_what_the_pass_takes_beyond_the_forward_pass() -> None:
    times = (np.array(seconds) for seconds in ([1.0, 2.0, 1.0], [3.0, 6.0, 3.0], [5.0, 10.0, 5.0]))
    ((_, _, forward, update, whole, outputs, met),) = calibration.update_rows(
        [calibration.Update("512", 64, 1000, *times)]
    )
    assert [cell.split()[0] for cell in (forward, update, whole, outputs)] == ["1000", "2.00", "3.00", "5.00"]
    assert met == "met"
