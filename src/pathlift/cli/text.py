"""A result as text on a console: as wide as the terminal, styled where it is one, plain everywhere else."""

from __future__ import annotations

import io
import os
import shutil
import sys

from rich.console import Console

from pathlift.cli.terminal import clean
from pathlift.report.result import Result
from pathlift.report.tables import Renderer

MIN_WIDTH = 64  # narrower terminals wrap rows by themselves: figures folded within their columns are misread


def to_text(render: Renderer, result: Result) -> str:
    """Return a result as text, styled when stdout is a terminal; what it rests on comes last."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    # Not onto stdout: Rich has its own way with a reader that left. A pipe is read through no window: there, rows are
    # as long as they need to be.
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        force_terminal=terminal or None,
        # Rich's own reading of NO_COLOR keeps bold; who sets it wants no escape codes.
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        width=max(shutil.get_terminal_size().columns, MIN_WIDTH) if terminal else 10_000,
        markup=False,
        highlight=False,
        emoji=False,
    )
    for part in render(clean(result.for_text())):
        console.print(part, soft_wrap=isinstance(part, str))
    for assumption in clean(result.assumptions):
        console.print(f"assumes: {assumption}", soft_wrap=True)
    return "\n".join(line.rstrip() for line in buffer.getvalue().split("\n"))
