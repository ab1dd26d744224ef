"""The standing mutants, and what runs them: small wrong changes to the code, each of which some test must catch.

``python tests/mutants/run.py [PATTERN]`` (or ``make mutants``) copies the checkout into temporary folders, makes one
change at a time there, and runs the tests that mirror the file, or those that the entry names. A mutant that no test
catches is a missing test.

The list is kept by hand. mutmut and cosmic-ray apply operators (a comparison turned, a constant moved by one) wherever
the syntax tree has room for them, and take no change as text; of what they make of numerical code, most means the same
or crashes at once, and every survivor would have to be argued. An entry here is a claim instead: this change of meaning
is one that somebody could make, this is why it would be wrong, and the tests know.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import cache_from_source
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from pathlift.testing.interpreted import is_interpreted

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LIMIT = 600
"""Seconds after which tests that hang count as red."""


class Mutant(NamedTuple):
    """A small change of one file that makes it wrong.

    Parameters
    ----------
    path
        The file, from the root.
    before, after
        Text that occurs once in it, and what takes its place.
    wrong
        The fault that this would be.
    tests
        Files or node ids that catch it; by default those that mirror the file.
    equivalent
        Why no test can catch it: the change means the same. Such a mutant is not run.
    """

    path: str
    before: str
    after: str
    wrong: str
    tests: tuple[str, ...] = ()
    equivalent: str = ""

    @property
    def targets(self) -> tuple[str, ...]:
        """What to run."""
        return self.tests or (mirror(self.path),)


class Verdict(NamedTuple):
    """What became of a mutant."""

    mutant: Mutant
    outcome: str
    seconds: float

    @property
    def killed(self) -> bool:
        """Whether a test has caught it."""
        return self.outcome.startswith("killed")


def load() -> list[Mutant]:
    """Read the list: one file per room of the code."""
    entries = [e for path in sorted(HERE.rglob("*.toml")) for e in tomllib.loads(path.read_text("utf-8"))["mutant"]]
    return [Mutant(**{k: tuple(v) if k == "tests" else v for k, v in entry.items()}) for entry in entries]


def mirror(path: str) -> str:
    """Return the tests of a file: the file named after it, or all of the folder."""
    source = Path(path.removeprefix("src/pathlift/"))
    own = Path("tests", source.parent, f"test_{source.stem}.py")
    return (own if (ROOT / own).exists() else own.parent).as_posix()


def sampled(mutants: Sequence[Mutant], count: int) -> list[Mutant]:
    """Choose some by the commit, so that every commit tries others and each can be tried again."""
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return random.Random(found.stdout.strip()).sample(list(mutants), min(count, len(mutants)))


def trial(mutants: Sequence[Mutant], jobs: int = 2) -> Iterator[Verdict]:
    """Make each change in a copy of the checkout, and run its tests.

    Raises
    ------
    SystemExit
        If the tests fail without any change.
    """
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        copies: SimpleQueue[Path] = SimpleQueue()
        for i in range(jobs):
            copies.put(_copied(Path(folder, str(i))))

        def tried(mutant: Mutant) -> Verdict:
            root, start = copies.get(), time.monotonic()
            try:
                with _changed(root, mutant):
                    outcome = _tested(root, mutant.targets)
            finally:
                copies.put(root)
            return Verdict(mutant, outcome, time.monotonic() - start)

        sound = _tested(Path(folder, "0"), sorted({target for mutant in mutants for target in mutant.targets}))
        if sound != "survived":
            raise SystemExit(f"the tests fail without any change: {sound}")
        yield from pool.map(tried, mutants)


def _copied(target: Path) -> Path:
    """Copy the files that git knows, or does not ignore, as they are now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        shutil.copytree(ROOT, target, symlinks=True, ignore=shutil.ignore_patterns(".*", "__pycache__", "*.egg-info"))
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_symlink() or (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name, follow_symlinks=False)
    return target


@contextmanager
def _changed(root: Path, mutant: Mutant) -> Iterator[None]:
    """Change a file within the block. Compiled files are told from others by time and size: those of before go."""
    path = root / mutant.path
    text, compiled = path.read_text("utf-8"), Path(cache_from_source(str(path)))
    if text.count(mutant.before) != 1:
        raise SystemExit(f"{mutant.path} has not one place like\n{mutant.before}")
    path.write_text(text.replace(mutant.before, mutant.after), "utf-8")
    compiled.unlink(missing_ok=True)
    try:
        yield
    finally:
        path.write_text(text, "utf-8")
        compiled.unlink(missing_ok=True)


def _tested(root: Path, targets: Sequence[str]) -> str:
    """Run tests; say that the change survived, was killed and by what, or that nothing could be run."""
    for interpreted in (False, True):
        chosen = [target for target in targets if _names_interpreted(target) == interpreted]
        outcome = _ran(root, chosen, os.environ | ({"TRITON_INTERPRET": "1"} if interpreted else {}))
        if outcome != "survived":
            return outcome
    return "survived"


def _names_interpreted(target: str) -> bool:
    """Whether single tests of a file that Triton interprets are meant; of whole ones, their process takes care."""
    return "::" in target and is_interpreted(ROOT / target.partition("::")[0])


def _ran(root: Path, targets: Sequence[str], environment: dict[str, str]) -> str:
    if not targets:
        return "survived"
    marks = "" if all("::" in target for target in targets) else "not slow"  # a test that is named may be slow
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", marks, "-p", "no:cacheprovider", *targets]
    environment = environment | {"PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
    try:
        ran = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return "killed: the tests hang"
    if not ran.returncode:
        return "survived"
    red = re.search(r"^(FAILED|ERROR) (\S+)", ran.stdout, re.MULTILINE)
    if ran.returncode == 1 and red and red[1] == "FAILED":
        return f"killed by {red[2]}"
    return f"cannot be run: {ran.stdout[-2000:]}{ran.stderr[-1000:]}"


def main(arguments: Sequence[str]) -> int:
    """Run the mutants that match; 1 if any survives."""
    parser = argparse.ArgumentParser(description="Run the standing mutants.")
    parser.add_argument("only", nargs="?", default="", help="a pattern for the file or the fault")
    parser.add_argument("-j", "--jobs", type=int, default=2, help="how many at a time")
    options, start = parser.parse_args(arguments), time.monotonic()
    chosen = [m for m in load() if not m.equivalent and re.search(options.only, f"{m.path} {m.wrong}")]
    alive = []
    for verdict in trial(chosen, options.jobs):
        mutant = verdict.mutant
        print(f"{verdict.seconds:6.1f} s  {mutant.path}: {mutant.wrong}\n{'':10}{verdict.outcome}", flush=True)
        alive += [] if verdict.killed else [mutant]
    print(f"{len(chosen) - len(alive)} of {len(chosen)} mutants killed in {time.monotonic() - start:.0f} s")
    for mutant in alive:
        print(f"alive: {mutant.path}: {mutant.wrong}\n- {mutant.before}\n+ {mutant.after}")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
