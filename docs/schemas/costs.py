"""Costs of files that audits set beside what they find."""

from __future__ import annotations

from typing_extensions import TypedDict

from schemas.envelope import Record


@Record
class Latency(TypedDict):
    """The time of a batch, all files side by side."""

    ms: float
    """Median over rounds."""
    ratio: float
    """To the first file's time, the median over rounds that both ran in."""
    ci: list[float]
    """Of `ratio`: 95 %, by a bootstrap over rounds."""
