"""An exported model is read back in another process, without this package, before it is kept."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from raat_core.errors import UserError
from raat_core.randomness import generator

IMAGES = 7
"""So many random ones are shown to both, together, and the first by itself again."""
TOLERANCE = 1e-4
"""Of logits, relative to the largest (or to 1): other programs sum in another order."""
_SCRIPT = """
import sys

class Elsewhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("raat_core", "raat_sweep"):
            raise ImportError(f"{name} is not there where a model is handed on to")

sys.meta_path.insert(0, Elsewhere())
sys.path.insert(0, ".")
import torch
torch.set_num_threads(int(sys.argv[1]))
shown = torch.load(sys.argv[2], weights_only=True)
LOAD
with torch.no_grad():
    torch.save(torch.cat([model(shown), model(shown[:1])]), sys.argv[3])
"""


@dataclass(frozen=True)
class ReadBack:
    """How the exported model compares with the one that was exported."""

    images: int
    difference: float
    """The largest, of logits."""
    largest: float
    """Of the logits, in absolute value."""

    def to_json(self) -> dict[str, float]:
        """Plain data."""
        return asdict(self)


def random_images(count: int, shape: tuple[int, int, int]) -> Tensor:
    """The same ones (count, C, H, W) whenever they are asked for, in [0, 1]."""
    return torch.rand(count, *shape, generator=generator("cpu", 0, "export"))


def read_back(folder: Path, load: str, model: nn.Module, shape: tuple[int, int, int]) -> ReadBack:
    """Load what a folder holds, in a process without this package, and compare its logits.

    Args:
        folder: where the files are.
        load: code that runs there and leaves a function of images as `model`.
        model: on the CPU, in evaluation mode; what it should be.
        shape: (C, H, W) of its images.

    Raises:
        UserError: it cannot be loaded, or its logits are others.
    """
    images = random_images(IMAGES, shape)
    with torch.no_grad():
        expected = torch.cat([model(images), model(images[:1])])
    found = _logits_elsewhere(folder, load, images)
    largest = expected.abs().max().item()
    if found.shape != expected.shape:
        raise UserError(
            f"the exported model returns logits of shape {tuple(found.shape)}, not "
            f"{tuple(expected.shape)}; nothing was exported"
        )
    difference = (found - expected).abs().max().item()
    if not difference <= TOLERANCE * max(1.0, largest):
        raise UserError(
            f"the exported model's logits are off by up to {difference:.3g} (they are up to "
            f"{largest:.3g}): is something in this network random, or kept in no weight? Nothing "
            f"was exported"
        )
    return ReadBack(len(images), difference, largest)


def _logits_elsewhere(folder: Path, load: str, images: Tensor) -> Tensor:
    with tempfile.TemporaryDirectory() as scratch:
        shown, returned = Path(scratch) / "images.pt", Path(scratch) / "logits.pt"
        torch.save(images, shown)
        threads = str(torch.get_num_threads())
        done = subprocess.run(
            [sys.executable, "-B", "-W", "ignore", "-c", _SCRIPT.replace("LOAD", load),
             threads, str(shown), str(returned)],
            cwd=folder,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        if done.returncode != 0:
            said = done.stderr.strip().splitlines()
            raise UserError(
                f"the exported model cannot be loaded without this package: "
                f"{said[-1] if said else f'exit code {done.returncode}'}; nothing was exported"
            )
        logits: Tensor = torch.load(returned, weights_only=True)
    return logits
