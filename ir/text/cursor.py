"""A position in a text and what stands there; every complaint says line, column, and what was expected."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from math import inf
from typing import TypeVar

from pathlift.ir.errors import TextError
from pathlift.ir.quoting import unquote
from pathlift.ir.text.literals import Literal

T = TypeVar("T")
_BLANK = re.compile(r"[ \t]*")
_BLANK_OR_COMMENT = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_QUOTED = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"-?(?:inf\b|nan\b|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)")
_BYTES = re.compile(r'b64"([A-Za-z0-9+/=]*)"')
_DEEPEST = 32


class Cursor:
    """Reads tokens off a text, from left to right; within brackets, line ends and comments are blanks.

    Parameters
    ----------
    text
        All of it.
    """

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self._depth = 0

    def error(self, code: str, message: str, at: int | None = None, *, hint: str = "") -> TextError:
        """Return an error about the position `at`, by default the current one."""
        position = self.at if at is None else at
        line = self.text.count("\n", 0, position) + 1
        column = position - self.text.rfind("\n", 0, position)
        return TextError(code, f"line {line}, column {column}: {message}", hint=hint)

    def expected(self, what: str) -> TextError:
        """Return the error that something else stands here."""
        found = self.text[self.at : self.at + 20].split("\n")[0]
        there = "the end of the text" if self.ended else repr(found) if found else "the end of the line"
        return self.error("0601", f"expected {what}, found {there}")

    @property
    def ended(self) -> bool:
        """Whether the text ends here."""
        return self.at >= len(self.text)

    def blanks(self) -> int:
        """Skip blanks; return the position after them."""
        match = (_BLANK_OR_COMMENT if self._depth else _BLANK).match(self.text, self.at)
        assert match is not None
        self.at = match.end()
        return self.at

    def ahead(self, mark: str) -> bool:
        """Whether `mark` stands here, after blanks."""
        return self.text.startswith(mark, self.blanks())

    def match(self, pattern: re.Pattern[str]) -> str | None:
        """Read what `pattern` matches here, after blanks; ``None`` if it does not."""
        match = pattern.match(self.text, self.blanks())
        if match is None:
            return None
        self.at = match.end()
        return match[0]

    def take(self, pattern: re.Pattern[str], what: str) -> str:
        """Like `match`; raises an error that `what` was expected."""
        found = self.match(pattern)
        if found is None:
            raise self.expected(what)
        return found

    def accept(self, mark: str) -> bool:
        """Read `mark`, if it stands here, after blanks."""
        if not self.ahead(mark):
            return False
        self.at += len(mark)
        return True

    def expect(self, mark: str) -> None:
        """Read `mark`, or raise."""
        if not self.accept(mark):
            raise self.expected(f"'{mark}'")

    def items(self, brackets: str) -> Iterator[int]:
        """Read a bracketed list; yield the number of each item, which the caller reads."""
        self.expect(brackets[0])
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self.error("0602", f"more than {_DEEPEST} brackets inside one another")
        index = 0
        while not self._closes(brackets[1]):
            if index:
                if not self.accept(","):
                    raise self.expected(f"',' or '{brackets[1]}'")
                if self._closes(brackets[1]):
                    break
            yield index
            index += 1

    def _closes(self, bracket: str) -> bool:
        if not self.accept(bracket):
            return False
        self._depth -= 1
        return True

    def word(self, what: str) -> str:
        """Read an identifier."""
        return self.take(_WORD, what)

    def name(self, pattern: re.Pattern[str], what: str) -> str:
        """Read a name that is quoted unless it matches `pattern`."""
        return self.string() if self.ahead('"') else self.take(pattern, what)

    def string(self) -> str:
        """Read a quoted string."""
        start = self.blanks()
        try:
            return unquote(self.take(_QUOTED, "a string"))
        except (ValueError, OverflowError):
            hint = r'write a backslash as "\\"'
            raise self.error("0602", "the string has an unknown escape", start, hint=hint) from None

    def literal(self) -> Literal:
        """Read a bool, a number, a string, bytes, or a list of literals."""
        start = self.blanks()
        if self.text.startswith('"', start):
            return self.string()
        if self.text.startswith("[", start):
            return [self.literal() for _ in self.items("[]")]
        for pattern in (_NUMBER, _BYTES):
            found = self.match(pattern)
            if found is not None:
                return self._number(found, start) if pattern is _NUMBER else self._bytes(found, start)
        found = self.match(_WORD)
        if found not in ("true", "false"):
            self.at = start
            raise self.expected("a value")
        return found == "true"

    def integer(self) -> int:
        """Read an integer."""
        start = self.blanks()
        digits = self.take(_NUMBER, "an integer")
        number = self._number(digits, start)
        if isinstance(number, float):
            self.at = start
            raise self.expected("an integer")
        return number

    def pairs(self, value: Callable[[], T]) -> tuple[tuple[str, T], ...]:
        """Read a mapping, ``{"key"=value}``, of values that `value` reads."""
        found = []
        for _ in self.items("{}"):
            key = self.string()
            self.expect("=")
            found.append((key, value()))
        return tuple(found)

    def _number(self, digits: str, start: int) -> int | float:
        try:
            number = int(digits) if digits.lstrip("-").isdecimal() else float(digits)
        except ValueError:  # Python refuses integers of thousands of digits
            raise self.error("0602", "the number is too long", start) from None
        if abs(number) == inf and not digits.endswith("inf"):
            raise self.error("0602", "the number is out of range", start)
        return number

    def _bytes(self, found: str, start: int) -> bytes:
        try:
            return base64.b64decode(found[4:-1], validate=True)
        except ValueError:
            raise self.error("0602", "the bytes are not base64", start) from None
