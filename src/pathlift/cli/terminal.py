"""The two streams: a result on stdout, everything else on stderr, and nothing a model's author can steer."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from pathlift.report.clean import SEQUENCES, sanitize


def write(text: str, stream: TextIO | None = None) -> None:
    """Write a result, by default to stdout, and flush it: a failure is noticed here and not at interpreter exit.

    Raises
    ------
    WriteFailedError
        If the stream takes no more, for example because it is a file on a full disk. A reader that left early is none.
    """
    stream = sys.stdout if stream is None else stream
    if stream is None:  # closed by the shell: >&-
        return
    encoding = stream.encoding or "utf-8"
    with _noticed(stream):
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()


class Help:
    """A stream on which Typer prints help: failures are noticed as those of `write`, and NO_COLOR means no escapes."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write a text."""
        with _noticed(self.stream):
            self.stream.write(SEQUENCES.sub("", text) if os.environ.get("NO_COLOR") else text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        with _noticed(self.stream):
            self.stream.flush()


@contextmanager
def _noticed(stream: TextIO) -> Iterator[None]:
    """Make a coded error of a stream that takes no more, and nothing of a reader that left."""
    try:
        yield
    except OSError as error:
        # What is left in the buffer would be flushed again at exit, and fail again with a message of Python's own.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if isinstance(error, BrokenPipeError):
            return
        from pathlift.frontend.files import WriteFailedError

        raise WriteFailedError("0707", f"could not write to standard output: {error.strerror}") from error


def note(line: str) -> None:
    """Write one line to stderr; a closed stderr loses it silently."""
    if sys.stderr is not None:  # print takes None for stdout
        with suppress(OSError, ValueError):
            print(sanitize(line), file=sys.stderr, flush=True)


def note_under(name: str, text: str) -> None:
    """Write a text to stderr, line by line, under what it comes after."""
    for line in [f"# after {name}", *text.splitlines()]:
        note(line)


class _NoteHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        note(f"{record.levelname.lower()}: {record.getMessage()}")


def configure_logging(*, quiet: bool, verbose: int) -> None:
    """Send pathlift's log to stderr: warnings by default, errors with ``-q``, more with ``-v`` and ``-vv``.

    Libraries' own Python warnings are noise to someone who did not call the library: they need ``-v``.
    """
    import warnings

    level = logging.ERROR if quiet else {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    logger = logging.getLogger("pathlift")
    logger.handlers, logger.propagate = [_NoteHandler()], False
    logger.setLevel(level)
    if not verbose:
        warnings.simplefilter("ignore")
