"""A pytest plugin for where optional packages are not installed: ``pytest -p pathlift.testing.absent``.

What needs one of them is skipped, and nothing else. Tests need no mark for it: an import that fails, and a command that
says what it needs, are what the package itself makes of the same absence (`pathlift.ir.packages`). A folder's
``conftest.py`` may need one, too: hooks of another ``conftest.py`` would come too late for it.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from importlib.util import find_spec

import pytest

from pathlift.ir.packages import INSTALLS

_UNSAID = re.compile(r"(?!)")


def pattern(absent: Iterable[str]) -> re.Pattern[str]:
    """Return what finds the name of a package in what an error, or a command, says of its absence."""
    names = "|".join(absent)
    return re.compile(rf"No module named '({names})\b|needs ({names}), which is not") if names else _UNSAID


ABSENT = pattern(name for name in INSTALLS if find_spec(name) is None)


def reason(text: str) -> str:
    """Return why what failed with this text is skipped; empty if it is not."""
    found = ABSENT.search(text)
    return f"needs {found[1] or found[2]}" if found else ""


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skip a file, or a folder, that cannot be imported."""
    report = yield
    if report.failed and (why := reason(str(report.longrepr))):
        report.outcome, report.longrepr = "skipped", (report.nodeid, 0, f"Skipped: {why}")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    """Skip a test that is set up with a package that is not there."""
    return (yield from _skipping())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Skip a test that runs into one."""
    return (yield from _skipping())


def _skipping() -> Generator[None, object, object]:
    try:
        return (yield)
    except (Exception, pytest.fail.Exception) as error:  # which is what `pytest.raises` says of another error
        if why := reason(str(error)):
            pytest.skip(why)
        raise
