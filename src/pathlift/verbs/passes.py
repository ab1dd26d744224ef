"""The passes that pipelines can name."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from math import isfinite
from typing import Any

from pathlift.passes.base import Pass, Transform
from pathlift.passes.pipeline_text import type_name
from pathlift.passes.registry import UnavailablePassError, find_pass, pass_names, shadowed
from pathlift.report.result import Result


@dataclass(frozen=True, kw_only=True)
class PassesResult(Result):
    """All passes, built in and installed, and those of installed packages that cannot be used."""

    passes: tuple[type[Pass], ...]
    unavailable: tuple[UnavailablePassError, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "passes": list(map(_describe, self.passes)),
            "unavailable": [
                {"name": e.name, "packages": list(e.packages), "reason": e.reason} for e in self.unavailable
            ],
        }


def _describe(cls: type[Pass]) -> dict[str, Any]:
    return {
        "name": cls.name,
        "kind": "transform" if issubclass(cls, Transform) else "analysis",
        "path_norm": str(cls.effect) if issubclass(cls, Transform) else None,
        "help": cls.summary(),
        "options": [_option(name, field) for name, field in cls.options().items()],
    }


def _option(name: str, field: dataclasses.Field[Any]) -> dict[str, Any]:
    made = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return {
        "name": name,
        "type": type_name(field.type),
        "required": made is dataclasses.MISSING,
        "default": None if made is dataclasses.MISSING else _plain(made),
        "help": str(field.metadata.get("help", "")),
    }


def _plain(value: object) -> Any:
    """A default as JSON can hold it."""
    match value:
        case float() if not isfinite(value):
            return str(value)
        case None | bool() | int() | float() | str():
            return value
        case tuple() | list():
            return list(map(_plain, value))
        case _:
            return str(value)


def list_passes() -> PassesResult:
    """List all passes with their options, and what they may do to path-norms."""
    passes, unavailable = [], []
    for name in pass_names():
        try:
            passes.append(find_pass(name))
        except UnavailablePassError as error:
            unavailable.append(error)
    return PassesResult(
        warnings=shadowed(cls.name for cls in passes), passes=tuple(passes), unavailable=tuple(unavailable)
    )
