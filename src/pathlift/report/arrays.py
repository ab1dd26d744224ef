"""The shares of a path-norm that pass through each weight, as a file of numpy arrays."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pathlift.ir.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


def check_weights(path: str) -> None:
    """Check that weights can be written to a file of this name.

    Raises
    ------
    UsageError
        If its suffix is not .npz.
    """
    if not path.endswith(".npz"):
        raise UsageError("0448", f"shares of weights cannot be written to {path!r}", hint="a name in .npz")


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write tensors by name, as what `numpy.load` reads."""
    # What numpy.savez writes, but it has parameters of its own, by whose names no array can go.
    with zipfile.ZipFile(path, "w") as archive:
        for name, tensor in weights.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, tensor.cpu().numpy())
