"""Attacks on a trained cell: one record each; what is already attacked is not computed again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import Evaluation, EvaluationList, evaluation_name
from raat_core.cells.extensions import as_metadata, extensions_of_attack
from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import read_manifest
from raat_core.cells.spec import read_cell
from raat_core.cells.weights import Weights, read_weights
from raat_core.data.dataset import DataSet, Split, identified
from raat_core.errors import UserError
from raat_core.evaluation.accuracy import require_classes
from raat_core.evaluation.batch import (
    Around,
    BatchOutcome,
    Samples,
    attack_batch,
    attacked_positions,
)
from raat_core.evaluation.join import OF_RECORD, accuracy_line, recorded, same_images, summarise
from raat_core.evaluation.parts import (
    FILES,
    GrowingPart,
    Part,
    Shard,
    identity_of,
    in_words,
    missing,
    read_parts,
    remove_parts,
    summed,
    whole,
)
from raat_core.evaluation.records import Record, write_whole
from raat_core.evaluation.sources import as_metadata as sources_as_metadata
from raat_core.evaluation.sources import described_sources, of_cell, read_sources
from raat_core.fast.arithmetic import use_ieee_arithmetic
from raat_core.fast.folding import fold
from raat_core.fast.switches import FastPaths, fast_paths_from_environment
from raat_core.files.checksums import file_checksum
from raat_core.files.provenance import git_commit, hardware, now, scheduler_job, versions
from raat_core.interface.registry import attack_class, build_attack
from raat_core.models.build import build_model_for
from raat_core.specs.threat_model import ThreatModel

SAVE_EVERY = 30.0
"""Seconds between two savings of an attack whose batches take less; see `Attack.slow`."""


def load_model(cell: Cell, weights: Weights, device: torch.device) -> nn.Module:
    """A trained model in evaluation mode, its parameters frozen."""
    model = build_model_for(cell.architecture, cell.dataset, cell.seed)
    try:
        model.load_state_dict({name: torch.from_numpy(a) for name, a in weights.arrays.items()})
    except RuntimeError:
        raise UserError(
            f"the weights of {cell.name} are not those of its architecture {cell.architecture}: "
            f"another cell's spec.json or manifest.json lies in its folder"
        ) from None
    return model.to(device).eval().requires_grad_(False)


def quickest(model: nn.Module, split: Split, fast: FastPaths) -> nn.Module:
    """The quickest module with the logits of `model`, which is frozen and in evaluation mode."""
    model = model.to(memory_format=fast.memory_format)
    images, _ = split.batch(torch.arange(1))
    copied = fold(model, images) if fast.fold else None
    return model if copied is None else copied.module


def evaluate_cell(
    folder: CellFolder,
    evaluations: EvaluationList,
    data: DataSet,
    device: torch.device,
    check_stop: Callable[[], None] = lambda: None,
    report: Callable[[str], None] = lambda line: None,
    shard: Shard | None = None,
    data_root: Path | None = None,
) -> dict[str, Any]:
    """Run what is missing of attacks, and summarise all of them.

    Args:
        folder: a trained cell's.
        evaluations: the attacks.
        data: whose test images are attacked.
        device: where.
        check_stop: called before every batch, and by attacks between forwards; may raise.
        report: is told a line per attack, and one whenever a part of it is saved.
        shard: attack only its batches, and leave parts for `join_cell`.
        data_root: where attacks find data of their own.

    Returns:
        {checkpoint, epoch, weights_sha256, attacks: [{label, record, accuracy, samples, seconds}]},
        accuracies in percent. Of a shard: also {shard}, and of each attack {label, record,
        batches}, its batches of all.

    Raises:
        Interrupted: `check_stop` asked for it; finished batches are kept.
        UserError: the cell is not trained, or with other data, or a file is damaged.
    """
    checkpoint = evaluations.checkpoint
    data = identified(data)
    _require_same_data(folder, data)
    weights = read_weights(folder, checkpoint)
    use_ieee_arithmetic()
    fast = fast_paths_from_environment()
    test = replace(data.test.to(device), memory_format=fast.memory_format)
    cell = read_cell(folder)
    model = quickest(load_model(cell, weights, device), test, fast)
    origin = {"checkpoint": checkpoint, "epoch": weights.epoch, "weights_sha256": weights.sha256}
    attacks = [of_cell(asked, cell) for asked in evaluations.attacks]
    for evaluation in attacks:  # That the last one is refused is known before the first one runs.
        _require_possible(evaluation, test, data.classes)
    summaries = []
    for evaluation in attacks:
        check_stop()
        sources = described_sources(folder, evaluation)
        attack = _Attack(
            folder=folder,
            name=evaluation_name(evaluation, checkpoint),
            threat=cell.threat_model,
            model=model,
            evaluation=evaluation,
            test=test,
            device=device,
            origin={
                **origin,
                "data_sha256": data.sha256,
                **sources_as_metadata(sources),
                **as_metadata(extensions_of_attack(cell, evaluation.kind)),
            },
            fast=fast,
            check_stop=check_stop,
            data_root=data_root,
            report=report,
        )
        summaries.append(attack.run() if shard is None else attack.run_shard(shard))
    return {**origin, **({"shard": str(shard)} if shard else {}), "attacks": summaries}


def _require_same_data(folder: CellFolder, data: DataSet) -> None:
    """Refuse to attack a cell with test images of other data than it was trained on.

    Raises:
        UserError: says both checksums.
    """
    known = same_images(read_manifest(folder)).get("data_sha256", data.sha256)
    if known != data.sha256:
        raise UserError(
            f"{folder.path}: this cell was trained on data with the SHA-256 {known:.12}, and what "
            f"is to be attacked has {data.sha256:.12}: give the folder of the data that it was "
            f"trained on (--data, RAAT_DATA, or `data` in a config)"
        )


def _require_possible(evaluation: Evaluation, test: Split, classes: int) -> None:
    """Refuse an attack that makes no sense on these images, or so many classes.

    Raises:
        UserError: says why.
    """
    channels, height, width = test.images.shape[1:]
    try:
        evaluation.check(classes, (channels, height, width))
    except ValueError as error:
        raise UserError(f"attack '{evaluation.kind}': {error}") from None


@dataclass
class _Attack:
    """One attack on one cell."""

    folder: CellFolder
    name: str
    """Of its record."""
    threat: ThreatModel
    """The cell's."""
    model: nn.Module
    evaluation: Evaluation
    test: Split
    """On the device."""
    device: torch.device
    origin: dict[str, Any]
    """Where weights, images and code come from, for the metadata."""
    fast: FastPaths
    check_stop: Callable[[], None]
    data_root: Path | None
    report: Callable[[str], None]

    def __post_init__(self) -> None:
        self.label = self.evaluation.label_in(self.threat, images=False)
        self.attack = build_attack(self.evaluation)
        self.index = attacked_positions(self.evaluation, self.test)
        self.batches = range(self.evaluation.batches(len(self.test)))

    def run(self) -> dict[str, Any]:
        """Attack what no part covers, and write the record; returns its summary."""
        record = self._recorded()
        if record is None:
            self._warn()
            parts = self._read_parts()
            runs = missing(parts, self.batches)
            # What the last one adds goes into the record at once.
            parts += [self._attack(run, save=run is not runs[-1]) for run in runs]
            record = whole(parts, self.evaluation.batch_size)
            record = write_whole(record, self.folder.record(self.name))
        remove_parts(self.folder.parts, self.name)
        self.report(accuracy_line(self.evaluation, self.threat, record))
        return summarise(self.evaluation, self.threat, self.name, record)

    def run_shard(self, shard: Shard) -> dict[str, Any]:
        """Attack what no part covers of a shard's batches; returns what they are."""
        batches = shard.batches(len(self.batches))
        if self._recorded() is None:
            self._warn()
            for run in missing(self._read_parts(), batches):
                self._attack(run, save=True)
            if self._recorded() is not None:
                # Others have made the record meanwhile: nobody will look for these parts.
                remove_parts(self.folder.parts, self.name)
        covered = in_words([batches], len(self.batches)) if batches else "no batches"
        self.report(f"{self.label}: shard {shard}: {covered} attacked")
        label = self.evaluation.label_in(self.threat)
        return {"label": label, "record": self.name, "batches": covered}

    def _warn(self) -> None:
        if why := self.evaluation.out_of_reach():
            self.report(f"warning: {self.label} is weak: {why}")

    def _files(self) -> dict[str, str]:
        """SHA-256 of what the attack reads, by name."""
        found = self.attack.files(self.data_root)
        return {name: file_checksum(path) for name, path in found.items()}

    def _recorded(self) -> Record | None:
        identity = {key: self._metadata[key] for key in OF_RECORD if key in self._metadata}
        return recorded(self.folder.record(self.name), identity, self.report)

    def _read_parts(self) -> list[Part]:
        identity = identity_of(self._metadata)
        parts = read_parts(self.folder.parts, self.name, identity, self.report)
        if parts:
            done = len(self.batches) - sum(map(len, missing(parts, self.batches)))
            self.report(f"{self.label}: {done} of {len(self.batches)} batches are kept")
        return parts

    @cached_property
    def _metadata(self) -> dict[str, Any]:
        """All that does not change while this process attacks."""
        return {
            **self.origin,
            "attack": self.evaluation.to_json(),
            "split": "test",
            "test_size": len(self.test),
            "git_commit": git_commit(),
            "scheduler_job": scheduler_job(),
            "hardware": hardware(self.device),
            "fast_paths": self.fast.names,
            "versions": versions(*self.attack.used_packages()),
            **({"accuracy_is": meaning} if (meaning := self.evaluation.accuracy_is) else {}),
            **({FILES: files} if (files := self._files()) else {}),
        }

    def _attack(self, batches: range, save: bool) -> Part:
        """Attack consecutive batches; what is done is saved now and then, and if it is cut short.

        With `save` the whole part is saved at the end.
        """
        often = attack_class(self.evaluation.kind).slow
        started = saved = time.monotonic()
        growing = GrowingPart(self.folder.parts, self.name)
        outcomes: list[BatchOutcome] = []
        try:
            for number in batches:
                if outcomes and (often or time.monotonic() - saved >= SAVE_EVERY):
                    self._save(growing, self._part(batches, outcomes, started))
                    saved = time.monotonic()
                self.check_stop()
                outcomes.append(self._attack_batch(number))
        except BaseException:
            if outcomes:
                self._save(growing, self._part(batches, outcomes, started))
            raise
        part = self._part(batches, outcomes, started)
        if save:
            self._save(growing, part)
        return part

    def _save(self, growing: GrowingPart, part: Part) -> None:
        growing.write(part)
        kept = in_words([part.batches], len(self.batches))
        self.report(f"{self.label}: {kept} are attacked and kept")

    def _images_of(self, batches: range) -> slice:
        size = self.evaluation.batch_size
        return slice(batches.start * size, batches.stop * size)

    @cached_property
    def _around(self) -> Around:
        """The models of other cells are loaded only where there is something to attack."""
        models = {
            setting: quickest(load_model(cell, weights, self.device), self.test, self.fast)
            for setting, (cell, weights) in read_sources(self.folder, self.evaluation).items()
        }
        return Around(self.check_stop, models, self.data_root)

    def _attack_batch(self, number: int) -> BatchOutcome:
        index = self.index[self._images_of(range(number, number + 1))]
        samples = Samples(*self.test.batch(index), index, number)
        found = attack_batch(self.model, self.evaluation, samples, self._around)
        if not self.evaluation.keep:
            return replace(found, adversarial=None)
        if found.adversarial is None:
            raise UserError(
                f"attack '{self.evaluation.kind}': keep = true: it returns classes, and no images "
                f"that could be kept"
            )
        return replace(found, adversarial=found.adversarial.cpu())

    def _part(self, batches: range, outcomes: Sequence[BatchOutcome], started: float) -> Part:
        """The outcome of the first of `batches`.

        Raises:
            UserError: the model's logits were not finite somewhere.
        """
        done = batches[: len(outcomes)]
        predicted = torch.cat([each.predictions for each in outcomes])
        require_classes(predicted, f"test images under {self.label}")
        index = self.index[self._images_of(done)]
        kept = [each.adversarial for each in outcomes if each.adversarial is not None]
        work = [{name: asdict(one) for name, one in each.work.items()} for each in outcomes]
        record = Record(
            index=index.int().cpu().numpy(),
            label=self.test.labels[index].int().cpu().numpy(),
            prediction=predicted.int().cpu().numpy(),
            clean=torch.cat([each.clean for each in outcomes]).int().cpu().numpy(),
            details={name: _joined(name, outcomes) for name in outcomes[0].details},
            adversarial=torch.cat(kept).numpy() if kept else None,
            metadata={
                **self._metadata,
                "seconds": round(time.monotonic() - started, 3),
                "finished": now(),
                **({"work": summed(work)} if any(work) else {}),
            },
        )
        return Part(done, record)


def _joined(name: str, outcomes: Sequence[BatchOutcome]) -> np.ndarray[Any, Any]:
    """A detail of all batches, (N,): float32, or int32.

    Raises:
        UserError: a batch has no such detail.
    """
    if not all(name in each.details for each in outcomes):
        raise UserError(f"details: {name!r} is not in every batch's")
    values = torch.cat([each.details[name].detach() for each in outcomes])
    return (values.float() if values.is_floating_point() else values.int()).cpu().numpy()
