"""Token models: what reads token ids and returns a score for every token of the vocabulary at every position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from pathlift.ir.errors import InvalidModelError, UnsupportedError, UsageError
from pathlift.ir.types import Array
from pathlift.runtime.ports import Port
from pathlift.runtime.session import CheckedSession

_ELEMENTS = 2**23
"""Logits that are computed at once; the model's own activations take more."""
_BATCH = 64
_STATE = ("past", "cache", "state", "hidden")


class TokenModel:
    """A model of the next token, or of hidden ones.

    Parameters
    ----------
    session
        The model.
    size
        Of the vocabulary.
    output
        The output with the logits; by default the only one that can have them.
    pad
        The token that fills up what a file fixes.

    Raises
    ------
    UnsupportedError
        If it reads no tokens, or a state that calls hand on.
    UsageError
        If its outputs are of another vocabulary, or it has no such output.
    """

    def __init__(self, session: CheckedSession, size: int, *, output: str = "", pad: int = 0) -> None:
        self._session, self._size, self._pad = session, size, pad
        self.name = _token_input(session)
        self._output = _logits_output(session, size, output)
        port = next(p for p in session.inputs if p.name == self.name)
        fixed = [n if isinstance(n, int) else 0 for n in port.shape or (0, 0)]
        self.rows, self.width = fixed[0], fixed[1]
        self._dtype = port.dtype or np.dtype(np.int64)

    @property
    def others(self) -> tuple[str, ...]:
        """The names of its other inputs."""
        return tuple(p.name for p in self._session.inputs if p.name != self.name)

    @property
    def masks(self) -> bool:
        """Whether it can be told which tokens to look at."""
        return any("mask" in name.lower() for name in self.others)

    def batch(self, width: int) -> int:
        """Return how many strings are run at once."""
        return self.rows or max(1, min(_BATCH, _ELEMENTS // max(1, (self.width or width) * self._size)))

    def run(self, tokens: Array, ends: Array, more: Mapping[str, Array] | None = None) -> Array:
        """Return the logits of strings, ``(strings, width, tokens)``, in the model's precision.

        Parameters
        ----------
        tokens
            ``(strings, width)``, int64.
        ends
            ``(strings,)``: where each string's padding begins.
        more
            Other inputs by name; what is missing of attention masks, positions and types is filled in.

        Raises
        ------
        InvalidModelError
            If a logit is not a number, or infinite.
        UsageError
            If strings are longer than the file takes, or an input is missing.
        """
        strings, width = tokens.shape
        if self.width and width > self.width:
            reason = f"the strings have {width} tokens, the model takes {self.width}"
            raise UsageError("1587", reason, hint="leave the length of the file open, or cut the data")
        step = self.batch(width)
        found = [
            self._run(tokens[i : i + step], ends[i : i + step], {k: v[i : i + step] for k, v in (more or {}).items()})
            for i in range(0, strings, step)
        ]
        return np.concatenate(found) if len(found) > 1 else found[0]

    def feeds(self, tokens: Array, ends: Array, more: Mapping[str, Array]) -> dict[str, Array]:
        """Return what the session reads of a batch, filled up to what the file fixes; arguments are those of `run`."""
        strings, width = tokens.shape
        rows, columns = self.rows or strings, self.width or width
        filled = np.full((rows, columns), self._pad, np.int64)
        filled[:strings, :width] = tokens
        until = np.concatenate([ends, np.full(rows - strings, width)])
        feeds = {self.name: filled.astype(self._dtype)}
        for port in self._session.inputs:
            if port.name == self.name:
                continue
            given = more.get(port.name)
            value = _filled(port, filled.shape, until) if given is None else _grown(given, filled.shape)
            feeds[port.name] = value if port.dtype is None else value.astype(port.dtype)
        return feeds

    def _run(self, tokens: Array, ends: Array, more: Mapping[str, Array]) -> Array:
        """Run one batch."""
        strings, width = tokens.shape
        feeds = self.feeds(tokens, ends, more)
        filled = feeds[self.name].shape
        logits = np.asarray(self._session.run(feeds)[self._output])
        if logits.ndim != 3 or logits.shape[:2] != filled:
            reason = f"output {self._output!r} is {list(logits.shape)}, not logits of {list(filled)} tokens"
            raise UnsupportedError("0326", reason, hint="one row of logits per token")
        if logits.shape[2] != self._size:
            raise _other_size(self._output, logits.shape[2], self._size)
        logits = logits[:strings, :width]
        none = (logits == -np.inf).all(2) & (np.arange(width) < ends[:, None])  # behind ends nothing is asked
        bad = np.isnan(logits) | (logits == np.inf) | none[..., None]
        if bad.any():
            row, at, token = np.argwhere(bad)[0]
            what = "each logit" if none[row, at] else f"the logit of token {token}"
            value = logits[row, at, token]
            raise InvalidModelError("0187", f"output {self._output!r}: {what} at position {at} is {value}")
        return logits


def _filled(port: Port, shape: tuple[int, ...], ends: Array) -> Array:
    """What an input that is not given is, by its name."""
    name = port.name.lower()
    places = np.broadcast_to(np.arange(shape[1]), shape)
    if "mask" in name and (port.shape is None or len(port.shape) == 2):
        return (places < ends[:, None]).astype(np.int64)
    if "position" in name and (port.shape is None or len(port.shape) == 2):
        return places.copy()
    if "type" in name or "segment" in name:
        return np.zeros(shape, np.int64)
    raise UsageError(
        "1587", f"the data has nothing for input {port.name!r}, {port}", hint="np.savez(file, tokens=…, NAME=…)"
    )


def _grown(given: Array, shape: tuple[int, ...]) -> Array:
    """Fill what was given up with zeros, to the rows and the width that a file fixes."""
    extra = [(0, shape[0] - given.shape[0])]
    if given.ndim > 1 and given.shape[1] < shape[1]:
        extra.append((0, shape[1] - given.shape[1]))
    return np.pad(given, extra + [(0, 0)] * (given.ndim - len(extra)))


def _token_input(session: CheckedSession) -> str:
    """The input that reads tokens."""
    for port in session.inputs:
        if any(word in port.name.lower() for word in _STATE) or (port.shape is not None and len(port.shape) > 2):
            reason = f"input {port.name!r}, {port}, hands a state from call to call, or is no row of tokens"
            raise UnsupportedError("0326", reason, hint="export the model without a cache")
    able = [
        p
        for p in session.inputs
        if (p.dtype is None or p.dtype.kind in "iu") and (p.shape is None or len(p.shape) == 2)
    ]
    plain = [p for p in able if not any(word in p.name.lower() for word in ("mask", "position", "type", "segment"))]
    named = [p for p in plain if p.name.lower() in ("input_ids", "tokens")]
    chosen = named if len(plain) != 1 else plain
    if len(chosen) != 1:
        kinds = ", ".join(f"{p.name} {p}" for p in session.inputs)
        raise UnsupportedError(
            "0326", f"no token model: one input of whole numbers is needed, of {kinds}", hint="ids [N, T]"
        )
    return chosen[0].name


def _logits_output(session: CheckedSession, size: int, name: str) -> str:
    """The output that has the logits."""
    able = [
        p
        for p in session.outputs
        if p.dtype is None or (p.dtype.kind not in "iub" and (p.shape is None or len(p.shape) == 3))
    ]
    if name:
        if name not in [p.name for p in session.outputs]:
            said = ", ".join(p.name for p in session.outputs)
            raise UsageError("1588", f"the model has no output {name!r}", hint=f"it has {said}")
        able = [p for p in session.outputs if p.name == name]
    if len(able) > 1:
        fitting = [p for p in able if p.shape is not None and p.shape[-1] == size]
        named = [p for p in able if p.name == "logits"]
        able = fitting if len(fitting) == 1 else named or able
    if not able:
        raise UnsupportedError(
            "0326", "no token model: no output is of three axes of real numbers", hint="logits [N, T, V]"
        )
    if len(able) > 1:
        said = ", ".join(p.name for p in able)
        raise UsageError("1588", f"several outputs may be the logits: {said}", hint="--output NAME")
    port = able[0]
    if port.shape is not None and isinstance(port.shape[-1], int) and len(port.shape) == 3 and port.shape[-1] != size:
        raise _other_size(port.name, port.shape[-1], size)
    return port.name


def _other_size(name: str, found: int, size: int) -> UsageError:
    hint = "null entries for tokens that are no text"
    return UsageError("1584", f"output {name!r} has logits of {found} tokens, the vocabulary has {size}", hint=hint)


def chunks(count: int, size: int) -> Iterator[slice]:
    """Yield parts of so many rows of logits that a few copies in float64 are small."""
    step = max(1, _ELEMENTS // 2 // max(1, size))
    for start in range(0, count, step):
        yield slice(start, min(count, start + step))
