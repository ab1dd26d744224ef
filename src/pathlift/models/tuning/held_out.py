"""Samples in two parts: one to fit on, one to judge by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array
from pathlift.models.data import batches, fixed_batch, read_arrays, read_calibration

_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class Parts:
    """Batches of both parts.

    Parameters
    ----------
    fit, judge
        Inputs by name.
    labels
        Of the batches to judge by, ``(batch,)`` each; ``None`` without labels.
    samples
        How many are judged by.
    """

    fit: Sequence[Mapping[str, Array]]
    judge: Sequence[Mapping[str, Array]]
    labels: Sequence[Array] | None
    samples: int


def split(graph: Graph, data: Any, accuracy: str | None, seed: int, *, judge_all: bool = False) -> Parts:
    """Read samples, and hold out a quarter of them at random, in whole batches where the file fixes these.

    Parameters
    ----------
    graph
        What reads them.
    data
        An ``.npz`` file, or arrays by input name.
    accuracy
        The array of labels in the data, or an ``.npy`` file of them; ``None`` for no labels.
    seed
        Of the choice.
    judge_all
        Whether nothing is fitted to the samples: all are to judge by.

    Raises
    ------
    UsageError
        If data or labels cannot be read, do not fit, or are too few to be two parts.
    """
    arrays = dict(data) if isinstance(data, Mapping) else read_arrays({"": data})
    labels: Any = None
    if accuracy is not None and str(accuracy).endswith(".npy"):
        labels = np.asarray(read_arrays({"labels": Path(accuracy)})["labels"])
    elif accuracy is not None:
        if accuracy not in arrays:
            raise UsageError("1543", f"the data holds {sorted(arrays)}, and no labels {accuracy!r}", hint="or FILE.npy")
        labels = np.asarray(arrays.pop(accuracy))
    inputs = read_calibration(graph, arrays)
    count, whole = min(map(len, inputs.values())), fixed_batch(graph)
    if labels is not None and (labels.shape != (count,) or labels.dtype.kind not in "iu"):
        reason = f"labels are {labels.dtype} of shape {list(labels.shape)}, not {count} whole numbers"
        raise UsageError("1543", reason, hint="one class number per sample")
    step = whole or 1
    held = max(1, int(_SHARE * count) // step) * step if not judge_all else count // step * step
    if not held or (not judge_all and count < held + step):
        raise UsageError("1542", f"{count} samples are too few: one part is fitted on, the other judged by")
    order = np.random.default_rng(seed).permutation(count)
    parts = [{name: a[np.sort(rows)] for name, a in inputs.items()} for rows in (order[held:], order[:held])]
    judge = list(batches(graph, parts[1]))
    cuts = np.cumsum([len(next(iter(b.values()))) for b in judge])[:-1]
    own = None if labels is None else np.split(labels[np.sort(order[:held])], cuts)
    return Parts(list(batches(graph, parts[0])), judge, own, held)
