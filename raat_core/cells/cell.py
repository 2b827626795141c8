"""A cell: one (data set, architecture, method, threat model, seed), described in full.

Every setting that can change a number is in the spec, and no other. A digest of the spec, of the
method's version and of NUMERICS_VERSION is part of the name of the cell's folder.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, NamedTuple, TypeAlias

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator

from raat_core.cells.catalogue import ARCHITECTURES, DATA_SETS, ArchitectureName, DataSetName
from raat_core.cells.digests import NUMERICS_VERSION, digest_of
from raat_core.cells.extra_data import ExtraData, check_labeller
from raat_core.cells.image_folder import ImageFolder, check_described, register_described
from raat_core.cells.selection import Selection
from raat_core.interface.facts import CellFacts
from raat_core.interface.needs import Checkpoint, NeededCell, needs_of
from raat_core.interface.registry import (
    BUILT_IN_METHODS,
    attack_class,
    method_class,
    resolve_settings,
)
from raat_core.interface.settings import MethodSettings
from raat_core.specs.precision import FP32, Precision
from raat_core.specs.recipe import Recipe
from raat_core.specs.threat_model import ThreatModel
from raat_core.validation import Growing, added, explain

EXTRA_LABELS = "extra_data.labels"
"""The key of the need for a cell that says the labels of extra data."""


class _MethodSchema:
    """JSON schema of a method: a built-in one's settings, or whatever a plugin's may be."""

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        alternatives = []
        for name in BUILT_IN_METHODS:
            schema = method_class(name).Settings.model_json_schema(by_alias=True)
            schema["properties"]["variant"] = {"enum": ["paper", "released"]}
            alternatives.append({**schema, "required": ["name"]})
        plugin = {
            "type": "object",
            "properties": {"name": {"type": "string", "not": {"enum": list(BUILT_IN_METHODS)}}},
            "required": ["name"],
        }
        return {"anyOf": [{"type": "string"}, *alternatives, plugin]}


MethodField: TypeAlias = Annotated[
    SerializeAsAny[MethodSettings], BeforeValidator(resolve_settings), _MethodSchema()
]


class Need(NamedTuple):
    """A cell that another one needs, and the checkpoint that it takes."""

    cell: Cell
    checkpoint: Checkpoint


class Cell(Growing):
    """The full description of one training; equal cells are trained once."""

    dataset: DataSetName = Field(description="Data set, by name.")
    image_folder: ImageFolder | None = Field(
        None, description="What `dataset` is, if it is an image folder: `<name>@<checksum>`."
    )
    architecture: ArchitectureName = Field(description="Architecture, by name.")
    method: MethodField = Field(
        description="Method and its settings; `variant: released` sets the departures' values."
    )
    threat_model: ThreatModel = Field(description="The ball and the training attack.")
    recipe: Recipe = Field(default_factory=Recipe, description="Optimisation.")
    selection: Selection = Field(default_factory=Selection, description="The best checkpoint.")
    precision: Precision = Field(
        FP32,
        description="Arithmetic of training: fp32, tf32, bf16, or one each for {attack, training}.",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of every random draw.")
    extra_data: ExtraData | None = added(
        None, "A second data set of which every batch holds a share."
    )

    @model_validator(mode="before")
    @classmethod
    def _register_image_folder(cls, data: Any) -> Any:
        """Before its name is looked up in the catalogue."""
        register_described(data)
        return data

    @model_validator(mode="after")
    def _check_image_folder(self) -> Cell:
        check_described(self.dataset, self.image_folder)
        return self

    @model_validator(mode="after")
    def _check_padding(self) -> Cell:
        augmentation = self.recipe.augmentation
        smallest = min(DATA_SETS[self.dataset].image_shape[1:])
        if augmentation.padding == "reflect" and augmentation.crop_padding >= smallest:
            raise ValueError(
                f"recipe.augmentation.crop_padding = {augmentation.crop_padding}: with padding: "
                f"reflect it must be below {smallest}, the size of an image of {self.dataset}"
            )
        return self

    @model_validator(mode="after")
    def _check_held_out(self) -> Cell:
        """Of the catalogue's data sets, whose classes are about equally large."""
        selection, info = self.selection, DATA_SETS[self.dataset]
        per_class = math.ceil(info.train_size / info.classes)
        held_out = round(selection.validation_fraction * per_class)
        is_empty = held_out in (0, per_class)
        if selection.split == "validation" and self.image_folder is None and is_empty:
            raise ValueError(
                f"selection.validation_fraction = {selection.validation_fraction}: of the "
                f"{per_class} training images of a class of {self.dataset}, at least one must be "
                f"held out and one left"
            )
        return self

    @model_validator(mode="after")
    def _check_channels(self) -> Cell:
        taken = ARCHITECTURES[self.architecture].channels
        found = DATA_SETS[self.dataset].image_shape[0]
        if taken not in (None, found):
            raise ValueError(
                f"architecture = '{self.architecture}': takes images of {taken} channels; "
                f"those of {self.dataset} have {found}"
            )
        return self

    @model_validator(mode="after")
    def _check_needs(self) -> Cell:
        """Extra data, and all cells that are needed."""
        extra, labeller = self.extra_data, self.needs.get(EXTRA_LABELS)
        if extra is not None:
            extra.check(self.dataset)
            extra.samples_of(self.recipe.batch_size)
        if extra is not None and labeller is not None:
            check_labeller(extra.dataset, labeller.cell.dataset, self.dataset)
        return self

    @model_validator(mode="after")
    def _check_method(self) -> Cell:
        facts, cls = self.facts(), method_class(self.method.name)
        if facts.steps_per_epoch == 0:
            raise ValueError(
                f"recipe.batch_size = {self.recipe.batch_size}: with drop_last it must be at most "
                f"{facts.train_size}, the training images of {self.dataset}"
            )
        if self.recipe.label_smoothing > 0 and not cls.smooths_labels:
            raise ValueError(
                f"recipe.label_smoothing = {self.recipe.label_smoothing}: method "
                f"'{self.method.name}' has no supervised term that labels can be smoothed in"
            )
        self.method.check(facts)
        return self

    @model_validator(mode="after")
    def _check_selection(self) -> Cell:
        """Of what chooses the best checkpoint."""
        attack, info = self.selection.attack, DATA_SETS[self.dataset]
        if self.selection.by == "last" and self.recipe.patience is not None:
            raise ValueError(
                f"recipe.patience = {self.recipe.patience}: waits for a better checkpoint, and "
                f"selection.by = 'last' looks for none"
            )
        if attack is None:
            return self
        size = info.test_size
        if self.selection.split == "validation":
            size = info.train_size - self.selection.train_size(info.train_size)
        if attack.images(size) > size:
            raise ValueError(
                f"selection.by.samples = {attack.samples}: must be at most {size}, the images of "
                f"the {self.selection.split} split"
            )
        try:
            attack.check(info.classes, info.image_shape)
        except ValueError as error:
            raise ValueError(f"selection.by: {attack.kind}: {error}") from None
        return self

    @property
    def data_sets(self) -> list[str]:
        """Names of those that its training needs."""
        extra = [] if self.extra_data is None else [self.extra_data.dataset]
        return list(dict.fromkeys([self.dataset, *extra]))

    @cached_property
    def needs(self) -> dict[str, Need]:
        """The cells that are trained before this one, by the setting that asks for each.

        Those of the method's settings by their keys, and `EXTRA_LABELS`.

        Raises:
            ValueError: one is no valid cell.
        """
        asked = needs_of(self.method)
        if self.extra_data is not None and self.extra_data.labeller is not None:
            asked[EXTRA_LABELS] = self.extra_data.labeller
        mine = {key: getattr(self, key) for key in type(self).model_fields}
        return {setting: _resolved(setting, need, mine) for setting, need in asked.items()}

    def facts(self, train_size: int | None = None, extra_size: int | None = None) -> CellFacts:
        """What the cell's method is told of it.

        Args:
            train_size: training images; without, as the catalogue has them, of which a part that
                is held out is about a fraction.
            extra_size: images of the extra data; without, as the catalogue has them.
        """
        info, extra = DATA_SETS[self.dataset], self.extra_data
        if train_size is None:
            train_size = self.selection.train_size(info.train_size)
        return CellFacts(
            threat_model=self.threat_model,
            recipe=self.recipe,
            dataset=self.dataset,
            architecture=self.architecture,
            image_shape=info.image_shape,
            classes=info.classes,
            train_size=train_size,
            seed=self.seed,
            extra_size=0 if extra is None else extra_size or DATA_SETS[extra.dataset].train_size,
            extra_per_batch=0 if extra is None else extra.samples_of(self.recipe.batch_size),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data that `Cell` validates back to an equal cell."""
        without = {"image_folder"} if self.image_folder is None else None
        return self.model_dump(mode="json", by_alias=True, exclude=without)

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits over all that can change this cell's numbers."""
        identity: dict[str, Any] = {
            "cell": self.to_json(),
            "method_version": method_class(self.method.name).version,
            "numerics_version": NUMERICS_VERSION,
        }
        for key, extension in (
            ("architecture_version", ARCHITECTURES[self.architecture]),
            ("dataset_version", DATA_SETS[self.dataset]),
        ):
            if extension.version != 1:
                identity[key] = extension.version
        attack = self.selection.attack
        if attack is not None and attack_class(attack.kind).version != 1:
            identity["selection_version"] = attack_class(attack.kind).version
        if self.needs:
            identity["needs"] = {setting: need.cell.digest for setting, need in self.needs.items()}
        return digest_of(identity, 12)

    @cached_property
    def name(self) -> str:
        """A readable folder name, unique by its digest: letters, digits, `.`, `_`, `-`, `+`."""
        method = self.method.name
        if self.method.variant != "paper":
            method += f"-{self.method.variant}"
        changed = "".join(f"-{key}-{value}" for key, value in self.method.distinctive().items())
        if self.precision != FP32:
            changed += f"-{self.precision.in_names}"
        if self.extra_data is not None:
            changed += f"-extra-{self.extra_data.dataset}"
        readable = f"{self.dataset}_{self.architecture}_{self.threat_model.norm}_{method}{changed}"
        readable = re.sub(r"[^A-Za-z0-9._+-]", "-", readable)[:100]
        return f"{readable}_s{self.seed}_{self.digest}"


def _resolved(setting: str, need: NeededCell, needing: Mapping[str, Any]) -> Need:
    """The cell that a setting asks for, from the spec of the cell that needs it.

    Raises:
        ValueError: there is no such cell.
    """
    where = setting if setting == EXTRA_LABELS else f"method.{setting}"
    try:
        return Need(Cell.model_validate(need.spec(needing)), need.checkpoint)
    except ValidationError as error:
        (line, *_) = explain(error, where)
        raise ValueError(line) from None
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from None
