"""Files that are no model, or of versions that nobody knows, are refused: with their own code, naming the culprit."""

import os

import onnx
import pytest

from pathlift.frontend.read import read_model
from pathlift.ir.errors import InvalidModelError, UnsafeModelError, UsageError


def test_garbage_and_truncation_give_the_size(refused, relu):
    refused(b"\xff" * 37, "0101", "37 bytes")
    data = relu().SerializeToString()
    refused(data[:-1], "0101", f"{len(data) - 1} bytes")


def test_every_truncation_is_refused(relu):
    data = relu().SerializeToString()
    for length in range(len(data)):
        with pytest.raises(InvalidModelError, match=r"PL010[12] "):
            read_model(data[:length])


@pytest.mark.parametrize("field", ["ir_version", "graph", "opset_import"])
def test_required_fields(refused, relu, field):
    made = relu()
    made.ClearField(field)
    refused(made, "0102", field)


def test_empty_files(refused, tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"")
    refused(tmp_path / "m.onnx", "0102", "0 bytes")
    refused(b"", "0102", "0 bytes")


def test_paths_that_cannot_be_read(refused, relu, tmp_path):
    refused(tmp_path / "absent.onnx", "0470", "absent.onnx", error=UsageError)
    refused(tmp_path, "0471", "folder", error=UsageError)
    refused("\0.onnx", "0472", error=UsageError)
    refused("", "0470", error=UsageError)
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "0471", "regular", error=UsageError)
    refused(relu(), "0473", error=UsageError, base_dir=tmp_path / "absent")


def test_a_file_above_the_memory_limit_is_not_read(refused, tmp_path):
    path = tmp_path / "m.onnx"
    with open(path, "wb") as file:
        file.truncate(10**12)
    refused(path, "0212", "1000000000000 bytes", error=UnsafeModelError)


@pytest.mark.parametrize("version", [0, 2, onnx.IR_VERSION + 1, 2**62, -1])
def test_ir_versions(refused, relu, version):
    refused(relu(ir_version=version), "0103", str(version))


@pytest.mark.parametrize("version", [0, 6, onnx.defs.onnx_opset_version() + 1, 2**62, -1])
def test_opset_versions(refused, relu, version):
    made = relu()
    made.opset_import[0].version = version
    refused(made, "0104", str(version))


def test_missing_and_conflicting_opsets(refused, relu):
    made = relu()
    made.opset_import[0].domain = "other"
    refused(made, "0102", "opset")
    made = relu()
    made.opset_import.add(domain="ai.onnx", version=17)
    refused(made, "0107", "two versions")


def test_text_that_is_not_utf8(refused, relu):
    data = relu().SerializeToString()
    assert data.count(b"act") == 1
    refused(data.replace(b"act", b"a\xff\xfe"), "0105")
