"""The two ceilings of a card, measured: bytes per second of a copy, and operations per second of matrix products."""

from __future__ import annotations

from functools import partial

import torch
from benchmarks.gpu.phase import Run
from benchmarks.gpu.timing import Clock


def main(run: Run) -> None:
    clock = Clock(run.device, run.seed)
    size = 2**16 if run.dry else 2**30
    source = torch.randint(256, (size,), dtype=torch.uint8, device=run.device)
    target = torch.empty_like(source)
    seconds = clock.median(partial(target.copy_, source), 11)
    run.emit("ceiling", name="copy", bytes=2 * size, seconds=seconds, rate=2 * size / seconds)
    del source, target
    n = 64 if run.dry else 8192
    for name, dtype, precision in (
        ("bfloat16", torch.bfloat16, "highest"),
        ("float16", torch.float16, "highest"),
        ("tf32", torch.float32, "high"),
        ("float32", torch.float32, "highest"),
    ):
        torch.set_float32_matmul_precision(precision)
        x, y = (torch.randn(n, n, device=run.device).to(dtype) for _ in range(2))  # random: zeros multiply faster
        seconds = clock.median(partial(torch.mm, x, y), 11)
        run.emit("ceiling", name=name, flops=2 * n**3, seconds=seconds, rate=2 * n**3 / seconds)
