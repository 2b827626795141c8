"""A model trained elsewhere: plain torch, a small convolutional network on digits, saved five ways.

Its weights are rounded to bfloat16 before they are saved, so that all five ways hold the same.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

NETWORK = '''"""A network that knows nothing of the package."""

from torch import nn


class SmallNet(nn.Module):
    def __init__(self, width=8, num_classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.fc = nn.Linear(2 * width, num_classes)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        x = self.conv2(x).relu().mean((2, 3))
        return self.fc(x)
'''
MEAN, STD = 0.3, 0.4
"""Of the pixels, as its training normalised them outside of the network."""


def write_network(folder: Path) -> Path:
    """`net.py` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.py").write_text(NETWORK)
    return folder / "net.py"


def digits() -> tuple[Tensor, Tensor]:
    """All images (N, 1, 8, 8) in [0, 1], and labels."""
    data = load_digits()
    return torch.from_numpy(data.images / np.float64(16)).float()[:, None], torch.from_numpy(
        data.target
    )


def trained(epochs: int = 6, seed: int = 0) -> nn.Module:
    """The network, trained for a second or two without attacks, rounded to bfloat16."""
    torch.manual_seed(seed)
    scope: dict[str, Any] = {}
    exec(NETWORK, scope)
    model: nn.Module = scope["SmallNet"]()
    images, labels = digits()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(1000), 50):
            optimiser.zero_grad()
            logits = model((images[batch] - MEAN) / STD)
            torch.autograd.backward(nn.functional.cross_entropy(logits, labels[batch]))
            optimiser.step()
    return model.bfloat16().float().eval()


def _prefixed(model: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}


def _plain(model: nn.Module, path: Path) -> Path:
    torch.save(model.state_dict(), path.with_suffix(".pt"))
    return path.with_suffix(".pt")


def _safetensors(model: nn.Module, path: Path) -> Path:
    safetensors.torch.save_file(model.state_dict(), path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def _checkpoint(model: nn.Module, path: Path) -> Path:
    """As training loops write them: DataParallel's names, beside the optimiser and an accuracy."""
    other = copy.deepcopy(model)  # Whose optimiser has a state.
    optimiser = torch.optim.Adam(other.parameters())
    torch.autograd.backward(torch.stack([p.sum() for p in other.parameters()]).sum())
    optimiser.step()
    content = {
        "epoch": 3,
        "accuracy": torch.tensor(97.0),
        "args": argparse.Namespace(lr=0.1, name="x"),
        "best": np.float64(97.0),
        "optimizer": optimiser.state_dict(),
    }
    torch.save({**content, "state_dict": _prefixed(model, "module.")}, path.with_suffix(".pth.tar"))
    return path.with_suffix(".pth.tar")


def _half(model: nn.Module, path: Path) -> Path:
    torch.save({"net": copy.deepcopy(model).bfloat16().state_dict()}, path.with_suffix(".t7"))
    return path.with_suffix(".t7")


def _average(model: nn.Module, path: Path) -> Path:
    """torch's average of the weights, beside those that it is not to be mistaken for."""
    averaged = AveragedModel(model).state_dict()
    content = {"model": model.state_dict(), "ema": averaged}
    for name in content["model"]:
        content["model"][name] = torch.zeros_like(content["model"][name])
    torch.save(content, path.with_suffix(".ckpt"))
    return path.with_suffix(".ckpt")


WAYS: dict[str, tuple[Callable[[nn.Module, Path], Path], dict[str, Any]]] = {
    "plain": (_plain, {}),
    "safetensors": (_safetensors, {}),
    "checkpoint": (_checkpoint, {}),
    "half": (_half, {}),
    "average": (_average, {"key": "ema"}),
}
"""Ways to save a model, and what `models` has to say of them."""


def save_five_ways(model: nn.Module, folder: Path) -> dict[str, dict[str, Any]]:
    """Files in a folder, and entries of `models` by name, with the network beside them."""
    network = write_network(folder)
    entries = {}
    for name, (save, more) in WAYS.items():
        path = save(copy.deepcopy(model), folder / name)
        entries[name] = {
            "weights": str(path),
            "architecture": f"{network}:SmallNet",
            "normalise": {"mean": [MEAN], "std": [STD]},
            **more,
        }
    return entries
