"""Fixtures that every folder of tests may use."""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator

from pathlift.cli.envelope import wants_json
from pathlift.cli.frame import run
from pathlift.report.result import Result
from pathlift.testing.absent import reason
from pathlift.testing.interpreted import Interpreted, Nothing, is_interpreted
from pathlift.testing.workers import two_workers
from pathlift.verbs import VERBS
from pathlift.verbs.schema import schema

# The same examples in every run of the same code: a red test is a reproducible one. A busy machine is no defect.
settings.register_profile(
    "pathlift",
    max_examples=50,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=False,
)
settings.load_profile("pathlift")

# What was measured on this machine is no business of tests.
os.environ["PATHLIFT_CACHE"] = os.path.join(tempfile.gettempdir(), f"pathlift-tests-{os.getpid()}")

if find_spec("torch") is not None:
    from pathlift.testing.exporter import keep_translations

    keep_translations()

GOLDEN = Path(__file__).parent / "golden"
Golden = Callable[[str, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--accept-goldens", action="store_true", help="write what the golden tests get as what they expect"
    )


gc.disable()  # while tests are collected: nearly all of what that makes stays


def pytest_collection_finish() -> None:
    gc.freeze()  # and is looked through no more
    gc.enable()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    return Interpreted.from_parent(parent, path=file_path) if is_interpreted(file_path) else None


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    return Nothing.from_parent(parent, path=module_path) if is_interpreted(module_path) else None


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compare a text with ``tests/golden/<name>``; ``pytest --accept-goldens`` makes it the new golden text."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--accept-goldens"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n", encoding="utf-8")
        assert path.exists(), f"{path} is missing; run pytest --accept-goldens and read what it wrote"
        assert path.read_text(encoding="utf-8") == text + "\n", f"{path} differs; --accept-goldens accepts the change"

    return check


@pytest.fixture
def digits() -> Path:
    """The network of the examples."""
    return Path(__file__).parents[1] / "examples" / "digits.onnx"


@pytest.fixture(scope="module")
def importable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose modules workers can import, too: processes that are started inherit `sys.path`."""
    folder = tmp_path_factory.mktemp("importable")
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def address(importable: Path) -> Iterator[str]:
    """Where a scheduler is that has two workers."""
    pytest.importorskip("distributed")
    with two_workers() as started:
        yield started


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
def _faked() -> list[str]:
    """The verbs that a test has replaced: their results are nobody's."""
    return []


@functools.cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(schema(name).schemas[name])


def _check_json(arguments: tuple[str, ...], out: str, code: int, faked: bool) -> None:
    """Check what is printed as JSON against the schemas that the package ships."""
    told = json.loads(out)
    if "error" in told:
        assert told["exit_code"] == code
        _validator("error").validate(told)
    elif not faked:
        words = " ".join(arguments[:2]) + " "
        _validator(next(verb for verb in VERBS if words.startswith(f"{verb} "))).validate(told)


@pytest.fixture
def pathlift(capsys: pytest.CaptureFixture[str], _faked: list[str]) -> Callable[..., Outcome]:
    """Run the command line in this process; JSON is checked against its schema."""

    def call(*arguments: str) -> Outcome:
        code = run(arguments)
        outcome = Outcome(code, *capsys.readouterr())
        if why := reason(outcome.err):
            pytest.skip(why)
        if wants_json(arguments):
            _check_json(arguments, outcome.out, code, bool(_faked))
        return outcome

    return call


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, _faked: list[str]) -> Callable[..., Calls]:
    """Replace a verb (by default the one without arguments) by one that returns, raises or does something."""

    def replace(
        *,
        verb: str = "passes.list_passes",
        error: BaseException | None = None,
        action: Callable[[], object] = lambda: None,
        **fields: Any,
    ) -> Calls:
        calls = Calls()
        _faked.append(verb)
        module, _, function = f"pathlift.verbs.{verb}".rpartition(".")

        @functools.wraps(getattr(importlib.import_module(module), function))  # the signature is the command line's
        def call(*positional: Any, **named: Any) -> Result:
            calls.append((positional, named))
            action()
            if error is not None:
                raise error
            return FakeResult(**fields)

        monkeypatch.setattr(f"{module}.{function}", call)
        return calls

    return replace
