"""Sessions: the same results from both executors, checked inputs, no copies."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pathlift
from pathlift.frontend.save import save
from pathlift.ir.builder import Builder
from pathlift.ir.errors import ExecutionError, PathliftError, UsageError
from pathlift.ir.types import DTYPES
from pathlift.runtime.executors.torch import TorchExecutor
from pathlift.runtime.session import ExecutorName
from pathlift.testing import execute, random_feeds, sample, samples, zoo

EXECUTORS: tuple[ExecutorName, ...] = ("onnxruntime", "torch")

NETWORKS = {"resnet18": (64, 0.125), "vit_s16": (64, 0.25), "unet": (32, 0.125), "gpt2_tiny": (None, 1.0)}


def images(count: int = 3) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal((count, 1, 8, 8), dtype=np.float32)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n == "vit_s16" else ()) for n in NETWORKS])
def test_executors_agree_on_networks(name: str) -> None:
    image, width = NETWORKS[name]
    proto = zoo.export(name, image=image, width=width)
    x = zoo.example(name, seed=1, batch=2, image=image).numpy()
    results = [pathlift.Session(proto, executor=e).run([x]) for e in EXECUTORS]
    for key, y in results[0].items():
        np.testing.assert_allclose(results[1][key], y, rtol=1e-3, atol=1e-4 * np.abs(y).max())


@pytest.mark.parametrize("name", [n for n in samples() if n != "Opaque"])
def test_executors_agree_on_every_op(name: str) -> None:
    graph = sample(name)
    feeds = {k: x.astype(np.float32) for k, x in random_feeds(graph, np.random.default_rng(0)).items()}
    expected = execute(graph, feeds)
    for executor in EXECUTORS:
        session = pathlift.Session(graph, executor=executor)
        for key, y in session.run(feeds).items():
            np.testing.assert_allclose(y, expected[key], rtol=1e-4, atol=1e-4)


def test_tensors_come_back_as_tensors_and_arrays_as_arrays(digits: Path) -> None:
    session = pathlift.Session(digits)
    x = images()
    y, t = session(x), session(torch.from_numpy(x))
    assert isinstance(y, np.ndarray)
    assert isinstance(t, torch.Tensor)
    assert np.array_equal(y, t.numpy())
    assert np.array_equal(session(np.asfortranarray(x)), y)
    assert np.array_equal(session(torch.from_numpy(x).transpose(2, 3)), session(np.ascontiguousarray(x.swapaxes(2, 3))))
    assert session(torch.from_numpy(x).requires_grad_()).shape == (3, 10)


def test_nothing_is_copied_on_the_way_in_and_out(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    seen: list[int] = []
    computed: list[Any] = []
    make, collect = onnxruntime.OrtValue.ortvalue_from_numpy, onnxruntime.IOBinding.get_outputs

    def spy(array: Any, *args: Any) -> Any:
        value = make(array, *args)
        seen.append(value.data_ptr())
        return value

    def spy_on_outputs(binding: Any) -> Any:
        values = collect(binding)
        computed.extend((value.data_ptr(), weakref.ref(value)) for value in values)
        return values

    monkeypatch.setattr(onnxruntime.OrtValue, "ortvalue_from_numpy", spy)
    monkeypatch.setattr(onnxruntime.IOBinding, "get_outputs", spy_on_outputs)
    x = torch.from_numpy(images())
    for fed in (x, x.numpy()):
        seen.clear()
        computed.clear()
        y = pathlift.Session(digits)(fed)
        ((address, value),) = computed
        assert seen == [x.data_ptr()]
        assert (y.data_ptr() if torch.is_tensor(y) else y.ctypes.data) == address
        gc.collect()
        assert value() is not None  # the memory outlives the session
        y += 1  # and may be written to
        del y
        gc.collect()
        assert value() is None


def test_batches_may_change_and_be_empty(digits: Path) -> None:
    for executor in EXECUTORS:
        session = pathlift.Session(digits, executor=executor)
        assert [session(images(n)).shape for n in (1, 5, 0, 2)] == [(1, 10), (5, 10), (0, 10), (2, 10)]


def test_signature_and_threads(digits: Path) -> None:
    session = pathlift.Session(digits, threads=1)
    assert [str(port) for port in session.inputs] == ["float32[N, 1, 8, 8]"]
    assert [port.name for port in session.outputs] == ["logits"]
    options = session._executor._session.get_session_options()  # type: ignore[attr-defined]  # ONNX Runtime's
    assert options.intra_op_num_threads == 1
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"


WRONG: dict[str, tuple[Any, str]] = {
    "dtype": ({"image": images().astype(np.float64)}, "PL0417 input 'image' takes float32"),
    "rank": ({"image": images()[0]}, "PL0418.*3 axes"),
    "extent": ({"image": images()[:, :, :7]}, "PL0418.*axis 2 is 7"),
    "missing": ({}, "PL0405"),
    "unknown": ({"image": images(), "x": images()}, "PL0416 there is no input 'x'"),
    "count": ([images(), images()], "PL0416"),
    "text": ({"image": "x"}, "PL0491"),
    "object": ({"image": object()}, "PL0491"),
}


@pytest.mark.parametrize("executor", ["onnxruntime", "torch"])
@pytest.mark.parametrize("case", WRONG)
def test_wrong_inputs_are_refused_before_running(digits: Path, case: str, executor: Any) -> None:
    feeds, message = WRONG[case]
    with pytest.raises(UsageError, match=message):
        pathlift.Session(digits, executor=executor).run(feeds)


def test_a_symbol_stands_for_one_number() -> None:
    b = Builder()
    graph = b.finish(b.op("Add", b.input("x", ("N", 2)), b.input("y", ("N", 2)), name="z"))
    x = np.ones((3, 2), np.float32)
    session = pathlift.Session(graph)
    assert session(x, x).tolist() == [[2, 2]] * 3
    with pytest.raises(UsageError, match="N is 3 in 'x'"):
        session(x, x[:1])


@pytest.mark.parametrize(
    "options",
    [
        {"device": "cuda:99"},
        {"device": "nope"},
        {"executor": "x"},
        {"threads": 0},
        {"device": "nope", "executor": "torch"},
    ],
)
def test_wrong_options(digits: Path, options: Any) -> None:
    with pytest.raises(PathliftError) as refusal:
        pathlift.Session(digits, **options)
    assert refusal.value.exit_code == 2


def test_a_model_that_fails_says_so() -> None:
    b = Builder()
    x = b.input("x", ("N", 4))
    graph = b.finish(b.op("Add", b.op("Reshape", x, shape=(2, -1)), b.param(np.ones((2, 3), np.float32)), name="y"))
    for executor in EXECUTORS:
        with pytest.raises(ExecutionError, match="PL0903") as error:
            pathlift.Session(graph, executor=executor)(np.ones((1, 4), np.float32))
        assert error.value.exit_code == 4


@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_output_that_is_listed_twice_is_returned_twice_in_order(executor: ExecutorName) -> None:
    b = Builder()
    x = b.input("x", (2,))
    y, z = b.op("Neg", x, name="y"), b.op("Relu", x, name="z")
    session = pathlift.Session(b.finish(y, z, y), executor=executor)
    values = np.array([1.0, -2.0], np.float32)
    assert list(session.run([values])) == ["y", "z"]
    assert [port.name for port in session.outputs] == ["y", "z", "y"]
    for found, expected in zip(session(values), (-values, np.maximum(values, 0), -values), strict=True):
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("executor", ["onnxruntime", "torch"])
@pytest.mark.parametrize("dtype", ["f16", "bf16", "f64"])
def test_other_formats(dtype: str, executor: Any, tmp_path: Path) -> None:
    b, numpy = Builder(), DTYPES[dtype]
    graph = b.finish(b.op("Transpose", b.input("x", ("N", 2), dtype), perm=(1, 0), name="y"))
    save(graph, tmp_path / "m.onnx")
    session = pathlift.Session(tmp_path / "m.onnx", executor=executor)
    values = np.array([[1.5, -2.0]])
    y, t = session(values.astype(numpy)), session(torch.from_numpy(values).to(getattr(torch, numpy.name)))
    assert y.dtype == numpy
    assert y.astype(np.float64).tolist() == t.double().tolist() == values.T.tolist()


@pytest.mark.parametrize("executor", ["onnxruntime", "torch"])
def test_a_network_in_float64_runs_in_float64(executor: Any) -> None:
    b = Builder()
    x = b.op("Cast", b.input("x", ("N", 1), "f32"), to="f64")
    graph = b.finish(b.op("Sub", b.op("Add", x, b.param(np.array([2.0**-40]))), x, name="y"))
    assert pathlift.Session(graph, executor=executor)(np.ones((1, 1), np.float32)).tolist() == [[2.0**-40]]


@pytest.mark.parametrize("executor", ["onnxruntime", "torch"])
def test_outputs_have_memory_of_their_own(executor: Any) -> None:
    b = Builder()
    x = b.input("x", (2, 3))
    flat = b.op("Reshape", x, shape=(3, 2), name="flat")
    graph = b.finish(flat, b.op("Transpose", x, perm=(1, 0), name="turned"), b.param(np.ones(2, np.float32), name="c"))
    fed, session = torch.ones(2, 3), pathlift.Session(graph, executor=executor)
    for y in session.run([fed]).values():
        y += 1
    assert (fed == 1).all()
    assert [float(y.max()) for y in session.run([fed]).values()] == [1, 1, 1]


def test_threads_are_those_of_one_session(digits: Path) -> None:
    before = torch.get_num_threads()
    session = pathlift.Session(digits, executor="torch", threads=before + 1)
    assert session(images()).shape == (3, 10)
    assert torch.get_num_threads() == before


def test_a_kernel_computes_nodes_instead_of_their_program() -> None:
    b = Builder()
    x = b.input("x", ("N", 2))
    y = b.op("LeakyRelu", x, alpha=0.5)
    graph = b.finish(b.op("Add", y, b.op("LeakyRelu", x, alpha=0.25), name="z"))
    seen: list[float] = []

    def kernel(x: torch.Tensor, *, alpha: float) -> torch.Tensor:
        seen.append(alpha)
        return torch.nn.functional.leaky_relu(x, alpha)

    feeds = {"x": np.array([[-4.0, 4.0]], np.float32)}
    (plain,) = TorchExecutor(graph).run(feeds).values()
    for kernels, expected in (({"LeakyRelu": kernel}, [0.5, 0.25]), ({y.node: kernel}, [0.5])):
        seen.clear()
        (found,) = TorchExecutor(graph, kernels=kernels).run(feeds).values()
        assert seen == expected
        assert torch.equal(found, plain)


@pytest.mark.parametrize(
    "op, device, order",
    [
        ("Relu", "cuda", ["onnxruntime", "torch"]),
        ("KSLinear", "cuda:1", ["torch"]),
        ("KSLinear", "cpu", ["onnxruntime"]),
    ],
)
def test_layers_with_kernels_run_in_torch_on_a_card(
    op: str, device: str, order: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def refuse(name: str) -> Any:
        def start(*args: object, **options: object) -> None:
            tried.append(name)
            raise UsageError("0496", "there is no such device")

        return start

    monkeypatch.setattr("pathlift.runtime.executors.onnxruntime.OnnxRuntimeExecutor", refuse("onnxruntime"))
    monkeypatch.setattr("pathlift.runtime.executors.torch.TorchExecutor", refuse("torch"))
    with pytest.raises(UsageError, match="PL0496"):
        pathlift.Session(sample(op), device)
    assert tried == order


@pytest.mark.parametrize(
    "said, hint",
    [
        (AssertionError("Torch not compiled with CUDA enabled"), "install a torch that is built for CUDA"),
        (RuntimeError("Found no NVIDIA driver on your system.\nPlease"), "install NVIDIA's driver"),
        (RuntimeError("The NVIDIA driver on your system is too old (found version 11040)."), "update NVIDIA's driver"),
        (RuntimeError("CUDA error: invalid device ordinal"), "cpu works"),
    ],
)
def test_a_device_that_cannot_be_used_says_what_to_do(
    said: Exception, hint: str, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise said

    monkeypatch.setattr(torch, "empty", fail)
    with pytest.raises(UsageError, match=f"PL0496 torch has no device 'cuda' here: .* hint: {hint}"):
        pathlift.Session(digits, "cuda", executor="torch")
    monkeypatch.setattr(
        torch, "empty", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("CUDA error: out of memory"))
    )
    with pytest.raises(PathliftError, match="PL0214 cannot use cuda: out of memory"):
        pathlift.Session(digits, "cuda", executor="torch")


def test_indices_are_placed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    b = Builder()
    x = b.input("x", (2, 3))
    graph = b.finish(b.op("Gather", b.op("Gather", x, axis=-1, indices=(2, 0)), axis=0, indices=(1, 0), name="y"))
    session, values = pathlift.Session(graph, executor="torch"), np.arange(6, dtype=np.float32).reshape(2, 3)
    expected = values[:, [2, 0]][[1, 0]]
    assert np.array_equal(session(values), expected)
    monkeypatch.setattr(torch, "tensor", None)
    assert np.array_equal(session(values), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("name", [*NETWORKS, "KSLinear", "KSLinear/feature_major"])
def test_on_cuda(name: str) -> None:
    if name in NETWORKS:
        image, width = NETWORKS[name]
        model: Any = zoo.export(name, image=image, width=width)
        feeds = [zoo.example(name, seed=1, batch=2, image=image).numpy()]
    else:
        model = sample(name)
        feeds = [x.astype(np.float32) for x in random_feeds(model, np.random.default_rng(0)).values()]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    cpu, cuda = (pathlift.Session(model, device, executor="torch") for device in ("cpu", "cuda"))
    for scale in (1, -0.5):  # recorded, and replayed
        scaled = [x * np.asarray(scale, x.dtype) if x.dtype.kind == "f" else x for x in feeds]
        expected, found = cpu.run(scaled), cuda.run(scaled)
        for key, y in expected.items():
            np.testing.assert_allclose(found[key], y, rtol=1e-3, atol=1e-4 * np.abs(y).max())
    assert cuda.remarks == ()
