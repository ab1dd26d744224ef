"""The evidence for the generated kernels, on one graphics card and in a given number of minutes."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.phase import BROKEN, note, records
from benchmarks.gpu.report import save

RESULTS = Path(__file__).parents[1] / "results"
PHASES = {
    "machine": 0.02,
    "correctness": 0.2,
    "ceilings": 0.03,
    "layers": 0.43,
    "networks": 0.16,
    "training": 0.06,
    "memcheck": 0.08,
}
"""Which share of the time each may take; what one leaves goes to those after it, and 2 % are for the report."""
_START = 60.0
"""Seconds that the first import of torch may take."""
_RESTARTS = 4
_GRACE = 5.0
"""Seconds after its deadline at which a phase is ended."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/gpu/run.sh", description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=9.0, help="that it may take in all; 9 by default")
    parser.add_argument("--dry-run", action="store_true", help="rehearse on a CPU, saved in a temporary folder")
    parser.add_argument("--output", type=Path, help="folder of the report")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of all that is drawn")
    parser.add_argument("--only", nargs="+", choices=PHASES, default=list(PHASES), help="phases; all by default")
    options = parser.parse_args()
    begin, found = time.time(), list[dict[str, Any]]()
    output = options.output or (Path(tempfile.mkdtemp()) if options.dry_run else RESULTS)
    share = 0.0
    for name, part in PHASES.items():
        share += part
        if name in ("machine", *options.only):
            until = begin + 60 * options.minutes * share
            until = max(until, begin + _START) if name == "machine" else until
            found += [{"phase": name, **record} for record in run_phase(name, options.seed, until, options.dry_run)]
            if not any(record["record"] == "machine" for record in found):
                print("there is no card: see above", file=sys.stderr)
                return 2
    path, good = save(output, found, options.seed, options.minutes, time.time() - begin, options.dry_run)
    print(path.read_text(encoding="utf-8"))
    print(f"saved as {path} and .json", file=sys.stderr)
    return 0 if good else 1


def run_phase(name: str, seed: int, until: float, dry: bool) -> list[dict[str, Any]]:
    """Run a phase, and again behind the case at which it crashed, a few times; returns its records."""
    environment = {**os.environ, **({"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"} if dry else {})}
    with tempfile.TemporaryDirectory() as folder:
        log, begin, begun = Path(folder) / "log", time.time(), 0
        for restart in range(_RESTARTS + 1):
            before, begun = begun, sum(record["record"] == "begun" for record in records(log))
            if restart and begun == before:  # it gets nowhere
                break
            command = [sys.executable, "-m", "benchmarks.gpu.phase", name, "--log", str(log), "--seed", str(seed),
                       "--until", str(until), "--skip", str(begun), *["--dry"] * dry]  # fmt: skip
            print(f"{name}: {until - time.time():.0f} s", file=sys.stderr)
            try:
                status = subprocess.run(command, env=environment, timeout=max(until + _GRACE - time.time(), _GRACE),
                                        check=False).returncode  # fmt: skip
            except subprocess.TimeoutExpired:
                status = None
            if status == 0:
                break
            reasons = {None: "it did not end in time", BROKEN: "the card answered no more"}
            at = next((r["what"] for r in reversed(records(log)) if r["record"] == "begun"), "its start")
            note(log, "crashed", what=at, error=reasons.get(status, f"status {status}"))
            if status is None or until - time.time() < 15 or restart == _RESTARTS:
                break
        return [*records(log), {"record": "took", "seconds": time.time() - begin}]


if __name__ == "__main__":
    raise SystemExit(main())
