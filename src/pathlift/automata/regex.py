"""Regular expressions as automata: Python's spelling, of whole strings."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np

from pathlift.automata.dfa import Dfa, over_utf8
from pathlift.ir.errors import UnsupportedError, UsageError

_TIMES = r"\{(\d+|\d*,\d*)\}"
_STARTS = r"(?:^|[(|]|\(\?:)\Z"
_LOOKS = ("(?=", "(?!", "(?<=", "(?<!")
_ODD = {"(?#": "a comment", "(?(": "a condition", "(?P=": "a reference to a group", "(?>": "an atomic group"}


def compile_regex(pattern: str) -> Dfa:
    r"""Return the automaton over the UTF-8 of the strings that a regular expression matches as a whole.

    Parameters
    ----------
    pattern
        In Python's syntax. ``\d``, ``\w`` and ``\s`` are of ASCII; ``.`` is any character but a newline. ``(?i)`` takes
        a character's upper and lower case for itself, if they are one character.

    Raises
    ------
    UsageError
        If it is not well-formed, with the column; if it matches nothing; if interegular is not installed.
    UnsupportedError
        If it uses what no automaton reads, references to groups for one.
    """
    from pathlift.ir.packages import optional_packages

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a later Python may read in another way
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        column = (getattr(error, "pos", None) or 0) + 1
        said = getattr(error, "msg", None) or str(error)
        raise UsageError(
            "1580",
            f"the regular expression is not well-formed: column {column}: {said}",
            hint="the syntax is that of Python's re",
        ) from error
    _refuse_odd(pattern)
    with optional_packages():
        from interegular.fsm import anything_else
        from interegular.patterns import InvalidSyntax, Unsupported, parse_pattern
    try:
        machine: Any = parse_pattern(pattern).to_fsm()
        machine = machine.reduce()
    except (InvalidSyntax, Unsupported, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        said = str(error) or "a spelling that is not known"
        hint = "groups, alternatives, classes and repetitions are read"
        raise UnsupportedError(
            "0325", f"no automaton can be made of the regular expression: {said}", hint=hint
        ) from error
    kinds = {key: i for i, key in enumerate(dict.fromkeys(machine.alphabet.values()))}
    number = {state: i for i, state in enumerate([machine.initial, *sorted(machine.states - {machine.initial})])}
    steps = [
        {kinds[key]: number[to] for key, to in machine.map.get(state, {}).items() if key in kinds} for state in number
    ]
    classes = {  # of two letters, as the upper case of ß, none is read
        char: kinds[key] for char, key in machine.alphabet.items() if char is not anything_else and len(char) == 1
    }
    rest = kinds[machine.alphabet[anything_else]] if anything_else in machine.alphabet else None
    found = trimmed(over_utf8(steps, [state in machine.finals for state in number], classes, rest))
    if not found.accepting.any():
        raise UsageError("1581", "the regular expression matches no string", hint="nothing can be said in it")
    return found


def trimmed(dfa: Dfa) -> Dfa:
    """Return the automaton in which states from which no string can be finished are one with the dead state."""
    table, live = dfa.table, dfa.accepting.copy()
    while not ((more := live | live[table].any(1)) == live).all():
        live = more
    live[0] = True  # the first state stays, also where nothing is accepted
    number = np.where(live, np.cumsum(live) - 1, live.sum()).astype(np.int32)
    kept = np.flatnonzero(live)
    rows = np.vstack([number[table[kept]], np.full((1, 256), len(kept), np.int32)])
    return Dfa(rows, np.append(dfa.accepting[kept], False))


def _refuse_odd(pattern: str) -> None:
    """Refuse what interegular would read in another way than Python, and what no automaton reads, with its column."""
    i, inside = 0, False
    while i < len(pattern):
        rest = pattern[i:]
        said = ""
        if rest[0] == "\\":
            if not inside and rest[1:2] in "123456789" and not re.match(r"\\[0-3][0-7]{2}", rest):
                said = "a reference to a group"
            elif rest[1:2] in ("A", "Z", "b", "B") and not inside:
                said = f"{rest[:2]}, which looks at places between characters"
            step = 2
        elif inside:
            step, inside = 1, rest[0] != "]"
        elif rest[0] == "[":
            match = re.match(r"\[\^?\]", rest)
            said = "a class that begins with ]: write \\]" if match else ""
            step, inside = 2 if rest[1:2] == "^" else 1, True
        elif again := re.match(r"([*+?]|\{\d*,?\d*\})\+", rest):
            said, step = "a repetition that gives nothing back", again.end()
        elif rest[0] == "{" and not re.match(_TIMES, rest) and not re.search(_STARTS, pattern[:i]):
            said, step = "a brace as text: write \\{", 1
        elif rest[0] in "^$":
            said, step = f"{rest[0]}: the whole string is matched anyway, leave it out", 1
        else:
            odd = next((word for start, word in _ODD.items() if rest.startswith(start)), "")
            said, step = "a look ahead or back" if rest.startswith(_LOOKS) else odd, 1
        if said:
            hint = "groups, alternatives, classes and repetitions are read"
            raise UnsupportedError(
                "0325", f"no automaton can be made of column {i + 1} of the regular expression: {said}", hint=hint
            )
        i += step
