"""Bounds by auto_LiRPA of the network f_b(x) − f_a(x), twice the size of either: what `compare` is measured beside.

This file is its own other half: an interpreter that has auto_LiRPA, and need not have pathlift, runs it as a script.
"""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pathlift.ir.graph import Graph
    from pathlift.passes.attacks.domain import Domain
    from pathlift.passes.pairing.pair import Pair

OPS = {"Conv": ("pads",), "Gemm": ("trans_w",), "Relu": (), "MaxPool": ("kernel",), "Reshape": ()}
ITERATIONS = 20
LIMIT = 120
"""Seconds of the processor for one pair on one domain, imports and all: another process takes none of them."""
SIGNS = 10
"""Up to so many outputs, the sum is bounded by a row for each way to choose signs, too."""


def bound(python: str, pair: Pair, domain: Domain) -> dict[str, Any] | str:
    """Return ``l1``, ``linf`` and ``seconds``, or why there are none."""
    ops = [pair.first[key].op for key in pair.first.order if pair.first[key].op not in ("Input", "Param")]
    if left := set(ops) - OPS.keys():
        return f"no chain of {', '.join(OPS)}: {', '.join(sorted(left))}"
    (low,), (high,) = domain.low.values(), domain.high.values()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "twin.npz"
        spelled = {**_spelled(pair.first, "a"), **_spelled(pair.second, "b")}
        np.savez(file, low=low.numpy(), high=high.numpy(), **spelled)
        command = [python, __file__, str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == -signal.SIGXCPU:
        return f"no result within {LIMIT} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["it failed"])[-1][:200]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _spelled(graph: Graph, side: str) -> dict[str, Any]:
    """A chain of layers as arrays: ``SIDE.NUMBER.OP`` the attributes, ``….w`` and ``….b`` the parameters."""
    found: dict[str, Any] = {}
    nodes = [key for key in graph.order if graph[key].op not in ("Input", "Param")]
    for number, key in enumerate(nodes):
        node = graph[key]
        attrs = [node.attrs.get(name, 0) for name in OPS[node.op]]
        found[f"{side}.{number:03}.{node.op}"] = np.array(attrs, dtype=np.int64).reshape(-1)
        for name, value in zip("wb", graph.inputs_of(key)[1:], strict=False):
            if value is not None and (param := graph[value.node].value) is not None:
                found[f"{side}.{number:03}.{name}"] = param.numpy()
    return found


def _network(arrays: Any, side: str) -> nn.Module:
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    for name in sorted(n for n in arrays.files if n.startswith(f"{side}.") and n.rpartition(".")[2] in OPS):
        place, _, op = name.rpartition(".")
        attrs = arrays[name].tolist()
        if op == "Relu":
            layers.append(nn.ReLU())
        elif op == "Reshape":
            layers.append(nn.Flatten())
        elif op == "MaxPool":
            layers.append(nn.MaxPool2d(tuple(attrs)))
        else:
            w = torch.from_numpy(arrays[f"{place}.w"])
            w = w.T if op == "Gemm" and not attrs[0] else w
            layer: Any = nn.Linear(*w.shape[::-1]) if op == "Gemm" else nn.Conv2d(w.shape[1], w.shape[0], 3, padding=1)
            if op == "Conv" and (tuple(w.shape[2:]) != (3, 3) or set(attrs) != {1}):
                raise SystemExit("a convolution that is not 3 by 3 with a border of 1")
            layer.weight.data.copy_(w)
            layer.bias.data.copy_(torch.from_numpy(arrays[f"{place}.b"]))
            layers.append(layer)
    return nn.Sequential(*layers)


def _measured(file: str) -> dict[str, float]:
    import time

    import torch
    from auto_LiRPA import BoundedModule, BoundedTensor, PerturbationLpNorm  # type: ignore[import-not-found]  # not installed where types are checked
    from torch import nn

    torch.set_default_dtype(torch.float64)
    arrays = np.load(file)
    low, high = (torch.from_numpy(arrays[side]) for side in ("low", "high"))

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = _network(arrays, "a"), _network(arrays, "b")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.b(x) - self.a(x)
            return y

    begin = time.process_time()
    options = {"optimize_bound_args": {"iteration": ITERATIONS}}
    network = BoundedModule(Twin().eval(), low, bound_opts=options, device="cpu")
    x = BoundedTensor((low + high) / 2, PerturbationLpNorm(norm=float("inf"), x_L=low, x_U=high))
    lower, upper = network.compute_bounds(x=(x,), method="CROWN-Optimized")
    each = torch.maximum(upper, -lower)[0].detach()
    total = float(each.sum())
    m = len(each)
    if m <= SIGNS:
        signs = torch.tensor(list(np.ndindex(*[2] * m)), dtype=torch.float64) * 2 - 1
        _, most = network.compute_bounds(x=(x,), method="CROWN", C=signs[None], bound_lower=False)
        total = min(total, float(most.max()))
    return {"linf": float(each.max()), "l1": total, "seconds": time.process_time() - begin}


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT + 1))
    print(json.dumps(_measured(sys.argv[1])))
