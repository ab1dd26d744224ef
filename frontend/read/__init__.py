"""Reading a model: from a path or bytes nobody vouches for to a checked, self-consistent `onnx_ir.Model`.

A file passes every check before a library gets to interpret it. What is wrong with it is one of these causes:

====== ================================================================================================
PL0101 not protobuf, or truncated
PL0102 IR version, graph or operator-set import missing
PL0103 IR version too old or too new
PL0104 operator-set version too old or too new
PL0105 text that is not UTF-8
PL0106 refused by the library that interprets it
PL0107 two versions of one operator set
PL0111 a value is defined twice
PL0112 a node reads an undefined value
PL0113 an undefined graph or function output
PL0114 a cycle
PL0115 an input, initializer or function without a name
PL0116 a node without an operator type
PL0117 a malformed attribute
PL0118 a malformed type declaration
PL0119 a tensor that contradicts its declaration
PL0121 unknown element type of a tensor
PL0122 impossible dimensions of a tensor
PL0123 a tensor with more or less data than its shape and type need
PL0124 data of a tensor in the wrong field
PL0125 a malformed sparse tensor
PL0131 external data that cannot be read
PL0132 external data outside its file
PL0133 external data of another size than shape and type need
PL0134 a malformed external data entry
PL0141 a function is defined twice
PL0142 recursive functions
PL0143 a call with more arguments or results than the function has
PL0160 an attribute that the operator does not have
PL0161 an attribute of another type than the operator's
PL0162 an attribute that the operator needs is missing
PL0163 more or fewer inputs or outputs than the operator has
PL0164 an operator that the opset does not have
PL0165 a Constant without exactly one value
PL0201 external data outside the model's folder
PL0202 external data through a symbolic link
PL0203 external data with several hard links
PL0204 external data of a model without a folder
PL0211 a tensor above the memory limit
PL0212 a file above the memory limit
PL0213 functions that expand beyond measure
PL0214 out of memory
PL0391 a sparse attribute of an operator other than Constant
PL0392 a value of map or opaque type
PL0470 no such file
PL0471 not a regular file
PL0472 a file that may not be read
PL0473 `base_dir` is not a folder
====== ================================================================================================
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir

from pathlift.frontend.doubles import Doubles, doubles, restore_attributes
from pathlift.frontend.other_types import OTHER_TYPE
from pathlift.frontend.protos import foreign, quoted
from pathlift.frontend.read.attributes import check_types
from pathlift.frontend.read.checks import check_structure
from pathlift.frontend.read.external import ExternalData
from pathlift.frontend.read.functions import check_functions, inline, prepare_inlining
from pathlift.frontend.read.header import check_header, parse, settle_domains
from pathlift.frontend.read.schemas import check_schemas
from pathlift.frontend.read.scopes import separate_scopes
from pathlift.frontend.read.tensors import check_tensors, densify
from pathlift.frontend.read.weights import cut, restore
from pathlift.frontend.remarks import not_kept, remarks_of
from pathlift.ir.errors import UnsafeModelError, UsageError
from pathlift.ir.limits import MEMORY_LIMIT

PROTOBUF_LIMIT = 2**31 - 1
UNSORTED = "nodes were not in the order of their data: sorted"


@dataclass(frozen=True)
class ReadModel:
    """A model that passed every check.

    Attributes
    ----------
    model
        Nodes sorted, functions inlined; external weights stay on disk.
    path
        The file it was read from, as given; None for bytes.
    sha256
        Hex digest of the main file's bytes; None for a parsed model that is too large to have any.
    warnings
        What was repaired or could not be determined, one sentence each.
    remarks
        What the file says beside the network, as `pathlift.frontend.remarks` keeps it.
    """

    model: onnx_ir.Model
    path: Path | None
    sha256: str | None
    warnings: tuple[str, ...]
    remarks: bytes = b""


def read_model(
    source: str | Path | bytes | onnx.ModelProto | onnx_ir.Model,
    *,
    base_dir: Path | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> ReadModel:
    """Read and check an ONNX model.

    Parameters
    ----------
    source
        A path, the bytes of a file, or a parsed model, which is left unchanged. Attributes of an ``onnx_ir.Model`` on
        data of float64 stay the doubles that they are; in a file, they are float32.
    base_dir
        The folder that external data may come from. Defaults to the folder of the file; without a file there is no
        default, and external data is refused.
    memory_limit
        The most bytes that the file, or any one tensor, may take.

    Raises
    ------
    InvalidModelError
        If the file is not a valid model.
    UnsafeModelError
        If it reaches outside its folder or asks for more than `memory_limit`.
    UnsupportedError
        If a value cannot be represented.
    UsageError
        If there is no such file, or it cannot be read.
    """
    path = Path(source) if isinstance(source, str | Path) else None
    folder = folder_of(path, base_dir)
    exact: Doubles = {}
    if isinstance(source, onnx_ir.Model):
        exact, source = doubles(source), onnx_ir.to_proto(source)
    # Where the large weights are: in no file, whose name would not have a NUL, and that no file can guess.
    location = f"\0{secrets.token_hex()}"
    if isinstance(source, onnx.ModelProto) and _is_huge(source):
        data, digest, proto = b"", None, _copy(source)
    else:
        data = read_bytes(source, memory_limit)
        digest = hashlib.sha256(data).hexdigest()
        proto = parse(cut(data, location), len(data))
    others: dict[str, str] = {}
    remarks = remarks_of(proto)
    warnings = _settle(proto, folder, memory_limit, location, others)
    kept = prepare_inlining(proto)
    model = _interpret(proto, folder)
    restore(model, data, location)
    restore_attributes(model, exact)
    warnings += inline(model, kept)
    separate_scopes(model)
    for value in _named(model, others):
        value.meta[OTHER_TYPE] = others[value.name or ""]
    return ReadModel(model, path, digest, tuple(warnings), remarks)


def _named(model: onnx_ir.Model, names: Collection[str]) -> Iterator[onnx_ir.Value]:
    """Yield the values of the main graph that have these names."""
    for values in (model.graph.inputs, *(node.outputs for node in model.graph)) if names else ():
        yield from (value for value in values if value.name in names)


def _settle(
    proto: onnx.ModelProto, folder: Path | None, memory_limit: int, location: str, others: dict[str, str]
) -> list[str]:
    """Check all of a parsed model, repair what is harmless in place, and return warnings about it."""
    warnings = not_kept(proto)
    proto.ClearField("training_info")
    warnings += settle_domains(proto)
    if check_types(proto, others):
        warnings.append("negative dimensions in declared shapes are read as unknown")
    if check_structure(proto):
        warnings.append(UNSORTED)
    check_functions(proto)
    check_tensors(proto, ExternalData(folder), memory_limit, location)
    check_schemas(proto)
    densify(proto, folder, memory_limit)
    return warnings


def _interpret(proto: onnx.ModelProto, folder: Path | None) -> onnx_ir.Model:
    with foreign("interpret the model"):
        model = onnx_ir.from_proto(proto)
        for graph in (model.graph, *(function.graph for function in model.functions.values())):
            onnx_ir.external_data.set_base_dir(graph, folder or "")
            graph.sort()
    return model


def _is_huge(source: onnx.ModelProto) -> bool:
    """Whether a model cannot be serialized, for its weights alone: exported modules may be larger than files."""
    return sum(len(tensor.raw_data) for tensor in source.graph.initializer) > PROTOBUF_LIMIT


def _copy(source: onnx.ModelProto) -> onnx.ModelProto:
    check_header(source, "a ModelProto")
    proto = onnx.ModelProto()
    with foreign("copy the model"):
        proto.CopyFrom(source)
    return proto


def read_bytes(source: str | Path | bytes | onnx.ModelProto, memory_limit: int) -> bytes:
    """Return the bytes of a model; errors are those of `read_model`."""
    if isinstance(source, bytes):
        return source
    if isinstance(source, onnx.ModelProto):
        with foreign("serialize the model"):
            return bytes(source.SerializeToString(deterministic=True))
    shown = repr(os.fspath(source))  # whole, however long: it is the user's own argument
    try:
        status = os.stat(source)
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device may never end
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise UsageError("0471", f"{shown} is {kind}", hint="name an .onnx file")
        if status.st_size > memory_limit:
            raise UnsafeModelError(
                "0212",
                f"{shown} has {status.st_size} bytes, above the limit of {memory_limit}",
                hint="raise --memory-limit if this is meant",
            )
        with open(source, "rb") as file:
            return file.read(status.st_size)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError("0470", f"there is no file {shown}") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise UsageError("0472", f"cannot read {shown}: {getattr(error, 'strerror', error)}") from error


def folder_of(path: Path | None, base_dir: Path | None) -> Path | None:
    """Return where the data of a model may lie; errors are those of `read_model`."""
    if base_dir is None:
        return Path(os.path.abspath(path)).parent if path else None
    if not base_dir.is_dir():
        raise UsageError("0473", f"base_dir {quoted(str(base_dir))} is not a folder")
    return Path(os.path.abspath(base_dir))
