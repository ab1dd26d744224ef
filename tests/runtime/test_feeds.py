"""Whatever a caller may hold: a session computes on its values, or refuses it with a code; never on something else."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

import pathlift
from pathlift.ir.builder import Builder
from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.runtime.session import ExecutorName

X = np.arange(6, dtype=np.float32).reshape(2, 3) - 2.5
EXECUTORS: tuple[ExecutorName, ...] = ("onnxruntime", "torch")


def graph(*shape: int) -> Graph:
    b = Builder()
    return b.finish(b.op("Neg", b.input("x", shape), name="y"))


class Foreign:
    """Another library's array, known by DLPack alone."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


class Framed:
    """A table that becomes an array when NumPy asks."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return X.astype(dtype or np.float32)


def readonly() -> np.ndarray[Any, Any]:
    x = X.copy()
    x.flags.writeable = False
    return x


ACCEPTED: dict[str, Callable[[], Any]] = {
    "array": lambda: X,
    "negative strides": lambda: X[::-1, ::-1].copy()[::-1, ::-1],
    "every other": lambda: np.repeat(X, 2, axis=1)[:, ::2],
    "transposed": lambda: np.ascontiguousarray(X.T).T,
    "broadcast": lambda: np.broadcast_to(X, (2, 3)),
    "read-only": readonly,
    "big-endian": lambda: X.astype(">f4"),
    "matrix": lambda: np.matrix(X),
    "memoryview": lambda: memoryview(X),
    "tensor": lambda: torch.from_numpy(X.copy()),
    "requires grad": lambda: torch.from_numpy(X.copy()).requires_grad_(),
    "parameter": lambda: torch.nn.Parameter(torch.from_numpy(X.copy())),
    "result of autograd": lambda: torch.from_numpy(X.copy()).requires_grad_() * 1.0,
    "flipped view": lambda: torch.from_numpy(np.ascontiguousarray(X.T)).T,
    "negated view": lambda: torch.complex(torch.zeros(2, 3), torch.from_numpy(-X)).conj().imag,
    "expanded": lambda: torch.from_numpy(X.copy()).expand(2, 3),
    "dlpack of numpy": lambda: Foreign(X.copy()),
    "dlpack of torch": lambda: Foreign(torch.from_numpy(X.copy())),
    "__array__": Framed,
    "list of float32": lambda: [list(row) for row in X],
}
REFUSED: dict[str, tuple[str, Callable[[], Any]]] = {
    "masked": ("PL1421", lambda: np.ma.masked_less(X, 0)),
    "sparse": ("PL1422", lambda: torch.from_numpy(X.copy()).to_sparse()),
    "csr": ("PL1422", lambda: torch.from_numpy(X.copy()).to_sparse_csr()),
    "meta": ("PL1422", lambda: torch.empty(2, 3, device="meta")),
    "nested": ("PL1422", lambda: torch.nested.nested_tensor([torch.ones(3), torch.ones(3)])),
    "quantized": ("PL0491", lambda: torch.quantize_per_tensor(torch.from_numpy(X.copy()), 0.5, 0, torch.qint8)),
    "complex": ("PL0417", lambda: X.astype(np.complex64)),
    "complex tensor": ("PL0417", lambda: torch.from_numpy(X.astype(np.complex64)).conj()),
    "float64": ("PL0417", lambda: X.astype(np.float64)),
    "bfloat16": ("PL0417", lambda: torch.from_numpy(X.copy()).bfloat16()),
    "bfloat16 of ml_dtypes": ("PL0417", lambda: X.astype(ml_dtypes.bfloat16)),
    "list": ("PL0417", X.tolist),
    "number": ("PL0417", lambda: 1.5),
    "objects": ("PL0417", lambda: X.astype(object)),
    "records": ("PL0417", lambda: np.zeros((2, 3), [("a", "f4")])),
    "text": ("PL0491", lambda: "x.npy"),
    "ragged": ("PL0491", lambda: [[1.0], [1.0, 2.0]]),
    "nothing": ("PL0491", lambda: None),
    "dictionary": ("PL0491", lambda: {"x": X}),
    "other shape": ("PL0418", lambda: X.T),
    "a row": ("PL0418", lambda: X[0]),
}


@pytest.fixture(scope="module", params=EXECUTORS)
def session(request: pytest.FixtureRequest) -> pathlift.Session:
    return pathlift.Session(graph(2, 3), executor=request.param)


@pytest.mark.parametrize("kind", ACCEPTED)
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_what_holds_the_values_is_computed_on(session: pathlift.Session, kind: str) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*not writable.*")
        y = session.run([ACCEPTED[kind]()])["y"]
    assert np.array_equal(np.asarray(y.detach() if isinstance(y, torch.Tensor) else y), -X)


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.filterwarnings("ignore:.*(nested tensors|[Ss]parse|quantize)")
def test_what_does_not_is_refused(session: pathlift.Session, kind: str) -> None:
    code, make = REFUSED[kind]
    with pytest.raises(UsageError, match="input 'x'") as error:
        session.run([make()])
    assert error.value.code == code


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("value", [np.float32(2), np.array(2, np.float32), torch.tensor(2.0)])
def test_scalars_fit_an_input_without_axes(executor: ExecutorName, value: Any) -> None:
    assert pathlift.Session(graph(), executor=executor).run([value])["y"] == -2


@pytest.mark.parametrize("feeds", ["x", b"x", None, 3, iter([X]), X, torch.zeros(1, 2, 3), {X.tobytes()}])
def test_feeds_are_named_or_in_order(session: pathlift.Session, feeds: Any) -> None:
    with pytest.raises(UsageError, match="not arrays by name or in order") as error:
        session.run(feeds)
    assert error.value.code == "PL1423"
