"""Passes, results of analyses, and schemas: `passes`, `analyze`, `schema`."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from schemas.envelope import Record


@Record
class Option(TypedDict):
    """An option of a pass."""

    name: str
    type: str
    required: bool
    default: Any
    help: str


@Record
class OnePass(TypedDict):
    """A pass that pipelines can name."""

    name: str
    kind: Literal["transform", "analysis"]
    path_norm: str | None
    """What a rewrite may do to path-norms."""
    help: str
    """One line."""
    description: str
    """All of it."""
    options: list[Option]


@Record
class Unavailable(TypedDict):
    """A pass of an installed package that cannot be used."""

    name: str
    packages: list[str]
    reason: str


@Record
class Passes(TypedDict):
    """All passes."""

    passes: list[OnePass]
    unavailable: list[Unavailable]


@Record
class Finding(TypedDict):
    """What one analysis found."""

    name: str
    options: dict[str, Any]
    result: Any
    """As the analysis says."""


@Record
class Analyze(TypedDict):
    """What analyses found, in the order of the pipeline."""

    analyses: list[Finding]


@Record
class Schema(TypedDict):
    """A JSON Schema."""

    name: str
    help: str
    schema: NotRequired[dict[str, Any]]
    """If it was asked for."""


@Record
class Schemas(TypedDict):
    """The schemas that there are, or the one that was asked for."""

    schemas: list[Schema]
