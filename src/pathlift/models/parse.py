"""Option values that are more than a word: exponents, shapes, sizes."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pathlift.ir.errors import UsageError

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def exponents(text: str, flag: str = "--q") -> tuple[float, ...]:
    """Read ``0.5,1,2``."""
    try:
        values = tuple(float(item) for item in text.split(","))
    except ValueError:
        values = (math.nan,)
    if any(math.isnan(value) for value in values):
        raise UsageError("0401", f"{flag} {text!r} is not a list of exponents", hint=f"for example {flag} 1,2")
    return values


def exponent_text(value: float) -> str:
    """Write an exponent as `exponents` reads it."""
    return f"{value:g}"


def extents(text: str) -> dict[str, int]:
    """Read ``N=8,H=224``; a name may hold equals signs of its own."""
    matches = [re.fullmatch(r"\s*(\S.*?)\s*=\s*(\d{1,18})\s*", item, re.ASCII) for item in text.split(",")]
    if not all(matches):
        raise UsageError("0402", f"--shape {text!r} does not name dimensions", hint="for example --shape N=8,H=224")
    found = [(match[1], int(match[2])) for match in matches if match]
    if len(dict(found)) < len(found):
        twice = next(name for name, _ in found if [n for n, _ in found].count(name) > 1)
        raise UsageError("1427", f"--shape {text!r} gives two extents for {twice!r}", hint="name each once")
    return dict(found)


def shapes(items: Iterable[str]) -> tuple[tuple[int, ...], ...]:
    """Read one shape per input."""
    return tuple(map(shape, items))


def shape(text: str) -> tuple[int, ...]:
    """Read ``1,3,224,224``; an empty string is a scalar's shape."""
    items = [item.strip() for item in text.split(",")] if text.strip() else []
    if not all(re.fullmatch(r"\d{1,18}", item, re.ASCII) for item in items):
        raise UsageError("0403", f"--shape {text!r} is not a shape", hint="for example --shape 1,3,224,224")
    return tuple(int(item) for item in items)


def size(text: str) -> int:
    """Read ``8GB``, ``512MiB`` or a number of bytes."""
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([KMGT]I?|)B?\s*", text.upper(), re.ASCII)
    if not match:
        raise UsageError("0404", f"--memory-limit {text!r} is not a size", hint="for example --memory-limit 8GB")
    return int(float(match[1]) * _UNITS[match[2]])


def size_text(count: int) -> str:
    """Write a number of bytes as `size` reads it, in the largest decimal unit."""
    unit = max((unit for unit in ("", "K", "M", "G", "T") if count % _UNITS[unit] == 0), key=_UNITS.__getitem__)
    return f"{count // _UNITS[unit]}{unit}B"


def names(text: str) -> tuple[str, ...]:
    """Read ``rescaling,permutation``."""
    return tuple(dict.fromkeys(item.strip() for item in text.split(",")))


def seed(value: object) -> int:
    """Take a whole number that is not negative."""
    if not str(value).isdecimal():
        raise UsageError("0438", f"seed is {value!r}, not a number from 0 on")
    return int(str(value))


def fractions(text: str) -> tuple[float, ...]:
    """Read ``0.5,0.7,0.8``.

    Raises
    ------
    UsageError
        If one is no number.
    """
    try:
        return tuple(float(item) for item in text.split(",") if item.strip())
    except ValueError as error:
        raise UsageError("1409", f"{text!r} is not a list of shares", hint="0.5,0.7,0.8") from error


def counts(text: str) -> tuple[int, ...]:
    """Read ``1,2``."""
    items = [item.strip() for item in text.split(",")]
    if not all(re.fullmatch(r"[1-9]\d{0,3}", item, re.ASCII) for item in items):
        raise UsageError("0406", f"--threads {text!r} is no list of numbers", hint="for example --threads 1,2")
    return tuple(dict.fromkeys(map(int, items)))


def count_text(values: Iterable[int]) -> str:
    """Write numbers as `counts` reads them."""
    return ",".join(map(str, values))


def files(items: Iterable[str]) -> dict[str, str]:
    """Read ``x=x.npy``, or ``data.npz`` without a name."""
    found: dict[str, str] = {}
    for item in items:
        name, equals, path = item.partition("=")
        name, path = (name, path) if equals else ("", item)
        if not path or name in found:
            raise UsageError("0407", f"--input {item!r} names no file, or one twice", hint="--input x=x.npy")
        found[name] = path
    return found


def domains(items: Iterable[str]) -> dict[str, object]:
    """Read ``x=0:1``, or ``x=file.npz``; several by commas or by repetition."""
    found: dict[str, object] = {}
    for item in (part for text in items for part in text.split(",")):
        name, equals, value = item.partition("=")
        match = re.fullmatch(r"\s*([-+.\deE]+)\s*:\s*([-+.\deE]+)\s*", value, re.ASCII)
        try:
            bounds = tuple(map(float, match.groups())) if match else value
        except ValueError:
            bounds = ""
        if not equals or not name or not bounds or name in found or (not match and not value.endswith(".npz")):
            hint = "--domain x=0:1, or --domain x=FILE.npz with the arrays low and high"
            raise UsageError("1465", f"--domain {item!r} is no domain of an input", hint=hint)
        found[name] = bounds
    return found


def model(path: Path) -> Any:
    """Read where a model is; ``-`` is standard input."""
    return path if str(path) != "-" or sys.stdin is None else sys.stdin.buffer


def models(paths: Iterable[Path]) -> tuple[Any, ...]:
    """Read where models are."""
    return tuple(map(model, paths))


def stream_or_path(path: Path) -> Any:
    """Read where a result goes; ``-`` is standard output, whatever Python's own ``print`` writes to by now."""
    return path if str(path) != "-" or sys.__stdout__ is None else sys.__stdout__.buffer


def model_output(path: Path) -> Any:
    """Read where a model goes, which is bytes that no terminal can show."""
    output = stream_or_path(path)
    if output is not path and output.isatty():
        raise UsageError("1414", "a model is bytes, and standard output is a terminal", hint="redirect it; --text")
    return output


def shard(text: str) -> tuple[int, int]:
    """Read ``2/8``: the second of eight."""
    match = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text, re.ASCII)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError("1514", f"--shard {text!r} is no part of a whole", hint="--shard 2/8 is the second of eight")
    return int(match[1]), int(match[2])


def cluster(value: int | str | None) -> int | str | None:
    """Read how many workers to start, or the address of a scheduler: ``4``, ``tcp://host:8786``."""
    text = str(value)
    if value is None or re.fullmatch(r"(tcp|tls)://(\[[\da-fA-F:]+\]|[^\s:/]+):\d{1,5}", text, re.ASCII):
        return value
    if not re.fullmatch(r"[1-9]\d{0,2}", text, re.ASCII):
        hint = "for example --cluster 4, or --cluster tcp://host:8786"
        raise UsageError("1520", f"--cluster {text!r} is no number of workers and no address of a scheduler", hint=hint)
    return int(text)
