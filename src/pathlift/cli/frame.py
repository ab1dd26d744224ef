"""The frame of all verbs: the options, the envelope, and the one place where a failure becomes an exit code."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import redirect_stdout
from types import ModuleType
from typing import Annotated, Any, Literal, TextIO

import typer

from pathlift.cli.command import COMPLETION, application, asked
from pathlift.cli.envelope import dumps, of_result
from pathlift.cli.failure import TERMINATED, fail
from pathlift.cli.progress import timing, watching
from pathlift.cli.terminal import Help, configure_logging, note, write
from pathlift.ir.errors import InterruptError, PathliftError
from pathlift.report.result import Result
from pathlift.report.tables import Renderer

_OPTION, _COMMAND = re.compile(r"(?<!\w)--[a-z][a-z-]*"), re.compile("`[^`]*`")


def run(arguments: Sequence[str]) -> int:
    """Run the command line on `arguments` and return the exit code; no exception leaves this function."""
    try:
        # Not standalone: Typer's own reports are many lines long and carry no code. It returns an Exit's code.
        app = application(framed, asked(arguments))
        with redirect_stdout(sys.stdout and Help(sys.stdout)):
            code = app(args=list(arguments), prog_name="pathlift", standalone_mode=False)
    except SystemExit as end:  # SIGTERM's; and Typer ends so once it has told a shell about completions
        return fail(end, arguments) if end.code == TERMINATED or not _completing(arguments) else int(end.code or 0)
    except (Exception, KeyboardInterrupt) as error:
        return fail(error, arguments)
    if code == InterruptError.exit_code:  # Typer's newer versions make that of a KeyboardInterrupt
        return fail(KeyboardInterrupt(), arguments)
    return code if isinstance(code, int) else 0


def _completing(arguments: Sequence[str]) -> bool:
    return COMPLETION in os.environ or bool({"--show-completion", "--install-completion"} & {*arguments[:1]})


def _shared(
    *,
    output_format: Annotated[Literal["text", "json"], typer.Option("--format", help="How to print.")] = "text",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No warnings.")] = False,
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose", "-v", count=True, show_default=False, help="Say more, and time each stage; twice: most."
        ),
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
        with timing(verbose > 0) as times:
            with redirect_stdout(sys.stderr), watching(times):
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
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # `inspect` reads it off any function
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
        write(dumps(of_result(result)), stream or sys.stdout)
    else:
        from pathlift.cli.text import to_text

        write(to_text(render, result), stream or sys.stdout)
    if not quiet:
        for warning in result.warnings:
            note(f"warning: {warning}")
