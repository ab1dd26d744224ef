"""Kernels against products in float64, on operands between guard bands."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from pathlift.codegen.module import execute, load
from pathlift.codegen.render import render
from pathlift.codegen.schedule import Form, Layout, Schedule
from pathlift.ir.kronecker import Pattern, dense, gather
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


class Guarded:
    """Contiguous copies of operands, by name, with so many elements before and after each."""

    def __init__(self, operands: dict[str, Tensor], guard: int = GUARD) -> None:
        self._guard = guard
        self._memory, self._inner = {}, {}
        for name, x in operands.items():
            memory = self._memory[name] = torch.full((x.numel() + 2 * guard,), torch.nan, dtype=x.dtype)
            self._inner[name] = memory[guard : guard + x.numel()].view(x.shape)
            self._inner[name].copy_(x)
        self._before = {name: memory.clone() for name, memory in self._memory.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self._inner[name]

    def values(self) -> Iterable[Tensor]:
        """The operands."""
        return self._inner.values()

    def check(self, result: str) -> None:
        """Raise if anything but the result was written to."""
        for name, memory in self._memory.items():
            same = torch.equal(memory.nan_to_num(7.0), self._before[name].nan_to_num(7.0))
            assert same or name == result, f"{name} was written to"
            assert memory[: self._guard].isnan().all(), f"written before {name}"
            assert memory[-self._guard :].isnan().all(), f"written behind {name}"


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
    form, draw = schedule.form, _drawing(schedule.form, seed)
    x, factors = draw(samples, ps[-1].cols), [draw(*p.shape) for p in ps]
    bias = draw(ps[0].rows) if form.bias else None
    residual = draw(samples, ps[0].rows) if form.residual else None
    module = load(render(ps, schedule))
    held = {"x": _laid_out(x, form.reads)}
    held |= {f"weights {i}": w for i, w in enumerate(module.pack(*factors))}
    if bias is not None:
        held["bias"] = bias
    if residual is not None:
        held["residual"] = _laid_out(residual, form.writes)
    held["y"] = _laid_out(torch.full((samples, ps[0].rows), torch.nan, dtype=x.dtype), form.writes)
    inner = Guarded(held, guard)
    weights = tuple(inner[name] for name in held if name.startswith("weights"))
    epilogue = {name: inner[name] for name in ("bias", "residual") if name in held}
    # Boxes of operands that are not aligned are of copies, whose addresses are others.
    copied = schedule.descriptors and guard * x.itemsize % 16
    with contextlib.nullcontext() if copied else confined(inner.values()):
        module.launch(inner["x"], weights, inner["y"], **epilogue)
    inner.check("y")
    y = _laid_out(inner["y"].double(), form.writes)
    _compare(y, reference(x, factors, bias, residual, form.activation), ps, schedule)
    return y


def check_gradient(pattern: Pattern, schedule: Schedule, samples: int, parts: int, *, seed: int = 0) -> Tensor:
    """Run a gradient's kernel on random operands; returns its partial sums."""
    form, draw = schedule.form, _drawing(schedule.form, seed)
    x, dy = draw(samples, pattern.cols), draw(samples, pattern.rows)
    partials = torch.full((parts, *pattern.shape), torch.nan)
    inner = Guarded({"x": _laid_out(x, form.reads), "dy": _laid_out(dy, form.writes), "partials": partials})
    module = load(render(pattern, schedule))
    with confined(inner.values()):
        module.launch(inner["x"], inner["dy"], inner["partials"])
    inner.check("partials")
    expected = gather((dy.double().T @ x.double()).numpy(), pattern)
    _compare(inner["partials"].double().sum(0), torch.from_numpy(expected), (pattern,), schedule)
    return inner["partials"]


class _Recorder:
    """Stands in for a kernel, and keeps the options that it is launched with."""

    def __init__(self) -> None:
        self.options: dict[str, object] = {}

    def __getitem__(self, grid: tuple[int, ...]) -> _Recorder:
        return self

    def __call__(self, *args: object, **options: object) -> None:
        self.options = options


def is_wide(pattern: Pattern, schedule: Schedule, samples: int) -> bool:
    """Return whether a launch asks for offsets of 64 bits; its operands have no memory, so that any number will do."""
    module, kernel, form = execute(render(pattern, schedule)), _Recorder(), schedule.form
    module.kernel = kernel  # type: ignore[attr-defined]  # the module's own global, which its launch looks up
    x, y = (
        torch.empty((samples, extent) if layout == "rows" else (extent, samples), device="meta")
        for extent, layout in ((pattern.cols, form.reads), (pattern.rows, form.writes))
    )
    module.launch(*((x, y, y[:1]) if schedule.template == "gradient" else (x, (), y)))
    return bool(kernel.options["WIDE"])


def _drawing(form: Form, seed: int) -> Callable[..., Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=rng).to(getattr(torch, form.dtype))


def _laid_out(x: Tensor, layout: Layout) -> Tensor:
    """Bring rows into a layout, or back."""
    return x if layout == "rows" else x.T


def _compare(found: Tensor, expected: Tensor, patterns: Sequence[Pattern], schedule: Schedule) -> None:
    error = float((found - expected).norm() / expected.norm()) if expected.norm() else float(found.norm())
    tolerance = TOLERANCE[schedule.form.dtype]
    assert error < tolerance, f"{''.join(map(str, patterns))}, {schedule}: error {error:.1e}"
