"""Options: how the command line takes a verb's parameters, declared on the parameters themselves.

A parameter of a verb is an option of the command line if its annotation carries a `Flag`; the words of its help are its
line in the verb's docstring. A parameter without one is for Python only. This room lies below the verbs, which declare
options, and below the command line, which reads them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal

from pathlift.models import parse

if TYPE_CHECKING:
    import torch

    from pathlift.ir.types import Array
    from pathlift.models.source import Model as AnyModel


class Flag:
    """An option, or an argument.

    Parameters
    ----------
    names
        As they are typed: ``--output``, ``-o``; what the help calls an argument. By default the parameter's own.
    metavar
        What stands for the value in the help; for an argument, by default its name in capitals.
    type
        What the command line takes, where that is not the parameter's annotation: `str` for what is read; a list for
        what may be repeated.
    read
        Makes the parameter's value of what was taken.
    write
        Makes of the parameter's default the text that `read` would make it of.
    default
        What the help says of the default, where its value says nothing.
    help
        What the help says, where the docstring speaks to Python alone.
    argument
        Whether it is given by its place.
    required
        Whether the command line must be given it although the function has a default.
    complete
        Returns what a shell completes the start of a value to, where the type does not say.
    """

    def __init__(
        self,
        *names: str,
        metavar: str | None = None,
        type: Any = None,  # noqa: A002
        read: Callable[[Any], Any] | None = None,
        write: Callable[[Any], str] | None = None,
        default: str = "",
        help: str = "",  # noqa: A002
        argument: bool = False,
        required: bool = False,
        complete: Callable[[str], Iterable[str]] | None = None,
    ) -> None:
        self.names, self.metavar, self.default, self.help = names, metavar, default, help
        self.type = str if type is None and read is not None else type
        self.read, self.write, self.argument, self.required = read, write, argument, required
        self.complete = complete


class Trace(Flag):
    """A switch, for a parameter that is a function of a name and a text: the command line prints them on stderr."""

    def __init__(self, *names: str, help: str) -> None:  # noqa: A002
        super().__init__(*names, type=bool, help=help)


@dataclass(frozen=True)
class Progress:
    """No option: the parameter is told a name, a number, and how many there are, and the command line draws a bar.

    Parameters
    ----------
    what
        What is going on.
    """

    what: str


def pass_completions(incomplete: str) -> list[str]:
    """Return the passes that a name, or the last one of a pipeline, may become."""
    from pathlift.passes.registry import pass_names

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in pass_names() if name.startswith(last)]


Model = Annotated[
    "AnyModel", Flag(argument=True, type=Path, read=parse.model, help="An ONNX file or a text; - for standard input.")
]
ModelOutput = Annotated[
    "str | os.PathLike[str] | BinaryIO | None", Flag("--output", "-o", type=Path, read=parse.model_output)
]
Output = Annotated[str | os.PathLike[str] | None, Flag("--output", "-o", type=Path)]
Force = Annotated[bool, Flag()]
MemoryLimit = Annotated[int, Flag(metavar="SIZE", read=parse.size, write=parse.size_text)]
AssumeEval = Annotated[bool, Flag()]
Shape = Annotated[Mapping[str, int] | None, Flag(metavar="NAME=SIZE,...", read=parse.extents)]
DeviceOption = Annotated["str | torch.device", Flag(type=str)]
CostModel = Annotated[str, Flag("--device", metavar="DEVICE")]
ExecutorOption = Annotated[Literal["auto", "onnxruntime", "torch"], Flag()]
Samples = Annotated[int, Flag(metavar="N")]
Seed = Annotated[int, Flag(type=int, read=parse.seed, write=str)]
Domain = Annotated[Mapping[str, Any] | None, Flag(metavar="x=LO:HI", type=list[str], read=parse.domains)]
At = Annotated[Any, Flag("--at", metavar="FILE.npz", type=Path)]
Radius = Annotated[float | None, Flag(metavar="R")]
Calibration = Annotated["str | os.PathLike[str] | Mapping[str, Array] | None", Flag(metavar="FILE.npz", type=Path)]
Cluster = Annotated[int | str | None, Flag(metavar="N|ADDRESS", read=parse.cluster)]
