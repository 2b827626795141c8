"""What the keys of a config ask of each other: names that are there, attacks that can be made."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from raat_core.cells.catalogue import ARCHITECTURES, DATA_SETS, named_data_sets
from raat_core.cells.image_folder import check_folder_name
from raat_core.cells.selection import WORDS
from raat_core.interface.registry import WITHOUT_TRAINING, attack_class
from raat_core.interface.settings import MethodSettings
from raat_core.validation import explain, suggest
from raat_sweep.config.attacks import AttackEntry
from raat_sweep.config.fields import ConfigFields
from raat_sweep.config.grid import Grid
from raat_sweep.config.items import Classes, Comparison, Figure, Item, Table
from raat_sweep.config.needs import check_needs
from raat_sweep.config.varied_attacks import check_varied_attacks

ITEM_NAME = r"[A-Za-z][A-Za-z0-9_-]{0,99}"
"""Also a file's name, which file systems bound."""


def check_agreement(config: ConfigFields) -> None:
    """Refuse a config whose keys do not agree with each other.

    Raises:
        ValueError: names the first place where they do not.
    """
    # Later checks rely on the names that earlier ones have found.
    _check_data_sets(config)
    _check_models(config)
    for name, item in config.items.items():
        _check_item(config, name, item)
    check_needs(config)
    _check_derived(config)
    for name, item in config.items.items():
        if isinstance(item, Comparison):
            _check_comparison(config, name, item)
        if isinstance(item, Classes):
            _check_confusion(config, name, item)
    _check_selections(config)
    _check_attacks(config)
    check_varied_attacks(config)
    _check_shards(config)


def _check_selections(config: ConfigFields) -> None:
    """Criteria that are words or attacks."""
    own = {f"recipes.{name}.selection": entry.selection for name, entry in config.recipes.items()}
    for where, selection in {"selection": config.selection, **own}.items():
        if selection is not None and isinstance(selection.by, str):
            _require(f"{where}.by", selection.by, {**dict.fromkeys(WORDS), **config.attacks})


def _check_data_sets(config: ConfigFields) -> None:
    for name in config.datasets:
        try:
            check_folder_name(name)
        except ValueError as error:
            raise ValueError(f"datasets.{name}: {error}") from None
    known = (*named_data_sets(), *config.datasets)
    for name, entry in config.threat_models.items():
        for dataset in entry.datasets:
            _require_data_set(f"threat_models.{name}.datasets", dataset, known)
    for where, grid in config.grids():
        for dataset in grid.datasets:
            _require_data_set(f"{where}.datasets", dataset, known)


def _check_models(config: ConfigFields) -> None:
    """Labels that no method has, and data sets that there are; files are looked at in a plan."""
    known = (*named_data_sets(), *config.datasets)
    for label, settings in config.methods.items():
        if settings.name in WITHOUT_TRAINING:
            raise ValueError(f"methods.{label}.name = '{settings.name}': belongs under `models`")
    for label, model in config.models.items():
        if label in config.methods:
            raise ValueError(f"models.{label}: there is a method of this label")
        if model.dataset is not None:
            _require_data_set(f"models.{label}.dataset", model.dataset, known)


def _check_item(config: ConfigFields, name: str, item: Item) -> None:
    """Its own name, and those that it speaks of."""
    if not re.fullmatch(ITEM_NAME, name) or name == "cells":
        raise ValueError(
            f"items.{name}: a name must be letters, digits, - and _, a letter first, "
            f"at most 100, and not `cells`"
        )
    for where, labels, methods in item.labels_at(f"items.{name}"):
        for label in labels:
            _require(where, label, methods)
    for where, grid in item.grids_at(f"items.{name}"):
        _check_grid(config, where, grid)
    for where, metrics in item.metrics_at(f"items.{name}"):
        for metric in metrics:
            _require(where, metric, config.titles)
    for letter, panel in item.panels.items() if isinstance(item, Figure) else ():
        for metric in panel.metrics if panel.x == "distance" else ():
            where = f"items.{name}.panels.{letter}.metrics"
            _require(where, metric, config.attacks)
            _require_distances(where, metric, config)


def _check_grid(config: ConfigFields, where: str, grid: Grid) -> None:
    _require(f"{where}.threat_model", grid.threat_model, config.threat_models)
    _require(f"{where}.recipe", grid.recipe, config.recipes)
    for architecture in grid.architectures:
        _require_architecture(where, architecture, {**ARCHITECTURES, **config.architectures})
    for label in grid.methods:
        _require(f"{where}.methods", label, config.methods)
        _check_varied(where, grid, config.methods[label])
    for label in grid.models:
        _require(f"{where}.models", label, config.models)
        only = config.models[label].only_on
        if only is not None and only not in grid.datasets:
            raise ValueError(
                f"{where}.models = '{label}': is of {only}, which is none of the grid's data sets"
            )


def _check_varied(where: str, grid: Grid, settings: MethodSettings) -> None:
    for setting, values in grid.varied_in_methods.items():
        for value in values:
            try:
                settings.replace({setting: value})
            except ValidationError as error:
                (line, *_) = explain(error, f"{where}.vary.{setting}")
                raise ValueError(line) from None


def _check_derived(config: ConfigFields) -> None:
    for name, entry in config.derived.items():
        if name in config.attacks:
            raise ValueError(f"derived.{name}: there is an attack of this name")
        for attack in entry.of:
            _require(f"derived.{name}.of", attack, config.attacks)
            if entry.is_distance:
                _require_distances(f"derived.{name}.of", attack, config)
            if (
                entry.kind == "worst"
                and not attack_class(kind := config.attacks[attack].kind).is_adversarial
            ):
                raise ValueError(
                    f"derived.{name}.of = '{attack}': {kind} is no adversary, so that it has no "
                    f"part in a worst case"
                )


def _check_comparison(config: ConfigFields, name: str, comparison: Comparison) -> None:
    for table in comparison.published:
        _require_kind(f"items.{name}.published", table, config.items, (Table,))
    for index, claim in enumerate(comparison.claims):
        where = f"items.{name}.claims.{index}"
        if claim.metric in config.derived and config.derived[claim.metric].is_distance:
            raise ValueError(f"{where}.metric = '{claim.metric}': must be an accuracy")
        _require_place(config, where, claim.item, claim.panel)
        for name_of_side, side in claim.sides.items():
            if side.item != claim.item or side.panel != claim.panel:
                _require_place(config, f"{where}.{name_of_side}", str(side.item), side.panel)


def _check_confusion(config: ConfigFields, name: str, item: Classes) -> None:
    """Of attacks that are run for its columns, so that none is run for it alone."""
    for metric in item.metrics:
        if metric in config.derived and config.derived[metric].is_distance:
            raise ValueError(f"items.{name}.metrics = '{metric}': must be an accuracy")
    known = dict.fromkeys(config.attacks_of(item.metrics))
    for attack in item.confusion:
        _require(f"items.{name}.confusion", attack, known)


def _check_attacks(config: ConfigFields) -> None:
    """Every attack in the ball of every grid, also those that no item asks for."""
    for name, attack in config.attacks.items():
        for where, grid in config.grids():
            for dataset in grid.datasets:
                _check_ball(config, name, grid, dataset)
                if dataset not in config.datasets:
                    _check_samples(name, attack, where, dataset)


def _check_ball(config: ConfigFields, attack: str, grid: Grid, dataset: str) -> None:
    try:
        config.attacks[attack].resolve(config.threat_models[grid.threat_model].resolve(dataset))
    except ValidationError as error:
        (line, *_) = explain(error, f"attacks.{attack}")
        raise ValueError(line) from None


def _check_samples(name: str, attack: AttackEntry, where: str, dataset: str) -> None:
    """Refuse to attack more test images than a data set of the catalogue has."""
    samples, info = attack.samples, DATA_SETS[dataset]
    if samples is not None and samples > info.test_size:
        raise ValueError(
            f"attacks.{name}.samples = {samples}: must be at most {info.test_size}, the test "
            f"images of {dataset}, which {where} asks for"
        )


def _check_shards(config: ConfigFields) -> None:
    """Attacks of one job run in one process, so that they are shared out together."""
    used = {
        attack: config.attacks[attack]
        for name, item in config.items.items()
        for _, metrics in item.metrics_at(f"items.{name}")
        for attack in config.attacks_of(metrics)
    }
    first: dict[str, str] = {}
    for name, entry in used.items():
        other = first.setdefault(entry.job, name)
        for architecture in ARCHITECTURES:
            counts = [config.attacks[n].shards_of(architecture) for n in (name, other)]
            if counts[0] != counts[1]:
                raise ValueError(
                    f"attacks.{name}.shards = {counts[0]}, attacks.{other}.shards = "
                    f"{counts[1]} (for {architecture}): both are of the job '{entry.job}', "
                    f"whose attacks must have the same shards; or give one of them another job"
                )


def _require(where: str, value: str, known: Mapping[str, object]) -> None:
    if value not in known:
        raise ValueError(f"{where} = '{value}'{suggest(value, known)}")


def _require_distances(where: str, attack: str, config: ConfigFields) -> None:
    """Refuse to ask an attack for distances that finds none."""
    if not attack_class(config.attacks[attack].kind).has_distances:
        known = [n for n, e in config.attacks.items() if attack_class(e.kind).has_distances]
        others = f"; these do: {', '.join(known)}" if known else "; an attack of kind fmn does"
        raise ValueError(f"{where} = '{attack}': finds no distances{others}")


def _require_data_set(where: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{where} = '{value}': unknown data set{suggest(value, known)}")


def _require_architecture(where: str, value: str, known: Mapping[str, object]) -> None:
    if value not in known:
        raise ValueError(
            f"{where}.architectures = '{value}': unknown architecture{suggest(value, known)}"
        )


def _require_kind(
    where: str, value: str, items: Mapping[str, object], kinds: tuple[type, ...]
) -> None:
    _require(where, value, {name: item for name, item in items.items() if isinstance(item, kinds)})


def _require_place(config: ConfigFields, where: str, name: str, panel: str | None) -> None:
    """Of a claim or one of its sides: a table, or a figure's panel."""
    _require_kind(f"{where}.item", name, config.items, (Table, Figure))
    item = config.items[name]
    if isinstance(item, Figure):
        _require(f"{where}.panel", str(panel or ""), item.panels)
    elif panel is not None:
        raise ValueError(f"{where}.panel = '{panel}': {name} is a table")
