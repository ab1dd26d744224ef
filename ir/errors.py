"""Coded errors: one class per family, one exit code per class.

Every failure that a user can cause is a `PathliftError`. It carries a stable code (``PL`` and four digits), one
sentence that names the node or tensor, and a hint that says what to do about it. The command line prints exactly
that line and exits with `exit_code`; nothing else may reach the user.
"""

from __future__ import annotations

import ast
import copyreg
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

_NODE = re.compile(r"""node (?:producing )?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")(?: \(([^()]*)\))?""")


class PathliftError(Exception):
    """Base of all coded errors.

    Parameters
    ----------
    code
        Four digits, unique per cause, for example ``"0304"``. The second is the family; the first is 1 for what came
        once the family's first hundred were taken.
    message
        One sentence; names the node or tensor it is about, a node in front: ``node 'conv3' (Conv): ...``.
    hint
        What the user can do about it; empty when there is nothing.

    Attributes
    ----------
    node, op
        The node that the message starts with, and its op; empty where it starts with none.
    input
        Path of the file that the error is about; empty where that is not known.
    """

    family: ClassVar[str] = "00"
    exit_code: ClassVar[int] = 70

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.hint = f"PL{code}", message, hint
        named = _NODE.match(message)
        self.node: str = ast.literal_eval(named[1]) if named else ""
        self.op: str = (named[2] or "") if named else ""
        self.input = ""

    def __str__(self) -> str:
        return f"{self.code} {self.message}" + (f" hint: {self.hint}" if self.hint else "")

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own would call the class with the message alone: an error of a worker would not arrive.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]  # as pickle's docs


@contextmanager
def about(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let coded errors that leave this block say which file they are about, unless they know."""
    try:
        yield
    except PathliftError as error:
        error.input = error.input or os.fspath(path)
        raise


class InvalidModelError(PathliftError):
    """The file is not a valid ONNX model (exit 3): PL01xx."""

    family = "01"
    exit_code = 3


class UnsafeModelError(PathliftError):
    """The file reaches outside its folder or asks for absurd resources (exit 3): PL02xx."""

    family = "02"
    exit_code = 3


class UnsupportedError(PathliftError):
    """A valid graph that this analysis has no proved rule for (exit 4): PL03xx.

    Raised inside a primitive with the bare reason; the evaluator adds the node through `at`.
    """

    family = "03"
    exit_code = 4

    def __init__(self, code: str, message: str, *, hint: str = "", node: str = "", op: str = "") -> None:
        super().__init__(code, f"node {node!r} ({op}): {message}" if node else message, hint=hint)
        self.reason = message
        self.node, self.op = (node, op) if node else (self.node, self.op)

    def at(self, node: str, op: str) -> UnsupportedError:
        """Return this refusal with the node's name and op, unless it already names one."""
        if self.node:
            return self
        named = UnsupportedError(self.code.removeprefix("PL"), self.reason, hint=self.hint, node=node, op=op)
        named.input = self.input
        return named


class UsageError(PathliftError):
    """The caller's arguments are wrong (exit 2): PL04xx, PL14xx, PL15xx."""

    family = "04"
    exit_code = 2


class GraphError(PathliftError):
    """An IR graph violates an invariant that `verify` guards (exit 3): PL05xx."""

    family = "05"
    exit_code = 3


class TextError(PathliftError):
    """IR text or a pipeline string does not parse (exit 2): PL06xx."""

    family = "06"
    exit_code = 2


class OutputError(PathliftError):
    """The result could not be written where the user asked (exit 2); nothing that existed is lost: PL07xx."""

    family = "07"
    exit_code = 2


class WitnessError(PathliftError):
    """A pass produced a graph that its own witness contradicts: a bug in the pass (exit 70): PL08xx."""

    family = "08"
    exit_code = 70


class RuntimeFailureError(PathliftError):
    """Computing a result failed, through a fault of pathlift's own (exit 70): PL09xx."""

    family = "09"
    exit_code = 70


class ExecutionError(RuntimeFailureError):
    """A model cannot be executed here, or has no value on these inputs (exit 4): PL09xx."""

    exit_code = 4


class InterruptError(PathliftError):
    """The user stopped the command, by Ctrl-C (exit 130): PL00xx."""

    exit_code = 130


class TerminateError(PathliftError):
    """The system stopped the command, by SIGTERM (exit 143): PL00xx."""

    exit_code = 143
