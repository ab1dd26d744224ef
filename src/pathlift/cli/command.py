"""Commands read off the verbs: a signature and its docstring become what Typer parses and says."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, get_args

import typer

from pathlift.cli.progress import progress
from pathlift.cli.terminal import note_under, write
from pathlift.ir.errors import PathliftError, UsageError
from pathlift.models.options import Flag, Progress, Trace
from pathlift.passes.docstring import parameter_help, summary
from pathlift.report.result import Result
from pathlift.verbs import GROUPS, VERBS

Frame = Callable[[Callable[..., Result], ModuleType], Callable[..., None]]
"""Puts around a verb what all verbs share: takes the verb, and the module that says how its results are shown."""

COMPLETION = "_PATHLIFT_COMPLETE"
"""The variable in which a shell that asks for completions says which shell it is."""
_USAGE = UsageError.exit_code


def asked(arguments: Sequence[str]) -> Iterable[str]:
    """Return the verb that arguments start with, so that no other is loaded; all verbs, if they start with none."""
    words = " ".join((_completed() or arguments)[:2]) + " "
    return [name for name in VERBS if words.startswith(f"{name} ")] or VERBS


def _completed() -> Sequence[str]:
    """Return the words after the command that a shell asks to complete; none where it asks nothing."""
    if not os.environ.get(COMPLETION):
        return ()
    line = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")
    return line.split()[1:]


def application(frame: Frame, names: Iterable[str] = VERBS) -> typer.Typer:
    """Return the command line: one command per verb of these names."""
    app = typer.Typer(
        help="Path-norms, rescaling and certificates of neural networks, as compiler passes over ONNX models.",
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback()(_root)
    groups = {"": app}
    for name, help_ in GROUPS.items():
        groups[name] = typer.Typer(help=help_)
        app.add_typer(groups[name], name=name)
    for name in names:
        group, _, word = name.rpartition(" ")
        groups[group].command(word)(frame(*command(VERBS[name])))
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        write(f"pathlift {version('pathlift')}\n")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    del version  # its callback has dealt with it


def command(home: str) -> tuple[Callable[..., Result], ModuleType]:
    """Return a function with the parameters that Typer is to parse, which calls a verb; and the verb's module.

    Parameters
    ----------
    home
        ``"module:function"``. The function is looked up again when it is called.
    """
    path, _, attribute = home.partition(":")
    module = import_module(path)
    function = getattr(module, attribute)
    ways = {p: way for p in inspect.signature(function, eval_str=True).parameters.values() if (way := _way(p))}

    def call(**taken: Any) -> Result:
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for parameter, way in ways.items():
            if isinstance(way, Progress):
                value: Any = progress(way.what)
            else:
                value = _value(taken[_name(parameter, way)], parameter, way)
            if parameter.kind is parameter.KEYWORD_ONLY:
                named[parameter.name] = value
            else:
                positional.extend(value if parameter.kind is parameter.VAR_POSITIONAL else [value])
        try:
            result: Result = getattr(module, attribute)(*positional, **named)
        except PathliftError as error:
            if error.exit_code != _USAGE:
                error.input = error.input or _only_file(positional)
            raise
        return result

    help_ = parameter_help(function.__doc__)
    flags = [_parameter(p, way, help_) for p, way in ways.items() if isinstance(way, Flag)]
    call.__doc__ = summary(function.__doc__)
    call.__signature__ = inspect.Signature(flags)  # type: ignore[attr-defined]  # `inspect` reads it off any function
    return call, module


def _only_file(arguments: Iterable[Any]) -> str:
    """Return the file that a verb is given, which errors after its opening are about; empty if there are several."""
    files = [argument for argument in arguments if isinstance(argument, Path)]
    return str(files[0]) if len(files) == 1 else ""


def _way(parameter: inspect.Parameter) -> Flag | Progress | None:
    """How the command line gives a parameter; None if it does not. The last word of an annotation counts."""
    found = [item for item in get_args(parameter.annotation)[1:] if isinstance(item, Flag | Progress)]
    return found[-1] if found else None


def _name(parameter: inspect.Parameter, flag: Flag) -> str:
    """What Typer calls a parameter."""
    return flag.names[0] if flag.argument and flag.names else parameter.name


def _value(taken: Any, parameter: inspect.Parameter, flag: Flag) -> Any:
    """Make of what was parsed what the verb takes."""
    if isinstance(flag, Trace):
        return note_under if taken else None
    if taken is None:
        return () if parameter.default is parameter.empty else parameter.default
    return flag.read(taken) if flag.read is not None else taken


def _default(parameter: inspect.Parameter, flag: Flag) -> Any:
    """What Typer takes for what is not given, as text where the text is read; empty for what must be given."""
    if parameter.kind is parameter.VAR_POSITIONAL:
        return None
    if flag.required or parameter.default is parameter.empty:
        return parameter.empty
    if isinstance(flag, Trace):
        return False
    if flag.read is None:
        return parameter.default
    return None if flag.write is None else flag.write(parameter.default)


def _completer(flag: Flag) -> Callable[[str], list[str]] | None:
    """Return a flag's completions as Typer takes them: by the annotation of what it is given."""
    if flag.complete is None:
        return None
    complete = flag.complete

    def completions(incomplete: str) -> list[str]:
        return list(complete(incomplete))

    return completions


def _parameter(parameter: inspect.Parameter, flag: Flag, help_: Mapping[str, str]) -> inspect.Parameter:
    """Say to Typer how to parse a parameter."""
    name, default = _name(parameter, flag), _default(parameter, flag)
    type_ = get_args(parameter.annotation)[0] if flag.type is None else flag.type
    said, completer = flag.help or help_.get(parameter.name, ""), _completer(flag)
    if flag.argument:
        metavar = flag.metavar or name.upper()
        info = typer.Argument(metavar=metavar, show_default=False, help=said, autocompletion=completer)
    else:
        names = flag.names or [f"--{name.replace('_', '-')}"]
        shown = flag.default or default not in (None, "")
        info = typer.Option(*names, metavar=flag.metavar, show_default=shown, help=said, autocompletion=completer)
    annotation: Any = Annotated[type_ | None if default is None else type_, info]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
