"""The network of digits pruned by path scores, trained on with its zeros kept, and exported.

``python examples/prune_finetune.py``. Needs scikit-learn and ONNX Runtime; takes about half a minute on two cores.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune
from train_digits import Digits, digits, train

import pathlift

SPARSITIES, EPOCHS, SEED = (0.8, 0.9), 6, 0


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return (model.eval()(images).argmax(1) == labels).double().mean().item()


def finetune(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Train what is left: masks are part of the module, so that zeros stay zero."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(images)).split(64):
            loss = F.cross_entropy(model(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def main() -> None:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    images, test_images, labels, test_labels = digits()
    model = Digits()
    train(model, images, labels)
    print(f"{'zeros':>8}  {'pruned':>8}  {'trained on':>10}")
    print(f"{0:8.1%}  {accuracy(model, test_images, test_labels):8.4f}")
    for sparsity in SPARSITIES:
        found = pathlift.prune_module(model, (1, 1, 8, 8), sparsity, criterion="path")
        pruned = accuracy(model, test_images, test_labels)
        finetune(model, images, labels)
        print(f"{found.sparsity:8.1%}  {pruned:8.4f}  {accuracy(model, test_images, test_labels):10.4f}")
    for layer in (model.stem, model.body, model.hidden, model.classes):
        prune.remove(layer, "weight")
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("dense.onnx", "sparse.onnx")]
        pathlift.export(model, shape=(1, 1, 8, 8), output=files[0])
        pathlift.save(pathlift.load(files[0]), files[1], sparse=True)
        sizes = " and ".join(f"{os.path.getsize(file) / 1000:.1f} kB" for file in files)
        logits = torch.from_numpy(pathlift.Session(files[1])(test_images.numpy()))
    print(f"the file: {sizes} with sparse initializers")
    print(f"in ONNX Runtime: {(logits.argmax(1) == test_labels).double().mean():.4f}")


if __name__ == "__main__":
    main()
