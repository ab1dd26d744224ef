"""The kernels under test: how they are chosen, compiled and run. All else here knows them by these names only."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from pathlift.codegen.cache import entries, write_table
from pathlift.codegen.module import load
from pathlift.codegen.render import render
from pathlift.codegen.route import route
from pathlift.codegen.schedule import Form, Layout
from pathlift.codegen.select import Choice
from pathlift.ir.cost import DEVICES, GraphicsCard
from pathlift.ir.kronecker import Pattern
from pathlift.runtime.cards import card
from pathlift.testing.kernels import ACTIVATIONS

Call = Callable[[], Tensor]
_MOST_COMPILERS = 12


def this_card(dry: bool) -> GraphicsCard:
    """The card as the cost model knows it; for a rehearsal, one that has all templates."""
    found = DEVICES["h200"] if dry else card(torch.device("cuda"))
    assert isinstance(found, GraphicsCard)
    return found


class Step:
    """A kernel with its weights packed; without a schedule, the dense product.

    Parameters
    ----------
    choice
        What runs.
    factors
        Its non-zeros, as they multiply.
    """

    def __init__(self, choice: Choice, factors: Sequence[Tensor]) -> None:
        self.form, self.rows, self.cols = choice.form, choice.patterns[0].rows, choice.patterns[-1].cols
        self.name = f"{''.join(map(str, choice.patterns))}: {choice.schedule or 'dense'}"
        self.module = None if choice.schedule is None else load(render(choice.patterns, choice.schedule))
        self.weights = (dense(factors),) if self.module is None else self.module.pack(*factors)

    def __call__(self, x: Tensor, bias: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
        """Run it on a matrix in the form's layout."""
        if self.module is None:
            return self._dense(x, bias, residual)
        y: Tensor = self.module.launch(x, self.weights, self._result(x), bias, residual)
        return y

    def compile(self, samples: int) -> None:
        """Compile the kernel for so many samples without running it."""
        if self.module is not None:
            small = alike(samples)  # operands of this size make Triton compile the same
            x = self._empty(small, self.cols, self.form.reads)
            bias = self.weights[0].new_empty(self.rows) if self.form.bias else None
            residual = self._empty(small, self.rows, self.form.writes) if self.form.residual else None
            compile_only(self.module, x, self.weights, self._result(x), bias, residual)

    def _empty(self, samples: int, features: int, layout: Layout) -> Tensor:
        return self.weights[0].new_empty((samples, features) if layout == "rows" else (features, samples))

    def _result(self, x: Tensor) -> Tensor:
        samples = x.shape[0 if self.form.reads == "rows" else 1]
        return self._empty(samples, self.rows, self.form.writes)

    def _dense(self, x: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
        y = nn.functional.linear(x if self.form.reads == "rows" else x.mT, self.weights[0], bias)
        if residual is not None:
            y = y + (residual if self.form.writes == "rows" else residual.mT)
        y = ACTIVATIONS[self.form.activation](y)
        return y if self.form.writes == "rows" else y.mT.contiguous()


class Layer(nn.Module):
    """A Kronecker-sparse layer that runs on generated kernels; shapes are fixed by the first call.

    Parameters
    ----------
    factors
        Non-zeros, as they multiply.
    bias
        Of shape (out,).
    form
        Element type, precision, activation, and whether a residual is added.
    card
        Where it runs.
    """

    def __init__(self, factors: Sequence[Tensor], bias: Tensor, form: Form, card: GraphicsCard) -> None:
        super().__init__()
        self.factors, self.bias, self.card = list(factors), bias, card
        self.form, self.adds = replace(form, bias=True), form.residual
        self.patterns = tuple(pattern(f) for f in factors)
        self.steps: list[Step] = []

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Apply to the last axis."""
        flat = x.reshape(-1, x.shape[-1])
        if not self.steps:
            self.prepare(len(flat))
        for step in self.steps[:-1]:
            flat = step(flat)
        added = None if residual is None else residual.reshape(-1, residual.shape[-1])
        y = self.steps[-1](flat, self.bias, added)
        return y.reshape(*x.shape[:-1], -1)

    def prepare(self, samples: int) -> None:
        """Choose kernels for so many samples, and pack weights."""
        end, self.steps = len(self.factors), []
        for choice in route(self.patterns, self.form, samples, self.card).steps:
            start = end - len(choice.patterns)
            self.steps.append(Step(choice, self.factors[start:end]))
            end = start


def pattern(factor: Tensor) -> Pattern:
    """The pattern of non-zeros (a, d, b, c)."""
    a, d, b, c = factor.shape
    return Pattern(a, b, c, d)


def dense(factors: Sequence[Tensor]) -> Tensor:
    """The matrix that factors multiply to, multiplied in float64."""
    first, *others = factors
    product = _matrix(first)
    for factor in others:
        product = product.double() @ _matrix(factor).double()
    return product.to(first.dtype)


def _matrix(factor: Tensor) -> Tensor:
    a, d, b, c = factor.shape
    blocks = torch.diag_embed(factor.permute(0, 2, 3, 1)).permute(0, 1, 3, 2, 4)  # a, b, d, c, d
    return block_diagonal(blocks.reshape(a, b * d, c * d))


def block_diagonal(blocks: Tensor) -> Tensor:
    """A matrix with blocks (n, rows, columns) on its diagonal."""
    result: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]  # torch has no types for it
    return result


def alike(samples: int) -> int:
    """A small number that is 1, or a multiple of 16, just as the given one is: kernels depend on no more."""
    return samples if samples < 32 else 16 + samples % 16


def compile_only(module: ModuleType, *operands: Any) -> None:
    """Compile the kernel of a module for operands, without running it."""
    kernel = module.kernel
    if not hasattr(kernel, "warmup"):  # interpreted kernels are not compiled
        return
    stand_in = type("Compiling", (), {"__getitem__": lambda _, grid: partial(kernel.warmup, grid=grid)})
    code, names = module.launch.__code__, {**vars(module), "kernel": stand_in()}
    FunctionType(code, names, "launch", module.launch.__defaults__)(*operands)


def in_parallel(jobs: Mapping[str, Callable[[], object]], seconds: float, dry: bool) -> set[str]:
    """Compile kernels side by side, for so many seconds at most; returns what was done: errors show where it runs."""
    if dry:
        return set()
    pool = ThreadPoolExecutor(min(_MOST_COMPILERS, os.cpu_count() or 1))
    futures = {pool.submit(job): name for name, job in jobs.items()}
    done, _ = wait(futures, timeout=max(seconds, 0.0))
    pool.shutdown(wait=False, cancel_futures=True)
    return {futures[future] for future in done}


def save_table(path: Path, listed: Sequence[Mapping[str, Any]]) -> None:
    """Write entries of tuned schedules as a table that can ship: it stands for all versions of Triton."""
    write_table(path, {replace(key, triton=""): found for key, found in entries(listed).items()})
