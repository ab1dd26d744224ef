"""The IR on torch tensors: independent of what surrounds a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from pathlift.models.source import open_model
from pathlift.runtime.executors.torch import TorchExecutor


def test_a_model_computes_in_its_types_within_autocast(digits: Path) -> None:
    executor = TorchExecutor(open_model(digits).graph)
    x = np.random.default_rng(0).standard_normal((3, 1, 8, 8), dtype=np.float32)
    expected = executor.run({"image": x})["logits"]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(executor.run({"image": x})["logits"], expected)
        assert torch.is_autocast_enabled("cpu")
