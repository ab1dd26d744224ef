"""Operands between guard bands, and what kernels should make of them, in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from benchmarks.gpu.kernels import pattern
from torch import Tensor

from pathlift.codegen.module import load
from pathlift.codegen.render import render
from pathlift.codegen.schedule import Form, Layout, Schedule
from pathlift.ir.kronecker import Pattern
from pathlift.testing.kernels import ACTIVATIONS


class Guarded:
    """Contiguous copies of operands between bands of NaN: what is read there spoils results, what is written is seen.

    Parameters
    ----------
    operands
        By name.
    guard
        Elements of a band.
    """

    def __init__(self, operands: Mapping[str, Tensor], guard: int) -> None:
        self._guard = guard
        self._memory = {name: _between(x, guard) for name, x in operands.items()}
        self._inner = {
            name: self._memory[name][guard : guard + x.numel()].view(x.shape) for name, x in operands.items()
        }
        self._before = {name: memory.clone() for name, memory in self._memory.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self._inner[name]

    def get(self, name: str) -> Tensor | None:
        """An operand, if there is one of that name."""
        return self._inner.get(name)

    def check(self, result: str) -> None:
        """Raise if anything but the result was written to."""
        for name, memory in self._memory.items():
            untouched = torch.equal(memory.nan_to_num(7.0), self._before[name].nan_to_num(7.0))
            if name != result and not untouched:
                raise ArithmeticError(f"{name} was written to")
            if not (memory[: self._guard].isnan().all() and memory[-self._guard :].isnan().all()):
                raise ArithmeticError(f"memory around {name} was written to")


def _between(x: Tensor, guard: int) -> Tensor:
    memory = torch.full((x.numel() + 2 * guard,), torch.nan, dtype=x.dtype, device=x.device)
    _inside(memory, guard).view(x.shape).copy_(x)
    return memory


def _inside(memory: Tensor, guard: int) -> Tensor:
    return memory[guard : len(memory) - guard]


def laid_out(x: Tensor, layout: Layout) -> Tensor:
    """Bring rows into a layout, or back."""
    return x if layout == "rows" else x.mT


def times(x: Tensor, factor: Tensor) -> Tensor:
    """The product of rows with a factor, by definition, in float64."""
    p = pattern(factor)
    blocks = x.double().reshape(-1, p.a, p.c, p.d)
    return torch.einsum("nakd,adbk->nabd", blocks, factor.double()).reshape(-1, p.rows)


def difference(found: Tensor, expected: Tensor) -> float:
    """The relative error; NaN if anything is."""
    return float((found.double() - expected).norm() / expected.norm())


class Drawn:
    """Random operands of a kernel.

    Parameters
    ----------
    patterns
        Of the factors, as they multiply.
    form
        What is computed.
    samples
        Rows of x.
    seed
        Of what is drawn.
    device
        Where it lies.
    """

    def __init__(self, patterns: Sequence[Pattern], form: Form, samples: int, seed: int, device: str) -> None:
        rng, dtype = torch.Generator(device).manual_seed(seed), getattr(torch, form.dtype)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=rng, device=device).to(dtype)

        rows = patterns[0].rows
        self.x, self.factors = draw(samples, patterns[-1].cols), [draw(*p.shape) for p in patterns]
        self.bias = draw(rows) if form.bias else None
        self.residual = draw(samples, rows) if form.residual else None
        self.form, self.dy = form, draw(samples, rows)

    def operands(self, weights: Sequence[Tensor]) -> dict[str, Tensor]:
        """What a kernel takes, in the form's layouts, and memory full of NaN for its result."""
        held = {"x": laid_out(self.x, self.form.reads), **{f"weights {i}": w for i, w in enumerate(weights)}}
        held |= {} if self.bias is None else {"bias": self.bias}
        held |= {} if self.residual is None else {"residual": laid_out(self.residual, self.form.writes)}
        return held | {"y": laid_out(torch.full_like(self.dy, torch.nan), self.form.writes)}

    def expected(self) -> Tensor:
        """The layer's result, in rows and float64."""
        y = self.x.double()
        for factor in reversed(self.factors):
            y = times(y, factor)
        for more in (self.bias, self.residual):
            y = y if more is None else y + more.double()
        return ACTIVATIONS[self.form.activation](y)


def layer_error(patterns: Sequence[Pattern], schedule: Schedule, drawn: Drawn, guard: int) -> float:
    """Run a kernel; returns its relative error."""
    module = load(render(patterns, schedule))
    weights = module.pack(*drawn.factors)
    held = Guarded(drawn.operands(weights), guard)
    packed = tuple(held[f"weights {i}"] for i in range(len(weights)))
    module.launch(held["x"], packed, held["y"], held.get("bias"), held.get("residual"))
    held.check("y")
    return difference(laid_out(held["y"], schedule.form.writes), drawn.expected())


def gradient_error(p: Pattern, schedule: Schedule, drawn: Drawn, guard: int) -> float:
    """Run the kernel of a factor's gradient; returns its relative error. dy has the layout that the form writes."""
    form = schedule.form
    held = Guarded({"x": laid_out(drawn.x, form.reads), "dy": laid_out(drawn.dy, form.writes)}, guard)
    found = load(render(p, schedule)).ks_gradient(held["x"], held["dy"])
    held.check("")
    x, dy = drawn.x.double().view(-1, p.a, p.c, p.d), drawn.dy.double().view(-1, p.a, p.b, p.d)
    return difference(found, torch.einsum("nakd,nabd->adbk", x, dy))
