"""Kernels in the runtime, interpreted: operands of all kinds, packed weights, refusals."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pathlift.codegen.module import load
from pathlift.codegen.render import render
from pathlift.codegen.schedule import Form, Layout, Schedule
from pathlift.ir.errors import ExecutionError, UsageError
from pathlift.ir.kronecker import Pattern
from pathlift.runtime import kernels, packing, steps
from pathlift.runtime.cards import card, usable
from pathlift.runtime.gradients import ks_gradient
from pathlift.runtime.kernels import ks_linear
from pathlift.testing.kernels import reference

P = Pattern(2, 3, 5, 4)


PLAIN, MERGED = Schedule("dot", Form(), 16, 16, 8), Schedule("dot", Form(precision="tf32"), 16, 16, 8, group=2)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def close(y: Tensor, expected: Tensor, tolerance: float = 1e-6) -> None:
    assert y.shape == expected.shape
    assert float((y.double() - expected).norm()) <= tolerance * float(expected.norm())


@pytest.mark.parametrize("activation", ["", "Relu", "Gelu", "GeluTanh"])
@pytest.mark.parametrize("layouts", [("rows", "rows"), ("features", "features"), ("rows", "features")])
def test_the_epilogue_in_every_layout(layouts: tuple[Layout, Layout], activation: str) -> None:
    x, w, bias, residual = draw(7, P.cols), draw(*P.shape), draw(P.rows), draw(7, P.rows)
    expected = reference(x, [w], bias, residual, activation)
    reads, writes = layouts
    y = ks_linear(
        x if reads == "rows" else x.T, [w], bias=bias, residual=residual if writes == "rows" else residual.T,
        activation=activation, reads=reads, writes=writes,
    )  # fmt: skip
    close(y if writes == "rows" else y.T, expected)


OPERANDS = {
    "strides": draw(P.cols, 3, 2).permute(1, 2, 0),
    "a view": draw(9, 2 * P.cols)[::3, ::2],
    "misaligned": draw(4 * P.cols + 1)[1:].view(4, P.cols),
    "a vector": draw(P.cols),
    "four axes": draw(2, 1, 3, P.cols),
    "empty": draw(2, 0, P.cols),
    "one element, repeated": draw(1).expand(3, P.cols),
}


@pytest.mark.parametrize("case", OPERANDS)
def test_operands_of_all_kinds(case: str) -> None:
    x, w = OPERANDS[case], draw(*P.shape)
    y = ks_linear(x, [w], schedule=PLAIN)
    close(y.reshape(-1, P.rows), reference(x.reshape(-1, P.cols), [w], None, None, ""))
    assert y.shape == (*x.shape[:-1], P.rows)


def test_kernels_get_operands_that_lie_as_they_were_compiled_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    module, kind = steps._module((P,), replace(PLAIN, form=Form(bias=True, residual=True)))

    class Spy:
        pack = staticmethod(module.pack)

        @staticmethod
        def launch(x: Tensor, weights: Sequence[Tensor], y: Tensor, **more: Tensor) -> Tensor:
            seen.extend((x, *weights, y, *more.values()))
            return module.launch(x, weights, y, **more)  # type: ignore[no-any-return]  # a generated module

    monkeypatch.setattr(steps, "_module", lambda *_: (Spy, kind))
    shifted = [draw(n + 1)[1:] for n in (3 * P.cols, P.size, P.rows, 3 * P.rows)]
    x, w, bias, residual = (t.view(s) for t, s in zip(shifted, [(3, -1), P.shape, -1, (3, -1)], strict=True))
    y = ks_linear(x, [w], bias=bias, residual=residual, schedule=PLAIN)
    close(y, reference(x, [w], bias, residual, ""))
    assert [(t.is_contiguous(), t.data_ptr() % 16) for t in seen] == [(True, 0)] * 5


def test_half_precision() -> None:
    x, w, bias = (t.half() for t in (draw(5, P.cols), draw(*P.shape), draw(P.rows)))
    y = ks_linear(x, [w], bias=bias)
    assert y.dtype == torch.float16
    close(y, reference(x, [w], bias, None, ""), 2e-3)


@pytest.mark.parametrize("layout", ["rows", "features"])
def test_products_of_several_factors(layout: Layout) -> None:
    ps = [Pattern(1, 4, 3, 2), Pattern(2, 3, 2, 1), Pattern(1, 2, 5, 2)]
    factors, x, bias, residual = [draw(*p.shape) for p in ps], draw(6, 10), draw(8), draw(6, 8)
    expected = reference(x, factors, bias, residual, "Relu")
    turned = (x, residual) if layout == "rows" else (x.T, residual.T)
    y = ks_linear(
        turned[0], factors, bias=bias, residual=turned[1], activation="Relu", reads=layout, writes=layout
    )  # fmt: skip
    close(y if layout == "rows" else y.T, expected)
    dense = ks_linear(x, factors, bias=bias, residual=residual, activation="Relu", dense=True)
    close(dense, expected)


def test_the_last_of_dense_steps_alone_adds_the_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    ps = [Pattern(1, 4, 3, 2), Pattern(2, 3, 5, 1)]
    factors, x, bias = [draw(*p.shape) for p in ps], draw(6, 10), draw(8)
    monkeypatch.setattr(kernels, "_steps", lambda *_: [steps.Step((p,), Form(), None) for p in reversed(ps)])
    close(ks_linear(x, factors, bias=bias), reference(x, factors, bias, None, ""))


class TestWeights:
    def test_a_change_in_place_is_seen(self) -> None:
        x, w = draw(3, P.cols), draw(*P.shape)
        first = ks_linear(x, [w], schedule=MERGED)
        w *= 2
        close(ks_linear(x, [w], schedule=MERGED), 2 * first.double())
        parameter = torch.nn.Parameter(w)
        with torch.no_grad():
            before = ks_linear(x, [parameter], schedule=MERGED)
            torch.optim.SGD([parameter], 1.0).step()
            parameter.grad = torch.ones_like(parameter)
            torch.optim.SGD([parameter], 1.0).step()
            after = ks_linear(x, [parameter], schedule=MERGED)
        assert not torch.equal(before, after)
        close(after, reference(x, [parameter.detach()], None, None, ""))

    def test_weights_are_packed_once_and_go_with_their_factor(self, monkeypatch: pytest.MonkeyPatch) -> None:
        x, w = draw(3, P.cols), draw(*P.shape)
        held = len(packing._PACKED)
        for schedule in (PLAIN, MERGED, replace(MERGED, block_n=32)):
            ks_linear(x, [w], schedule=schedule)
        assert len(packing._PACKED) == held + 1
        assert len(packing._PACKED[w]) == 2, "schedules that differ in tiles alone share their weights"
        module, kind = steps._module((P,), MERGED)

        def never(*factors: Tensor) -> tuple[Tensor, ...]:
            raise AssertionError("packed again")

        monkeypatch.setattr(module, "pack", never)
        assert packing.packed([w], kind, module.pack)[0].numel() == 2 * w.numel()
        del w
        gc.collect()
        assert len(packing._PACKED) == held


class TestRefusals:
    def test_what_does_not_fit(self) -> None:
        x, w = draw(3, P.cols), draw(*P.shape)
        for message, call in {
            "x has 39 features, not 40": lambda: ks_linear(x[:, 1:], [w]),
            r"bias has shape \(1,\), not \(24,\)": lambda: ks_linear(x, [w], bias=draw(1)),
            r"residual has shape \(24,\), not \(3, 24\)": lambda: ks_linear(x, [w], residual=draw(P.rows)),
            "float64 on cpu meets float32 on cpu": lambda: ks_linear(x, [w.double()]),
            "a factor has 3 axes": lambda: ks_linear(x, [w[0]]),
            "x has 3 axes": lambda: ks_linear(x[None], [w], reads="features"),
            "x has 0 axes": lambda: ks_linear(draw(), [w]),
        }.items():
            with pytest.raises(UsageError, match=f"PL1448.*{message}"):
                call()

    @pytest.mark.parametrize(
        ("dtype", "reason"), [(torch.float64, "do not compute in float64"), (torch.bfloat16, "wrong about bfloat16")]
    )
    def test_element_types_without_kernels(self, dtype: torch.dtype, reason: str) -> None:
        with pytest.raises(UsageError, match=f"PL1447.*{reason}"):
            ks_linear(draw(3, P.cols).to(dtype), [draw(*P.shape).to(dtype)])

    def test_gradients(self) -> None:
        x, w = draw(3, P.cols), draw(*P.shape).requires_grad_()
        with pytest.raises(UsageError, match="PL1449"):
            ks_linear(x, [w])
        with torch.no_grad():
            assert not ks_linear(x, [w]).requires_grad

    def test_what_triton_does_not_manage(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from triton.runtime.errors import OutOfResources

        launch = steps._launch

        def small(x: Tensor, factors: Any, patterns: Any, schedule: Schedule, *more: Any) -> Tensor:
            if schedule.block_n > 16:
                raise OutOfResources(300_000, 232_448, "shared memory")
            return launch(x, factors, patterns, schedule, *more)

        monkeypatch.setattr(steps, "_launch", small)
        x, w = draw(40, P.cols), draw(*P.shape)
        large = replace(PLAIN, block_n=64)
        with pytest.raises(ExecutionError, match=r"PL0932.*\(2,3,5,4\).*shared memory"):
            ks_linear(x, [w], schedule=large)
        step, here = steps.Step((P,), large.form, large), card(x.device)
        for _ in range(2):  # what failed is not tried again
            close(steps.launch(x, [w], step, on=here, frozen=False), reference(x, [w], None, None, ""))
            assert ((P,), large, x.device) in steps._UNFIT
        steps._UNFIT.clear()


def test_what_is_usable() -> None:
    assert usable(draw(1))
    assert usable(draw(1).half())
    assert not usable(draw(1).double())
    assert not usable(torch.zeros(1, dtype=torch.int64))
    assert not usable(draw(1).bfloat16()), "the interpreter computes something else"
    assert card(torch.device("cpu")).multiprocessors == 1


def test_gradients_are_those_of_the_operator() -> None:
    from pathlift.runtime.ks_op import ks_linear as operator

    x, w = draw(3, P.cols).requires_grad_(), draw(*P.shape)
    y = operator(x, [w], None)
    y.backward(torch.ones_like(y))  # type: ignore[no-untyped-call]  # torch's
    assert x.grad is not None
    close(x.grad, reference(torch.ones_like(y), [w.mT.contiguous()], None, None, ""))


def test_views_with_swapped_signs() -> None:
    """Torch swaps signs when it computes; memory holds the old ones."""
    x, w, r = (torch._neg_view(draw(*shape)) for shape in ((5, P.cols), P.shape, (5, P.rows)))
    expected = reference(x.resolve_neg(), [w.resolve_neg()], None, r.resolve_neg(), "")
    close(ks_linear(x, [w], residual=r, schedule=PLAIN), expected)
    close(load(render(P, replace(PLAIN, form=Form(residual=True)))).ks_linear(x, w, residual=r), expected)
    dy = r
    found = ks_gradient(x, dy, P.shape)
    close(found, ks_gradient(x.resolve_neg(), dy.resolve_neg(), P.shape))
    module = load(render(P, Schedule("gradient", Form(), 16, 16, 16)))
    close(found, module.ks_gradient(x, dy))


def test_more_samples_than_a_kernel_counts_are_refused() -> None:
    with pytest.raises(UsageError, match=r"PL1448.*1073741824 samples"):
        ks_linear(torch.empty(1, 1).expand(2**30, 1), [draw(1, 1, 1, 1)])


def test_whatever_the_compiler_raises_is_no_kernel() -> None:
    from triton.compiler.compiler import compile as stages

    with pytest.raises(Exception) as caught:  # noqa: PT011 (whatever it is)
        stages(None)
    assert steps._is_of_compiler(caught.value)
    assert not steps._is_of_compiler(RuntimeError("CUDA error: an illegal memory access was encountered"))
