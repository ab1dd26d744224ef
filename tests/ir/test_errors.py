"""Coded errors as objects: they survive pickling and copying whole, however they were made."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest

import pathlift.frontend.files
import pathlift.passes.pipeline
import pathlift.passes.registry  # noqa: F401  # these define classes of their own
from pathlift.ir.errors import PathliftError, UnsupportedError, about


def classes(base: type[PathliftError] = PathliftError) -> Iterator[type[PathliftError]]:
    yield base
    for child in base.__subclasses__():
        yield from classes(child)


@pytest.mark.parametrize("kind", sorted(set(classes()), key=lambda kind: kind.__name__))
def test_errors_travel(kind: type[PathliftError]) -> None:
    error = kind.__new__(kind, "node 'conv3' (Conv): no")
    PathliftError.__init__(error, "0000", "node 'conv3' (Conv): no", hint="do")  # some classes make their own message
    with pytest.raises(kind, match="PL0000"), about("m.onnx"):
        raise error
    for made in (copy.copy(error), *(pickle.loads(pickle.dumps(error, p)) for p in range(6))):
        assert type(made) is kind
        assert str(made) == "PL0000 node 'conv3' (Conv): no hint: do"
        assert made.args == error.args
        assert (made.node, made.op, made.input, made.exit_code) == ("conv3", "Conv", "m.onnx", kind.exit_code)


def test_a_refusal_keeps_its_reason() -> None:
    made = pickle.loads(pickle.dumps(UnsupportedError("0304", "no rule").at("fc1", "Gemm")))
    assert (made.reason, made.node, made.op) == ("no rule", "fc1", "Gemm")
    assert str(made.at("other", "Conv")) == "PL0304 node 'fc1' (Gemm): no rule"
