"""The command line: one Typer command per verb, one renderer per result."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line on this process's arguments and exit with its code."""
    # A scheduler's polite kill unwinds like Ctrl-C does, so that no staging folder is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        from pathlift.cli.frame import run

        code = run(sys.argv[1:])
    except (KeyboardInterrupt, SystemExit) as end:  # while importing, or while an error is told
        from pathlift.cli.failure import fail

        code = fail(end, sys.argv[1:])
    sys.exit(code)
