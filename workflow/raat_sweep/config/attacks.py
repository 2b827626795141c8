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
from raat_core.interface.attack import AttackSettings
from raat_core.interface.registry import BUILT_IN_ATTACKS, attack_class, attack_class_of
from raat_core.specs.threat_model import ThreatModel
from raat_core.validation import Frozen, suggest

WITH_TRAINING = "training"
"""The job whose attacks run in the process that trains the cell."""
OWN_KEYS = ("title", "job", "shards", "kind")
"""Of an entry; all others are settings of the attack."""
OF_THREAT_MODEL = ("norm", "epsilon", "step_size")
_SOME_BALL = {"norm": "linf", "epsilon": "8/255", "step_size": "2/255"}
ShardCount: TypeAlias = Annotated[int, Field(ge=1)]
_SHARDS = (
    "must be a whole number of at least 1, or such numbers by architecture, as in {wrn-28-10: 8}"
)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


class AttackEntry(Frozen):
    """An attack by name: its column and its job, and the settings of its kind.

    Settings named as in `OF_THREAT_MODEL` are the threat model's where they are not given.
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

    def resolve(self, threat: ThreatModel) -> AttackSettings:
        """The attack's settings in a threat model's ball.

        Raises:
            ValidationError: they do not go together there.
        """
        given = {key: value for key, value in self.settings.items() if value is not None}
        settings = attack_class(self.kind).Settings
        ball = {key: getattr(threat, key) for key in _of_threat_model(settings)}
        return settings.model_validate({**self.settings, **ball, **given, "kind": self.kind})


def _of_threat_model(settings: type[AttackSettings]) -> list[str]:
    return [key for key in OF_THREAT_MODEL if key in settings.config_keys()]


def _validated(settings: type[AttackSettings], given: Mapping[str, Any]) -> dict[str, Any]:
    """All settings as plain data, but for the kind; None for what is the threat model's.

    Whether they go together is found in the ball of every grid, if the ball is not all given.
    """
    ball = _of_threat_model(settings)
    given = {key: value for key, value in given.items() if value is not None or key not in ball}
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
        return {**dict.fromkeys(ball), "samples": settings.model_fields["samples"].default, **given}
    plain = found.to_json()
    return {key: None if key in others else value for key, value in plain.items() if key != "kind"}


def _schema_of(kind: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """JSON schema of an entry of a built-in kind."""
    settings = attack_class(kind).Settings
    schema = settings.model_json_schema(by_alias=True)
    ball, properties = _of_threat_model(settings), dict(schema["properties"])
    for key in ball:
        threat_models = {"description": "null: the threat model's.", "default": None}
        properties[key] = {"anyOf": [properties[key], {"type": "null"}], **threat_models}
    needed = [key for key in schema.get("required", []) if key not in ball]
    required = list(dict.fromkeys(["title", "kind", *needed]))
    return {**schema, "properties": {**own, **properties}, "required": required}


class DerivedEntry(Frozen):
    """A number computed from the accuracies of one cell under several attacks."""

    kind: Literal["mean", "harmonic-mean"] = Field(
        description="Of the accuracies; the harmonic mean of two is the NRR of the paper's Table 3."
    )
    of: tuple[str, ...] = Field(description="Names from `attacks`, at least two.")
    title: str = Field(description="Column title.")

    @field_validator("of")
    @classmethod
    def _check_parts(cls, of: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(of)) < max(len(of), 2):
            raise ValueError("must name at least two different attacks")
        return of
