"""Parts of a record: runs of batches that are attacked, until all are and the record is written.

A part is a file of its own, named by its batches and written by one process: an attack that was
interrupted goes on where the parts end, and several processes share an attack without writing the
same file. Nothing here needs torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from raat_core.cells.extensions import code_of
from raat_core.errors import UserError
from raat_core.evaluation.records import Record
from raat_core.interface.registry import build_attack, resolve_attack

FILES = "attack_files"
"""Key of metadata: SHA-256 of files that an attack reads, by name."""
IDENTITY = ("weights_sha256", "attack", "data_sha256", "test_size", "sources", FILES, "extensions")
"""What parts of one record agree on, of their metadata; of extensions, on their code."""
_SESSION = ("seconds", "finished", "git_commit", "scheduler_job", "hardware", "versions")
"""What each of them has of its own."""


@dataclass(frozen=True)
class Shard:
    """One of several about equal shares of an attack's batches."""

    number: int
    """From 1."""
    of: int

    def batches(self, count: int) -> range:
        """Its batches of `count`, numbered from 0; none, if there are fewer than shards."""
        return range((self.number - 1) * count // self.of, self.number * count // self.of)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@dataclass(frozen=True)
class Part:
    """The outcome of consecutive batches."""

    batches: range
    """Numbered from 0."""
    record: Record
    """Of their images alone; its metadata is that of the process that attacked them."""


def part_path(folder: Path, name: str, batches: range) -> Path:
    """`<record>.<first>-<last>.safetensors`, batches counted from 1."""
    return folder / f"{name}.{batches.start + 1}-{batches.stop}.safetensors"


class GrowingPart:
    """The file of a part that becomes longer while its batches are attacked."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self._path: Path | None = None

    def write(self, part: Part) -> None:
        """Write it atomically, in place of what was written of it before.

        Raises:
            UserError: the folder cannot be made or written.
        """
        path, record = part_path(self.folder, self.name, part.batches), part.record
        metadata = {**record.metadata, "batches": [part.batches.start + 1, part.batches.stop]}
        replace(record, metadata=metadata).write(path)
        if self._path is not None and self._path != path:
            self._path.unlink(missing_ok=True)
        self._path = path


def read_parts(
    folder: Path, name: str, identity: Mapping[str, Any], report: Callable[[str], None]
) -> list[Part]:
    """The parts of a record that are whole and of this attack; the others are reported.

    Args:
        folder: where parts are.
        name: the record's.
        identity: what `identity_of` their metadata has to say; keys of `IDENTITY`. On keys that
            are not given, parts have to agree with the first one.
        report: is told a line for every file that is ignored.
    """
    expected, parts = dict(identity), list[Part]()
    for path in sorted(folder.glob(f"{name}.*.safetensors")):
        try:
            record = Record.read(path)
        except UserError as error:
            if path.exists():  # Else the process that wrote it has put a longer part in its place.
                report(f"ignored: {error}")
            continue
        metadata = dict(record.metadata)
        found_identity = identity_of(metadata)
        unlike = [key for key, value in expected.items() if found_identity[key] != value]
        if unlike or "batches" not in metadata:
            report(f"ignored: {path} is no part of this attack: {', '.join(unlike)} differs")
            continue
        expected = found_identity
        first, last = metadata.pop("batches")
        parts.append(Part(range(first - 1, last), replace(record, metadata=metadata)))
    return parts


def identity_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What parts of one record agree on."""
    return {**{key: metadata.get(key) for key in IDENTITY}, "extensions": code_of(metadata)}


def remove_parts(folder: Path, name: str) -> None:
    """Remove all parts of a record, and what is left of those that were being written."""
    for path in folder.glob(f"{name}.*"):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # Those of other records are there, or none were.
        folder.rmdir()


def missing(parts: Iterable[Part], batches: range) -> list[range]:
    """Runs of consecutive batches that no part covers."""
    covered = {number for part in parts for number in part.batches}
    runs: list[range] = []
    for number in batches:
        if number in covered:
            continue
        if runs and runs[-1].stop == number:
            runs[-1] = range(runs[-1].start, number + 1)
        else:
            runs.append(range(number, number + 1))
    return runs


def in_words(runs: Sequence[range], count: int) -> str:
    """`1-3, 7 of 8 batches`, counted from 1."""
    spans = [f"{run.start + 1}-{run.stop}" if len(run) > 1 else f"{run.stop}" for run in runs]
    return f"{', '.join(spans)} of {count} batches"


def whole(parts: Iterable[Part], batch_size: int) -> Record:
    """The record that parts make, which cover all of its batches, some perhaps twice.

    Its metadata is the newest part's; where there are several, `seconds` and `work` are their sums,
    and `parts` says for each what it covers, on what it was computed, and when. `flags` is what the
    attack finds suspicious of the whole.
    """
    chosen: list[tuple[Part, range]] = []
    done = 0
    # The longest first of those that begin together: the others are what it has grown from.
    for part in sorted(parts, key=lambda part: (part.batches.start, -part.batches.stop)):
        if part.batches.stop > done:
            chosen.append((part, range(done, part.batches.stop)))
            done = part.batches.stop

    # What a part has of batches that are there already comes before what it adds.
    arrays = [
        {
            name: values[(new.start - part.batches.start) * batch_size :]
            for name, values in part.record.arrays.items()
        }
        for part, new in chosen
    ]
    newest = max((part.record.metadata for part, _ in chosen), key=lambda each: each["finished"])
    metadata = dict(newest)
    if len(chosen) > 1:
        every = [part.record.metadata for part, _ in chosen]
        metadata["seconds"] = round(sum(each["seconds"] for each in every), 3)
        metadata["parts"] = [
            {
                "batches": [new.start + 1, new.stop],
                **{key: part.record.metadata[key] for key in _SESSION},
            }
            for part, new in chosen
        ]
        if "work" in metadata:
            metadata["work"] = summed([each["work"] for each in every])
    # Of parts of which some were left by an older version, what all have.
    common = [name for name in arrays[0] if all(name in each for each in arrays)]
    joined = {name: np.concatenate([each[name] for each in arrays]) for name in common}
    return flagged(Record.of_arrays(joined, metadata))


def summed(work: Iterable[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """`Outcome.work` of several batches or parts, as plain data."""
    total: dict[str, dict[str, float]] = {}
    for each in work:
        for name, amounts in each.items():
            sums = total.setdefault(name, dict.fromkeys(amounts, 0))
            for key, amount in amounts.items():
                sums[key] = round(sums[key] + amount, 3)
    return total


def flagged(record: Record) -> Record:
    """A whole record, with what its attack finds suspicious of it as `flags`, if anything."""
    attack = build_attack(resolve_attack(record.metadata["attack"]))
    flags = attack.flags(record)
    return replace(record, metadata={**record.metadata, "flags": flags}) if flags else record
