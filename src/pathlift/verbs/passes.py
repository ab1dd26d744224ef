"""The passes that pipelines can name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pathlift.models.options import Flag, pass_completions
from pathlift.report.plain import plain
from pathlift.report.result import Result
from pathlift.report.tables import Payload, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.passes.base import Pass
    from pathlift.passes.registry import UnavailablePassError


@dataclass(frozen=True, kw_only=True)
class PassesResult(Result):
    """Passes, built in and installed, and those of installed packages that cannot be used.

    Parameters
    ----------
    passes
        All, or the one that was asked for.
    unavailable
        Why some cannot be used.
    alone
        Whether one was asked for.
    """

    passes: tuple[type[Pass], ...]
    unavailable: tuple[UnavailablePassError, ...] = ()
    alone: bool = False

    ROWS = ("passes",)

    def headline(self) -> str:
        return f"{len(self.passes)} passes"

    def to_json(self) -> dict[str, Any]:
        return {
            "passes": list(map(_describe, self.passes)),
            "unavailable": [
                {"name": e.name, "packages": list(e.packages), "reason": e.reason} for e in self.unavailable
            ],
        }

    def for_text(self) -> dict[str, Any]:
        return self.to_json() | {"alone": self.alone}


def _describe(cls: type[Pass]) -> dict[str, Any]:
    from pathlift.passes.base import Transform
    from pathlift.passes.docstring import description

    help_ = cls.option_help()
    return {
        "name": cls.name,
        "kind": "transform" if issubclass(cls, Transform) else "analysis",
        "path_norm": str(cls.effect) if issubclass(cls, Transform) else None,
        "help": cls.summary(),
        "description": description(cls.__doc__),
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


def list_passes(
    name: Annotated[str, Flag("name", argument=True, metavar="[PASS]", complete=pass_completions)] = "",
) -> PassesResult:
    """List the passes, their options, and a line of help for each; or say all of one.

    Of a rewrite, also what it may do to path-norms.

    Parameters
    ----------
    name
        The pass to say all of. Every one if none is named.

    Raises
    ------
    TextError
        If there is no such pass.
    UnavailablePassError
        If it is one of an installed package, and cannot be used.
    """
    from pathlift.ir.errors import UsageError
    from pathlift.passes.registry import UnavailablePassError, find_pass, pass_names, shadowed

    if name:
        return PassesResult(warnings=shadowed([name]), passes=(find_pass(name),), alone=True)
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
    """Yield each pass and its options; of one alone, all that is said of it."""
    if payload.get("alone"):
        yield from _in_full(payload["passes"][0])
        return
    rows = []
    for item in payload["passes"]:
        rows.append([item["name"], item["kind"], item.get("path_norm") or "", item["help"]])
        for option in item["options"]:
            default = "…" if option.get("required") else option["default"]
            rows.append([f"  {option['name']}={default}", option["type"], "", option["help"]])
    for item in payload.get("unavailable", ()):
        rows.append([item["name"], "unavailable", "", f"{' and '.join(item['packages'])}: {item['reason']}"])
    yield table(["pass", "kind", "path-norm", ""], rows, less=["path-norm", "kind"])


def _in_full(item: Payload) -> Iterator[RenderableType]:
    effect = f"; path-norms: {item['path_norm']}" if item["path_norm"] else ""
    yield f"{item['name']} ({item['kind']}{effect})"
    yield ""
    yield item["description"]
    yield ""
    if item["options"]:
        rows = [[o["name"], o["type"], "…" if o["required"] else str(o["default"]), o["help"]] for o in item["options"]]
        yield table(["option", "type", "default", ""], rows)
        yield ""
    shown = ", ".join(f"{o['name']}=…" for o in item["options"] if o["required"])
    verb = "opt" if item["kind"] == "transform" else "analyze"
    yield (
        f'pathlift {verb} MODEL -p "{item["name"]}{{{shown}}}"' if shown else f"pathlift {verb} MODEL -p {item['name']}"
    )
