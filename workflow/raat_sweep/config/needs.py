"""Names in what a config says of needed cells: recipes, threat models, data sets, architectures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from raat_core.cells.catalogue import ARCHITECTURES, named_data_sets
from raat_core.interface.needs import NeededCell, needs_of
from raat_core.interface.registry import WITHOUT_TRAINING
from raat_core.interface.settings import MethodSettings
from raat_core.validation import suggest
from raat_sweep.config.fields import ConfigFields
from raat_sweep.config.recipes import RecipeEntry

Place = tuple[str, NeededCell]
"""Where in a config a needed cell stands, and what is said of it."""


def check_needs(config: ConfigFields) -> None:
    """Refuse names that the config does not have, and recipes that need themselves.

    Raises:
        ValueError: names the first place.
    """
    for label, settings in config.methods.items():
        for where, need in _needs_in(f"methods.{label}", settings):
            _check_names(config, where, need)
    for where, grid in config.grids():
        check_varied_needs(config, where, grid.methods, grid.varied_in_methods)
    for name, entry in config.recipes.items():
        if entry.extra_data is not None:
            dataset = entry.extra_data.dataset
            _require(f"recipes.{name}.extra_data.dataset", dataset, _data_sets(config))
        for where, need in _needs_of_recipe(name, entry):
            _check_names(config, where, need)
    for name in config.recipes:
        _refuse_circle(config, name, ())


def check_varied_needs(
    config: ConfigFields, where: str, labels: Sequence[str], vary: Mapping[str, Sequence[object]]
) -> None:
    """The same of needed cells that a grid varies."""
    for label in labels:
        for setting, values in vary.items():
            for value in values:
                settings = config.methods[label].replace({setting: value})
                for place, need in _needs_in(f"{where}.vary", settings):
                    if place.startswith(f"{where}.vary.{setting}"):
                        _check_names(config, place, need)


def _needs_in(where: str, settings: MethodSettings) -> Iterator[Place]:
    """What a method needs, and what that needs in turn."""
    for setting, need in needs_of(settings).items():
        yield from _with_inner(f"{where}.{setting}", need)


def _with_inner(where: str, need: NeededCell) -> Iterator[Place]:
    yield where, need
    yield from _needs_in(f"{where}.method", need.method)


def _needs_of_recipe(name: str, entry: RecipeEntry) -> Iterator[Place]:
    labeller = entry.extra_data.labeller if entry.extra_data is not None else None
    if labeller is not None:
        yield from _with_inner(f"recipes.{name}.extra_data.labels", labeller)


def _check_names(config: ConfigFields, where: str, need: NeededCell) -> None:
    if need.method.name in WITHOUT_TRAINING:
        raise ValueError(f"{where}.method = '{need.method.name}': must be a method that trains")
    known = {
        "recipe": list(config.recipes),
        "threat_model": list(config.threat_models),
        "dataset": _data_sets(config),
        "architecture": [*ARCHITECTURES, *config.architectures],
    }
    for key, names in known.items():
        value = getattr(need, key)
        if isinstance(value, str):
            _require(f"{where}.{key}", value, names)


def _refuse_circle(config: ConfigFields, name: str, above: tuple[str, ...]) -> None:
    if name in above:
        raise ValueError(
            f"recipes.{name}.extra_data.labels: are said by a cell that needs this very recipe"
        )
    for _, need in _needs_of_recipe(name, config.recipes[name]):
        if isinstance(need.recipe, str):
            _refuse_circle(config, need.recipe, (*above, name))


def _data_sets(config: ConfigFields) -> list[str]:
    return [*named_data_sets(), *config.datasets]


def _require(where: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{where} = '{value}'{suggest(value, known)}")
