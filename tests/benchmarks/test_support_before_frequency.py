"""Parts of the benchmark on learning a language: the language, the figures, what networks see, compressed copies."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from benchmarks import support_before_frequency as benchmark
from benchmarks import token_networks as networks
from sklearn.metrics import roc_auc_score
from torch import Tensor

from pathlift.automata.weighted import Weighted
from pathlift.ir.types import Array

ITEM = r"(<[abc][0-3]*>|\[[xy](,[xy])*\]|\{[pqr]=[0-3][0-3]?\})"
LANGUAGE = re.compile(rf"{ITEM}(;{ITEM})*\.\$+")
END = benchmark.TOKENS.index("$")


@pytest.fixture(scope="module")
def law() -> Weighted:
    return benchmark.language()


@pytest.fixture(scope="module")
def strings(law: Weighted) -> Array:
    return benchmark.drawn(law, np.random.default_rng(0), 300)[0]


@pytest.fixture
def network() -> networks.Network:
    torch.manual_seed(0)
    return networks.Network(len(benchmark.TOKENS), benchmark.LENGTH, causal=False)


def spelled(tokens: Array) -> str:
    return "".join(benchmark.TOKENS[token] for token in tokens)


def log_exact(law: Weighted, kind: str, tokens: Tensor, masked: Tensor) -> Tensor:
    """What a perfect network would return: log p, and −60 where p is 0."""
    p = np.ones((*tokens.shape, len(benchmark.TOKENS)))
    for row, string, hidden in zip(p, tokens.numpy(), masked.numpy(), strict=True):
        if kind == "masked":
            row[hidden] = law.masked(string, hidden)
        else:
            states = law.automaton.walk(string)
            row[:] = [law.next(states[i : i + 1], i)[0] for i in range(len(string))]
    return torch.from_numpy(np.log(np.maximum(p, np.exp(-60))))


def test_strings_are_of_the_language(strings: Array) -> None:
    assert all(LANGUAGE.fullmatch(spelled(tokens)) for tokens in strings)
    assert set(np.unique(strings)) == set(range(len(benchmark.TOKENS)))
    assert 12 < np.mean(np.sum(strings != END, axis=1)) < 17


def test_what_may_stand_somewhere_is_what_the_language_allows(law: Weighted, strings: Array) -> None:
    string = strings[0].copy()
    for i in range(0, len(string), 3):
        (p,) = law.masked(string, np.arange(len(string)) == i)
        texts = [spelled(string[:i]) + token + spelled(string[i + 1 :]) for token in benchmark.TOKENS]
        assert np.array_equal(p > 0, [LANGUAGE.fullmatch(text) is not None for text in texts])


def test_tokens_are_drawn_from_the_distributions_that_are_returned(law: Weighted) -> None:
    tokens, exact = benchmark.drawn(law, np.random.default_rng(1), 4000)
    assert np.allclose(exact.sum(2), 1)
    shares = np.eye(len(benchmark.TOKENS))[tokens].mean(0)
    assert np.abs(shares - exact.mean(0)).max() < 0.04  # four standard errors
    one, p = tokens[0], 1.0
    for i, token in enumerate(one):
        p *= exact[0, i, token]
    weights = law.weights[law.automaton.walk(one)[:-1], one].prod()
    assert p == pytest.approx(weights / law.after(0)[0])


def test_figures_add_up() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(6), 50) * (rng.random((50, 6)) < 0.6) + 1e-3 * np.eye(6)[np.zeros(50, int)]
    p /= p.sum(1, keepdims=True)
    logits = rng.normal(size=p.shape)
    q = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = benchmark.figures(logits, p)
    divergence = np.sum(p * np.log(np.where(p > 0, p, 1) / q), axis=1)
    assert found.support + found.frequency == pytest.approx(divergence.mean())
    assert found.off == pytest.approx(np.mean(q * (p == 0)) * 6)
    some = [i for i in range(50) if (p[i] == 0).any()]
    assert found.auc == pytest.approx(np.mean([roc_auc_score(p[i] > 0, q[i]) for i in some]))


def test_ranks_are_of_pairs_within_the_support() -> None:
    p = np.array([[0.5, 0.3, 0.2, 0.0], [0.25, 0.25, 0.5, 0.0]])
    logits = np.log([[0.2, 0.3, 0.1, 0.4], [0.1, 0.4, 0.3, 0.2]])
    # Of the first row's three pairs one is turned, of the second's two that differ in p likewise: means are over rows.
    assert benchmark.figures(logits, p).rank == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert benchmark.figures(np.zeros((2, 4)), p).auc == pytest.approx(0.5)


def test_support_and_frequency_of_simple_distributions() -> None:
    p = np.array([[0.75, 0.25, 0.0, 0.0]])
    found = benchmark.figures(np.zeros((1, 4)), p)
    assert found.support == pytest.approx(np.log(2))
    assert found.frequency == pytest.approx(np.log(2) + 0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert found.off == pytest.approx(0.5)


def test_what_is_hidden_and_what_is_scored(strings: Array) -> None:
    rng = np.random.default_rng(0)
    first, scored = benchmark.hidden("next", strings, rng)
    assert np.array_equal(np.flatnonzero(first.any(0)), [0])
    assert np.array_equal(scored.sum(1), np.sum(strings != END, axis=1) + 1)
    assert all((row[:n]).all() for row, n in zip(scored, scored.sum(1), strict=True))
    masked, scored = benchmark.hidden("masked", strings, rng)
    assert masked is scored
    assert masked.mean() == pytest.approx(0.5, abs=0.05)
    assert masked.mean(1).std() > 0.25  # shares of strings are spread over [0, 1], not near one half


@pytest.mark.parametrize("kind", benchmark.KINDS)
def test_a_perfect_network_loses_nothing(law: Weighted, kind: str) -> None:
    measured = benchmark.exam(kind, law, strings=6)
    found = measured(lambda tokens, masked: log_exact(law, kind, tokens, masked))  # type: ignore[arg-type]  # a function, for a module
    assert (found.support, found.frequency, found.off) == pytest.approx((0, 0, 0), abs=1e-12)
    assert (found.auc, found.rank) == (1, 1)


def test_a_network_sees_what_it_may(network: networks.Network, strings: Array) -> None:
    tokens = torch.from_numpy(strings[:2])
    masked = torch.zeros_like(tokens, dtype=torch.bool)
    masked[:, ::2] = True
    other = tokens.masked_fill(masked, 3)
    with torch.no_grad():
        assert torch.equal(network(tokens, masked), network(other, masked))
        assert not torch.allclose(network(tokens, ~masked), network(other, ~masked))
        causal = networks.Network(network.tokens, benchmark.LENGTH, causal=True)
        first = torch.arange(benchmark.LENGTH).expand(2, -1) == 0
        later = tokens.masked_fill(torch.arange(benchmark.LENGTH) >= 5, 3)
        same = torch.isclose(causal(tokens, first), causal(later, first)).all(2).all(0)
    assert same[:6].all()
    assert not same[6:].all()


def test_rounded_weights_are_multiples(network: networks.Network) -> None:
    before = [w.clone() for w in networks.matrices(network)]
    assert len(before) == 9
    for weight, made in zip(before, networks.matrices(networks.rounded(network, 3)), strict=True):
        scale = weight.abs().amax(1, keepdim=True) / 3
        levels = made / scale
        assert torch.allclose(levels, levels.round(), atol=1e-4)
        assert levels.abs().max() == pytest.approx(3)
        assert torch.all((made - weight).abs() <= scale * 0.501)
    assert all(map(torch.equal, before, networks.matrices(network)))


def test_the_smallest_weights_are_pruned(network: networks.Network) -> None:
    before = torch.cat([w.flatten() for w in networks.matrices(network)])
    after = torch.cat([w.flatten() for w in networks.matrices(networks.pruned(network, 0.7))])
    gone = after == 0
    assert gone.double().mean() == pytest.approx(0.7, abs=1e-4)
    assert before[gone].abs().max() < before[~gone].abs().min()
    assert torch.equal(after[~gone], before[~gone])
    assert torch.equal(torch.cat([w.flatten() for w in networks.matrices(network)]), before)


def test_a_figure_is_reached_for_good() -> None:
    values = [4.0, 3.0, 0.35, 0.5, 0.3, 0.1, 0.05]
    curve = [
        benchmark.Learned("next", 0, 2**i, benchmark.Figures(value, 2 * value, 0, 0, 0))
        for i, value in enumerate(values)
    ]
    assert [benchmark.reached(curve, name, 0.9) for name in ("support", "frequency")] == [16, 16]
    assert benchmark.reached(curve, "support", 0.5) == 4
    assert benchmark.reached(curve, "support", 0.99) is None


def test_odds_under_noise_have_the_slopes_of_theory() -> None:
    found = list(benchmark.noise(edits=3))
    slopes = {m.further: m.slopes for m in found if isinstance(m, benchmark.Slopes)}
    assert list(slopes) == [-1, 0, 1]
    assert all(np.allclose(slopes[further], further, atol=1e-3) for further in slopes)
    large, small = (np.abs(m.errors).max() for m in found if isinstance(m, benchmark.Odds))
    assert 0 < small < 0.02 * large < 1e-4


def test_a_network_learns(law: Weighted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "TESTED", 20)
    monkeypatch.setattr(benchmark, "DRAWN", 500)
    found = list(benchmark.learn("next", 0, 24, law))
    learned = [m for m in found if isinstance(m, benchmark.Learned)]
    assert [m.step for m in learned] == [0, 1, 2, 3, 4, 6, 8, 11, 16, 23, 24]
    assert learned[-1].figures.support < 0.5 * learned[0].figures.support
    copies = {m.change: m.figures for m in found if isinstance(m, benchmark.Compressed)}
    assert list(copies) == list(benchmark.CHANGES)
    assert copies["as trained"] == learned[-1].figures
    assert len(set(copies.values())) == len(copies)
