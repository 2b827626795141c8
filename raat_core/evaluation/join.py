"""Whole records from parts that several processes left, and the summary of a list of attacks.

Nothing here needs torch, nor the data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from raat_core.cells.catalogue import DATA_SETS
from raat_core.cells.evaluations import Evaluation, EvaluationList, evaluation_name
from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import read_manifest
from raat_core.cells.spec import read_cell
from raat_core.errors import Damaged, UserError
from raat_core.evaluation.parts import (
    FILES,
    Part,
    in_words,
    missing,
    read_parts,
    remove_parts,
    whole,
)
from raat_core.evaluation.records import Record, write_whole
from raat_core.evaluation.sources import as_metadata, described_sources, of_cell
from raat_core.specs.threat_model import ThreatModel

OF_RECORD = ("weights_sha256", "data_sha256", "test_size", "sources", FILES)
"""Of what a record is: the checkpoint, the test images, the models of other cells, and files."""


def recorded(
    path: Path, identity: Mapping[str, Any], report: Callable[[str], None]
) -> Record | None:
    """The record at `path`, if there is one and it is whole, of these weights and test images.

    A damaged one is reported, as is one of other images: all that is in it can be computed again.

    Args:
        path: of the record.
        identity: what its metadata has to say; of `OF_RECORD`, what is known.
        report: is told a line for a record that is ignored.

    Raises:
        UserError: it cannot be read.
    """
    if not path.exists():
        return None
    try:
        record = Record.read(path)
    except Damaged as damage:
        report(f"ignored: {damage}; it is made again")
        return None
    unlike = [key for key, value in identity.items() if record.metadata.get(key, value) != value]
    if set(unlike) & {"data_sha256", "test_size"}:
        report(f"ignored: {path} is of other test images; it is made again")
    return None if unlike else record


def same_images(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What records of a cell have to say of their data, where its manifest says so."""
    known = manifest.get("data_sha256")
    return {} if known is None else {"data_sha256": known}


def summarise(
    evaluation: Evaluation, threat: ThreatModel, name: str, record: Record
) -> dict[str, Any]:
    """What a summary of attacks on a cell says of one of them; the accuracy in percent."""
    return {
        "label": evaluation.label_in(threat),
        "record": name,
        "accuracy": record.accuracy,
        "samples": len(record.index),
        "seconds": record.metadata["seconds"],
    }


def accuracy_line(evaluation: Evaluation, threat: ThreatModel, record: Record) -> str:
    """What an attack on a cell found, for who reads the log."""
    label = evaluation.label_in(threat, images=False)
    return f"{label}: {record.accuracy:.2f}% of {len(record.index)} test images"


def join_cell(
    folder: CellFolder,
    evaluations: EvaluationList,
    report: Callable[[str], None] = lambda line: None,
    wait: float = 0.0,
) -> dict[str, Any]:
    """Write the whole records of attacks whose batches are all covered by parts.

    Args:
        folder: a trained cell's.
        evaluations: the attacks.
        report: is told a line per attack.
        wait: seconds in which parts may still show up that another machine wrote.

    Returns:
        As `evaluate_cell`.

    Raises:
        UserError: the cell is not trained, or batches are missing: says which. The records of
            other attacks of the list are written.
    """
    manifest = read_manifest(folder)
    sha256 = manifest["weights_sha256"][evaluations.checkpoint]
    origin = {"weights_sha256": sha256, **same_images(manifest)}
    cell = read_cell(folder)
    test_size = DATA_SETS[cell.dataset].test_size
    deadline = time.monotonic() + wait
    summaries, epoch, gaps = [], None, []
    for asked in evaluations.attacks:
        evaluation = of_cell(asked, cell)
        name = evaluation_name(evaluation, evaluations.checkpoint)
        of_record = {**origin, **as_metadata(described_sources(folder, evaluation))}
        record = recorded(folder.record(name), of_record, report)
        if record is None:
            identity = {**of_record, "attack": evaluation.to_json()}
            parts, gap = _parts_and_gap(folder, evaluation, identity, name, test_size, report)
            while gap and time.monotonic() < deadline:
                time.sleep(1)
                parts, gap = _parts_and_gap(
                    folder, evaluation, identity, name, test_size, lambda line: None
                )
            if gap:
                label = evaluation.label_in(cell.threat_model, images=False)
                gaps.append(f"{folder.path}: {label} ({name}): not attacked yet: {gap}")
                continue
            record = write_whole(whole(parts, evaluation.batch_size), folder.record(name))
        remove_parts(folder.parts, name)
        report(accuracy_line(evaluation, cell.threat_model, record))
        summaries.append(summarise(evaluation, cell.threat_model, name, record))
        epoch = record.metadata["epoch"]
    if gaps:
        raise UserError("\n".join(gaps))
    return {
        "checkpoint": evaluations.checkpoint,
        "epoch": epoch,
        "weights_sha256": sha256,
        "attacks": summaries,
    }


def _parts_and_gap(
    folder: CellFolder,
    evaluation: Evaluation,
    identity: dict[str, Any],
    name: str,
    test_size: int,
    report: Callable[[str], None],
) -> tuple[list[Part], str]:
    """The parts of a record, and which batches are missing, in words; empty if none is."""
    parts = read_parts(folder.parts, name, identity, report)
    if parts:
        # Of the images that were attacked, should the catalogue say otherwise.
        test_size = parts[0].record.metadata["test_size"]
    count = evaluation.batches(test_size)
    gaps = missing(parts, range(count))
    return parts, in_words(gaps, count) if gaps else ""
