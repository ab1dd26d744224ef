"""Sets of labelled samples: members, non-members and a population, of which no two share a sample."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations
from typing import Any

import numpy as np

from pathlift.ir.errors import UsageError, about
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array
from pathlift.models.data import read_arrays, read_calibration


@dataclass(frozen=True, eq=False)
class SampleSet:
    """Distinct samples and their labels.

    Parameters
    ----------
    name
        What the set is: ``members`` for example.
    inputs
        By name; samples along axis 0.
    labels
        ``(samples,)``, int64.
    digests
        Of the inputs of each sample, as the model reads them.
    kept
        Where the samples were among those that were given, ``(samples,)``.
    copies
        How many were left out as copies of others.
    """

    name: str
    inputs: Mapping[str, Array]
    labels: Array
    digests: tuple[bytes, ...]
    kept: Array
    copies: int

    @property
    def count(self) -> int:
        """Number of distinct samples."""
        return len(self.labels)

    @classmethod
    def read(cls, graph: Graph, data: Any, labels: str, name: str) -> SampleSet:
        """Read inputs by name, and labels; a single input may have any name. Of copies, the first is kept.

        Copies say nothing new: kept, they would make intervals look narrower than the samples allow.

        Parameters
        ----------
        graph
            What reads them.
        data
            An ``.npz`` file, or arrays by name.
        labels
            The name of the array of labels.
        name
            What the set is.

        Raises
        ------
        UsageError
            If arrays are missing, unknown, or do not fit, or labels are no whole numbers from 0 on, one per sample.
        """
        if not isinstance(data, Mapping):
            with about(data if isinstance(data, str | os.PathLike) else name):
                return cls.read(graph, read_arrays({"": data}), labels, name)
        arrays = dict(data)
        names = [graph[key].names[0] for key in graph.inputs]
        if labels not in arrays or labels in names:
            held = "is an input" if labels in names else f"is none of its arrays {sorted(arrays)}"
            raise UsageError("1560", f"the {name} have no labels: {labels!r} {held}", hint="--labels NAME")
        classes = np.asarray(arrays.pop(labels))
        if len(names) == len(arrays) == 1:
            arrays = dict(zip(names, arrays.values(), strict=True))
        inputs = read_calibration(graph, arrays)
        count = len(next(iter(inputs.values())))
        if classes.dtype.kind not in "iu" or classes.shape != (count,):
            reason = f"labels of the {name} are {classes.dtype} of shape {list(classes.shape)}"
            raise UsageError("1561", f"{reason}, not {count} whole numbers", hint="one class number per sample")
        if classes.min() < 0 or classes.max() > np.iinfo(np.int64).max:
            said = classes.min() if classes.min() < 0 else classes.max()
            raise UsageError("1562", f"a label of the {name} is {said}", hint="classes count from 0")
        first: dict[bytes, int] = {}
        for i, digest in enumerate(_digests(inputs, count)):
            first.setdefault(digest, i)
        kept = np.fromiter(first.values(), np.int64)
        own = {key: array[kept] for key, array in inputs.items()}
        return cls(name, own, classes[kept].astype(np.int64), tuple(first), kept, count - len(kept))


def _digests(inputs: Mapping[str, Array], count: int) -> Iterator[bytes]:
    """Hash each sample, without its label; −0 is 0."""
    plain = [np.ascontiguousarray(inputs[name] + inputs[name].dtype.type(0)) for name in sorted(inputs)]
    for i in range(count):
        digest = blake2b(digest_size=16)
        for array in plain:
            digest.update(array[i].tobytes())
        yield digest.digest()


def check_disjoint(sets: list[SampleSet]) -> None:
    """Check that no two sets share a sample, whatever its label.

    Raises
    ------
    UsageError
        If two do; it says how many samples.
    """
    for one, other in combinations(sets, 2):
        if shared := len({*one.digests} & {*other.digests}):
            reason = f"{shared} of {other.count} distinct samples of the {other.name} are among the {one.name}"
            raise UsageError("1563", reason, hint="each sample in one set")
