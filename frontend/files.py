"""Writing files so that nothing is ever lost: stage, flush to disk, check, rename.

A writer gets a path in a hidden staging folder next to the destination, under the destination's own file name. Whatever
else it writes into that folder (the external data of an ONNX model, whose name is embedded in the model) is committed
with it. Staging in a folder rather than under a temporary name is what lets such names be final when they are written.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pathlift.ir.errors import OutputError


class WriteFailedError(OutputError):
    """The system failed while a result was being written, for example a full disk (exit 70): PL0706."""

    exit_code = 70


@contextmanager
def replacing(path: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """Yield a path to write to; on success it becomes `path`, together with every file written beside it.

    A single file appears atomically. Of several, old ones are moved aside first and `path` itself appears last, so that
    at no moment does a new companion stand next to an old main file. On any exception, Ctrl-C included, all that was
    there is there again and nothing new is. A killed process leaves at most a hidden ``.pathlift-*`` folder, which
    holds the old files if it died between the renames.

    Parameters
    ----------
    path
        The destination. A symbolic link is replaced, its target left alone.
    force
        Replace files that exist. Without it, one that exists is an error before any work is done.

    Raises
    ------
    OutputError
        If the destination exists, is not a regular file, or its folder is missing or not writable.
    WriteFailedError
        If writing itself fails, for example because the disk is full.
    """
    target = Path(os.path.abspath(path))
    _check_free(target, force)
    with _staging(target) as stage:
        try:
            yield stage / target.name
            _commit(stage, target, force)
        except OSError as error:
            raise _failed(target, error) from error


@contextmanager
def writing(stream: Any) -> Iterator[None]:
    """Write to a stream, and flush it; a reader that left early is no error.

    Raises
    ------
    WriteFailedError
        If it takes no more.
    """
    try:
        yield
        stream.flush()
    except BrokenPipeError:
        silence(stream)
    except OSError as error:
        silence(stream)
        raise WriteFailedError("0707", f"could not write to standard output: {error.strerror}") from error


def silence(stream: Any) -> None:
    """Let what is left in a stream's buffer go nowhere: it would be flushed at exit, and fail again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def check_replaceable(path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Check that `replacing` would begin, for a file that may be written in the end.

    Raises
    ------
    OutputError
        As `replacing` does.
    """
    target = Path(os.path.abspath(path))
    _check_free(target, force)
    with _staging(target):
        pass


def _check_free(target: Path, force: bool) -> None:
    if target.is_dir():
        raise OutputError("0701", f"output {str(target)!r} is a folder", hint="name a file in it")
    if not os.path.lexists(target):
        return
    if not target.is_file() and not target.is_symlink():
        raise OutputError("0702", f"output {str(target)!r} is not a regular file")
    if not force:
        raise OutputError("0703", f"output {str(target)!r} exists", hint="pass --force to replace it")
    if not target.is_symlink() and not os.access(target, os.W_OK):
        raise OutputError("0704", f"output {str(target)!r} is read-only")


@contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """Yield an empty folder on the target's file system; whatever is left in it goes away."""
    try:
        folder = tempfile.TemporaryDirectory(prefix=".pathlift-", dir=target.parent, ignore_cleanup_errors=True)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            message = f"the folder of output {str(target)!r} does not exist"
            raise OutputError("0705", message, hint="create it first") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise OutputError("0704", f"the folder of output {str(target)!r} is read-only") from error
        raise _failed(target, error) from error
    with folder as name:
        yield Path(name)


def _failed(target: Path, error: OSError) -> WriteFailedError:
    # numpy reports a short write without an errno, hence no test for ENOSPC.
    return WriteFailedError("0706", f"could not write {str(target)!r}: {error.strerror or error}")


def _commit(stage: Path, target: Path, force: bool) -> None:
    """Move what was staged to its final names, the main file last, after all of it reached the disk."""
    main = stage / target.name
    staged = [*sorted(file for file in stage.iterdir() if file != main), main]
    moves = [(file, target.parent / file.name) for file in staged]
    for file, final in moves:
        _check_free(final, force)
        _flush(file)
    if len(moves) == 1:
        os.replace(main, target)
    else:
        _swap(moves, stage / ".old")
    _flush(target.parent)


def _swap(moves: list[tuple[Path, Path]], aside: Path) -> None:
    aside.mkdir()
    try:
        for _, final in reversed(moves):
            if os.path.lexists(final):
                os.replace(final, aside / final.name)
        for file, final in moves:
            os.replace(file, final)
    except BaseException:
        # What was done is read off the file system: an interrupt may fall between a rename and any note of it.
        for file, final in moves:
            if os.path.lexists(aside / final.name):
                os.replace(aside / final.name, final)
            elif not os.path.lexists(file):
                final.unlink(missing_ok=True)
        raise


def _flush(path: Path) -> None:
    """Force a file or folder to disk: a rename may reach it before the data it names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
