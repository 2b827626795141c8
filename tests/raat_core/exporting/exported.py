"""Cells whose weights are random, and exported models in a process that has no package of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from conftest import small_cell
from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import read_manifest
from raat_core.cells.spec import write_spec
from raat_core.evaluation.records import Record
from raat_core.files.checksums import write_arrays, write_sealed_json
from raat_core.models.build import build_model_for


def random_cell(folder: Path, architecture: str, dataset: str) -> CellFolder:
    """As a training leaves it, with other running statistics of BatchNorm than at the start."""
    cell = small_cell(architecture=architecture, dataset=dataset)
    made = CellFolder(folder / "cell")
    write_spec(made, cell)
    draws = torch.Generator().manual_seed(1)
    weights = {
        name: 0.5 + torch.rand(tensor.shape, generator=draws) if "running" in name else tensor
        for name, tensor in build_model_for(architecture, dataset, seed=0).state_dict().items()
    }
    sums = {}
    for checkpoint in ("best", "last"):
        metadata = {"cell": cell.digest, "checkpoint": checkpoint, "epoch": 2}
        arrays = {name: tensor.numpy() for name, tensor in weights.items()}
        sums[checkpoint] = write_arrays(made.path / f"{checkpoint}.safetensors", arrays, metadata)
    best = {"epoch": 2, "accuracy": 0.0, "chosen_by": "PGD-2 accuracy", "split": "validation"}
    manifest = {
        "cell": cell.name,
        "digest": cell.digest,
        "finished": "2026-01-01T00:00:00+00:00",
        "train_seconds": 1.0,
        "best": best,
        "weights_sha256": sums,
        "data_sha256": "0" * 64,
        "spec": cell.to_json(),
    }
    write_sealed_json(made.manifest, manifest)
    return made


def logits_elsewhere(folder: Path, load: str, images: Tensor) -> Tensor:
    """Of a model that `load` makes in `folder`, where none of our packages can be imported."""
    scratch = folder.parent
    torch.save(images, scratch / "images.pt")
    code = (
        "import sys\n"
        "sys.path.insert(0, '.')\n"
        "sys.modules['raat_core'] = None\n"
        f"import torch\n{load}\n"
        "with torch.no_grad():\n"
        "    torch.save(model(torch.load('../images.pt')), '../logits.pt')\n"
        "assert not [name for name in sys.modules if name.startswith('raat_core.')]\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-W", "ignore", "-c", code],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    logits: Tensor = torch.load(scratch / "logits.pt")
    return logits


def add_record(
    folder: CellFolder,
    name: str,
    attack: dict[str, object],
    right: list[bool],
    details: Mapping[str, list[int]] | None = None,
    **metadata: object,
) -> None:
    """A record of the best checkpoint on the first test images, class 0 all of them."""
    weights = read_weights_sha256(folder)
    count = len(right)
    Record(
        index=np.arange(count, dtype=np.int32),
        label=np.zeros(count, dtype=np.int32),
        prediction=np.array([0 if each else 1 for each in right], dtype=np.int32),
        metadata={
            "attack": attack,
            "weights_sha256": weights,
            "data_sha256": "0" * 64,
            "test_size": 10,
            **metadata,
        },
        details={key: np.array(values) for key, values in (details or {}).items()},
    ).write(folder.record(name))


def read_weights_sha256(folder: CellFolder) -> str:
    """Of the best checkpoint."""
    checksum: str = read_manifest(folder)["weights_sha256"]["best"]
    return checksum
