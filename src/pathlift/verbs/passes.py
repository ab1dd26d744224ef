"""The passes that pipelines can name."""

from __future__ import annotations

from pathlift.verbs.result import Result


def list_passes() -> Result:
    """List all passes with their options."""
    raise NotImplementedError
