"""Time and memory of rewriting and of comparing models, against those of reading and writing their files."""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from benchmarks import common
from onnx import NodeProto, TensorProto, helper, numpy_helper

import pathlift

WIDTHS = {"mlp": (1024, 2048, 2048, 1024, 1000), "vgg": (3, 32, 64, 64, 128)}
"""Of networks made here. Behind its convolutions, VGG has a matrix that is nearly all of it."""
QUICK = {"mlp": (256, 1024, 1024, 2048, 1000), "vgg": (3, 16, 32, 64, 128)}
ZOO = {"resnet18": 1.0, "resnet50": 0.5, "vit_s16": 1.0}
"""Architectures of `pathlift.testing.zoo`, and what their widths are multiplied by."""
NARROW, SMALL_IMAGE = 0.17, 64
"""The same where it has to be quick."""
SIDE = 112  # of VGG's images, which each convolution halves
COMPARISONS = {"compare": ("rescaling",), "compare modulo both": ("rescaling", "permutation")}
"""Of the network with a rescaled copy: the symmetries that are allowed."""
TIME_TARGET = 3.0
"""Times the reading and writing of the file, for what writes one."""
MEMORY_TARGETS = {"pathlift": 2.5, "pathlift canonicalize": 4.0, "compare": 4.0, "compare modulo both": 8.0}
"""Times the size of one file."""
WEIGHTS = ("inline", "external")
TOLERANCE = 1e-3
"""Of the rewritten network's outputs, relative to the largest."""
RESULTS = Path(__file__).parent / "results" / "rewrite_cost"


@dataclass(frozen=True)
class Measurement:
    """What was measured of one contestant on one file.

    Parameters
    ----------
    size
        Bytes of the file and of its external data.
    seconds
        One per round.
    rises
        Bytes by which the resident memory rose above what it was with everything imported, per round.
    peaks
        Bytes of resident memory at its peak, per round.
    """

    network: str
    weights: str
    contestant: str
    size: int
    seconds: common.Samples
    rises: common.Samples
    peaks: common.Samples


# ---- in processes of their own


Size = Sequence[int] | float
"""Widths; for the zoo, what they are multiplied by."""


def make(network: str, size: Size, path: Path, external: bool) -> None:
    """Save a network with random weights, and a rescaled copy of it."""
    model = plain(network, size) if isinstance(size, Sequence) else of_zoo(network, size)
    write(model, path, external)
    copy = pathlift.opt(model, "random-rescale{seed=1}").graph
    pathlift.save(copy, other_of(path), external_threshold=0 if external else sys.maxsize)


def of_zoo(network: str, width: float) -> onnx.ModelProto:
    from pathlift.testing import zoo

    return zoo.export(network, width=width, image=SMALL_IMAGE if width == NARROW else None)


def plain(network: str, widths: Sequence[int]) -> onnx.ModelProto:
    rng, nodes, initializers = np.random.default_rng(0), list[NodeProto](), list[TensorProto]()

    def layer(op_type: str, x: str, shape: tuple[int, ...], **attributes: Any) -> str:
        index = len(nodes)
        scale = np.float32(np.sqrt(2 / np.prod(shape[1:])))
        values = {
            f"w{index}": rng.standard_normal(shape, np.float32) * scale,
            f"b{index}": rng.standard_normal(shape[0], np.float32),
        }
        initializers.extend(numpy_helper.from_array(array, name) for name, array in values.items())
        nodes.append(helper.make_node(op_type, [x, *values], [f"s{index}"], **attributes))
        nodes.append(helper.make_node("Relu", [f"s{index}"], [f"h{index}"]))
        return f"h{index}"

    h, shape = "x", [1, widths[0], SIDE, SIDE] if network == "vgg" else [1, widths[0]]
    if network == "vgg":
        for narrow, wide in pairwise(widths):
            h = layer("Conv", h, (wide, narrow, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1])
        nodes.append(helper.make_node("Flatten", [h], ["features"]))
        h, widths = "features", (widths[-1] * 7 * 7, 8 * widths[-1], 1000)
    for narrow, wide in pairwise(widths):
        h = layer("Gemm", h, (wide, narrow), transB=1)
    graph = helper.make_graph(
        nodes,
        network,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(h, TensorProto.FLOAT, [1, widths[-1]])],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def write(model: onnx.ModelProto, path: Path, external: bool) -> None:
    onnx.save(model, path, save_as_external_data=external, location=f"{path.name}.data" if external else None)


def files_of(path: Path) -> list[Path]:
    """A model, and its external data if it has any."""
    return sorted(path.parent.glob(f"{path.name}*"))


def other_of(path: Path) -> Path:
    """The rescaled copy of a network."""
    return path.with_name(f"other-{path.name}")


def rewrite(contestant: str, source: Path, target: Path) -> None:
    external = len(files_of(source)) > 1
    if contestant == "copy":
        for file in files_of(source):
            with open(target.parent / file.name, "wb") as copy:
                copy.write(file.read_bytes())
                os.fsync(copy.fileno())
    elif contestant == "onnx":
        write(onnx.load(source), target, external)
    elif contestant in COMPARISONS:
        found = pathlift.compare(source, other_of(source), modulo=COMPARISONS[contestant]).equivalence
        if found.verdict != "equivalent":
            raise SystemExit(f"{contestant} found that a rescaled copy of {source.parent.name} is {found.verdict}")
    else:
        graph = pathlift.opt(source, contestant.removeprefix("pathlift").strip()).graph
        pathlift.save(graph, target, external_threshold=0 if external else sys.maxsize)


def rewrite_once(contestant: str, small: Path, source: Path) -> tuple[float, int, int]:
    """Seconds, the bytes by which the resident memory rises, and its peak since the process began."""
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        rewrite(contestant, small, Path(folder) / "small.onnx")  # imports whatever is needed
        call = partial(rewrite, contestant, source, Path(folder) / source.name)
        (_, seconds), rise = common.peak_memory(lambda: common.timed(call))
        return seconds, rise, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def check(contestant: str, source: Path) -> None:
    """What is fast and wrong is not worth timing."""
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        target = Path(folder) / source.name
        rewrite(contestant, source, target)
        if len(files_of(target)) != len(files_of(source)):
            raise SystemExit(f"{contestant} put the weights of {source.parent.name} somewhere else")
        expected, found = outputs(source), outputs(target)
    if not np.allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max()):
        raise SystemExit(f"{contestant} changed what {source.parent.name} computes")


def outputs(file: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (x,) = session.get_inputs()
    shape = [n if isinstance(n, int) else 1 for n in x.shape]
    (y,) = session.run(None, {x.name: np.random.default_rng(0).standard_normal(shape, dtype=np.float32)})
    return np.asarray(y)


# ---- in the main process


def measure(network: str, weights: str, pipeline: str, folder: Path, options: argparse.Namespace) -> list[Measurement]:
    """Measure in rounds, each contestant in a new process each time: what one of them leaves behind is no other's."""
    small, source = (folder / f"{network}-{weights}-{size}" / "model.onnx" for size in ("small", "full"))
    quick, full = QUICK.get(network, NARROW), WIDTHS.get(network, ZOO.get(network, 1.0))
    for path, size in ((small, quick), (source, quick if options.quick else full)):
        path.parent.mkdir()
        common.in_fresh_process(make, network, size, path, weights == "external")
    rewritings = ("copy", "onnx", "pathlift", f"pathlift {pipeline}")
    contestants = (*rewritings, *COMPARISONS)
    for contestant in rewritings[1:]:
        common.in_fresh_process(check, contestant, source)
    samples: dict[str, list[tuple[float, int, int]]] = {contestant: [] for contestant in contestants}
    rng = np.random.default_rng(0)
    for _ in range(options.repeats):
        for contestant in rng.permutation(contestants):
            samples[contestant].append(common.in_fresh_process(rewrite_once, str(contestant), small, source))
    total = sum(file.stat().st_size for file in files_of(source))
    return [
        Measurement(network, weights, contestant, total, *np.array(samples[contestant]).T) for contestant in contestants
    ]


# ---- the report


HEADER = (
    "network", "weights", "file, MB", "contestant", "time, ms", "time / onnx", "time / copy",
    "rise of memory / file", "rise of memory, MB", "peak memory, MB", "remarks",
)  # fmt: skip


def rows(measured: Sequence[Measurement]) -> Iterator[Sequence[str]]:
    """The rows of one file; its contestants are those of one race."""
    copy, onnx_ = measured[:2]
    for m in measured:
        slowdown, memory = common.ratio(m.seconds, onnx_.seconds), m.rises / m.size
        remarks = []
        if m.contestant in MEMORY_TARGETS:
            targets = [("memory", memory, MEMORY_TARGETS[m.contestant])]
            if m.contestant not in COMPARISONS:
                targets.insert(0, ("time", slowdown, TIME_TARGET))
            for name, found, target in targets:
                remarks.append(f"{name} < {target:g}: {'met' if np.median(found) < target else '**missed**'}")
        yield (
            m.network, m.weights, f"{m.size / 1e6:.0f}", m.contestant, common.spread(1e3 * m.seconds),
            common.spread(slowdown), common.spread(common.ratio(m.seconds, copy.seconds)), common.spread(memory),
            common.spread(m.rises / 1e6), common.spread(m.peaks / 1e6), "; ".join(remarks),
        )  # fmt: skip


def report(races: Sequence[Sequence[Measurement]], machine: Mapping[str, object], repeats: int) -> str:
    return f"""# Rewriting and comparing models: time and memory

{common.preamble(machine, repeats)}
`benchmarks/README.md` says what each column means.

{common.table(HEADER, chain.from_iterable(map(rows, races)))}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pipeline", default="canonicalize", help="passes that the rewriting consists of")
    parser.add_argument("--folder", type=Path, help="where the files go; a disk, not memory")
    options = common.parse(parser, RESULTS)
    machine, races, text = common.machine(), list[list[Measurement]](), ""
    files = [*product([*WIDTHS, *ZOO], WEIGHTS[:1]), ("mlp", WEIGHTS[1])][: 1 if options.quick else None]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for network, weights in files:
            print(f"{network}, {weights} …", file=sys.stderr)
            races.append(measure(network, weights, options.pipeline, Path(folder), options))
            text = report(races, machine, options.repeats)
            if options.output:
                common.save(options.output, text, machine, list(chain.from_iterable(races)))
    print(text)


if __name__ == "__main__":
    main()
