"""A classifier of digits made faster within an error: ``python examples/tune_digits.py``.

A perceptron is trained and exported; its training data become a sketch (`calibrate`), which Kronecker-sparse products
are fitted to; held-out digits say what each choice of layers is off by (`tune`); the file that comes out is tested on
digits that nothing has seen, and timed beside the dense one (`bench`). Needs scikit-learn and
``pip install 'pathlift[cpu,export]'``, and a minute or two.
"""

from __future__ import annotations

import runpy
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import pathlift

WIDTH, LAYERS, STEPS, NOISE = 512, 6, 300, 0.1
MOST, ROWS, BUDGET = 0.02, 64, 30.0
PRODUCTS = "(1,512,16,1)(1,16,512,1);(1,512,64,1)(1,64,512,1);(1,32,16,16)(16,16,32,1)"  # without: more, and minutes


def perceptron() -> nn.Sequential:
    hidden = [part for _ in range(LAYERS) for part in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), nn.Linear(64, WIDTH), nn.ReLU(), *hidden, nn.Linear(WIDTH, 10))


def train(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.1)
    for _ in range(STEPS):
        chosen = torch.randint(len(images), (128,))
        noisy = images[chosen] + NOISE * torch.randn_like(images[chosen])
        loss = nn.functional.cross_entropy(model(noisy), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def accuracy(file: Path, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of right answers, in ONNX Runtime."""
    return float((pathlift.Session(file)(images).argmax(1) == labels).mean())


def main(budget: float = BUDGET) -> None:
    torch.manual_seed(0)
    digits = runpy.run_path(str(Path(__file__).with_name("train_digits.py")))["digits"]
    train_images, held_out, train_labels, labels = digits()
    network = perceptron()
    train(network, train_images, train_labels)
    half = len(held_out) // 2
    with tempfile.TemporaryDirectory() as folder:
        dense, fast, sketch = (Path(folder) / name for name in ("dense.onnx", "fast.onnx", "sketch.npz"))
        pathlift.export(network.eval(), shape=(2, 1, 8, 8), output=dense)
        drawn = pathlift.calibrate(dense, data={"input": train_images.numpy()}, output=sketch)
        print(f"{drawn.to_json()['rows']} digits in a sketch of {sketch.stat().st_size / 1e6:.1f} MB")
        tuned = pathlift.tune(
            dense, sketch=sketch, calib={"input": held_out[:half].numpy()}, max_error=MOST, patterns=PRODUCTS,
            shape={"N": ROWS}, budget=budget, output=fast,
        )  # fmt: skip
        print(tuned)
        if tuned.exit_code:
            return
        test, right = held_out[half:].numpy(), labels[half:].numpy()
        timed = pathlift.bench(dense, fast, shape={"N": ROWS}, budget=budget / 3).to_json()["models"]
        print(f"\n{'file':<6}{'kB':>7}{'accuracy':>10}{'speed-up':>10}")
        for file, row in zip((dense, fast), timed, strict=True):
            size = file.stat().st_size / 1000
            print(f"{file.stem:<6}{size:>7.0f}{accuracy(file, test, right):>10.4f}{row['speedup']:>9.2f}×")


if __name__ == "__main__":
    main()
