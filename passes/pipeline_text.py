"""The text of pipelines: pass names with options in braces, whose values are read as the fields' types."""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Iterator
from typing import Any

from pathlift.ir.errors import PathliftError, TextError
from pathlift.passes.base import Pass
from pathlift.passes.registry import closest, find_pass, label

_QUOTED = r'"[^"]*"|' + r"'[^']*'"
_PASS = re.compile(rf"\s*(?P<name>[\w.-]+)\s*(?:\{{(?P<options>(?:[^{{}}\"']|{_QUOTED})*)\}})?\s*(?:,|$)")
_OPTION = re.compile(
    rf"\s*(?P<name>[\w-]+)\s*=\s*(?P<value>{_QUOTED}|\[(?:[^\[\]\"']|{_QUOTED})*\]|[^,\[\]\"'\s][^,\[\]\"']*?)\s*(?:,|$)"
)
_ITEM = re.compile(rf"\s*(?P<item>{_QUOTED}|[^,\"'\s][^,\"']*?)\s*(?:,|$)")


def parse_passes(text: str) -> tuple[Pass, ...]:
    """Parse comma-separated passes.

    Parameters
    ----------
    text
        ``name{option=value, list=[1,2], text="a,b"}``; quotes are for values with commas, braces or brackets.

    Raises
    ------
    TextError
        If the text does not parse, a pass or an option does not exist or cannot be used, or a value does not fit.
    """
    passes, position = [], 0
    while position < len(text.rstrip()):
        match = _PASS.match(text, position)
        if match is None:
            raise TextError("0651", f"pipeline {text!r}: expected a pass at column {position + 1}",
                            hint="for example strip-head,dead-code")  # fmt: skip
        passes.append(_make(find_pass(match["name"]), match["options"] or ""))
        position = match.end()
    return tuple(passes)


def _make(cls: type[Pass], text: str) -> Pass:
    known, values = cls.options(), _values(cls, text)
    required = [n for n, f in known.items() if f.default is f.default_factory is dataclasses.MISSING]
    missing = [n for n in required if known[n].name not in values]
    if missing:
        raise TextError("0655", f"pass {cls.name!r} needs the option {missing[0]!r}",
                        hint=f"{cls.name}{{{missing[0]}=…}}")  # fmt: skip
    try:
        return cls(**values)
    except PathliftError:
        raise
    except Exception as error:  # a class may check its fields as it likes
        raise TextError("0657", f"{label(cls)} refuses its options: {error or type(error).__name__}") from error


def _values(cls: type[Pass], text: str) -> dict[str, Any]:
    """The values of the options that are given, by field."""
    types_, known = typing.get_type_hints(cls), cls.options()
    values: dict[str, Any] = {}
    position = 0
    while position < len(text.rstrip()):
        match = _OPTION.match(text, position)
        if match is None:
            raise TextError("0652", f"pass {cls.name!r}: options {text!r} do not parse at column {position + 1}",
                            hint="option=value, list=[1,2], text=\"a,b\"")  # fmt: skip
        name, value = match["name"], match["value"]
        if name not in known:
            raise TextError("0653", f"pass {cls.name!r} has no option {name!r}", hint=closest(name, known))
        field = known[name]
        if field.name in values:
            raise TextError("0656", f"pass {cls.name!r}: option {name!r} is given twice")
        try:
            values[field.name] = _read(value, types_[field.name])
        except (LookupError, TypeError, ValueError):
            raise TextError("0654", f"pass {cls.name!r}: option {name!r} cannot be {value!r}",
                            hint=f"it is of type {type_name(field.type)}") from None  # fmt: skip
        position = match.end()
    return values


def pass_text(p: Pass) -> str:
    """Return a pass as a pipeline spells it, with the options that are not as by default."""
    given = []
    for name, field in type(p).options().items():
        value = getattr(p, field.name)
        factory = field.default_factory
        default = factory() if factory is not dataclasses.MISSING else field.default
        if value != default:
            given.append(f"{name}={_value_text(value)}")
    return p.name + (f"{{{', '.join(given)}}}" if given else "")


def _value_text(value: object) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value_text, value))}]"
    text = str(value)
    plain = re.fullmatch(r"[\w.+-]+", text) is not None
    return text if plain else f"'{text}'" if '"' in text else f'"{text}"'


def type_name(type_: object) -> str:
    """A field's type as its author wrote it."""
    return type_.__name__ if isinstance(type_, type) else str(type_).removeprefix("typing.")


def _read(text: str, expected: Any) -> Any:
    """Read an option's value as its field's type.

    Raises
    ------
    LookupError, TypeError, ValueError
        If the text is no such value, or values of this type have no text.
    """
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin is tuple:
        return tuple(_read_items(text, arguments))
    if origin in (typing.Union, types.UnionType):
        if text == "none" and type(None) in arguments:
            return None
        return _read(text, next(a for a in arguments if a is not type(None)))
    if origin is typing.Literal:
        return {str(choice): choice for choice in arguments}[_unquoted(text)]
    if expected is bool:
        return {"true": True, "false": False}[text]
    value = expected(_unquoted(text))
    if isinstance(value, float) and math.isnan(value):
        raise ValueError(text)
    return value


def _read_items(text: str, arguments: tuple[Any, ...]) -> Iterator[Any]:
    if len(arguments) != 2 or arguments[1] is not Ellipsis or typing.get_origin(arguments[0]) is tuple:
        raise TypeError(f"no text for tuple{list(arguments)}")
    inner, position = text[1:-1] if text.startswith("[") else text, 0
    while position < len(inner.rstrip()):
        match = _ITEM.match(inner, position)
        if match is None:
            raise ValueError(text)
        yield _read(match["item"], arguments[0])
        position = match.end()


def _unquoted(text: str) -> str:
    return text[1:-1] if text[:1] in ("'", '"') else text
