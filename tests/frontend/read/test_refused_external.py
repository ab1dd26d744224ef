"""External data outside of the model's folder, or of another size, is refused wherever it is."""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pathlift.frontend.read import read_model
from pathlift.ir.errors import UnsafeModelError
from pathlift.testing.onnx_models import external, info, model, node

FLOATS = np.arange(6, dtype=np.float32).reshape(2, 3)


BOOL = TensorProto.BOOL


CONDITION = info("c", (), BOOL)


RAW = FLOATS.tobytes()


def held(location="w.bin", dims=(2, 3), data_type=TensorProto.FLOAT, **entries):
    return external(TensorProto(name="w", dims=dims, data_type=data_type), location, **entries)


@pytest.fixture
def folder(tmp_path):
    """Return a model's folder with 24 bytes of data in it, and a secret next to it."""
    (tmp_path / "secret").write_bytes(RAW)
    made = tmp_path / "model"
    made.mkdir()
    (made / "w.bin").write_bytes(RAW)
    return made


def saved(folder, stored):
    path = folder / "m.onnx"
    path.write_bytes(model([], [], [], [stored]).SerializeToString())
    return path


@pytest.mark.parametrize(
    "location", ["../secret", "a/../../secret", "./../secret", r"..\secret", "C:secret", r"C:\secret"]
)
def test_external_data_stays_in_the_folder(refused, folder, location):
    refused(saved(folder, held(location)), "0201", "'w'", error=UnsafeModelError)


def test_external_data_is_not_absolute(refused, folder):
    refused(saved(folder, held(str(folder.parent / "secret"))), "0201", error=UnsafeModelError)
    refused(saved(folder, held(str(folder / "w.bin"))), "0201", error=UnsafeModelError)


def test_external_data_through_links(refused, folder):
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "inside").symlink_to(folder / "w.bin")
    (folder / "up").symlink_to(folder.parent)
    for location in ("link", "inside", "up/secret"):
        refused(saved(folder, held(location)), "0202", "'w'", error=UnsafeModelError)
    os.link(folder.parent / "secret", folder / "hard")
    refused(saved(folder, held("hard")), "0203", "'w'", error=UnsafeModelError)


def test_a_bare_file_name_does_not_weaken_the_checks(refused, folder, monkeypatch):
    saved(folder, held("../secret"))
    monkeypatch.chdir(folder)
    refused("m.onnx", "0201", error=UnsafeModelError)


def test_external_data_of_bytes(refused, folder):
    data = saved(folder, held()).read_bytes()
    refused(data, "0204", "'w'", error=UnsafeModelError)
    refused(data, "0131", base_dir=folder.parent)
    assert read_model(data, base_dir=folder)


@pytest.mark.parametrize(
    "location", ["absent.bin", ".", "sub/w.bin", "w.bin/x", "a\0b", "x" * 5000, "http://host/w.bin"]
)
def test_external_data_that_is_missing(refused, folder, location):
    refused(saved(folder, held(location)), "0131", "'w'")


def test_external_data_that_is_not_a_file(refused, folder):
    (folder / "data").mkdir()
    refused(saved(folder, held("data")), "0131")
    os.mkfifo(folder / "pipe")
    refused(saved(folder, held("pipe")), "0131")


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ({"offset": 1}, "0132"),
        ({"offset": 24}, "0132"),
        ({"offset": 2**62}, "0132"),
        ({"length": 20}, "0133"),
        ({"length": 28}, "0133"),
        ({"length": 2**62}, "0133"),
        ({"offset": -4}, "0134"),
        ({"length": -24}, "0134"),
        ({"length": "24x"}, "0134"),
        ({"length": ""}, "0134"),
        ({"length": "٢٤"}, "0134"),
        ({"length": "9" * 5000}, "0134"),
        ({"dims": (2, 4)}, "0132"),
        ({"dims": (2, 2), "length": 24}, "0133"),
        ({"location": ""}, "0134"),
        ({"__class__": "x"}, "0134"),
        ({"data_type": TensorProto.STRING}, "0134"),
    ],
)
def test_external_data_sizes(refused, folder, entries, code):
    refused(saved(folder, held(**entries)), code, "'w'")


def test_repeated_external_entries(refused, folder):
    made = held()
    made.external_data.add(key="location", value="../secret")
    refused(saved(folder, made), "0134", "'location'")


def test_absurd_external_tensors(refused, folder):
    with open(folder / "w.bin", "wb") as file:
        file.truncate(2**42)
    refused(saved(folder, held(dims=(2**40,))), "0211", "'w'", error=UnsafeModelError)


def choice(constant):
    body = helper.make_graph([constant], "branch", [], [info("o")])
    return node("If", "c", "y", then_branch=body, else_branch=body)


def bad_function():
    constant = node("Constant", "", "k", value=held("../secret"))
    return helper.make_function("f", "F", ["a"], ["k"], [constant], [helper.make_opsetid("", 18)])


@pytest.mark.parametrize(
    "made",
    [
        model([node("Constant", "", "k", value=held("../secret"))], [], []),
        model([choice(node("Constant", "", "o", value=held("../secret")))], [CONDITION], []),
        model([node("Mine", "", "k", domain="m", values=[held("../secret")])], [], []),
        model(
            [node("If", "c", "y", then_branch=helper.make_graph([], "g", [], [], [held("../secret")]))], [CONDITION], []
        ),
        model([], sparse_initializer=[onnx.SparseTensorProto(values=held("../secret"), dims=[2])]),
        model([], sparse_initializer=[onnx.SparseTensorProto(indices=held("../secret"), dims=[2])]),
    ],
)
def test_external_data_is_checked_wherever_it_is(refused, folder, made):
    for sparse_tensor in made.graph.sparse_initializer:
        for part in (sparse_tensor.values, sparse_tensor.indices):
            part.name = part.name or "p"
            if part.data_location != TensorProto.EXTERNAL:
                part.MergeFrom(numpy_helper.from_array(np.array([0]), "p"))
    refused(made, "0201", "secret", error=UnsafeModelError, base_dir=folder)


def test_external_data_of_functions_is_checked(refused, relu, folder):
    made = relu()
    made.functions.append(bad_function())
    refused(made, "0201", error=UnsafeModelError, base_dir=folder)
