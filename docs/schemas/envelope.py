"""The envelope of a result, the one of an error, and how a schema is made of types."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, with_config
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import TypedDict

Record = with_config(ConfigDict(extra="forbid", use_attribute_docstrings=True))
"""Makes a typed dictionary an object that has the keys of its type and no others."""

Log10 = float | None
"""A decimal logarithm; null for that of 0."""
Value = float | None
"""A figure; null where a float64 cannot hold it."""


@Record
class Tool(TypedDict):
    """What printed it."""

    name: Literal["pathlift"]
    version: str


@Record
class Source(TypedDict):
    """A file that was read."""

    path: str | None
    """As it was given; null for a model that was never a file."""
    sha256: str | None


@Record
class Told(TypedDict):
    """What went wrong."""

    code: str
    """`PL` and four digits; docs/errors.md lists the causes. A code never changes its meaning."""
    message: str
    """One sentence."""
    hint: str | None
    """What to do about it."""
    node: str | None
    """The node that it is about, as the file calls it."""
    op: str | None
    """Its operator."""
    input: str | None
    """Path of the file that it is about."""


@Record
class Error(TypedDict):
    """What every verb prints if it fails."""

    schema_version: Literal[1]
    tool: Tool
    error: Told
    exit_code: int
    """2 usage, 3 invalid or unsafe model, 4 unsupported, 70 internal error, 130 interrupted, 143 terminated."""


class _Schema(GenerateJsonSchema):
    """Without titles of fields, which are their names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def error_schema() -> dict[str, Any]:
    """Return the schema of an error."""
    return _named("pathlift: an error", Error)


def envelope_schema(verb: str, result: Any) -> dict[str, Any]:
    """Return the schema of what a verb prints, given the type of its result."""

    @Record
    class Envelope(TypedDict):
        schema_version: Literal[1]
        tool: Tool
        input: Source
        """The file that was read; the first of several."""
        assumptions: list[str]
        """What the figures rest on, one sentence each."""
        warnings: list[str]
        """What the user should know but did not ask, one sentence each."""
        result: Any

    Envelope.__annotations__["result"] = result
    Envelope.__doc__ = f"What `pathlift {verb} --format json` prints if it does not fail."
    return _named(f"pathlift {verb}", Envelope)


def _named(title: str, type_: Any) -> dict[str, Any]:
    schema = TypeAdapter(type_).json_schema(schema_generator=_Schema, mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": title}
