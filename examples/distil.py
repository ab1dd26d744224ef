"""A classifier of 8x8 digits with Kronecker-sparse layers, by distillation: ``python examples/distil.py``.

A dense teacher is trained. In a copy of it, `replace_linears` fits Kronecker-sparse layers to what the dense ones
compute on the training images; a fifth of the weights remains, and some accuracy is lost. The copy is then trained to
return the teacher's logits, without any label, which brings that back; it is exported, and executed in ONNX Runtime.
Needs ``pip install 'pathlift[cpu,export]' scikit-learn``, whose bundled digits it uses, and takes well under a minute.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

import pathlift
from pathlift.nn import replace_linears

WIDTH, EPOCHS, BATCH, SEED = 256, 30, 64, 0


def digits() -> list[Tensor]:
    """Training images, test images, training labels, test labels; pixels in [0, 1]."""
    images, labels = load_digits(return_X_y=True)
    split = train_test_split(np.float32(images / 16), labels, test_size=0.25, random_state=SEED, stratify=labels)
    return [torch.from_numpy(part) for part in split]


def train(network: nn.Module, images: Tensor, targets: Tensor, loss: nn.Module) -> None:
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    steps = EPOCHS * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            loss(network(images[chosen]), targets[chosen]).backward()
            optimizer.step()
            schedule.step()
    network.eval()


def main() -> None:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # the same sums in the same order at every run
    train_images, test_images, train_labels, test_labels = digits()

    def show(name: str, network: nn.Module, logits: Tensor) -> None:
        count = sum(p.numel() for p in network.parameters())
        print(f"{name:<16}{count:>9}{(logits.argmax(1) == test_labels).double().mean():>10.4f}")

    teacher = nn.Sequential(nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10))
    train(teacher, train_images, train_labels, nn.CrossEntropyLoss(label_smoothing=0.05))
    student = copy.deepcopy(teacher)
    patterns = {"0": "(1,32,16,8)(8,16,8,1)", "2": "(1,16,16,16)(16,16,16,1)"}  # 4 stays dense
    report = replace_linears(student, list(patterns), patterns=patterns, calib=train_images)
    print(f"{'layer':<8}{'factors':<28}{'weights':>16}{'output error':>14}")
    for layer in report:
        factors = "".join(map(str, layer.patterns))
        print(f"{layer.name:<8}{factors:<28}{f'{layer.before} → {layer.after}':>16}{layer.output_error:>14.1%}")

    print(f"\n{'network':<16}{'weights':>9}{'accuracy':>10}")
    with torch.no_grad():
        show("teacher", teacher, teacher(test_images))
        show("fitted", student, student(test_images))
        targets = teacher(train_images)
    train(student, train_images, targets, nn.MSELoss())
    with torch.no_grad():
        expected = student(test_images)
    show("distilled", student, expected)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "student.onnx"
        pathlift.export(student, shape=(2, 64), output=file)
        logits = pathlift.Session(file)(test_images)
    show("in ONNX Runtime", student, logits)
    print(f"\nONNX Runtime's logits differ by {(logits - expected).abs().max():.0e}")


if __name__ == "__main__":
    main()
