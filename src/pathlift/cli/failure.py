"""Failures: the coded error that the user reads, as a line on stderr and, for who asked for JSON, as JSON on stdout."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress

from pathlift.cli.envelope import dumps, of_error, pipes_model, wants_json
from pathlift.cli.terminal import note, write
from pathlift.ir.errors import InterruptError, OutputError, PathliftError, TerminateError, UsageError
from pathlift.ir.foreign import is_out_of_memory, out_of_memory
from pathlift.ir.packages import absent

TERMINATED = 128 + signal.SIGTERM


def fail(error: BaseException, arguments: Sequence[str]) -> int:
    """Tell the user what went wrong, and return the exit code; where standard output is a model, on stderr alone.

    A stop is no news to who asked for text. A traceback is shown, if asked for, of what else has no code of its own.

    Parameters
    ----------
    error
        Whatever was raised.
    arguments
        Of the command line: they say whether to answer in JSON, and whether to show a traceback.
    """
    debug, in_json = "--debug" in arguments, wants_json(arguments)
    stop = _as_stop(error)
    if debug and stop is None:
        for line in "".join(traceback.format_exception(error)).splitlines():
            note(line)
    coded = stop or as_coded(error, debug=debug)
    if in_json:
        with suppress(OutputError):  # it is stdout that fails
            write(dumps(of_error(coded)), sys.stderr if pipes_model(arguments) else sys.stdout)
    if in_json or stop is None:
        note(str(coded))
    return coded.exit_code


def _as_stop(error: BaseException) -> PathliftError | None:
    # Typer's Abort, like its other exceptions, is known by its name: newer versions vendor click.
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        return InterruptError("0001", "interrupted")
    if isinstance(error, SystemExit) and error.code == TERMINATED:
        return TerminateError("0002", "terminated")
    return None


def as_coded(error: BaseException, *, debug: bool = False) -> PathliftError:
    """Return `error` as what the user is to read: itself, a usage error of Typer's, or an internal error."""
    if isinstance(error, PathliftError):
        return error
    # Typer's usage errors are click's, which newer versions vendor under a private name: known by their method.
    if message := getattr(error, "format_message", None):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "pathlift"
        return UsageError("0400", message().rstrip("."), hint=f"see '{command} --help'")
    if missing := absent(error):
        return missing
    if isinstance(error, Exception) and is_out_of_memory(error):
        return out_of_memory("finish")
    reason = traceback.format_exception_only(error)[-1].strip()
    return PathliftError("0000", f"internal error: {reason}", hint="" if debug else "--debug shows the traceback")
