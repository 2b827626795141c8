"""A trained cell's model in a folder that stands for itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from raat_core.cells.evaluations import Checkpoint
from raat_core.cells.folder import CellFolder
from raat_core.errors import UserError
from raat_core.evaluation.run import load_model
from raat_core.exporting import robustbench
from raat_core.exporting.card import model_card
from raat_core.exporting.evidence import Evidence, gather
from raat_core.exporting.folders import require_free, sha256_of, staged
from raat_core.exporting.forms import FORMS, MODEL_CARD, RECEIPT, Form
from raat_core.exporting.read_back import ReadBack, read_back
from raat_core.exporting.writing import writer
from raat_core.files.atomic import write_bytes
from raat_core.files.checksums import write_sealed_json
from raat_core.files.provenance import git_commit, now, versions
from raat_core.validation import suggest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


def export_cell(
    folder: CellFolder,
    to: Path,
    form: str,
    checkpoint: Checkpoint = "best",
    name: str | None = None,
) -> dict[str, Any]:
    """Write a trained model into a folder, and read it back without this package.

    Args:
        folder: a trained cell's.
        to: the folder to make; an earlier export in it that nobody changed is replaced.
        form: one of `FORMS`.
        checkpoint: "best" or "last".
        name: what the model is to be called; without, as the cell.

    Returns:
        What stands in `export.json`: {name, form, cell, digest, checkpoint, epoch, weights_sha256,
        files: {path: SHA-256}, read_back, exported, git_commit, versions}.

    Raises:
        UserError: the cell is not trained, the folder holds something else, the form cannot be had
            of this network, or what was read back is not the same.
    """
    known = _require_form(form)
    require_free(to)
    evidence = gather(folder, checkpoint)
    name = _require_name(evidence.manifest["cell"] if name is None else name)
    write = writer(known, evidence, name)
    model = load_model(evidence.cell, evidence.weights, torch.device("cpu"))
    model = model.to(memory_format=torch.contiguous_format)
    files = write(model)
    with staged(to) as stage:
        for path, content in files.contents.items():
            write_bytes(stage / path, content)
        again = None
        if files.can_read:
            again = read_back(stage, files.load, model, evidence.image_shape)
        sums = {path: sha256_of(content) for path, content in files.contents.items()}
        card = model_card(evidence, name, files.load, sums, _checked(again), _more(known, evidence))
        write_bytes(stage / MODEL_CARD, card.encode())
        receipt = {
            "name": name,
            "form": known,
            "cell": evidence.manifest["cell"],
            "digest": evidence.manifest["digest"],
            "checkpoint": checkpoint,
            "epoch": evidence.weights.epoch,
            "weights_sha256": evidence.weights.sha256,
            "files": {**sums, MODEL_CARD: sha256_of(card.encode())},
            "read_back": None if again is None else again.to_json(),
            "exported": now(),
            "git_commit": git_commit(),
            "versions": versions(),
        }
        write_sealed_json(stage / RECEIPT, receipt)
    return receipt


def _require_form(form: str) -> Form:
    for known in FORMS:
        if form == known:
            return known
    raise UserError(f"form = {form!r}{suggest(form, FORMS)}")


def _require_name(name: str) -> str:
    """It becomes a file's name, and stands in code and in Markdown."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"name = {name[:100]!r}: must be up to 100 letters, digits, '.', '_', '+' and '-', and "
            f"begin with a letter or digit"
        )
    return name


def _checked(again: ReadBack | None) -> str:
    if again is None:
        return (
            "The exported file was not run: the package onnxruntime is not installed where it was "
            "made. Nor were these looked at:"
        )
    return (
        f"The exported files were loaded in a process without the package that made them. On "
        f"{again.images} random images the largest difference of logits was "
        f"{again.difference:.3g}; the largest logit is {again.largest:.3g}. The numbers above were "
        f"not measured again. Not looked at were:"
    )


def _more(form: Form, evidence: Evidence) -> list[str]:
    return [robustbench.section(evidence)] if form == "robustbench" else []
