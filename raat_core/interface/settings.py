"""Settings of a method, those among them in which the released code departs from the paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, TypeAlias

from pydantic import Field
from pydantic.fields import FieldInfo

from raat_core.interface.facts import CellFacts
from raat_core.specs.threat_model import Norm
from raat_core.validation import COUNTS_IN, Growing

Variant: TypeAlias = Literal["paper", "released"]


def departure(
    paper: object, released: object, description: str, norm: Norm | None = None, **bounds: Any
) -> Any:
    """A setting in which the released code departs from the paper; the default is the paper's.

    Args:
        paper: value of `variant: paper`.
        released: value of `variant: released`.
        description: for the reference.
        norm: of the only threat models in which the setting counts; in a cell with another one it
            is None, so that it cannot split cells. Its type must allow None. It is no part of the
            cell's plain data while it has its default.
        bounds: as for pydantic's Field.
    """
    values: Any = {"paper": paper, "released": released}
    if norm is not None:
        values |= {"added": True, COUNTS_IN: norm}
    return Field(default=paper, description=description, json_schema_extra=values, **bounds)


def _departures(settings: type[MethodSettings]) -> dict[str, FieldInfo]:
    return {
        name: field
        for name, field in settings.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and "released" in field.json_schema_extra
    }


def _norm_of(field: FieldInfo) -> Norm | None:
    """The norm of the only threat models in which a setting counts; None: it always does."""
    extra = field.json_schema_extra
    return extra.get(COUNTS_IN) if isinstance(extra, dict) else None  # type: ignore[return-value]


class CompoundSetting(Growing):
    """A setting of several values, for which a word stands in names of cells and in tables."""

    @property
    def in_names(self) -> str:
        """That word."""
        raise NotImplementedError


class MethodSettings(Growing):
    """Base of all methods' settings; a subclass narrows `name` to a Literal."""

    name: str = Field(description="The method, by its registered name.")

    @classmethod
    def preset(cls, variant: Variant) -> dict[str, object]:
        """The departures' values as the paper says or as the released code has them."""
        return {
            name: field.json_schema_extra[variant]  # type: ignore[index]
            for name, field in _departures(cls).items()
        }

    @property
    def variant(self) -> str:
        """`paper`, `released`, or `mixed` where single departures are switched.

        Derived from the settings, so that a method without departures has one variant, `paper`,
        and two configs that mean the same cell share it.
        """
        counting = [name for name in self.preset("paper") if self._counts(name)]
        for variant in ("paper", "released"):
            preset = self.preset(variant)
            if all(getattr(self, name) == preset[name] for name in counting):
                return variant
        return "mixed"

    @property
    def has_variants(self) -> bool:
        """Whether the released code departs from the paper in anything that counts in the ball."""
        return any(self._counts(name) for name in self.preset("paper"))

    def _counts(self, name: str) -> bool:
        """Whether a setting is one of the cell's ball."""
        is_of_one = _norm_of(type(self).model_fields[name]) is not None
        return not (is_of_one and getattr(self, name) is None)

    def in_ball(self, norm: Norm) -> Self:
        """These settings in a cell of this norm: what does not count there is None."""
        changes: dict[str, object] = {}
        for name, field in type(self).model_fields.items():
            value, only = getattr(self, name), _norm_of(field)
            if only not in (None, norm):
                changes[name] = None
            elif only is not None and value is None:
                changes[name] = field.get_default(call_default_factory=True)
        return self.model_copy(update=changes)

    def check(self, cell: CellFacts) -> None:
        """Refuse a cell that these settings make no sense in, before any job is submitted.

        Raises:
            ValueError: names the settings, those of `cell` among them, with their values.
        """

    def replace(self, changes: Mapping[str, object]) -> MethodSettings:
        """These settings with other values under some config keys (pydantic's error for bad)."""
        return type(self).model_validate({**self.model_dump(by_alias=True), **changes})

    def shown(self, key: str, value: object) -> object:
        """What tables and figures print for a value given under a config key."""
        for name, field in type(self).model_fields.items():
            mine = getattr(self, name)
            if key == (field.alias or name) and isinstance(mine, CompoundSetting):
                return mine.in_names
        return value

    def distinctive(self) -> dict[str, object]:
        """The settings that differ from their variant's preset, under their config keys."""
        preset = self.preset("released" if self.variant == "released" else "paper")
        mine = self.model_dump(by_alias=True)
        distinctive = {}
        for name, field in type(self).model_fields.items():
            usual = preset.get(name, field.get_default(call_default_factory=True))
            # One without a default always is distinctive.
            if getattr(self, name) != usual and self._counts(name):
                key, value = field.alias or name, getattr(self, name)
                is_compound = isinstance(value, CompoundSetting)
                distinctive[key] = value.in_names if is_compound else mine[key]
        return distinctive
