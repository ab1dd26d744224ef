"""The plan past one machine: its shapes, sizes and operations against a real network of the same structure."""

from __future__ import annotations

from functools import partial
from math import ceil, log2
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.scale import Llama, Merge, Plan, Sketch, merged, report
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import pathlift

ROOT = Path(__file__).parents[2]
SMALL = Llama(hidden=32, blocks=2, intermediate=112, heads=4, kv_heads=1, head=8, vocabulary=96)
SKETCH = Sketch(full_width=40, rank=16)


class Block(nn.Module):
    def __init__(self, m: Llama) -> None:
        super().__init__()
        self.m, queries, keys = m, m.heads * m.head, m.kv_heads * m.head
        self.q, self.k, self.v = (nn.Linear(m.hidden, size, bias=False) for size in (queries, keys, keys))
        self.o = nn.Linear(queries, m.hidden, bias=False)
        self.gate, self.up = (nn.Linear(m.hidden, m.intermediate, bias=False) for _ in range(2))
        self.down = nn.Linear(m.intermediate, m.hidden, bias=False)
        self.before, self.after = nn.RMSNorm(m.hidden), nn.RMSNorm(m.hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        m, h, (n, t, _) = self.m, self.before(x), x.shape
        q = self.q(h).view(n, t, m.heads, m.head).transpose(1, 2)
        k, v = (
            f(h).view(n, t, m.kv_heads, m.head).repeat_interleave(m.heads // m.kv_heads, 2) for f in (self.k, self.v)
        )
        mixed = torch.softmax(q @ k.permute(0, 2, 3, 1) / m.head**0.5, -1) @ v.transpose(1, 2)
        x = x + self.o(mixed.transpose(1, 2).reshape(n, t, -1))
        h = self.after(x)
        return x + self.down(nn.functional.silu(self.gate(h)) * self.up(h))


class Network(nn.Module):
    def __init__(self, m: Llama) -> None:
        super().__init__()
        self.embedding = nn.Embedding(m.vocabulary, m.hidden)
        self.blocks = nn.ModuleList(Block(m) for _ in range(m.blocks))
        self.norm, self.head = nn.RMSNorm(m.hidden), nn.Linear(m.hidden, m.vocabulary, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network(SMALL).eval()


def ids(count: int = 2, context: int = 10) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, SMALL.vocabulary, (count, context)))


def test_the_published_number_of_parameters() -> None:
    assert Llama().parameters == 70_553_706_496


def test_layers_are_those_of_the_network(network: Network) -> None:
    assert sum(p.numel() for p in network.parameters()) == SMALL.parameters
    read: list[tuple[str, nn.Linear, torch.Tensor]] = []

    def note(name: str, layer: nn.Linear, x: tuple[torch.Tensor]) -> None:
        read.append((name.removeprefix("blocks."), layer, x[0]))

    for name, module in network.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(partial(note, name))
    with torch.no_grad():
        network(ids())
    layers = list(SMALL.layers())
    assert [(name, a.in_features, a.out_features) for name, a, _ in read] == [
        (layer.name, layer.width, layer.outputs) for layer in layers
    ]
    for one, (_, _, x) in zip(layers, read, strict=True):
        assert [y is x for _, _, y in read] == [other.reads == one.reads for other in layers]


def test_operations_are_those_of_the_network(network: Network) -> None:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(ids(3, 7))
    assert counter.get_total_flops() == 3 * 7 * SMALL.forward(context=7)


@pytest.mark.parametrize("width", [40, 41])
def test_operations_of_an_update(width: int) -> None:
    x, omega = torch.ones(9, width), torch.ones(width, SKETCH.rank)
    with FlopCounterMode(display=False) as counter:
        _ = x.T @ x if SKETCH.is_exact(width) else x.T @ (x @ omega)
    assert counter.get_total_flops() + 9 * 8 * width == 9 * SKETCH.update(width)


@pytest.mark.parametrize("width", [3, 16, 40, 41, 112])
def test_bytes_are_those_of_the_arrays(width: int) -> None:
    x = np.random.default_rng(width).standard_normal((50, width))
    second = x.T @ x
    kept = second[np.triu_indices(width)] if width <= 40 else second @ np.ones((width, 16))
    powers, extremes = np.stack([(x**p).sum(0) for p in (1, 2, 3, 4)]), np.stack([x.min(0), x.max(0)])
    bins, counts = np.unique(x.astype(np.float32).view(np.uint32) >> 17, return_counts=True)
    arrays = (kept, powers, extremes, np.array([x.min(), x.max()]), bins.astype(np.uint16), counts.astype(np.int64))
    assert SKETCH.bytes(width, len(bins)) == sum(array.nbytes for array in arrays)
    working = second if width <= 40 else kept
    memory = sum(array.nbytes for array in (working, powers, extremes, np.zeros(2), np.zeros(2**15)))
    assert SKETCH.memory(width) == memory


@pytest.mark.slow
def test_bytes_are_those_of_a_file_that_calibrate_writes(network: Network, tmp_path: Path) -> None:
    """The check of the page's first figure: a file of the same structure is as large as the script says."""
    pytest.importorskip("pathlift.verbs.calibrate")
    path = tmp_path / "s.npz"
    pathlift.calibrate(
        network,
        data={"ids": ids(8).numpy()},
        example=[ids()],
        full_width=SKETCH.full_width,
        rank=SKETCH.rank,
        output=path,
    )
    with np.load(path) as file:
        found = {name: file[name] for name in file.files if name.startswith("L")}
    for i, layer in enumerate(SMALL.layers()):
        arrays = {name: array for name, array in found.items() if name.startswith(f"L{i}/")}
        assert SKETCH.bytes(layer.width, len(arrays[f"L{i}/bins"])) == sum(a.nbytes for a in arrays.values()), (
            layer.name
        )
    assert len({name.partition("/")[0] for name in found}) == len(list(SMALL.layers()))


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=70), st.booleans())
def test_a_merge_counts_every_shard_once(sizes: list[int], tree: bool) -> None:
    merge = merged(sizes, 10.0, tree=tree)
    assert merge.counted == dict.fromkeys(range(len(sizes)), 1)
    assert merge.bytes <= (len(sizes) - 1) * max(sizes)
    assert merge.seconds >= (merge.bytes - max(sizes)) / 10 / max(1, len(sizes))


@pytest.mark.parametrize("n", [1, 2, 3, 64, 65])
def test_merges_of_equal_shards(n: int) -> None:
    tree, one = (merged([30] * n, 10.0, tree=tree) for tree in (True, False))
    assert tree == Merge(30 * (n - 1), pytest.approx(3.0 * ceil(log2(n))), dict.fromkeys(range(n), 1))
    assert one == Merge(30 * (n - 1), pytest.approx(3.0 * (n - 1)), dict.fromkeys(range(n), 1))


def test_what_is_shared() -> None:
    """Of seven layers in a block, three read what another reads."""
    plan = Plan(model=SMALL, sketch=SKETCH)
    per = SKETCH.bytes(32)
    assert sum(plan.sizes()) - sum(plan.sizes(shared=True)) == 3 * SMALL.blocks * per
    assert len(plan.sizes()) == 7 * SMALL.blocks + 1


def test_hours() -> None:
    """What is shared out is the tokens; twice the workers, half the time."""
    one, two = Plan(workers=1).hours, Plan(workers=2).hours
    assert one == pytest.approx([2 * hours for hours in two])
    tokens, seconds = 10**9, one[0] * 3600
    assert seconds * Plan().single / tokens == pytest.approx(Llama().forward(4096))


def test_the_page_shows_what_the_script_says() -> None:
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert report({"64 workers": Plan(), "1 worker": Plan(workers=1)}) in page
    full = dict(Plan(sketch=Sketch(full_width=8192)).rows())
    for name in ("sketch of the model", "memory per worker: sums and random vectors"):
        assert full[name].partition(",")[0] in page, name
