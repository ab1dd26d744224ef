"""A verb that does as it is told, in place of a real one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

from pathlift.cli.frame import run
from pathlift.verbs.result import Result


@dataclass(frozen=True, kw_only=True)
class FakeResult(Result):
    payload: dict[str, Any] = field(default_factory=lambda: {"passes": []})

    def to_json(self) -> dict[str, Any]:
        return self.payload


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


class Calls(list[tuple[tuple[Any, ...], dict[str, Any]]]):
    """Arguments of each call of a faked verb."""


@pytest.fixture(autouse=True)
def _no_opinion_on_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def pathlift(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command line in this process."""

    def call(*arguments: str) -> Outcome:
        code = run(arguments)
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Calls]:
    """Replace a verb (by default the one without arguments) by one that returns, raises or does something."""

    def replace(
        *,
        verb: str = "passes.list_passes",
        error: BaseException | None = None,
        action: Callable[[], object] = lambda: None,
        **fields: Any,
    ) -> Calls:
        calls = Calls()

        def call(*positional: Any, **named: Any) -> Result:
            calls.append((positional, named))
            action()
            if error is not None:
                raise error
            return FakeResult(**fields)

        monkeypatch.setattr(f"pathlift.verbs.{verb}", call)
        return calls

    return replace
