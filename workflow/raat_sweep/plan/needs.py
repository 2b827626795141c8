"""Cells that other cells need: what a config's names in them stand for, and all that are needed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import Evaluation
from raat_core.interface.needs import NeededCell, with_needs
from raat_core.interface.settings import MethodSettings
from raat_core.specs.threat_model import ThreatModel
from raat_sweep.config.config import Config
from raat_sweep.config.recipes import RecipeEntry
from raat_sweep.plan.data_sets import DataSets


class NamedNeeds:
    """Puts what a config has by name into what it says of needed cells."""

    def __init__(self, config: Config, data_sets: DataSets) -> None:
        self._config, self._data_sets = config, data_sets

    def settings(
        self, settings: MethodSettings, dataset: str, threat: ThreatModel
    ) -> MethodSettings:
        """A method's settings.

        Args:
            settings: as the config says them.
            dataset: of the cell, as the config names it.
            threat: the cell's.
        """
        return with_needs(settings, lambda need: self._need(need, dataset, threat))

    def attack(self, attack: Evaluation, dataset: str, threat: ThreatModel) -> Evaluation:
        """An attack's settings; others as for `settings`."""
        values = {name: getattr(attack, name) for name in type(attack).model_fields}
        named = {
            name: self._need(value, dataset, threat)
            for name, value in values.items()
            if isinstance(value, NeededCell)
        }
        return attack.model_copy(update=named) if named else attack

    def of_recipe(self, entry: RecipeEntry, dataset: str, threat: ThreatModel) -> dict[str, Any]:
        """What a recipe says, under the keys of a cell's spec; others as for `settings`."""
        spec: dict[str, Any] = {"recipe": entry.recipe}
        if entry.extra_data is not None:
            labels: Any = entry.extra_data.labels
            if entry.extra_data.labeller is not None:
                labels = self._need(entry.extra_data.labeller, dataset, threat)
            extra = self._data_sets.spec(entry.extra_data.dataset)
            spec["extra_data"] = {**extra, "share": entry.extra_data.share, "labels": labels}
        if entry.selection is not None:
            spec["selection"] = entry.selection.resolve(self._config.attacks, threat)
        return spec

    def _need(self, need: NeededCell, dataset: str, threat: ThreatModel) -> NeededCell:
        own = need.dataset or dataset
        changes: dict[str, Any] = {}
        if isinstance(need.threat_model, ThreatModel):
            threat = need.threat_model
        elif isinstance(need.threat_model, str):
            threat = self._config.threat_models[need.threat_model].resolve(own)
            changes["threat_model"] = threat
        changes["method"] = self.settings(need.method, own, threat)
        if need.dataset is not None:
            changes |= _plain(self._data_sets.spec(need.dataset))
        if isinstance(need.recipe, str):
            recipe = _plain(self.of_recipe(self._config.recipes[need.recipe], own, threat))
            if need.selection is not None:
                recipe.pop("selection", None)
            changes |= recipe
        if need.architecture is not None:
            architectures = self._config.architectures
            changes["architecture"] = architectures.get(need.architecture, need.architecture)
        return need.replace(changes)


def _plain(spec: dict[str, Any]) -> dict[str, Any]:
    """As plain data, where `AsInSpec` takes nothing else."""
    plain = dict(spec)
    for key in ("image_folder", "selection"):
        if key in plain:
            plain[key] = plain[key].model_dump(mode="json", by_alias=True)
    if "extra_data" in plain:
        extra = _plain(plain["extra_data"])
        if isinstance(extra["labels"], NeededCell):
            extra["labels"] = extra["labels"].model_dump(mode="json", by_alias=True)
        plain["extra_data"] = extra
    return plain


def helpers_of(cells: Iterable[Cell]) -> dict[str, Cell]:
    """By name, all cells that some cells need, and those that these need in turn."""
    found: dict[str, Cell] = {}
    waiting = [need.cell for cell in cells for need in cell.needs.values()]
    for cell in waiting:
        if cell.name not in found:
            found[cell.name] = cell
            waiting += [need.cell for need in cell.needs.values()]
    return found
