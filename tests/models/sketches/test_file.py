"""Sketches as files: what was written is read, what lies is refused, and what does not add up is not added."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pathlift
from pathlift.ir.errors import InvalidModelError, PathliftError, UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph
from pathlift.models.sketches.file import read_sketch_file, write_sketch

TEXT = "%x = Input : f32[N, 6]\n%w = Param : f32[6, 5]\n%fc1 = Gemm(%x, %w)\nreturn %fc1"
Arrays = dict[str, Any]


def network(text: str = TEXT) -> Graph:
    return parse_graph(text, {"w": np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)})


def made(path: Path, data_seed: int = 0, graph: Graph | None = None, **options: Any) -> Path:
    data = {"x": np.random.default_rng(data_seed).normal(size=(40, 6)).astype(np.float32)}
    pathlift.calibrate(graph or network(), data=data, output=path, **options)
    return path


@pytest.mark.parametrize("options", [{}, {"outputs": True}, {"full_width": 0, "rank": 3}, {"full_width": 0, "rank": 0}])
def test_what_was_written_is_read(tmp_path: Path, options: Any) -> None:
    path = made(tmp_path / "s.npz", **options)
    sketch = read_sketch_file(path)
    write_sketch(sketch, tmp_path / "again.npz")
    assert path.read_bytes() == (tmp_path / "again.npz").read_bytes()
    assert not [name for name in np.load(path, allow_pickle=False).files if name not in ("meta",) and name[0] != "L"]
    (layer,) = sketch.layers
    assert abs(layer.bytes - sum(np.load(path)[n].nbytes for n in np.load(path).files if n != "meta")) <= 32


def changed(path: Path, change: Callable[[Arrays, Any], None]) -> Path:
    """The same file with other arrays, or other metadata."""
    arrays: Arrays = dict(np.load(path))
    meta = json.loads(bytes(arrays["meta"]))
    change(arrays, meta)
    if "meta" in arrays:
        arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(path.with_name("changed.npz"), **arrays)
    return path.with_name("changed.npz")


def put(name: str, value: Any) -> Callable[[Arrays, Any], None]:
    return lambda arrays, meta: arrays.update({name: value})


def say(*keys: Any, value: Any) -> Callable[[Arrays, Any], None]:
    def change(arrays: Arrays, meta: Any) -> None:
        for key in keys[:-1]:
            meta = meta[key]
        meta[keys[-1]] = value

    return change


def flip(name: str, value: float) -> Callable[[Arrays, Any], None]:
    def change(arrays: Arrays, meta: Any) -> None:
        arrays[name] = arrays[name].copy()
        arrays[name].reshape(-1)[-1] = value

    return change


LIES: dict[str, Callable[[Arrays, Any], None]] = {
    "no metadata": lambda arrays, meta: arrays.pop("meta"),
    "another schema": say("schema", value=2),
    "float32": lambda a, m: a.update({"L0/C": a["L0/C"].astype(np.float32)}),
    "too few": put("L0/C", np.zeros((1, 20))),
    "no array": lambda arrays, meta: arrays.pop("L0/C"),
    "one more": put("L0/D", np.zeros(3)),
    "of no layer": put("L7/C", np.zeros(3)),
    "NaN": flip("L0/C", np.nan),
    "infinite": flip("L0/powers", np.inf),
    "a sum of fourth powers below 0": flip("L0/powers", -1.0),
    "a sum of g² below 0": flip("L0/squares", -1.0),
    "extremes": lambda a, m: a.update({"L0/extremes": a["L0/extremes"][::-1]}),
    "a range": lambda a, m: a.update({"L0/range": a["L0/range"][::-1]}),
    "a count of 0": flip("L0/counts", 0),
    "a count below 0": flip("L0/counts", -3),
    "counts that overflow": lambda a, m: a.update({"L0/counts": np.full_like(a["L0/counts"], 2**62)}),
    "bins that fall": lambda a, m: a.update({"L0/bins": a["L0/bins"][::-1]}),
    "a bin too far": flip("L0/bins", 40000),
    "a width": say("layers", 0, "width", value=7),
    "an absurd width": say("layers", 0, "width", value=2**40),
    "rows below 0": say("layers", 0, "rows", value=-1),
    "rows of a fraction": say("layers", 0, "rows", value=1.5),
    "samples": say("rows", value=41),
    "no layers": say("layers", value=[]),
    "layers": say("layers", value=3),
    "a kind": say("layers", 0, "second", "kind", value="square"),
    "a projection": say("layers", 0, "second", value={"kind": "projected", "rank": 3, "seed": 0, "omega": ""}),
    "an absurd rank": say("layers", 0, "second", value={"kind": "projected", "rank": 2**50, "seed": 0, "omega": ""}),
    "outputs": say("outputs", value=-1.0),
    "no outputs": say("outputs", value=None),
    "a shard twice": lambda a, m: m.update(shards=m["shards"] * 2, rows=80),
    "shards": say("shards", value=[3]),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_what_lies_is_refused(tmp_path: Path, lie: Callable[[Arrays, Any], None]) -> None:
    path = made(tmp_path / "s.npz", outputs=True)
    assert read_sketch_file(changed(path, lambda arrays, meta: None)).samples == 40
    with pytest.raises(InvalidModelError, match="PL0186"):
        read_sketch_file(changed(path, lie))


def test_random_vectors_must_be_the_same(tmp_path: Path) -> None:
    path = made(tmp_path / "s.npz", full_width=0, rank=3)
    with pytest.raises(InvalidModelError, match=r"PL0186 .*Ω of 'fc1'"):
        read_sketch_file(changed(path, say("layers", 0, "second", "seed", value=1)))


def test_no_file_ends_in_a_traceback(tmp_path: Path) -> None:
    whole = made(tmp_path / "s.npz").read_bytes()
    for i in range(0, len(whole), max(1, len(whole) // 60)):
        (tmp_path / "bad.npz").write_bytes(whole[:i])
        with pytest.raises(PathliftError, match=r"PL1501|PL0186"):
            read_sketch_file(tmp_path / "bad.npz")
        (tmp_path / "bad.npz").write_bytes(whole[:i] + bytes([whole[i] ^ 255]) + whole[i + 1 :])
        with suppress(PathliftError):  # a byte of a name, say, changes nothing that can be checked
            read_sketch_file(tmp_path / "bad.npz")


def test_pickles_and_promises_of_much_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "pickle.npz", meta=np.array([{}], object))
    header = (
        b"\x93NUMPY\x01\x00\x76\x00"
        + b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117)
        + b"\n"
    )
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as file:
        file.writestr("meta.npy", header)
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as file:
        file.writestr("meta.txt", buffer.getvalue())
    for name in ("pickle", "huge", "other"):
        with pytest.raises(UsageError, match="PL1501"):
            read_sketch_file(tmp_path / f"{name}.npz")
    np.savez(tmp_path / "data.npz", x=np.zeros(3))
    with pytest.raises(InvalidModelError, match=r"PL0186 .*it lacks 'meta'"):
        read_sketch_file(tmp_path / "data.npz")


def test_what_does_not_add_up(tmp_path: Path) -> None:
    first = made(tmp_path / "a.npz")
    other = network(TEXT.replace("return %fc1", "%y = Gemm(%fc1, %w) {trans_w=true}\nreturn %y"))
    renamed = network(TEXT.replace("fc1", "fc2"))
    weights = parse_graph(TEXT, {"w": np.ones((6, 5), np.float32)})
    for made_, said in (
        (made(tmp_path / "b.npz", 1, other), "of other layers"),
        (made(tmp_path / "c.npz", 1, renamed), "of other layers"),
        (made(tmp_path / "d.npz", 1, weights), "weights of 'fc1'"),
        (made(tmp_path / "e.npz", 1, outputs=True), "gradients"),
        (made(tmp_path / "f.npz", 1, full_width=0, rank=3), "kept in other ways"),
    ):
        with pytest.raises(UsageError, match=f"PL1504 .*{said}"):
            pathlift.calibrate(first, made_, merge=True, output=tmp_path / "s.npz")
    for seed in (0, 1):
        made(tmp_path / f"o{seed}.npz", seed, full_width=0, rank=3, seed=seed)
    with pytest.raises(UsageError, match=r"PL1504 .*Ω"):
        pathlift.calibrate(tmp_path / "o0.npz", tmp_path / "o1.npz", merge=True, output=tmp_path / "s.npz")
    with pytest.raises(UsageError, match="PL1503"):
        pathlift.calibrate(first, made(tmp_path / "g.npz"), merge=True, output=tmp_path / "s.npz")
    assert not (tmp_path / "s.npz").exists()


def test_files_of_other_models_do_not_add_up(tmp_path: Path) -> None:
    """The layers are the same, but not what lies between them."""
    for i, op in enumerate(("Relu", "Tanh")):
        text = TEXT.replace("return %fc1", f"%y = {op}(%fc1)\nreturn %y")
        pathlift.save(network(text), tmp_path / f"m{i}.onnx")
        data = {"x": np.random.default_rng(i).normal(size=(40, 6)).astype(np.float32)}
        pathlift.calibrate(tmp_path / f"m{i}.onnx", data=data, output=tmp_path / f"{i}.npz")
    with pytest.raises(UsageError, match=r"PL1504 .*other models"):
        pathlift.calibrate(tmp_path / "0.npz", tmp_path / "1.npz", merge=True, output=tmp_path / "s.npz")
