"""External data that is not there, or lies out of the model's folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import GraphProto, ModelProto, helper, numpy_helper

from pathlift.testing.onnx_models import external

W = np.float32([[1, -2], [0.5, 0], [-0.25, 3]])  # three outputs, two inputs


@pytest.mark.parametrize(
    ("stored", "entries"),
    [
        (None, {}),
        (W.tobytes()[:-1], {}),
        (W.tobytes(), {"offset": 1}),
        (W.tobytes(), {"length": 10**15}),
        (W.tobytes(), {"offset": 2**63 - 1}),
        (W.tobytes(), {"length": "-1"}),
    ],
    ids=["missing", "short", "shifted", "absurd-length", "absurd-offset", "negative"],
)
def test_row_03_external_data_that_is_not_there(
    make: Any, cli: Any, tmp_path: Path, stored: bytes | None, entries: dict[str, Any]
) -> None:
    if stored is not None:
        (tmp_path / "w.bin").write_bytes(stored)
    proto = make.linear()
    external(proto.graph.initializer[0], "w.bin", **entries)
    cli.refused(make.saved(tmp_path, proto), 3, "'w'")


def in_initializer(make: Any, location: str) -> ModelProto:
    proto = make.linear()
    external(proto.graph.initializer[0], location)
    return proto


def in_attribute(make: Any, location: str) -> ModelProto:
    constant = make.node("Constant", [], ["w"], value=external(numpy_helper.from_array(W, "w"), location))
    return make.model([constant, make.node("Gemm", ["x", "w"], transB=1)])


def in_subgraph(make: Any, location: str) -> ModelProto:
    def inner() -> GraphProto:
        weight = external(numpy_helper.from_array(W, "w"), location)
        ends = [helper.make_empty_tensor_value_info("b")]
        return helper.make_graph([make.node("Gemm", ["x", "w"], ["b"], transB=1)], "branch", [], ends, [weight])

    return make.model([make.node("If", ["c"], then_branch=inner(), else_branch=inner())], {"c": np.array(True)})


def in_function(make: Any, location: str) -> ModelProto:
    constant = make.node("Constant", [], ["w"], value=external(numpy_helper.from_array(W, "w"), location))
    body = [constant, make.node("Gemm", ["a", "w"], ["b"], transB=1)]
    proto = make.model([make.node("F", ["x"], domain="mine")], domains=["mine"])
    proto.functions.append(helper.make_function("mine", "F", ["a"], ["b"], body, [helper.make_opsetid("", 21)]))
    return proto


@pytest.mark.parametrize("way", ["parent", "absolute", "symlink", "folder-symlink", "hardlink"])
@pytest.mark.parametrize("place", [in_initializer, in_attribute, in_subgraph, in_function])
def test_row_04_external_data_out_of_the_folder(
    make: Any,
    cli: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    place: Callable[[Any, str], ModelProto],
) -> None:
    folder, secret = tmp_path / "model", tmp_path / "secret" / "w.bin"
    folder.mkdir()
    secret.parent.mkdir()
    secret.write_bytes(W.tobytes())
    if way == "symlink":
        (folder / "w.bin").symlink_to(secret)
    elif way == "folder-symlink":
        (folder / "sub").symlink_to(secret.parent)
    elif way == "hardlink":
        os.link(secret, folder / "w.bin")
    location = {"parent": "../secret/w.bin", "absolute": str(secret), "folder-symlink": "sub/w.bin"}.get(way, "w.bin")
    path = make.saved(folder, place(make, location))
    cli.refused(path, 3, "'w'" if place in (in_initializer, in_subgraph) else "'my_Constant'", verbs=["norm"])
    monkeypatch.chdir(folder)  # a bare file name must not weaken the checks
    outcome = cli("norm", "m.onnx")
    assert (outcome.code, outcome.out) == (3, "")


def test_row_04_bytes_have_no_folder(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlift import PathliftError, norm

    (tmp_path / "w.bin").write_bytes(W.tobytes())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PathliftError, match="base_dir") as refusal:
        norm(in_initializer(make, "w.bin").SerializeToString())
    assert refusal.value.exit_code == 3
