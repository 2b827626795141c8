"""Settings of attacks that grids vary: which there are, and whether the attacks can have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import ValidationError

from raat_core.interface.registry import attack_class
from raat_core.validation import explain, suggest
from raat_sweep.config.attacks import AttackEntry
from raat_sweep.config.fields import ConfigFields
from raat_sweep.config.grid import OF_ATTACKS, Grid
from raat_sweep.config.items import Classes, Figure, Item, Table


def check_varied_attacks(config: ConfigFields) -> None:
    """Refuse settings that no attack of an item has, and values that they cannot have.

    Raises:
        ValueError: names the first place.
    """
    for name, item in config.items.items():
        for where, grid, metrics in _grids_with_metrics(f"items.{name}", item):
            entries = {attack: config.attacks[attack] for attack in config.attacks_of(metrics)}
            for setting, values in grid.varied_in_attacks.items():
                place = f"{where}.vary.{OF_ATTACKS}{setting}"
                having = {n: entry for n, entry in entries.items() if _has(entry, setting)}
                if not having:
                    known = {key: None for entry in entries.values() for key in _settings(entry)}
                    raise ValueError(
                        f"{place}: no attack of this item has it{_hint(setting, known)}"
                    )
                for value in values:
                    _check_value(config, place, grid, having, (setting, value))


def _grids_with_metrics(where: str, item: Item) -> Iterator[tuple[str, Grid, Sequence[str]]]:
    """Every grid with its place, and the metrics that are measured on its cells."""
    if isinstance(item, (Table, Classes)):
        for place, grid in item.grids_at(where):
            yield place, grid, item.metrics
    elif isinstance(item, Figure):
        for letter, panel in item.panels.items():
            metrics = () if panel.x == "epoch" else panel.metrics
            for index, grid in enumerate(panel.grids):
                yield f"{where}.panels.{letter}.grids.{index}", grid, metrics


def _settings(entry: AttackEntry) -> list[str]:
    keys = attack_class(entry.kind).Settings.config_keys()
    return [key for key in keys if key != "kind"]


def _has(entry: AttackEntry, setting: str) -> bool:
    return setting in _settings(entry)


def _hint(setting: str, known: dict[str, None]) -> str:
    names = suggest(setting, known) if known else "; there are none"
    return names.replace("allowed: ", "they have: ")


def _check_value(
    config: ConfigFields,
    where: str,
    grid: Grid,
    entries: dict[str, AttackEntry],
    change: tuple[str, object],
) -> None:
    value = change[1]
    if not isinstance(value, (str, int, float)):
        raise ValueError(f"{where} = {value!r}: must be a number, a word or a fraction")
    for name, entry in entries.items():
        for dataset in grid.datasets:
            threat = config.threat_models[grid.threat_model].resolve(dataset)
            try:
                entry.resolve(threat, (change,))
            except ValidationError as error:
                (line, *_) = explain(error, f"{where} = {value}: attacks.{name}")
                raise ValueError(line) from None
            except ValueError as error:
                raise ValueError(f"{where} = {value}: {error}") from None
