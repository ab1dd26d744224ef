"""Kernels under compute-sanitizer, which sees every access out of bounds, where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

from benchmarks.gpu.correctness import sweep
from benchmarks.gpu.phase import Run

_INSIDE = "PATHLIFT_UNDER_SANITIZER"


def main(run: Run) -> None:
    """Run this module once more, under the tool: there, it checks a few kernels."""
    if os.environ.get(_INSIDE):
        sweep(run, 1)
        return
    tool = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
    if tool is None or run.dry:
        why = "a rehearsal has no card" if run.dry else "there is no compute-sanitizer"
        run.emit("left_out", what="memcheck", why=why)
        return
    inner = ["benchmarks.gpu.phase", "memcheck", "--log", str(run.log), "--seed", str(run.seed + 1)]
    command = [tool, "--tool", "memcheck", "--error-exitcode", "9", sys.executable, "-m", *inner]
    # Without PyTorch's own allocator, memory behind an operand belongs to nobody.
    environment = {**os.environ, _INSIDE: "1", "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    limit = max(run.left - 3, 1.0)
    try:
        done = subprocess.run(
            [*command, "--until", str(time.time() + limit - 5)],
            capture_output=True, text=True, env=environment, timeout=limit, check=False,
        )  # fmt: skip
        status, text = done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired as late:
        status, text = None, str(late.stdout or "")
    errors = [line.removeprefix("========= ") for line in text.splitlines() if line.startswith("=========")]
    run.emit("memcheck", status=status, report=errors[:40])
