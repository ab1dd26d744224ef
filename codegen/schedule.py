"""Schedules: what a generated kernel computes around its product, and how.

A `Form` says what: element type, layouts, epilogue. A `Schedule` adds how: the template, its tiles, and what runs them.
Together with patterns they determine the source of a kernel (`pathlift.codegen.render`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pathlift.ir.errors import UsageError
from pathlift.ir.ops.kronecker import ACTIVATIONS

DType = Literal["float32", "float16", "bfloat16"]
Precision = Literal["ieee", "tf32", "tf32x3"]
Layout = Literal["rows", "features"]
Template = Literal["dot", "batched", "decode", "chain", "gradient"]

ITEMSIZE = {"float32": 4, "float16": 2, "bfloat16": 2}
TEMPLATES: dict[str, str] = {
    "dot": "matrix products of tiles; with a group, of neighbours merged into one dense block with explicit zeros",
    "batched": "a batch of matrix products, one for each of the neighbours of a group",
    "decode": "sums of products, without tensor cores: for a handful of samples, where weights are most of the traffic",
    "chain": "two factors in one kernel, whose intermediate result stays on the chip",
    "gradient": "the gradient of the non-zeros: products over samples, in parts that are added up",
}
"""What each template is, by name; its source is ``templates/NAME.py.jinja``."""

_CHOICES = {
    "dtype": tuple(ITEMSIZE),
    "precision": ("ieee", "tf32", "tf32x3"),
    "reads": ("rows", "features"),
    "writes": ("rows", "features"),
    "activation": ("", *ACTIVATIONS),
    "template": tuple(TEMPLATES),
}


def _check(of: object, *names: str) -> None:
    for name in names:
        if getattr(of, name) not in _CHOICES[name]:
            hint = ", ".join(filter(None, _CHOICES[name]))
            raise UsageError("1430", f"there is no {name} {getattr(of, name)!r}", hint=hint)


@dataclass(frozen=True)
class Form:
    """What a kernel computes around its product: y = activation(x·Kᵀ + bias + residual).

    Parameters
    ----------
    dtype
        Of x, K, y and the epilogue's operands. Sums and the epilogue are in float32 whatever it is.
    precision
        Of a product of two float32 numbers: ``ieee``, ``tf32`` (11 bits), or ``tf32x3``, which adds up three
        products of tf32 parts, for an error like that of float32; but what is infinite or above 2¹²⁷ may give NaN.
        ``ieee`` for other element types, whose products are exact.
    reads, writes
        Layouts of x and y: ``rows`` of samples, (samples, features), or ``features`` first, (features, samples).
    bias, residual
        Whether a vector, or a matrix in the layout of y, is added.
    activation
        One of `pathlift.ir.ops.kronecker.ACTIVATIONS`, or none.

    Raises
    ------
    UsageError
        If there is no such element type, precision, layout or activation.
    """

    dtype: DType = "float32"
    precision: Precision = "tf32x3"
    reads: Layout = "rows"
    writes: Layout = "rows"
    bias: bool = False
    residual: bool = False
    activation: str = ""

    def __post_init__(self) -> None:
        _check(self, "dtype", "precision", "reads", "writes", "activation")
        if self.dtype != "float32" and self.precision != "ieee":
            raise UsageError("1431", f"{self.precision} is no precision of {self.dtype}", hint="ieee")

    def __str__(self) -> str:
        return _text(self)

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return ITEMSIZE[self.dtype]


@dataclass(frozen=True)
class Schedule:
    """How a kernel computes.

    Parameters
    ----------
    template
        One of `TEMPLATES`.
    form
        What is computed.
    block_n, block_p, block_k
        Extents of a tile: samples, outputs of a block, inputs of a block. Powers of two. In a ``chain``, outputs are
        those of the outer factor, and ``block_k`` is of s, what is between the factors (`pathlift.codegen.chains`).
    group
        How many of the d neighbouring blocks, which are interleaved in memory, a program computes; it divides d.
    warps, stages
        Of 32 threads, and how many tiles of operands are in flight.
    weights_left
        Whether weights are the left operand of a product, so that samples are the shorter side of a tensor core's tile.
    descriptors
        Whether tiles of x and y are moved by the tensor memory accelerator. Only Hopper (sm_90) and newer have it: who
        selects a schedule for a card sees to that.

    Raises
    ------
    UsageError
        If there is no such template, an extent is no power of two, or something else is below 1.
    """

    template: Template
    form: Form = Form()
    block_n: int = 64
    block_p: int = 64
    block_k: int = 32
    group: int = 1
    warps: int = 4
    stages: int = 3
    weights_left: bool = False
    descriptors: bool = False

    def __post_init__(self) -> None:
        _check(self, "template")
        for name in ("block_n", "block_p", "block_k", "warps"):
            value = getattr(self, name)
            if value < 1 or value & (value - 1):
                raise UsageError("1432", f"{name} is {value}, and no power of two")
        if min(self.group, self.stages) < 1:
            raise UsageError("1432", f"group {self.group} and stages {self.stages} must be at least 1")

    def __str__(self) -> str:
        return f"{self.form} {_text(self)}"


def parse_form(text: str) -> Form:
    """Read what ``str(form)`` writes.

    Raises
    ------
    UsageError
        If the text is none.
    """
    given = dict(part.partition("=")[::2] for part in text.split())
    form = Form(**_read(Form, given))
    if given:
        raise UsageError("1433", f"{text!r} is no form", hint=str(Form()))
    return form


def parse_schedule(text: str) -> Schedule:
    """Read what ``str(schedule)`` writes.

    Raises
    ------
    UsageError
        If the text is none.
    """
    given = dict(part.partition("=")[::2] for part in text.split())
    form, how = (_read(cls, given) for cls in (Form, Schedule))
    if given or "template" not in how:
        raise UsageError("1433", f"{text!r} is no schedule", hint="template=dot block_n=64 …")
    return Schedule(form=Form(**form), **how)


def _read(cls: type[Any], given: dict[str, str]) -> dict[str, Any]:
    """Take what belongs to a class out of the parts of a text."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        if field.name in given:
            text = given.pop(field.name)
            try:
                found[field.name] = _READERS.get(str(field.type), str)(text)
            except (ValueError, KeyError):
                raise UsageError("1433", f"{field.name}={text} is no part of a schedule") from None
    return found


_READERS: dict[str, Callable[[str], object]] = {"int": int, "bool": {"yes": True, "no": False}.__getitem__}


def _text(of: Form | Schedule) -> str:
    values = {f.name: getattr(of, f.name) for f in dataclasses.fields(of) if f.name != "form"}
    return " ".join(f"{name}={_spelled(value)}" for name, value in values.items())


def _spelled(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
