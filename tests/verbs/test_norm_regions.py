"""`pathlift norm --regions`: the norms of what is supported of a network that is not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnx.parser
import pytest

import pathlift as library

Cli = Callable[..., Any]

# A block of a transformer: normalization, a perceptron around a GELU, the stream of residuals, a head.
BLOCK = """
    <ir_version: 10, opset_import: ["": 21]>
    block (float[N, 3, 2] x) => (float[N, 3, 1] probabilities)
    <float[2] one = {1, 1}, float[2] zero = {0, 0},
     float[2, 2] w1 = {1, -2, 0.5, 3}, float[2, 2] w2 = {4, 0, 0, -5}, float[2, 1] w3 = {2, 1}>
    {
        normalized = LayerNormalization(x, one, zero)
        up = MatMul(normalized, w1)
        g = Gelu(up)
        down = MatMul(g, w2)
        stream = Add(down, x)
        scores = MatMul(stream, w3)
        probabilities = Softmax(scores)
    }
"""
ALONE = (
    "each region's inputs are fed with ones, independent of each other; figures of regions do not multiply to one of "
    "the network"
)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
        return str(tmp_path / "m.onnx")

    return write


def test_json(pathlift: Cli, write: Callable[[str], str]) -> None:
    outcome = pathlift("norm", write(BLOCK), "--regions", "--q", "1,inf", "--format", "json")
    assert (outcome.code, outcome.err) == (0, "")
    envelope = json.loads(outcome.out)
    assert envelope["assumptions"] == ["the final Softmax 'probabilities' is left out", ALONE]
    result = envelope["result"]
    assert set(result) == {"norms", "regions", "skipped"}
    assert (result["norms"], result["skipped"]) == ([], [])
    up, down = result["regions"]
    assert set(up) == {"inputs", "outputs", "nodes", "layers", "norms", "assumptions"}
    reason = "a normalization by statistics of the data is not piecewise linear"
    cut = {"node": "normalized", "op": "LayerNormalization", "reason": reason}
    assert up["inputs"] == [{"name": "normalized", "cut_by": cut}]
    assert up["outputs"] == [{"name": "up", "read_by": [{"node": "g", "op": "Gelu"}], "is_output": False}]
    assert (up["nodes"], up["layers"], up["assumptions"]) == (1, ["up"], [])
    # Three tokens; per token the entries of |w1|.
    assert [n["value"] for n in up["norms"]] == pytest.approx([3 * 6.5, 3])
    assert [n["q"] for n in up["norms"]] == [1, "inf"]
    assert [v["name"] for v in down["inputs"]] == ["g", "x"]
    assert down["inputs"][1]["cut_by"] is None
    assert down["outputs"] == [{"name": "probabilities", "read_by": [], "is_output": True}]
    assert (down["nodes"], down["layers"]) == (4, ["down", "scores"])
    assert [n["value"] for n in down["norms"]] == pytest.approx([3 * ((4 + 1) * 2 + (5 + 1) * 1), 8])


def test_text(pathlift: Cli, write: Callable[[str], str]) -> None:
    assert pathlift("norm", write(BLOCK), "--regions", "--q", "1,inf").out.splitlines() == [
        "layers         nodes  log10 (q = 1)      at most  log10 (q = inf)      at most  starts at",
        "up                 1       1.290035  10^1.290035         0.477121  10^0.477122"
        "  normalized ← LayerNormalization",
        "down … scores      4       1.681241  10^1.681242         0.903090  10^0.903090  g ← Gelu, x",
        "assumes: the final Softmax 'probabilities' is left out",
        f"assumes: {ALONE}",
    ]


def test_options_hold_for_every_region(pathlift: Cli, write: Callable[[str], str]) -> None:
    """The head's norm per output element: 16 for each of three tokens."""
    path = write(BLOCK)
    outcome = pathlift("norm", path, "--regions", "--mixed", "inf", "--format", "json")
    (norm,) = json.loads(outcome.out)["result"]["regions"][1]["norms"]
    assert (norm["mixed"], norm["value"]) == ("inf", pytest.approx(16))
    assert "log10 (q,r = 1,inf)" in pathlift("norm", path, "--regions", "--mixed", "inf").out.splitlines()[0]


def test_what_a_region_rests_on_is_said(pathlift: Cli, write: Callable[[str], str]) -> None:
    path = write(BLOCK.replace("stream = Add(down, x)", "bounded = Tanh(down)\nstream = Add(bounded, x)"))
    outcome = pathlift("norm", path, "--regions", "--format", "json")
    down = json.loads(outcome.out)["result"]["regions"][1]
    caveat = "Tanh ('bounded') is read as a ReLU: an upper bound for Lipschitz purposes, not ‖Φ‖"
    assert down["assumptions"] == [caveat]
    assert not down["norms"][0]["is_path_norm"]
    lines = pathlift("norm", path, "--regions").out.splitlines()
    assert "not a path-norm  g ← Gelu, x" in lines[2]
    assert lines[3] == f"in down … scores: {caveat}"


def test_one_region_is_the_whole_of_a_supported_network(pathlift: Cli, write: Callable[[str], str]) -> None:
    path = write(BLOCK.replace("LayerNormalization(x, one, zero)", "Relu(x)").replace("Gelu", "Relu"))
    (region,) = json.loads(pathlift("norm", path, "--regions", "--format", "json").out)["result"]["regions"]
    (norm,) = json.loads(pathlift("norm", path, "--format", "json").out)["result"]["norms"]
    assert region["norms"] == [norm]


# The division is refused only when its divisor is looked at.
DIVIDED = BLOCK.replace("MatMul(g, w2)", "Div(g, zero)")


def test_regions_without_a_norm_are_skipped_and_named(pathlift: Cli, write: Callable[[str], str]) -> None:
    path = write(DIVIDED)
    outcome = pathlift("norm", path, "--regions", "--format", "json")
    reason = "PL0314 node 'down' (Div): division by a constant that holds a zero"
    warning = f"the region of 'down' to 'scores' has no path-norm: {reason}"
    assert (outcome.code, outcome.err) == (0, f"warning: {warning}\n")
    envelope = json.loads(outcome.out)
    assert envelope["warnings"] == [warning]
    assert envelope["result"]["skipped"] == [{"nodes": 4, "layers": ["down", "scores"], "reason": reason}]
    assert [r["layers"] for r in envelope["result"]["regions"]] == [["up"]]
    lines = pathlift("norm", path, "--regions", "-q").out.splitlines()
    assert lines[2].split() == ["down", "…", "scores", "4", "-", "-", "skipped"]


ONE_NODE = '<ir_version: 10, opset_import: ["": 21]> g (float[N, 2] x) => (float[N, 2] y) { y = Op(x) }'


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        (DIVIDED.replace("MatMul(normalized, w1)", "Div(normalized, zero)"), ["'up': PL0314", "'scores': PL0314"]),
        (ONE_NODE.replace("Op", "Relu"), ["no node has weights"]),
        (ONE_NODE.replace("Op", "Gelu"), ["PL0315 node 'y' (Gelu)"]),
    ],
)
def test_no_region_at_all_is_refused_with_the_reasons(
    pathlift: Cli, write: Callable[[str], str], text: str, reasons: list[str]
) -> None:
    outcome = pathlift("norm", write(text), "--regions")
    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err.startswith("PL0319 no region has a path-norm: ")
    assert all(reason in outcome.err for reason in reasons)
    assert outcome.err.count("\n") == 1


def test_weights_that_are_no_numbers_are_an_invalid_model(pathlift: Cli, write: Callable[[str], str]) -> None:
    path = write(BLOCK)
    model = onnx.load(path)
    model.graph.initializer[2].float_data[0] = math.nan
    onnx.save(model, path)
    outcome = pathlift("norm", path, "--regions")
    assert (outcome.code, outcome.out) == (3, "")
    assert "'w1'" in outcome.err


def test_missing_extents_are_asked_for(pathlift: Cli, write: Callable[[str], str]) -> None:
    path = write(BLOCK.replace("[N, 3, 2]", "[N, T, 2]"))
    assert pathlift("norm", path, "--regions").code == 2
    outcome = pathlift("norm", path, "--regions", "--shape", "T=5", "--format", "json")
    assert json.loads(outcome.out)["result"]["regions"][0]["norms"][0]["value"] == pytest.approx(5 * 6.5)


def test_a_refused_network_hints_at_its_regions(pathlift: Cli, write: Callable[[str], str]) -> None:
    outcome = pathlift("norm", write(BLOCK))
    assert (outcome.code, outcome.out) == (4, "")
    assert outcome.err.startswith("PL0304 node 'normalized' (LayerNormalization)")
    assert outcome.err.endswith("--regions gives the norms of the supported parts\n")


def test_there_is_no_figure_of_the_whole(write: Callable[[str], str]) -> None:
    result = library.norm(write(BLOCK), regions=True)
    assert [r.analysis.norms[0].value for r in result.regions] == pytest.approx([19.5, 48])
    for figure in ("value", "log10"):
        with pytest.raises(library.PathliftError, match="norms of their own") as caught:
            getattr(result, figure)
        assert caught.value.exit_code == 2
