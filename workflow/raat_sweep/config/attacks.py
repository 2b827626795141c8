"""Evaluations that a config has by name, and numbers derived from several of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

from raat_core.cells.catalogue import ARCHITECTURES, ArchitectureName
from raat_core.cells.evaluations import CleanEvaluation
from raat_core.interface.attack import AttackSettings
from raat_core.interface.registry import BUILT_IN_ATTACKS, attack_class, attack_class_of
from raat_core.specs.threat_model import ThreatModel
from raat_core.validation import Frozen, suggest
from raat_sweep.config.balls import (
    LENGTHS,
    OF_THREAT_MODEL,
    PART_SCHEMA,
    as_written,
    ball_of,
    part_of_epsilon,
    radius,
)

WITH_TRAINING = "training"
"""The job whose attacks run in the process that trains the cell."""
OWN_KEYS = ("title", "job", "shards", "kind")
"""Of an entry; all others are settings of the attack."""
Changes: TypeAlias = tuple[tuple[str, Any], ...]
"""Settings in place of an attack's own, with their values: those that a grid varies."""
_SOME_BALL = {"norm": "linf", "epsilon": "8/255", "step_size": "2/255"}
_OF_THREAT_MODEL = {
    "norm": "null: the threat model's.",
    "epsilon": "null: the threat model's; `1/2 of epsilon`: that part of it.",
    "step_size": "null: the part of epsilon that the threat model's is of its own; `1/4 of "
    "epsilon`: that part of the attack's.",
}
ShardCount: TypeAlias = Annotated[int, Field(ge=1)]
_SHARDS = (
    "must be a whole number of at least 1, or such numbers by architecture, as in {wrn-28-10: 8}"
)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


class AttackEntry(Frozen):
    """An attack by name: its column and its job, and the settings of its kind.

    Settings named as in `OF_THREAT_MODEL` are the threat model's where they are not given, and
    lengths may be parts of epsilon: of the threat model's, and for the step size of the attack's.
    """

    title: str = Field(description="Column title.")
    job: str = Field(
        description="Attacks of one job run in one process, one a cell; `training`: in the process "
        "that trains the cell. Without: `gradient`, of slow kinds their own name."
    )
    shards: ShardCount | dict[ArchitectureName, ShardCount] = Field(
        1,
        description="Jobs that share the batches of a cell; or by architecture, 1 for others. No "
        "number depends on it.",
    )
    kind: str = Field(description="The attack, by its registered name.")
    settings: dict[str, Any]
    """All others, as plain data; None where the threat model's is taken."""

    @model_validator(mode="before")
    @classmethod
    def _take_settings(cls, data: Any) -> Any:
        """What is not the entry's own is for the attack's settings to judge."""
        if not isinstance(data, Mapping):
            return data
        attack = attack_class_of(data)
        kind = str(data["kind"])
        known = [*OWN_KEYS, *attack.Settings.config_keys()]
        for key in data:
            if key not in known:
                raise ValueError(f"unknown key '{key}'{suggest(key, dict.fromkeys(known))}")
        own = {key: data[key] for key in OWN_KEYS if key in data}
        given = {key: value for key, value in data.items() if key not in OWN_KEYS}
        return {
            "job": kind if attack.slow else "gradient",
            **own,
            "kind": kind,
            "settings": _validated(attack.Settings, {**given, "kind": kind}),
        }

    @field_validator("shards", mode="before")
    @classmethod
    def _check_shards(cls, shards: object) -> object:
        """As the types do, in one line."""
        counts = list(shards.values()) if isinstance(shards, Mapping) else [shards]
        if not all(map(_is_count, counts)):
            raise ValueError(_SHARDS)
        for architecture in shards if isinstance(shards, Mapping) else ():
            if architecture not in ARCHITECTURES:
                raise ValueError(
                    f"unknown architecture '{architecture}'{suggest(architecture, ARCHITECTURES)}"
                )
        return shards

    @model_validator(mode="after")
    def _check_job(self) -> AttackEntry:
        if self.job == WITH_TRAINING and attack_class(self.kind).Settings.uses_cells:
            raise ValueError(
                f"job = '{WITH_TRAINING}': kind '{self.kind}' uses the model of another cell, "
                f"which may be trained later; give it another job"
            )
        if self.job == WITH_TRAINING and self.most_shards > 1:
            raise ValueError(
                f"shards = {self.shards}: attacks of the job `{WITH_TRAINING}` run in the process "
                f"that trains the cell; give this one another job"
            )
        return self

    @model_serializer(mode="wrap")
    def _beside_one_another(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As a config has it."""
        data = dump(self)
        settings = data.pop("settings")
        return {**data, **settings}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The built-in kinds with their settings, and any other kind."""
        own = handler.resolve_ref_schema(handler(core))
        properties = {key: own["properties"][key] for key in OWN_KEYS if key != "kind"}
        kinds = [_schema_of(kind, properties) for kind in BUILT_IN_ATTACKS]
        other = {"type": "string", "not": {"enum": list(BUILT_IN_ATTACKS)}}
        plugin = {"type": "object", "properties": {**properties, "kind": other}}
        return {"anyOf": [*kinds, {**plugin, "required": ["title", "kind"]}]}

    @property
    def samples(self) -> int | None:
        """Test images attacked; None: all of them."""
        samples: int | None = self.settings["samples"]
        return samples

    @property
    def most_shards(self) -> int:
        """For any architecture."""
        return max(self.shards_of(architecture) for architecture in ARCHITECTURES)

    def shards_of(self, architecture: str) -> int:
        """For cells of an architecture."""
        if isinstance(self.shards, int):
            return self.shards
        return self.shards.get(architecture, 1)

    @property
    def shares_step_size(self) -> bool:
        """Whether its step size is the same whatever the ball."""
        step_size = self.settings.get("step_size")
        return step_size is not None and part_of_epsilon(step_size) is None

    def changes_among(self, changes: Changes) -> Changes:
        """Those that are of settings that the attack has."""
        known = attack_class(self.kind).Settings.config_keys()
        return tuple((key, value) for key, value in changes if key in known)

    def resolve(self, threat: ThreatModel, changes: Changes = ()) -> AttackSettings:
        """The attack's settings in a threat model's ball; without an attack, in a ball of radius 0.

        Raises:
            ValidationError: they do not go together there.
            ValueError: a length is no part of epsilon.
        """
        wanted = {**self.settings, **dict(self.changes_among(changes))}
        given = {key: value for key, value in wanted.items() if value is not None}
        settings = attack_class(self.kind).Settings
        ball = _of_threat_model(settings)
        if changes and "epsilon" in ball and radius(given.get("epsilon"), threat) == 0:
            same = {key: wanted[key] for key in ("samples", "batch_size") if key in wanted}
            return CleanEvaluation.model_validate(same)
        in_ball = ball_of({key: given[key] for key in ball if key in given}, threat, ball)
        return settings.model_validate({**wanted, **in_ball, "kind": self.kind})


def _of_threat_model(settings: type[AttackSettings]) -> list[str]:
    return [key for key in OF_THREAT_MODEL if key in settings.config_keys()]


def _validated(settings: type[AttackSettings], given: Mapping[str, Any]) -> dict[str, Any]:
    """All settings as plain data, but for the kind; None for what is the threat model's.

    Whether they go together is found in the ball of every grid, if the ball is not all given.
    """
    ball = _of_threat_model(settings)
    given = {key: value for key, value in given.items() if value is not None or key not in ball}
    parts = _parts_of_epsilon(settings, given)
    given = {key: value for key, value in given.items() if key not in parts}
    others = [key for key in ball if key not in given]
    try:
        found = settings.model_validate({**{key: _SOME_BALL[key] for key in others}, **given})
    except ValidationError as error:
        mistakes = [
            InitErrorDetails(
                type=PydanticCustomError("setting", "{message}", {"message": mistake["msg"]})
                if mistake["type"] != "missing"
                else "missing",
                loc=mistake["loc"],
                input=mistake["input"],
            )
            for mistake in error.errors(include_url=False)
            if not others or (mistake["loc"] and mistake["loc"][0] not in others)
        ]
        if mistakes:
            raise ValidationError.from_exception_data(settings.__name__, mistakes) from None
        samples = settings.model_fields["samples"].default
        return {**dict.fromkeys(ball), "samples": samples, **given, **parts}
    plain = {key: value for key, value in found.to_json().items() if key != "kind"}
    return {**plain, **dict.fromkeys(others), **parts}


def _parts_of_epsilon(settings: type[AttackSettings], given: Mapping[str, Any]) -> dict[str, str]:
    """The lengths that are parts of epsilon, in one way of writing them."""
    parts = {}
    for key in LENGTHS:
        try:
            part = part_of_epsilon(given.get(key))
            if part == 0:
                raise ValueError("must be above 0")
            if part is not None:
                parts[key] = str(as_written(given[key]))
        except ValueError as error:
            kind = PydanticCustomError("setting", "{message}", {"message": str(error)})
            mistake = InitErrorDetails(type=kind, loc=(key,), input=given[key])
            raise ValidationError.from_exception_data(settings.__name__, [mistake]) from None
    return parts


def _schema_of(kind: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """JSON schema of an entry of a built-in kind."""
    settings = attack_class(kind).Settings
    schema = settings.model_json_schema(by_alias=True)
    ball, properties = _of_threat_model(settings), dict(schema["properties"])
    for key in ball:
        threat_models = {"description": _OF_THREAT_MODEL[key], "default": None}
        part = [PART_SCHEMA] if key in LENGTHS else []
        properties[key] = {"anyOf": [properties[key], *part, {"type": "null"}], **threat_models}
    needed = [key for key in schema.get("required", []) if key not in ball]
    required = list(dict.fromkeys(["title", "kind", *needed]))
    return {**schema, "properties": {**own, **properties}, "required": required}


class DerivedEntry(Frozen):
    """A number from one cell's records of several attacks, over the images that all have."""

    kind: Literal["mean", "harmonic-mean", "worst", "median-distance"] = Field(
        description="mean and harmonic-mean: of the accuracies; the harmonic mean of two is the "
        "NRR of the paper's Table 3. worst: the share of images that withstand all of the attacks. "
        "median-distance: of one minimum-norm attack, in 255ths."
    )
    of: tuple[str, ...] = Field(
        description="Names from `attacks`, at least two; of median-distance, one."
    )
    title: str = Field(description="Column title.")

    @model_validator(mode="after")
    def _check_parts(self) -> DerivedEntry:
        if self.is_distance and len(self.of) != 1:
            raise ValueError(f"of = {list(self.of)}: must name one attack")
        if not self.is_distance and len(set(self.of)) < max(len(self.of), 2):
            raise ValueError(f"of = {list(self.of)}: must name at least two different attacks")
        return self

    @property
    def is_distance(self) -> bool:
        """Whether it is no accuracy."""
        return self.kind == "median-distance"
