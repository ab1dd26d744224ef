"""The op registry: `op` turns a program into an `Op`, whose signature is its schema."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import copysign
from types import MappingProxyType
from typing import Any

from pathlift.ir.errors import GraphError

Floats = tuple[float, ...]
Program = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute's declared type (``int``, ``float``, ``bool``, ``str``, ``bytes``, ``Ints``, ``Floats`` …)."""

    type: Any
    required: bool
    default: Any

    def accepts(self, value: object) -> bool:
        """Whether `value` has the declared type (an int is a float)."""
        if typing.get_origin(self.type) is tuple:
            element = typing.get_args(self.type)[0]
            return isinstance(value, tuple) and all(_is(v, element) for v in value)
        return _is(value, self.type)


def _is(value: object, expected: Any) -> bool:
    if isinstance(value, bool):
        return expected is bool
    return isinstance(value, (int, float) if expected is float else expected)


@dataclass(frozen=True, slots=True)
class Op:
    """One op of the canonical set.

    Parameters
    ----------
    name
        As ONNX spells it, wherever ONNX has it.
    program
        ``program(algebra, *inputs, **attrs)`` returns one value, or a tuple for several outputs.
    inputs
        Names of the inputs.
    required
        How many of them must be there.
    variadic
        Whether the last input may be repeated.
    gaps
        Whether any of the repeated inputs may be left out.
    attributes
        By name.
    """

    name: str
    program: Program
    inputs: tuple[str, ...]
    required: int
    variadic: bool
    gaps: bool
    attributes: Mapping[str, Attribute]

    @property
    def doc(self) -> str:
        """The program's first docstring line."""
        return (self.program.__doc__ or "").strip().splitlines()[0]

    def check_arity(self, count: int) -> str:
        """Return what is wrong with this number of inputs; empty if nothing."""
        most = "any number of" if self.variadic else len(self.inputs)
        if count < self.required or (not self.variadic and count > len(self.inputs)):
            return f"{self.name} takes {self.required} to {most} inputs, got {count}"
        return ""

    def check_inputs(self, sources: Sequence[object]) -> str:
        """Return what is wrong with these inputs, ``None`` where left out; empty if nothing."""
        fixed = len(sources) if self.variadic and not self.gaps else self.required
        missing = next((i for i, s in enumerate(sources[:fixed]) if s is None), None)
        left_out = "" if missing is None else f"input {missing} of {self.name} is left out"
        return self.check_arity(len(sources)) or left_out

    def canonical(self, attrs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return `attrs` without those that equal the op's default."""
        spoken = {k: v for k, v in attrs.items() if not self._is_default(k, v)}
        return attrs if len(spoken) == len(attrs) else MappingProxyType(spoken)

    def _is_default(self, name: str, value: Any) -> bool:
        attribute = self.attributes.get(name)
        if attribute is None or attribute.required or value != attribute.default:
            return False
        return not isinstance(value, float) or copysign(1, value) == copysign(1, attribute.default)  # −0.0 is not 0.0

    def check_attrs(self, attrs: Mapping[str, Any]) -> str:
        """Return what is wrong with these attributes; empty if nothing."""
        for name, value in attrs.items():
            if name not in self.attributes:
                return f"{self.name} has no attribute {name!r}"
            if not self.attributes[name].accepts(value):
                return f"attribute {name!r} of {self.name} cannot be {value!r}"
        missing = [n for n, a in self.attributes.items() if a.required and n not in attrs]
        return f"{self.name} needs the attribute {missing[0]!r}" if missing else ""


OPS: dict[str, Op] = {}


def op(name: str) -> Callable[[Program], Program]:
    """Register the decorated program under `name`.

    Raises
    ------
    GraphError
        If the name is taken.
    """

    def register(program: Program) -> Program:
        if name in OPS:
            raise GraphError("0502", f"op {name!r} is defined twice")
        hints = typing.get_type_hints(program)
        parameters = list(inspect.signature(program).parameters.values())[1:]
        positional = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
        attributes = {
            p.name: Attribute(hints[p.name], p.default is p.empty, None if p.default is p.empty else p.default)
            for p in parameters
            if p.kind is p.KEYWORD_ONLY
        }
        repeated = [hints[p.name] for p in positional if p.kind is p.VAR_POSITIONAL]
        gaps = any(type(None) in typing.get_args(hint) for hint in repeated)
        required = sum(p.default is p.empty and p.kind is not p.VAR_POSITIONAL for p in positional)
        names = tuple(p.name for p in positional)
        OPS[name] = Op(name, program, names, required, bool(repeated), gaps, MappingProxyType(attributes))
        return program

    return register
