"""The JSON Schemas of what verbs print."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any

from pathlift.ir.errors import UsageError
from pathlift.models.options import Flag
from pathlift.report.result import Result
from pathlift.report.tables import Payload, table

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True, kw_only=True)
class SchemaResult(Result):
    """The schemas that there are, or the one that was asked for.

    Parameters
    ----------
    schemas
        By name: that of a verb, or ``error``.
    full
        Whether the schemas themselves are shown.
    """

    schemas: Mapping[str, Mapping[str, Any]]
    full: bool = False

    ROWS = ("schemas",)

    def headline(self) -> str:
        return next(iter(self.schemas)) if self.full else f"{len(self.schemas)} schemas"

    def to_json(self) -> dict[str, Any]:
        return {
            "schemas": [
                {"name": name, "help": schema["description"], **({"schema": dict(schema)} if self.full else {})}
                for name, schema in self.schemas.items()
            ]
        }


def schema(
    name: Annotated[str, Flag("name", argument=True, metavar="[VERB]", type=list[str], read=" ".join)] = "",
) -> SchemaResult:
    """List the JSON Schemas of results, or show one: of a verb, or of an error.

    Parameters
    ----------
    name
        A verb, or ``error``. All if none is named.

    Raises
    ------
    UsageError
        If there is no such schema.
    """
    files = sorted(resources.files("pathlift.schemas").iterdir(), key=lambda file: file.name)
    found = {f.name.removesuffix(".json").replace("_", " "): f for f in files if f.name.endswith(".json")}
    if name and name not in found:
        raise UsageError("1426", f"there is no schema {name!r}", hint=", ".join(found))
    asked = [name] if name else list(found)
    return SchemaResult(schemas={key: json.loads(found[key].read_text("utf-8")) for key in asked}, full=bool(name))


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield the schema itself, or a row per schema."""
    found = payload["schemas"]
    if len(found) == 1 and "schema" in found[0]:
        yield json.dumps(found[0]["schema"], indent=2)
    else:
        yield table(["schema", "of"], [[item["name"], item["help"]] for item in found])
