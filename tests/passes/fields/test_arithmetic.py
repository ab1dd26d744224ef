"""Norms do not depend on what the process has set for training: they are as accurate, or refused by name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch

from pathlift.ir.builder import Builder
from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.passes.fields.arithmetic import exact_arithmetic
from pathlift.passes.path_norm.path_norm import PathNorm

CPU = torch.device("cpu")
SIZE = 64
LOG10 = np.log10(SIZE) + 2 * np.log10(SIZE * (1 + 2.0**-9))  # of `graph`: bfloat16 would round its weights to 1


def graph() -> Graph:
    b = Builder()
    x = b.input("x", ("N", SIZE))
    for name in ("first", "second"):
        x = b.op("Gemm", x, b.param(np.full((SIZE, SIZE), 1 + 2.0**-9, np.float32), name))
    return b.finish(x)


@pytest.fixture
def medium() -> Iterator[None]:
    """Products of float32 in bfloat16, where the machine has them."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def test_reduced_precision_of_products_is_put_aside(medium: None) -> None:
    result = PathNorm(dtype="float32", per_layer=True).run(graph())
    assert result.norms[0].log10 == pytest.approx(LOG10, abs=1e-6)
    assert [layer.share for layer in result.layers] == pytest.approx([1.0, 1.0], rel=1e-12)
    assert torch.get_float32_matmul_precision() == "medium"


def test_a_thread_that_is_done_leaves_the_precision_of_one_that_is_not(medium: None) -> None:
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with exact_arithmetic(CPU, torch.float32):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    try:
        assert entered.wait(10)
        with exact_arithmetic(CPU, torch.float32):
            leave.set()
            thread.join(10)
            assert not thread.is_alive()
            assert PathNorm(dtype="float32").run(graph()).norms[0].log10 == pytest.approx(LOG10, abs=1e-6)
            product = torch.full((SIZE, SIZE), 1 + 2.0**-9) @ torch.ones(SIZE, SIZE)
            assert product.double().sub(SIZE * (1 + 2.0**-9)).abs().max() < 1e-4
    finally:
        leave.set()
        thread.join(10)
    assert torch.get_float32_matmul_precision() == "medium"


PLACES: dict[str, tuple[Callable[[], Any], str]] = {
    "products on the CPU": (lambda: torch.backends.mkldnn.matmul, "bf16"),
    "convolutions on the CPU": (lambda: torch.backends.mkldnn.conv, "bf16"),
    "products on a GPU": (lambda: torch.backends.cuda.matmul, "tf32"),
    "convolutions on a GPU": (lambda: torch.backends.cudnn.conv, "tf32"),
}


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="this torch has one setting for all")
@pytest.mark.parametrize("name", PLACES)
def test_a_precision_of_torchs_backends_is_put_aside(name: str) -> None:
    place, reduced = PLACES[name][0](), PLACES[name][1]
    before = place.fp32_precision
    place.fp32_precision = reduced
    try:
        with exact_arithmetic(CPU, torch.float32):
            assert place.fp32_precision == "ieee"
        assert place.fp32_precision == reduced
        assert PathNorm().run(graph()).norms[0].log10 == pytest.approx(LOG10, abs=1e-12)
    finally:
        place.fp32_precision = before


def test_flushed_subnormals_are_refused() -> None:
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor does not flush")
    try:
        with pytest.raises(UsageError, match=r"PL0432 .*hint: torch.set_flush_denormal\(False\)"):
            PathNorm().run(graph())
    finally:
        torch.set_flush_denormal(False)
    assert not PathNorm().run(graph()).norms[0].zero


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "setting",
    [
        pytest.param(torch.inference_mode, id="inference_mode"),
        pytest.param(torch.no_grad, id="no_grad"),
        pytest.param(lambda: torch.autocast("cpu", dtype=torch.bfloat16), id="autocast"),
        pytest.param(lambda: torch.device("meta"), id="default_device"),
        pytest.param(nullcontext, id="none"),
    ],
)
def test_norms_shares_and_attributions_are_the_same_under(
    setting: Callable[[], AbstractContextManager[Any]], dtype: str
) -> None:
    with setting():
        result = PathNorm((1.0, 2.0), dtype=dtype, per_layer=True, per_weight=True).run(graph())  # type: ignore[arg-type]  # of the parameters
    assert result.norms[0].log10 == pytest.approx(LOG10, abs=1e-6)
    assert [layer.share for layer in result.layers] == pytest.approx([1.0, 1.0], rel=1e-12)
    assert {name: float(pi.sum()) for name, pi in result.weights.items()} == pytest.approx(
        {"first": 1.0, "second": 1.0}
    )


@pytest.mark.parametrize("default", [torch.float16, torch.bfloat16, torch.float64])
def test_norms_do_not_depend_on_the_default_dtype(default: torch.dtype) -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        result = PathNorm(per_layer=True, per_weight=True, mixed=2.0).run(graph())
    finally:
        torch.set_default_dtype(before)
    # Each of the outputs has the same norm.
    assert result.norms[0].log10 == pytest.approx(LOG10 - np.log10(SIZE) / 2, abs=1e-12)
    assert [layer.share for layer in result.layers] == pytest.approx([1.0, 1.0], rel=1e-12)
    assert all(pi.dtype == torch.float64 for pi in result.weights.values())
