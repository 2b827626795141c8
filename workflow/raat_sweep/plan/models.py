"""Models that were trained elsewhere: their files' checksums, and their points in grids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from raat_core.cells.cell import Cell
from raat_core.cells.folder import CellFolder
from raat_core.errors import UserError
from raat_core.specs.threat_model import ThreatModel
from raat_core.validation import one_line, parse
from raat_sweep.config.config import Config
from raat_sweep.config.models import ModelEntry
from raat_sweep.plan.data_sets import DataSets
from raat_sweep.plan.points import Point
from raat_sweep.results.checksums import Checksums, Reader


class Models:
    """The `models` of a config; every file is read once, and not again before it changes."""

    def __init__(self, config: Config, data_sets: DataSets, reader: Reader) -> None:
        self._config, self._data_sets = config, data_sets
        self._cells = Path(config.results) / "cells"
        self._checksums = Checksums(Path(config.results) / "weights.json", reader)
        self._specs: dict[str, tuple[Mapping[str, Any], list[dict[str, Any]]]] = {}
        self.files: dict[str, Path] = {}
        """Of weights, by name of cell; filled as points are made."""

    def points(self, label: str, dataset: str, threat: ThreatModel, where: str) -> Iterator[Point]:
        """A model's points on a data set, one for each of its files; none if it is for another.

        Args:
            label: the model's.
            dataset: as the config names it.
            threat: the grid's.
            where: the grid's place in the config, for messages.

        Raises:
            UserError: a file is missing, the architecture is not known, or a cell is refused.
        """
        model = self._config.models[label]
        if model.only_on not in (None, dataset):
            return
        network, methods = self._spec(label, model)
        data = self._data_sets.spec(dataset)
        for number, (path, method) in enumerate(zip(model.files, methods, strict=True)):
            spec = {**data, **network, "method": method, "threat_model": threat}
            cell = parse(Cell, spec, f"{where}: models.{label}")
            self._require_file(label, path, cell)
            self.files[cell.name] = path
            yield Point(cell, label, {}, number, architecture_title=model.architecture_title)

    def _spec(
        self, label: str, model: ModelEntry
    ) -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
        """What all its cells say of their network, and each of its weights."""
        if label not in self._specs:
            try:
                network = model.network(self._config.architectures)
                self._specs[label] = network, model.methods(self._checksums.of)
            except (ValueError, UserError) as error:
                raise UserError(one_line(f"models.{label}: {error}{_advice(model)}")) from None
        return self._specs[label]

    def _require_file(self, label: str, path: Path, cell: Cell) -> None:
        """A file that is gone is not needed where it was taken over before."""
        if not path.is_file() and not CellFolder(self._cells / cell.name).manifest.exists():
            raise UserError(one_line(f"models.{label}: no such file: {path.absolute()}"))


def _advice(model: ModelEntry) -> str:
    """How a file of the zoo comes to where it is looked for."""
    zoo = model.robustbench
    if zoo is None or zoo.file.is_file():
        return ""
    call = f"load_model('{zoo.name}', '{zoo.folder}', '{zoo.dataset}', '{zoo.threat_model}')"
    return (
        f'; where there is a network, python -c "from robustbench import load_model; {call}" '
        f"downloads it"
    )
