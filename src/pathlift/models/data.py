"""Data that a verb is given: arrays by input name, in batches."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pathlift.ir.errors import UsageError, about
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array, TensorType
from pathlift.runtime.ports import as_feed, as_numpy

_BATCH = 64


def read_calibration(graph: Graph, data: Any) -> dict[str, Array]:
    """Read arrays of samples, the first axis of each, for all inputs of a graph.

    Parameters
    ----------
    graph
        What reads them.
    data
        An ``.npz`` file, or arrays by input name.

    Raises
    ------
    UsageError
        If the file cannot be read, or arrays are missing, unknown, of another shape or type, or not finite.
    """
    arrays = dict(data) if isinstance(data, Mapping) else _from_file(data)
    names = [graph[key].names[0] for key in graph.inputs]
    if set(arrays) != set(names):
        raise UsageError("0477", f"the data holds {sorted(arrays)}, not the inputs {names}", hint="np.savez(file, x=…)")
    arrays = {name: as_numpy(as_feed(a, name)) for name, a in arrays.items()}
    counts = {name: len(a) if np.ndim(a) else 0 for name, a in arrays.items()}
    if len(set(counts.values())) != 1 or not min(counts.values()):
        raise UsageError("0477", f"the data holds {counts} samples: they must be as many, and at least one")
    return {
        name: _checked(name, arrays[name], graph[key].types[0]) for name, key in zip(names, graph.inputs, strict=True)
    }


def read_arrays(inputs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return arrays by name, if any; paths are those of ``.npy`` files, or, under the name ``""``, of an ``.npz`` file.

    Raises
    ------
    UsageError
        If a file cannot be read, or holds something else, or what is given has no names.
    """
    if inputs is None:
        return {}
    if not isinstance(inputs, Mapping):
        kind = type(inputs).__name__
        raise UsageError("1425", f"inputs are a {kind}, not arrays by name", hint='run(model, {"x": x})')
    arrays: dict[str, Any] = {}
    for name, value in inputs.items():
        if not isinstance(value, str | os.PathLike):
            arrays[name] = value
        elif name:
            loaded = _loaded(value)
            if not isinstance(loaded, np.ndarray):
                raise UsageError(
                    "0478", f"{os.fspath(value)!r} holds several arrays", hint="--input file.npz takes all"
                )
            arrays[name] = loaded
        else:
            arrays |= _from_file(value)
    return arrays


def _from_file(path: str | os.PathLike[str]) -> dict[str, Array]:
    loaded: dict[str, Array] = _loaded(path)
    if isinstance(loaded, np.ndarray):
        raise UsageError("0478", f"{os.fspath(path)!r} holds one array", hint="np.savez(file, x=…) names it")
    return loaded


def _loaded(path: str | os.PathLike[str]) -> Any:
    with about(path):
        return _read(path)


def _read(path: str | os.PathLike[str]) -> Any:
    shown = repr(os.fspath(path))
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.lib.npyio.NpzFile):
            with loaded as file:
                return {name: file[name] for name in file.files}
        return loaded
    except FileNotFoundError as error:
        raise UsageError("0470", f"there is no file {shown}") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError, MemoryError) as error:
        # What NumPy says may advise to unpickle it.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is no file of plain arrays"
        raise UsageError("0478", f"cannot read {shown}: {reason}", hint="np.save and np.savez write them") from error


def _checked(name: str, array: Array, type_: Any) -> Array:
    fitting = of_type(name, array, type_)
    typed = isinstance(type_, TensorType) and type_.dtype is not None
    if typed and array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UsageError("0479", f"the data of input {name!r} is not finite")
    return fitting


def of_type(name: str, array: Array, type_: Any) -> Array:
    """Return samples as an input takes them.

    Raises
    ------
    UsageError
        If their shape or type is another.
    """
    if not isinstance(type_, TensorType) or type_.dtype is None:
        return array
    if array.dtype.kind not in "fiub" or (type_.dtype.kind in "iub" and array.dtype.kind == "f"):
        raise UsageError("0479", f"input {name!r} takes {type_.dtype}, the data holds {array.dtype}")
    expected = type_.shape
    if expected is not None:
        fits = len(expected) == array.ndim and all(
            not isinstance(e, int) or e == n for e, n in zip(expected[1:], array.shape[1:], strict=False)
        )
        if not fits:
            raise UsageError("0479", f"input {name!r} is {type_}, the data is {list(array.shape)}")
    return array.astype(type_.dtype, copy=False)


def batches(graph: Graph, arrays: Mapping[str, Array]) -> Iterator[Mapping[str, Array]]:
    """Yield samples in batches of the size that the file fixes, without what is `left_over`, or of 64."""
    fixed, count = fixed_batch(graph), min(map(len, arrays.values()))
    step = fixed or _BATCH
    for start in range(0, count, step):
        if start + step <= count or not fixed:
            yield {name: a[start : start + step] for name, a in arrays.items()}


def left_over(graph: Graph, arrays: Mapping[str, Array]) -> tuple[str, ...]:
    """Say which samples are in no batch, if any."""
    fixed, count = fixed_batch(graph), min(map(len, arrays.values()))
    if not fixed or not count % fixed:
        return ()
    return (f"the last {count % fixed} of {count} samples are left out: the file fixes batches of {fixed}",)


def fixed_batch(graph: Graph) -> int:
    """Return the batch size that a file fixes; 0 if it fixes none."""
    fixed = {t.shape[0] for key in graph.inputs if isinstance(t := graph[key].types[0], TensorType) and t.shape}
    return next((n for n in fixed if isinstance(n, int)), 0)
