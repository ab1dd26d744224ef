"""A training step: forward and backward passes of Kronecker-sparse layers against those of dense ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from benchmarks.encoders import GPT, VIT
from benchmarks.gpu.cases import BATCH, FORMS, kind, tolerance
from benchmarks.gpu.operands import difference
from benchmarks.gpu.phase import Run
from benchmarks.gpu.timing import Clock
from torch import Tensor, nn

from pathlift.ir.kronecker import Pattern
from pathlift.ks_linear import KSLinear

_DEPTH = 4
_TINY = {"up": [Pattern(1, 8, 4, 2)], "down": [Pattern(2, 4, 8, 1)]}
Patterns = Mapping[str, Sequence[Pattern]]


def main(run: Run) -> None:
    torch.set_grad_enabled(True)
    clock = Clock(run.device, run.seed)
    sizes: dict[str, tuple[Patterns, int]] = {"perceptrons of ViT-S/16": (VIT, BATCH), "of GPT-2 medium": (GPT, 8192)}
    if run.dry:
        sizes = {"tiny perceptrons": (_TINY, 6)}
    forms = FORMS[:1] if run.dry else (FORMS[3], FORMS[0], FORMS[1])
    cases = [(name, *sizes[name], form) for form in forms for name in sizes]
    for name, patterns, samples, form in run.cases(cases, "stacks", lambda case: f"{case[0]}, {kind(case[3])}"):
        torch.manual_seed(run.seed)
        torch.set_float32_matmul_precision("high" if form.precision == "tf32" else "highest")
        dtype = getattr(torch, form.dtype)
        try:
            sparse = stack(patterns, sparse=True).to(device=run.device, dtype=dtype)
            dense = stack(patterns, sparse=False).to(device=run.device, dtype=dtype)
            x = torch.randn(samples, patterns["up"][-1].cols, device=run.device).to(dtype).requires_grad_()
            error = gradient_error(sparse, x[:64])
            if not error < 20 * tolerance(form):  # every layer rounds, forwards and backwards
                run.emit("wrong", what=f"gradients of {name}, {kind(form)}", error=error)
                continue
            modules = {"dense": dense, "kernels": sparse}
            calls = {
                f"{what}, {part}": partial(step, module, x, part == "step")
                for what, module in modules.items()
                for part in ("forward", "step")
            }
            for call in calls.values():
                call()
            seconds = clock.race(calls, 3 if run.dry else 11, 1.0)
            run.emit("training", name=name, kind=kind(form), samples=samples, error=error, seconds=seconds)
        except Exception as caught:
            run.caught(f"{name}, {kind(form)}", caught)


def stack(patterns: Patterns, *, sparse: bool) -> nn.Sequential:
    """Perceptrons one after another: up, GELU, down."""
    layers: list[nn.Module] = []
    for _ in range(_DEPTH):
        for part in ("up", "down"):
            ps = patterns[part]
            layers += [KSLinear(ps) if sparse else nn.Linear(ps[-1].cols, ps[0].rows)]
            layers += [nn.GELU()] * (part == "up")
    return nn.Sequential(*layers)


def step(module: nn.Module, x: Tensor, backward: bool) -> Tensor:
    """The forward pass of a loss, and its gradients."""
    with torch.set_grad_enabled(backward):
        loss = module(x).square().mean()
    if backward:
        torch.autograd.grad(loss, [x, *module.parameters()])
    result: Tensor = loss.detach()
    return result


def gradient_error(module: nn.Module, x: Tensor) -> float:
    """The largest relative error of a gradient, against float64."""
    exact = copy.deepcopy(module).double()
    found, expected = (
        torch.autograd.grad(m(v).square().mean(), [v, *m.parameters()])
        for m, v in ((module, x.detach().requires_grad_()), (exact, x.detach().double().requires_grad_()))
    )
    return max(difference(f, e) for f, e in zip(found, expected, strict=True))
