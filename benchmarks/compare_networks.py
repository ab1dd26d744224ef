"""Networks, changes of their weights, and domains of their inputs, which `benchmarks.compare` compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

import pathlift
from pathlift.frontend.export import export
from pathlift.frontend.load import load
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array, Param
from pathlift.passes.attacks.domain import Domain
from pathlift.testing import zoo

RADII = {"[0, 1]": None, "ε = 0.1": 0.1, "ε = 0.02": 0.02}
RATE = 1e-3
BATCH = 64
PRUNED = 0.5


@dataclass(frozen=True)
class Network:
    """A network, and how it is compared.

    Parameters
    ----------
    make
        Returns the graph, and an input in [0, 1] around which balls lie.
    kronecker
        Patterns of Kronecker-sparse factors, by layer.
    budget
        Seconds for one row.
    """

    make: Callable[[], tuple[Graph, Tensor]]
    kronecker: Mapping[str, str] = field(default_factory=dict)
    budget: float = 6.0


@cache
def digits() -> tuple[Array, Array, Array, Array]:
    """Images in [0, 1] ``(samples, 64)`` and labels, for training and for tests."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = (data.data / 16).astype(np.float32)
    found = train_test_split(images, data.target, test_size=0.25, random_state=0, stratify=data.target)
    return found[0], found[2], found[1], found[3]


def trained(make: Callable[[], nn.Module], shape: tuple[int, ...], epochs: int) -> tuple[Graph, Tensor]:
    """Train a classifier of digits; the input is the first of the test images."""
    x, y, images, labels = (torch.from_numpy(np.asarray(part)) for part in digits())
    torch.manual_seed(0)
    module = make()
    x, images = x.reshape(-1, *shape), images.reshape(-1, *shape)
    adam = torch.optim.Adam(module.parameters(), RATE)
    for _ in range(epochs):
        for part in torch.randperm(len(x)).split(BATCH):
            adam.zero_grad()
            nn.functional.cross_entropy(module(x[part]), y[part]).backward()  # type: ignore[no-untyped-call]  # torch has no types for it
            adam.step()
    accuracy = float((module.eval()(images).argmax(1) == labels).double().mean())
    if accuracy < 0.9:
        raise SystemExit(f"a network that is to be compared classifies {100 * accuracy:.1f} % of the digits right")
    return load(export(module, (images[:2],))), images[:1].double()


def mlp(depth: int) -> nn.Module:
    widths = [64, *[100] * (depth - 1), 10]
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def resnet() -> tuple[Graph, Tensor]:
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return load(zoo.export("resnet18", image=32)), image.double()


_HIDDEN = "(1,25,10,4)(4,10,25,1)"
NETWORKS = {
    "digits MLP, depth 3": Network(
        partial(trained, partial(mlp, 3), (64,), 30), {"0": "(1,25,10,4)(4,10,16,1)", "2": _HIDDEN}
    ),
    "digits MLP, depth 6": Network(
        partial(trained, partial(mlp, 6), (64,), 30),
        {"0": "(1,25,10,4)(4,10,16,1)", **{str(i): _HIDDEN for i in (2, 4, 6, 8)}},
    ),
    "digits CNN": Network(partial(trained, cnn, (1, 8, 8), 15), {"6": "(1,16,8,4)(4,8,128,1)"}, 20.0),
    "ResNet-18, 32²": Network(resnet, {"10.2": "(1,250,32,4)(4,32,128,1)"}, 8.0),
}


def on_grid(bits: int, values: Array) -> Array:
    """Round to whole multiples of a step that leaves the largest magnitude on the grid."""
    step = np.abs(values).max() / (2 ** (bits - 1) - 1)
    result: Array = np.round(values / step) * step if step else values
    return result


def changed(graph: Graph, change: str, network: Network) -> Graph:
    """Return the network with other weights; biases and batch norms stay."""
    if change == "Kronecker":
        for layers, patterns in network.kronecker.items():
            fitted = pathlift.ks_fit(graph, layers=layers, patterns=patterns, budget="flops=1")
            if not any(not layer.reason for layer in fitted.approximation.layers.values()):
                raise SystemExit(f"layer {layers!r} stays dense: {fitted.approximation}")
            graph = fitted.graph
        return graph
    weights = {key: p.numpy() for key in graph.params if (p := graph[key].value) is not None and len(p.shape) > 1}
    least = np.quantile(np.concatenate([np.abs(w).reshape(-1) for w in weights.values()]), PRUNED)
    changes: dict[str, Callable[[Array], Array]] = {
        "int8": partial(on_grid, 8),
        "int4": partial(on_grid, 4),
        "pruned": lambda w: np.where(np.abs(w) > least, w, 0.0),
        "float16": lambda w: w.astype(np.float16),
    }
    builder = graph.edit()
    for key, w in weights.items():
        builder.replace_node(key, value=Param.of(changes[change](w).astype(w.dtype)))
    return builder.finish()


CHANGES = ("int8", "int4", "pruned", "float16", "Kronecker")


def domain(graph: Graph, at: Tensor, radius: float | None) -> Domain:
    """The box [0, 1], or what a ball has of it."""
    (key,) = graph.inputs
    name = graph[key].names[0]
    box = Domain.from_interval({name: tuple(at.shape)}, 0.0, 1.0)
    return box if radius is None else Domain.ball({name: at}, radius, box, outward=True)
