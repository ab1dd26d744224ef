"""Kernels against products in float64, on operands between guard bands."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pathlift.codegen.module import load
from pathlift.codegen.render import render
from pathlift.codegen.schedule import Schedule
from pathlift.ir.kronecker import Pattern, dense
from pathlift.testing.addresses import confined

GUARD = 257
"""Elements of NaN before and after an operand: what a kernel reads there spoils results, and what it writes is seen."""
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda y: y,
    "Relu": torch.relu,
    "Gelu": torch.nn.functional.gelu,
    "GeluTanh": lambda y: torch.nn.functional.gelu(y, approximate="tanh"),
}
TOLERANCE = {"float32": 2e-6, "float16": 2e-3}


def guarded(x: Tensor, guard: int = GUARD) -> tuple[Tensor, Tensor]:
    """Return a contiguous copy between guard bands, and all of its memory."""
    memory = torch.full((x.numel() + 2 * guard,), torch.nan, dtype=x.dtype)
    inner = memory[guard : guard + x.numel()].view(x.shape)
    inner.copy_(x)
    return inner, memory


def reference(x: Tensor, factors: Sequence[Tensor], bias: Tensor | None, residual: Tensor | None, act: str) -> Tensor:
    """Compute the layer in float64; operands are in rows."""
    y = x.double()
    for factor in reversed(factors):
        y = y @ torch.from_numpy(dense(factor.double().numpy())).T
    for more in (bias, residual):
        y = y if more is None else y + more.double()
    return ACTIVATIONS[act](y)


def check(
    patterns: Pattern | Sequence[Pattern], schedule: Schedule, samples: int, *, seed: int = 0, guard: int = GUARD
) -> Tensor:
    """Run a kernel on random operands, with so many elements before and after each; returns its result, in rows."""
    ps = (patterns,) if isinstance(patterns, Pattern) else tuple(patterns)
    form, rng = schedule.form, torch.Generator().manual_seed(seed)
    dtype = getattr(torch, form.dtype)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng).to(dtype)

    x, factors = draw(samples, ps[-1].cols), [draw(*p.shape) for p in ps]
    bias = draw(ps[0].rows) if form.bias else None
    residual = draw(samples, ps[0].rows) if form.residual else None
    module = load(render(ps, schedule))
    held = {"x": x if form.reads == "rows" else x.T}
    held |= {f"weights {i}": w for i, w in enumerate(module.pack(*factors))}
    if bias is not None:
        held["bias"] = bias
    if residual is not None:
        held["residual"] = residual if form.writes == "rows" else residual.T
    shape = (samples, ps[0].rows) if form.writes == "rows" else (ps[0].rows, samples)
    held["y"] = torch.full(shape, torch.nan, dtype=dtype)
    inner = {name: guarded(value, guard) for name, value in held.items()}
    before = {name: memory.clone() for name, (_, memory) in inner.items()}
    weights = tuple(inner[name][0] for name in held if name.startswith("weights"))
    epilogue = {name: inner[name][0] for name in ("bias", "residual") if name in held}
    # Boxes of operands that are not aligned are of copies, whose addresses are others.
    copied = schedule.descriptors and guard * dtype.itemsize % 16
    with contextlib.nullcontext() if copied else confined(x for x, _ in inner.values()):
        module.launch(inner["x"][0], weights, inner["y"][0], **epilogue)
    for name, (_, memory) in inner.items():
        same = torch.equal(memory.nan_to_num(7.0), before[name].nan_to_num(7.0))
        assert same or name == "y", f"{name} was written to"
        assert memory[:guard].isnan().all(), f"written before {name}"
        assert memory[-guard:].isnan().all(), f"written behind {name}"
    y = inner["y"][0].double()
    y = y if form.writes == "rows" else y.T
    expected = reference(x, factors, bias, residual, form.activation)
    error = float((y - expected).norm() / expected.norm()) if y.numel() else 0.0
    assert error < TOLERANCE[form.dtype], f"{''.join(map(str, ps))}, {schedule}: error {error:.1e}"
    return y
