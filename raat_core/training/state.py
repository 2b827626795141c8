"""What a training is at any moment, and how it is kept on disk.

One file holds everything (weights, momentum, the best weights so far, the history, the position),
so that no two files can disagree; the one before is kept until the next is whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from raat_core.cells.extensions import Extension, as_metadata, require_same_code
from raat_core.errors import Damaged, UserError
from raat_core.files.atomic import cannot_write
from raat_core.files.checksums import Arrays, read_arrays, write_arrays
from raat_core.training.trainee import Trainee

Tensors = dict[str, Tensor]
_NOT_THE_OPTIMISERS = ("model.", "method.", "average.", "progress.", "best.")
"""How names of other tensors in a state begin."""
Needs = Mapping[str, Mapping[str, str]]
"""What the manifest says of needed cells, by setting."""


@dataclass(frozen=True)
class Best:
    """The best checkpoint so far."""

    epoch: int
    accuracy: float
    weights: Tensors


@dataclass
class Progress:
    """Where a training stands: `step` steps of `epoch` (both from 0) are done."""

    epoch: int = 0
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    term_names: list[str] = field(default_factory=list)
    terms: list[Tensor] = field(default_factory=list)
    """The loss terms of the running epoch's steps, each (T,), left on the device."""
    epoch_hook_done: bool = False
    """Whether the method's `after_epoch` was called for the running epoch."""
    best: Best | None = None
    sessions: list[dict[str, Any]] = field(default_factory=list)
    """One entry for every process that worked on it: start, end, hardware."""
    epoch_seconds: float = 0.0
    """Time spent on the running epoch by all sessions."""

    def finish_step(self, terms: Mapping[str, Tensor]) -> None:
        """Note a step's loss terms and move on.

        Raises:
            UserError: they are not the terms of the epoch's other steps.
        """
        if self.terms and self.term_names != list(terms):
            raise UserError(
                f"the method's loss returned the terms {list(terms)} after {self.term_names}: "
                f"all steps of an epoch must have the same, zero where one does not apply"
            )
        self.term_names = list(terms)
        self.terms.append(torch.stack([term.detach() for term in terms.values()]))
        self.step += 1

    def finish_epoch(self, row: dict[str, Any]) -> None:
        """Note an epoch's row of the history and move on."""
        self.history.append(row)
        self.epoch += 1
        self.step, self.terms, self.epoch_seconds, self.epoch_hook_done = 0, [], 0.0, False


class ResumeStore:
    """The folder `resume` of a cell: the state now and the one before."""

    def __init__(
        self,
        folder: Path,
        digest: str,
        extensions: Sequence[Extension] = (),
        needs: Needs | None = None,
        data: Mapping[str, str | None] | None = None,
    ) -> None:
        self.folder, self.digest, self.data = folder, digest, dict(data or {})
        """Checksums of the data, by `data_sha256` and `extra_data_sha256`."""
        self.extensions, self.needs = extensions, needs or {}
        """Plugins' code and needed cells' weights, with which a state has to be continued."""
        self.newest = self.folder / "state.safetensors"
        self.previous = self.folder / "state.previous.safetensors"

    def save(self, trainee: Trainee, progress: Progress) -> None:
        """Keep the state; a crash at any moment leaves at least one whole state."""
        arrays = {
            **_prefixed("model.", trainee.model.state_dict()),
            **to_arrays(trainee.optimizer.state()),
            **_prefixed("method.", trainee.method_state()),
        }
        if trainee.average is not None:
            arrays.update(_prefixed("average.", trainee.average.state()))
        metadata: dict[str, Any] = {
            "digest": self.digest,
            "epoch": progress.epoch,
            "step": progress.step,
            "history": [list(row.items()) for row in progress.history],
            "term_names": progress.term_names,
            "epoch_hook_done": progress.epoch_hook_done,
            "sessions": progress.sessions,
            "epoch_seconds": progress.epoch_seconds,
            **self.data,
            **as_metadata(self.extensions),
            **({"needs": self.needs} if self.needs else {}),
        }
        if progress.terms:
            arrays.update(_prefixed("progress.", {"terms": torch.stack(progress.terms)}))
        if progress.best is not None:
            arrays.update(_prefixed("best.", progress.best.weights))
            metadata["best"] = {"epoch": progress.best.epoch, "accuracy": progress.best.accuracy}
        try:
            if self.newest.exists():
                self.newest.replace(self.previous)
        except OSError as error:
            raise cannot_write(self.previous, error) from error
        write_arrays(self.newest, arrays, metadata)

    def load(self, trainee: Trainee) -> Progress | None:
        """Restore the newest whole state into `trainee`; None if there is none to continue.

        Raises:
            UserError: there are states and none is whole, they are another cell's or were made by
                other code of a plugin, or one cannot be read.
        """
        problems = []
        for path in (self.newest, self.previous):
            if not path.exists():
                continue
            try:
                arrays, metadata, _ = read_arrays(path)
            except Damaged as damage:
                problems.append(str(damage))
                continue
            for problem in problems:
                # Out of the way, or the next save would move it over the whole one.
                self.newest.unlink()
                print(f"warning: {problem}; continuing from {path.name}", flush=True)
            return self._restore(path, arrays, metadata, trainee)
        if problems:
            raise UserError(
                f"no whole state to resume from: {'; '.join(problems)}. "
                f"Remove {self.folder} to start this cell again"
            )
        return None

    def _restore(
        self, path: Path, arrays: Arrays, metadata: dict[str, Any], trainee: Trainee
    ) -> Progress:
        if metadata["digest"] != self.digest:
            raise UserError(f"{path} belongs to another cell: {metadata['digest']}")
        require_same_code(metadata, self.extensions, self.folder)
        self._require_needs(metadata.get("needs", {}))
        self._require_same_data(metadata)
        tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        trainee.model.load_state_dict(_unprefixed("model.", tensors))
        device = next(trainee.model.parameters()).device

        def on_device(state: Tensors) -> Tensors:
            return {name: tensor.to(device) for name, tensor in state.items()}

        others = {n: t for n, t in tensors.items() if not n.startswith(_NOT_THE_OPTIMISERS)}
        trainee.optimizer.load_state(on_device(others))
        trainee.method.load_state(on_device(_unprefixed("method.", tensors)))
        if trainee.average is not None:
            trainee.average.load_state(on_device(_unprefixed("average.", tensors)))
        best = metadata.get("best")
        terms = tensors.get("progress.terms")
        return Progress(
            epoch=metadata["epoch"],
            step=metadata["step"],
            # Pairs, which keep the order of columns; mappings in states that older code left.
            history=[dict(row) for row in metadata["history"]],
            term_names=metadata["term_names"],
            epoch_hook_done=metadata["epoch_hook_done"],
            terms=[] if terms is None else list(terms.to(device)),
            sessions=metadata["sessions"],
            epoch_seconds=metadata["epoch_seconds"],
            best=Best(**best, weights=_unprefixed("best.", tensors)) if best else None,
        )

    def _require_needs(self, before: Needs) -> None:
        """Refuse to go on with other weights of needed cells than a training began with."""
        for setting, now in self.needs.items():
            then = before.get(setting, {}).get("weights_sha256", "")
            if then != now["weights_sha256"]:
                raise UserError(
                    f"{setting}: the {now['checkpoint']} weights of cell {now['cell']} are "
                    f"{now['weights_sha256']:.12} now, and this training began with {then:.12}; "
                    f"put those back, or remove {self.folder} to start it again"
                )

    def _require_same_data(self, metadata: Mapping[str, Any]) -> None:
        """Refuse to go on with other images; some states do not say with which."""
        for key, now in self.data.items():
            then = metadata.get(key)
            if then is not None and now is not None and then != now:
                raise UserError(
                    f"{self.folder}: this training was begun on data with the SHA-256 {then:.12}, "
                    f"and what is there now has {now:.12} ({key}): put the data back, or remove "
                    f"{self.folder} to start this cell again"
                )

    def remove(self) -> None:
        """Delete the folder: the cell is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)


def snapshot(model: nn.Module) -> Tensors:
    """A copy of the weights and BatchNorm's statistics on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def to_arrays(tensors: Mapping[str, Tensor]) -> Arrays:
    """NumPy arrays for storage."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> Arrays:
    return {prefix + name: array for name, array in to_arrays(tensors).items()}


def _unprefixed(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
