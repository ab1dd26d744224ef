"""Train a small classifier of 8x8 digits and write it to digits.onnx: ``python examples/train_digits.py``.

It has one of each thing that makes path-norms interesting: convolutions, batch normalization, a skip connection,
max-pooling and GroupSort, which sorts the channels within groups. Needs scikit-learn, whose bundled digits it uses, and
takes well under a minute on two cores.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx_ir
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F

from pathlift.frontend.export import export

EPOCHS, BATCH, SEED = 40, 64, 0


class GroupSort(nn.Module):
    """Sort the channels within groups of ``size``."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        groups = x.reshape(x.shape[0], -1, self.size, *x.shape[2:])
        return groups.topk(self.size, dim=2).values.reshape(x.shape)


class Digits(nn.Module):
    """Two convolutions, the second with a skip connection, and two linear layers."""

    def __init__(self, channels: int = 16, hidden: int = 48) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(channels)
        self.body = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.body_norm = nn.BatchNorm2d(channels)
        self.sort = GroupSort(4)
        self.pool = nn.MaxPool2d(2)
        self.hidden = nn.Linear(channels * 4 * 4, hidden)
        self.classes = nn.Linear(hidden, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.stem_norm(self.stem(image)))
        x = self.pool(self.sort(x + self.body_norm(self.body(x))))
        return self.classes(torch.relu(self.hidden(x.flatten(1))))


def digits() -> list[Tensor]:
    """Training images, test images, training labels, test labels; pixels in [0, 1]."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    split = train_test_split(images, labels, test_size=0.25, random_state=SEED, stratify=labels)
    return [torch.from_numpy(part) for part in split]


def train(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    steps = EPOCHS * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(images)).split(BATCH):
            loss = F.cross_entropy(model(images[chosen]), labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def main(output: Path) -> None:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # the same sums in the same order at every run
    train_images, test_images, train_labels, test_labels = digits()
    network = Digits()
    train(network, train_images, train_labels)
    network.eval()
    with torch.no_grad():
        accuracy = (network(test_images).argmax(1) == test_labels).double().mean().item()
    print(f"test accuracy {accuracy:.4f} on {len(test_labels)} held-out digits")

    model = export(network, (1, 1, 8, 8), output_names=["logits"])
    model.graph.name = "digits"
    model.doc_string = "Classifier of 8x8 grey digits (pixels in [0, 1]), trained by examples/train_digits.py."
    model.metadata_props.update(
        dataset="scikit-learn load_digits, 75 % for training, stratified",
        test_accuracy=f"{accuracy:.4f}",
        license="Apache-2.0",
    )
    onnx_ir.save(model, output)
    print(f"wrote {output} ({output.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("digits.onnx"))
