"""Options are declared once: verbs, passes and the command line agree on defaults and on words."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import pytest
import typer.main

from pathlift.cli.command import application
from pathlift.cli.frame import framed
from pathlift.models.options import ExecutorOption, Flag, Progress
from pathlift.passes.docstring import parameter_help
from pathlift.passes.registry import find_pass
from pathlift.runtime.session import ExecutorName
from pathlift.verbs import GROUPS, VERBS

RUNS = {
    "norm": ("path-norm", "heaviest-path"),
    "canonicalize": ("canonicalize",),
    "ks detect": ("ks-detect",),
    "ks fit": ("ks-fit",),
}
"""The passes that verbs hand their options to."""
SHARED = {"output_format", "quiet", "verbose", "debug", "help"}


def function_of(verb: str) -> Any:
    module, _, name = VERBS[verb].partition(":")
    return getattr(import_module(module), name)


def parameters(verb: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function_of(verb), eval_str=True).parameters


def ways(verb: str) -> dict[str, Flag | Progress]:
    return {
        name: item
        for name, p in parameters(verb).items()
        for item in typing.get_args(p.annotation)[1:]
        if isinstance(item, Flag | Progress)
    }


def commands() -> dict[str, Any]:
    group: Any = typer.main.get_command(application(framed))
    inner = {f"{outer} {name}": c for outer in GROUPS for name, c in group.commands[outer].commands.items()}
    return {**{name: c for name, c in group.commands.items() if name not in GROUPS}, **inner}


def as_option(value: object) -> object:
    """A default of a verb as a pass spells it."""
    return () if value is None else value


@pytest.mark.parametrize(("verb", "name"), [(verb, name) for verb, names in RUNS.items() for name in names])
def test_a_verb_and_the_pass_that_it_runs_agree(verb: str, name: str) -> None:
    cls, taken = find_pass(name), parameters(verb)
    fields = {field.name: field for field in cls.options().values()}
    common = fields.keys() & taken
    assert len(common) >= 3
    for option in common:
        given, default = taken[option].default, fields[option].default
        assert default in (given, (given,)) or as_option(given) == default, option
    told, also = parameter_help(function_of(verb).__doc__), parameter_help(cls.__doc__)
    flags = common & ways(verb).keys()
    assert {option: told[option] for option in flags} == {option: also[option] for option in flags}


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_has_help(verb: str) -> None:
    command = commands()[verb]
    assert command.help
    assert [p.name for p in command.params if not p.help] == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_parameter_is_in_the_docstring(verb: str) -> None:
    assert list(parameter_help(function_of(verb).__doc__)) == list(parameters(verb))


@pytest.mark.parametrize("verb", VERBS)
def test_every_flag_is_on_the_command_line_and_nothing_else(verb: str) -> None:
    flags = [flag.names[0] if flag.argument and flag.names else name
             for name, flag in ways(verb).items() if isinstance(flag, Flag)]  # fmt: skip
    assert [p.name for p in commands()[verb].params if p.name not in SHARED] == flags


@pytest.mark.parametrize("verb", VERBS)
def test_a_default_is_what_its_text_is_read_as(verb: str) -> None:
    for name, flag in ways(verb).items():
        if isinstance(flag, Flag) and flag.write is not None:
            default = parameters(verb)[name].default
            assert flag.read is not None
            assert flag.read(flag.write(default)) in (default, (default,))


def test_executors_are_those_there_are() -> None:
    assert typing.get_args(typing.get_args(ExecutorOption)[0]) == typing.get_args(ExecutorName)
