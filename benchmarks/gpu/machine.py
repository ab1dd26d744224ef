"""The machine that figures come from: its card, driver and versions."""

from __future__ import annotations

import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version

import torch
from benchmarks.gpu.kernels import this_card
from benchmarks.gpu.phase import Run


def main(run: Run) -> None:
    facts: dict[str, object] = {"device": "none: rehearsed on a CPU, in Triton's interpreter"}
    if not run.dry:
        card = torch.cuda.get_device_properties(0)
        facts = {
            "device": card.name,
            "architecture": f"sm_{card.major}{card.minor}",
            "multiprocessors": card.multi_processor_count,
            "memory_gb": round(card.total_memory / 1e9, 1),
            "driver": _driver(),
            "cuda": torch.version.cuda,
        }
    facts |= {
        "modelled_as": this_card(run.dry).name,
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    run.emit("machine", **facts, **{name: _version(name) for name in ("torch", "triton", "numpy")})


def _driver() -> str:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "unknown"
    query = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=False, timeout=20).stdout.strip() or "unknown"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
