"""Certificates as files: what `compare` writes, and what of it can be believed before its bound is proved again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from math import inf, nextafter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathlift.ir.errors import InvalidModelError, UsageError

if TYPE_CHECKING:
    from pathlift.models.domain import Domains
    from pathlift.passes.certificates.search import Step
    from pathlift.passes.sizes import Extents

VERSION = 1
CLAIM = "for every input in one of the boxes, |R_second(x) - R_first(x)| is at most the bound"
MOST_BYTES = 2**30
"""Of a file."""
ROOM = Decimal("1e-9")
"""By how much, relatively, a bound is written larger than it was proved: another machine rounds otherwise."""
DIGITS = 12
"""Of a bound that is written, the last one rounded up."""


def stated(proved: float) -> float | None:
    """Return the bound that a certificate states where this one is proved: a little more, so that a check is strict."""
    if not proved < inf:
        return None
    upward = Context(prec=DIGITS, rounding=ROUND_CEILING)
    number = float(upward.multiply(Decimal(proved), 1 + ROOM))
    number = nextafter(number, inf) if proved else 0.0  # where float64 has few digits left
    return number if number < inf else None


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a certificate's content, with its digest."""
    whole = {"pathlift_certificate": VERSION, "claim": CLAIM, **content}
    path.write_text(json.dumps({**whole, "digest": digest(whole)}, indent=1, allow_nan=False) + "\n")


def digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all that a certificate says, but for the digest: an edit is noticed, if not a forgery."""
    said = {name: value for name, value in content.items() if name != "digest"}
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Certificate:
    """What a file says, of the right form; that it is true is another matter.

    Parameters
    ----------
    first, second
        ``path`` and ``sha256`` of the models.
    shape
        Extents of symbolic dimensions.
    domain
        What it says its boxes amount to.
    boxes
        By input: ``low`` and ``high``, one number or as many as the input has.
    bound
        ``l1`` and ``linf``; ``None`` where none is stated.
    per_output
        Bounds of each element of the outputs.
    steps
        By box.
    intact
        Whether it is what was written.
    """

    first: Mapping[str, str]
    second: Mapping[str, str]
    shape: tuple[tuple[str, int], ...]
    domain: Mapping[str, Any]
    boxes: Sequence[Mapping[str, Mapping[str, Any]]]
    bound: Mapping[str, float | None]
    per_output: Sequence[float | None]
    steps: Sequence[Sequence[Step]]
    intact: bool

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Certificate:
        """Read a file.

        Raises
        ------
        InvalidModelError
            If it is no certificate.
        UsageError
            If there is none.
        """
        shown = repr(os.fspath(path))
        try:
            if Path(path).stat().st_size > MOST_BYTES:
                raise InvalidModelError("0192", f"{shown} is too large for a certificate")
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UsageError("0470", f"there is no file {shown}") from error
        except (OSError, ValueError, RecursionError) as error:
            raise InvalidModelError("0192", f"{shown} is no certificate: {error}") from error
        if not isinstance(content, dict) or content.get("pathlift_certificate") != VERSION:
            raise InvalidModelError("0192", f"{shown} is no certificate of this version")
        try:
            return cls._of(content)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise InvalidModelError("0192", f"{shown} is no certificate: {reason}") from error

    @classmethod
    def _of(cls, content: Mapping[str, Any]) -> Certificate:
        from pathlift.passes.certificates.encoding import decode

        boxes, steps = list(content["boxes"]), [decode(s) for s in content["steps"]]
        if not boxes or len(boxes) != len(steps):
            raise ValueError(f"it has {len(boxes)} boxes, and steps for {len(steps)}")
        first, second = ({key: str(content[side][key]) for key in ("path", "sha256")} for side in ("first", "second"))
        bound = content["bound"]
        sides = ("low", "high")
        return cls(
            first, second, tuple((str(n), int(v)) for n, v in dict(content["shape"]).items()), dict(content["domain"]),
            [{str(n): {side: dict(ends)[side] for side in sides} for n, ends in dict(b).items()} for b in boxes],
            {norm: _number(bound[norm]) for norm in ("l1", "linf")}, [_number(x) for x in list(bound["per_output"])],
            steps, digest(content) == content["digest"],
        )  # fmt: skip

    def domains(self, shapes: Mapping[str, Extents]) -> Domains:
        """Return the boxes, for inputs of these shapes.

        Raises
        ------
        InvalidModelError
            If they are no boxes of such inputs.
        """
        import torch

        from pathlift.models.domain import Domains
        from pathlift.passes.attacks.domain import Domain

        found = []
        try:
            for box in self.boxes:
                if set(box) != set(shapes):
                    raise ValueError(f"a box of the inputs {sorted(box)} where the model has {sorted(shapes)}")
                sides = [
                    {n: torch.tensor(box[n][side], dtype=torch.float64).expand(shapes[n]).contiguous() for n in shapes}
                    for side in ("low", "high")
                ]
                found.append(Domain(*sides))
            radius = self.domain.get("radius")
            return Domains(tuple(found), radius=radius)
        except (TypeError, ValueError, RuntimeError, UsageError) as error:
            raise InvalidModelError("0192", f"the certificate's boxes cannot be read: {error}") from error


def _number(x: Any) -> float | None:
    """A bound as JSON has it: a finite number that is not negative, or none."""
    if x is None:
        return None
    if isinstance(x, bool) or not isinstance(x, int | float) or not 0 <= x < inf:
        raise ValueError(f"a bound is stated as {x!r}")
    return float(x)


def encode_box(x: Any) -> Any:
    """One number where all are alike, else all, nested; ``x`` is a float64 tensor."""
    first = float(x.reshape(-1)[0]) if x.numel() else 0.0
    return first if bool((x == first).all()) else x.tolist()
