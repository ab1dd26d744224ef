"""Two ways to check a law: a quick run by default, and a thorough one under the mark ``slow``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, note, settings
from hypothesis.strategies import SearchStrategy

from pathlift.ir.graph import Graph

CheckLaw = Callable[..., None]
_ALWAYS: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "print_blob": False,
    "suppress_health_check": [HealthCheck.too_slow],  # a busy machine is no defect of the law
}
PROFILES = {"quick": settings(max_examples=40, **_ALWAYS), "thorough": settings(max_examples=500, **_ALWAYS)}

torch.set_num_threads(1)


@pytest.fixture(params=["quick", pytest.param("thorough", marks=pytest.mark.slow)])
def check_law(request: pytest.FixtureRequest) -> CheckLaw:
    """Call ``check_law(law, *strategies)``; a failing graph is shown as text."""
    profile = PROFILES[request.param]

    def check(law: Callable[..., None], *strategies: SearchStrategy[Any], examples: float = 1) -> None:
        @functools.wraps(law)
        def shown(*args: Any, **kwargs: Any) -> None:
            for graph in (*args, *kwargs.values()):
                if isinstance(graph, Graph):
                    note(str(graph))
            law(*args, **kwargs)

        limited = settings(profile, max_examples=max(1, int(profile.max_examples * examples)))
        limited(given(*strategies)(shown))()

    return check
