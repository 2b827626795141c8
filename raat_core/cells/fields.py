"""What each key of a cell's spec says by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from raat_core.cells.catalogue import DATA_SETS, ArchitectureName, DataSetName
from raat_core.cells.extra_data import ExtraData
from raat_core.cells.image_folder import ImageFolder, register_described
from raat_core.cells.network import Network, register_network
from raat_core.cells.selection import Selection
from raat_core.interface.facts import CellFacts
from raat_core.interface.registry import (
    BUILT_IN_METHODS,
    WITHOUT_TRAINING,
    method_class,
    resolve_settings,
)
from raat_core.interface.settings import MethodSettings
from raat_core.specs.precision import FP32, Precision
from raat_core.specs.recipe import Recipe
from raat_core.specs.threat_model import ThreatModel
from raat_core.validation import Growing, added


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


OF_TRAINING = ("recipe", "selection", "precision", "seed", "extra_data")
"""Keys that say nothing of a cell whose weights are given."""


def _is_given(method: object) -> bool:
    """Whether a method, in any of the ways that specs write one, trains nothing."""
    if isinstance(method, MethodSettings):
        method = method.name
    name = method.get("name") if isinstance(method, Mapping) else method
    return name in WITHOUT_TRAINING


class CellFields(Growing):
    """The keys of a spec; whether they agree with each other is for `Cell` to check."""

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
    network: Network | None = added(
        None, "What `architecture` is, if it has no name of its own: `<function>-<digits>`."
    )

    @model_validator(mode="before")
    @classmethod
    def _register_what_is_described(cls, data: Any) -> Any:
        """Before its name is looked up in the catalogue."""
        register_described(data)
        register_network(data)
        return data

    @model_validator(mode="before")
    @classmethod
    def _forget_training(cls, data: Any) -> Any:
        """Where nothing is trained, how it is trained is no part of a cell's identity."""
        if not isinstance(data, Mapping) or not _is_given(data.get("method")):
            return data
        kept = {key: value for key, value in data.items() if key not in OF_TRAINING}
        threat = kept.get("threat_model")
        if isinstance(threat, ThreatModel):
            threat = threat.model_dump(mode="json")
        if isinstance(threat, Mapping):
            kept["threat_model"] = {key: value for key, value in threat.items() if key != "steps"}
        return kept

    @model_validator(mode="after")
    def _fit_method_to_ball(self) -> CellFields:
        """Settings of a method that count in other balls alone are no part of the cell."""
        self.__dict__["method"] = self.method.in_ball(self.threat_model.norm)  # It is frozen.
        return self

    @property
    def trains(self) -> bool:
        """Whether there is something to train; without, a file has the weights."""
        return method_class(self.method.name).trains

    @property
    def named_architecture(self) -> str:
        """As configs name it: what stands behind a normalisation has a name of its own."""
        described = self.network
        return self.architecture if described is None else described.of

    @property
    def data_sets(self) -> list[str]:
        """Names of those that its training needs."""
        extra = [] if self.extra_data is None else [self.extra_data.dataset]
        return list(dict.fromkeys([self.dataset, *extra]))

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
        without: dict[str, Any] = {} if self.image_folder else {"image_folder": True}
        if not self.trains:
            without |= {**dict.fromkeys(OF_TRAINING, True), "threat_model": {"steps"}}
        return self.model_dump(mode="json", by_alias=True, exclude=without)
