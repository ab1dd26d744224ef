"""The JSON of a model's rescaling symmetries: what is free, and what is fixed by what."""

from __future__ import annotations

from typing import Any

from pathlift.passes.channels.symmetry import Symmetry


def rescaling_json(symmetry: Symmetry) -> dict[str, Any]:
    """Return the classes of neurons whose scale is free, by the nodes that compute them, and what fixed others."""
    return {
        "free": symmetry.count,
        "classes": [{"nodes": list(nodes), "count": count} for nodes, count in symmetry.groups()],
        "pinned": [{"node": p.node, "op": p.op, "reason": p.reason, "count": p.count} for p in symmetry.pins],
        "tied": [{"parameter": name, "count": count} for name, count in symmetry.tied.items()],
    }
