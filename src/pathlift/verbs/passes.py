"""The passes that pipelines can name."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from pathlift.passes.base import Analysis, Pass, find_pass, pass_names
from pathlift.verbs.result import Result


@dataclass(frozen=True, kw_only=True)
class PassesResult(Result):
    """All passes, built in and installed."""

    passes: tuple[type[Pass], ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "passes": [
                {
                    "name": p.name,
                    "kind": "analysis" if issubclass(p, Analysis) else "transform",
                    "help": p.summary(),
                    "options": [_option(name, field) for name, field in p.options().items()],
                }
                for p in self.passes
            ]
        }


def _option(name: str, field: dataclasses.Field[Any]) -> dict[str, Any]:
    required = field.default is dataclasses.MISSING
    default = None if required else list(field.default) if isinstance(field.default, tuple) else field.default
    return {"name": name, "type": str(field.type), "default": default, "help": field.metadata.get("help", "")}


def list_passes() -> PassesResult:
    """List all passes with their options."""
    return PassesResult(passes=tuple(find_pass(name) for name in pass_names()))
