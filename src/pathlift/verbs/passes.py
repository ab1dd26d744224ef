"""The passes that pipelines can name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pathlift.report.plain import plain
from pathlift.report.result import Result
from pathlift.report.tables import Payload, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.passes.base import Pass
    from pathlift.passes.registry import UnavailablePassError


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
    from pathlift.passes.base import Transform

    help_ = cls.option_help()
    return {
        "name": cls.name,
        "kind": "transform" if issubclass(cls, Transform) else "analysis",
        "path_norm": str(cls.effect) if issubclass(cls, Transform) else None,
        "help": cls.summary(),
        "options": [_option(name, field, help_) for name, field in cls.options().items()],
    }


def _option(name: str, field: dataclasses.Field[Any], help_: Mapping[str, str]) -> dict[str, Any]:
    from pathlift.passes.pipeline_text import type_name

    made = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return {
        "name": name,
        "type": type_name(field.type),
        "required": made is dataclasses.MISSING,
        "default": None if made is dataclasses.MISSING else plain(made),
        "help": help_[name],
    }


def list_passes() -> PassesResult:
    """List the passes, their options, and a line of help for each.

    Of a rewrite, also what it may do to path-norms.
    """
    from pathlift.ir.errors import UsageError
    from pathlift.passes.registry import UnavailablePassError, find_pass, pass_names, shadowed

    passes, unavailable = [], []
    for name in pass_names():
        try:
            passes.append(find_pass(name))
        except UnavailablePassError as error:
            unavailable.append(error)
        except UsageError as error:  # an optional package is not installed
            unavailable.append(UnavailablePassError(name, ("pathlift",), f"{error.message}: {error.hint}"))
    return PassesResult(
        warnings=shadowed(cls.name for cls in passes), passes=tuple(passes), unavailable=tuple(unavailable)
    )


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield each pass and its options."""
    rows = []
    for item in payload["passes"]:
        rows.append([item["name"], item["kind"], item.get("path_norm") or "", item["help"]])
        for option in item["options"]:
            default = "…" if option.get("required") else option["default"]
            rows.append([f"  {option['name']}={default}", option["type"], "", option["help"]])
    for item in payload.get("unavailable", ()):
        rows.append([item["name"], "unavailable", "", f"{' and '.join(item['packages'])}: {item['reason']}"])
    yield table(["pass", "kind", "path-norm", ""], rows)
