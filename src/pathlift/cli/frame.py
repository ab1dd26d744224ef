"""The frame of all verbs: the options, the envelope, and the one place where a failure becomes a line and a code."""

from __future__ import annotations

import inspect
import json
import re
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import redirect_stdout
from types import ModuleType
from typing import Annotated, Any, Literal, TextIO

import typer

from pathlift.cli.command import application, asked
from pathlift.cli.terminal import configure_logging, note, write
from pathlift.ir.errors import PathliftError, UsageError
from pathlift.ir.foreign import is_out_of_memory, out_of_memory
from pathlift.report.result import Result
from pathlift.report.tables import Renderer

SCHEMA_VERSION = 1
INTERRUPTED = 130
_OPTION, _COMMAND = re.compile(r"(?<!\w)--[a-z][a-z-]*"), re.compile("`[^`]*`")


def run(arguments: Sequence[str]) -> int:
    """Run the command line on `arguments` and return the exit code; no exception leaves this function."""
    # Read off the arguments: a usage error has no parsed options yet.
    debug = "--debug" in arguments
    try:
        # Not standalone: Typer's own reports are many lines long and carry no code. It returns an Exit's code.
        code = application(framed, asked(arguments))(args=list(arguments), prog_name="pathlift", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:
        if debug:
            for line in "".join(traceback.format_exception(error)).splitlines():
                note(line)
        coded = as_coded(error, debug=debug)
        note(str(coded))
        return coded.exit_code
    return code if isinstance(code, int) else 0


def as_coded(error: Exception, *, debug: bool = False) -> PathliftError:
    """Return `error` as what the user is to read: itself, a usage error of Typer's, or an internal error."""
    if isinstance(error, PathliftError):
        return error
    # Typer's usage errors are click's, which newer versions vendor under a private name: known by their method.
    if message := getattr(error, "format_message", None):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "pathlift"
        return UsageError("0400", message().rstrip("."), hint=f"see '{command} --help'")
    if is_out_of_memory(error):
        return out_of_memory("finish")
    reason = traceback.format_exception_only(error)[-1].strip()
    return PathliftError("0000", f"internal error: {reason}", hint="" if debug else "--debug shows the traceback")


def _shared(
    *,
    output_format: Annotated[Literal["text", "json"], typer.Option("--format", help="How to print.")] = "text",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No warnings.")] = False,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, show_default=False, help="Say more; twice: most.")
    ] = 0,
    # For the help and the parser; `run` reads it.
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Declare the options that all verbs share."""


_SHARED = tuple(inspect.signature(_shared, eval_str=True).parameters.values())


def framed(verb: Callable[..., Result], module: ModuleType) -> Callable[..., None]:
    """Add to a verb the options that all verbs share, and emit what it returns as its module's `text` shows it."""

    def wrapper(
        *, output_format: Literal["text", "json"], quiet: bool, verbose: int, debug: bool, **arguments: Any
    ) -> None:
        del debug
        configure_logging(quiet=quiet, verbose=verbose)
        # Whatever a library or a user's own module prints is not the result.
        with redirect_stdout(sys.stderr):
            try:
                result = verb(**arguments)
            except PathliftError as error:
                error.hint = applicable(error.hint, options)
                raise
        # Where standard output is the model, it is nothing else.
        piped = str(arguments.get("output")) == "-"
        emit(result, output_format, module.text, quiet=quiet, stream=sys.stderr if piped else sys.stdout)
        raise typer.Exit(result.exit_code)

    parameters = [*inspect.signature(verb).parameters.values(), *_SHARED]
    options = option_names(parameters)
    wrapper.__doc__ = verb.__doc__
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapper


def option_names(parameters: Iterable[inspect.Parameter]) -> frozenset[str]:
    """Return the options that Typer makes of parameters; it takes the first name for a default."""
    infos = [parameter.annotation.__metadata__[0] for parameter in parameters]
    return frozenset(str(name) for info in infos for name in (info.default, *(info.param_decls or ())))


def applicable(hint: str, options: Collection[str]) -> str:
    """Return a hint without the clauses that name options which a verb does not have; commands are in backticks."""
    clauses = (clause for clause in hint.split("; "))
    return "; ".join(c for c in clauses if all(o in options for o in _OPTION.findall(_COMMAND.sub("", c))))


def emit(
    result: Result,
    output_format: Literal["text", "json"],
    render: Renderer,
    *,
    quiet: bool = False,
    stream: TextIO | None = None,
) -> None:
    """Print a result on a stream, by default on stdout, and its warnings on stderr."""
    if output_format == "json":
        # ASCII, and no NaN: whatever reads this need not know better than the standard. A NaN is a bug and says so.
        write(json.dumps(envelope(result), indent=2, allow_nan=False) + "\n", stream or sys.stdout)
    else:
        from pathlift.cli.text import to_text

        write(to_text(render, result), stream or sys.stdout)
    if not quiet:
        for warning in result.warnings:
            note(f"warning: {warning}")


def envelope(result: Result) -> dict[str, Any]:
    """Return the JSON object that every verb prints."""
    from importlib.metadata import version

    return {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "pathlift", "version": version("pathlift")},
        "input": {"path": result.input.path, "sha256": result.input.sha256},
        "assumptions": list(result.assumptions),
        "warnings": list(result.warnings),
        "result": result.to_json(),
    }
