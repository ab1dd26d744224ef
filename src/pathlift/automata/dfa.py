"""A deterministic automaton over bytes, and the one that reads the UTF-8 of what another reads as characters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pathlift.ir.types import Array

Node = bytes | tuple[int, int, int]
"""Within a character: the bytes so far, where a character that has a class of its own begins so; else how many bytes
are to come, and between which the next one lies."""

_CONTINUATION = (0x80, 0xBF)
_LEADS = {
    **dict.fromkeys(range(0xC2, 0xE0), (1, *_CONTINUATION)),
    0xE0: (2, 0xA0, 0xBF),  # smaller ones would spell what fits into two bytes
    **dict.fromkeys(range(0xE1, 0xF0), (2, *_CONTINUATION)),
    0xED: (2, 0x80, 0x9F),  # larger ones would be surrogates
    0xF0: (3, 0x90, 0xBF),
    **dict.fromkeys(range(0xF1, 0xF4), (3, *_CONTINUATION)),
    0xF4: (3, 0x80, 0x8F),  # larger ones would be beyond U+10FFFF
}


@dataclass(frozen=True, eq=False)
class Dfa:
    """A deterministic automaton over bytes. State 0 is the first, the last one is that from which nothing leads away.

    Parameters
    ----------
    table
        ``(states + 1, 256)``, int32: the next state.
    accepting
        ``(states + 1,)``, bool.
    """

    table: Array
    accepting: Array

    @property
    def states(self) -> int:
        """How many states there are, without the dead one."""
        return len(self.table) - 1

    def accepts(self, text: bytes) -> bool:
        """Whether bytes are in the language."""
        state = 0
        for byte in text:
            state = int(self.table[state, byte])
        return bool(self.accepting[state])


def over_utf8(
    steps: Sequence[Mapping[int, int]], accepting: Sequence[bool], classes: Mapping[str, int], other: int | None
) -> Dfa:
    """Return the automaton over bytes that accepts the UTF-8 of the strings that one over characters accepts.

    Parameters
    ----------
    steps
        For each state, from 0, the next state by class of character; no entry where nothing is accepted any more.
    accepting
        For each state.
    classes
        By character, its class.
    other
        The class of all other characters; None if no string has any.
    """
    spelled = {char.encode(): kind for char, kind in classes.items() if not "\ud800" <= char <= "\udfff"}
    begun = {text[:i] for text in spelled for i in range(1, len(text))}

    def within(node: Node, byte: int) -> Node | int | None:
        """Where a byte leads: into a character, to the class of one, or nowhere."""
        so_far = node if isinstance(node, bytes) else None
        if so_far == b"":
            shape = _LEADS.get(byte)
            if shape is None and byte >= 0x80:
                return None
        else:
            left, low, high = _shape(node)
            if not low <= byte <= high:
                return None
            shape = (left - 1, *_CONTINUATION) if left > 1 else None
        if so_far is not None:
            text = so_far + bytes([byte])
            if text in begun:
                return text
            if text in spelled:
                return spelled[text]
        return other if shape is None else shape

    states: dict[tuple[int, Node], int] = {(0, b""): 0}
    rows: list[dict[int, int]] = []
    moves: dict[Node, dict[int, Node | int]] = {}
    pending: list[tuple[int, Node]] = [(0, b"")]
    for at, node in pending:  # the list grows while it is read
        row = {}
        if node not in moves:
            moves[node] = _moves(within, node)
        for byte, to in moves[node].items():
            after = steps[at].get(to) if isinstance(to, int) else at
            if after is None:
                continue
            target: tuple[int, Node] = (after, b"" if isinstance(to, int) else to)
            if target not in states:
                states[target] = len(states)
                pending.append(target)
            row[byte] = states[target]
        rows.append(row)
    table = np.full((len(rows) + 1, 256), len(rows), np.int32)
    for i, row in enumerate(rows):
        table[i, list(row)] = list(row.values())
    ends = [accepting[at] and node == b"" for at, node in states]
    return Dfa(table, np.array([*ends, False]))


def _moves(within: Callable[[Node, int], Node | int | None], node: Node) -> dict[int, Node | int]:
    return {byte: to for byte in range(256) if (to := within(node, byte)) is not None}


def _shape(node: Node) -> tuple[int, int, int]:
    """How many bytes a character is still to have, and between which the next lies."""
    if not isinstance(node, bytes):
        return node
    left, low, high = _LEADS[node[0]]
    return (left, low, high) if len(node) == 1 else (left - len(node) + 1, *_CONTINUATION)
