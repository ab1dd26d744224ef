"""A result as text on stdout: as wide as the terminal, styled where it is one, plain everywhere else."""

from __future__ import annotations

import os
import shutil
import sys

from pathlift.report.result import Result
from pathlift.report.shown import PIPE, as_text
from pathlift.report.tables import Renderer

MIN_WIDTH = 48  # narrower terminals wrap rows by themselves: figures folded within their columns are misread


def to_text(render: Renderer, result: Result) -> str:
    """Return a result as text, styled when stdout is a terminal; what it rests on comes last."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    width = max(shutil.get_terminal_size().columns, MIN_WIDTH) if terminal else PIPE
    return as_text(result.parts(render), width=width, terminal=terminal, colour=not os.environ.get("NO_COLOR"))
