"""Transformers end to end, with random weights: dense ones against Kronecker-sparse ones, all in CUDA graphs."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from benchmarks.encoders import GPT, VIT, Block, join_products
from benchmarks.gpu.cases import FORMS, kind
from benchmarks.gpu.kernels import Layer, dense, in_parallel, this_card
from benchmarks.gpu.operands import difference
from benchmarks.gpu.phase import Run
from benchmarks.gpu.timing import Clock, captured
from torch import nn

from pathlift.codegen.schedule import Form
from pathlift.ir.cost import GraphicsCard
from pathlift.ir.kronecker import Pattern

ALLOWED = {"ieee": 1e-4, "tf32x3": 1e-4, "tf32": 2e-2, "float16": 3e-2, "bfloat16": 1e-1}
"""Relative difference of the outputs of dense and sparse networks: both round, in every layer."""
_TINY = {
    "attention": [Pattern(1, 8, 4, 2), Pattern(2, 4, 8, 1)],
    "up": [Pattern(1, 32, 8, 2), Pattern(2, 8, 8, 1)],
    "down": [Pattern(1, 8, 8, 2), Pattern(2, 8, 32, 1)],
}


@dataclass(frozen=True)
class Network:
    """The sizes of a transformer, and the factors of its layers."""

    name: str
    wide: int
    heads: int
    depth: int
    shape: tuple[int, int]
    patterns: Mapping[str, Sequence[Pattern]]
    causal: bool


NETWORKS = [
    Network("ViT-S/16", 384, 6, 12, (128, 197), VIT, False),
    Network("ViT-S/16 of 196 tokens", 384, 6, 12, (128, 196), VIT, False),
    Network("GPT-2 medium", 1024, 16, 24, (8, 1024), GPT, True),
]


def main(run: Run) -> None:
    card, clock = this_card(run.dry), Clock(run.device, run.seed)
    networks = [Network("tiny", 16, 2, 1, (2, 5), _TINY, False)] if run.dry else NETWORKS
    forms = (Form("float32", "ieee"),) if run.dry else (FORMS[3], FORMS[0], FORMS[1])
    cases = [(network, form) for form in forms for network in networks]
    for network, form in run.cases(cases, "networks", lambda case: f"{case[0].name}, {kind(case[1])}"):
        torch.manual_seed(run.seed)
        try:
            _race(run, clock, card, network, form)
        except Exception as error:
            run.caught(f"{network.name}, {kind(form)}", error)
        if not run.dry:
            torch.cuda.empty_cache()


def _race(run: Run, clock: Clock, card: GraphicsCard, network: Network, form: Form) -> None:
    torch.set_float32_matmul_precision("high" if form.precision == "tf32" else "highest")
    split, fused, sparse = twins(network, form, card, run.device)
    x = torch.randn(*network.shape, network.wide, device=run.device).to(getattr(torch, form.dtype))
    samples = network.shape[0] * network.shape[1]
    layers = [layer for layer in sparse.modules() if isinstance(layer, Layer)]
    for layer in layers:
        layer.prepare(samples)
    jobs = {step.name: partial(step.compile, samples) for layer in layers for step in layer.steps}
    in_parallel(jobs, run.left - 5, run.dry)
    error = difference(sparse(x), fused(x).double())
    if not error < ALLOWED[kind(form)]:
        run.emit("wrong", what=f"{network.name}, {kind(form)}", error=error)
        return
    networks = {"dense": fused, "dense, q k v apart": split, "kernels": sparse}
    calls = {name: captured(partial(module, x), run.device) for name, module in networks.items()}
    seconds = clock.race(calls, 3 if run.dry else 15, 2.0)
    steps = [step.name for layer in layers[:6] for step in layer.steps]  # of the first block
    run.emit("network", name=network.name, kind=kind(form), shape=network.shape, depth=network.depth, error=error,
             steps=steps, seconds=seconds)  # fmt: skip


def twins(network: Network, form: Form, card: GraphicsCard, device: str) -> tuple[nn.Module, nn.Module, nn.Module]:
    """One function three times: dense with q, k, v apart, with one product for them, and Kronecker-sparse."""
    dtype = getattr(torch, form.dtype)
    split, fused = (
        nn.Sequential(
            *(Block(network.wide, network.heads, fused=one, causal=network.causal) for _ in range(network.depth))
        ).to(device=device, dtype=dtype)
        for one in (False, True)
    )
    sparse = copy.deepcopy(split)
    for name, linear in list(split.named_modules()):
        part = name.rsplit(".")[-1]
        if isinstance(linear, nn.Linear) and part != "qkv":
            patterns = network.patterns.get(part, network.patterns["attention"])
            factors = [(torch.randn(p.shape, device=device) / p.c**0.5).to(dtype) for p in patterns]
            linear.weight.data = dense(factors)
            here = _form(form, part)
            _replace(sparse, name, Layer(factors, linear.bias.data, here, card))
    join_products(fused, split)
    for block in sparse:
        block.activation = nn.Identity()  # it is the kernel's of `up`
    return split, fused, sparse


def _form(form: Form, part: str) -> Form:
    """With the epilogue of a linear layer of a block."""
    return Form(form.dtype, form.precision, residual=part in ("out", "down"), activation="Gelu" if part == "up" else "")


def _replace(module: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, layer)
