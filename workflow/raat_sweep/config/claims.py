"""Claims that a comparison tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from raat_core.validation import Frozen

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")


class ClaimSide(Frozen):
    """Rows of a table or panel; a list of them alone is of the claim's own item and panel."""

    rows: tuple[str, ...] = Field(
        min_length=1,
        description="Rows by method: a label, or `label (setting = value)` where the grid varies "
        "it, also with * for any text. Of several, the one with the highest mean.",
    )
    item: str | None = Field(
        None, description="Table or figure whose rows they are; null: the claim's."
    )
    panel: str | None = Field(
        None, description="The figure's panel, by letter; without `item`, null: the claim's."
    )

    @model_validator(mode="before")
    @classmethod
    def _take_rows_alone(cls, data: Any) -> Any:
        return data if isinstance(data, Mapping) else {"rows": data}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """A list of rows, or a mapping."""
        own = handler.resolve_ref_schema(handler(core))
        return {"anyOf": [own["properties"]["rows"], own]}


class Claim(Frozen):
    """A statement about two groups of cells, tested wherever both are asked for."""

    claim: str = Field(description="In words.")
    source: str = Field("", description="Where it is made.")
    item: str = Field(
        description="Table or figure whose cells it is about, where a side does not say another."
    )
    panel: str | None = Field(None, description="The figure's panel, by letter.")
    metric: str = Field(description="Name from `attacks` or `derived`.")
    left: ClaimSide = Field(
        description="Rows by method: a label, or `label (setting = value)` where the grid varies "
        "it, also with * for any text. Of several, the one with the highest mean. Rows of another "
        "table or figure: {item: ..., rows: [...]}."
    )
    right: ClaimSide = Field(description="As `left`.")
    relation: Literal["above", "equal"] = Field(
        "above", description="left is above right, or differs by less than `margin`."
    )
    margin: float = Field(
        0.0, ge=0, description="Percentage points that count as none, for relation: equal."
    )

    @model_validator(mode="after")
    def _check_margin(self) -> Claim:
        if (self.relation == "equal") != (self.margin > 0):
            allowed = "must be above 0 for relation: equal, and not given otherwise"
            raise ValueError(f"margin = {self.margin:g}: {allowed}")
        return self

    def side(self, side: Side) -> ClaimSide:
        """Its left or right, with the item and panel that it is about."""
        chosen = self.left if side == "left" else self.right
        if chosen.item is not None:
            return chosen
        panel = self.panel if chosen.panel is None else chosen.panel
        return chosen.model_copy(update={"item": self.item, "panel": panel})

    @property
    def sides(self) -> dict[Side, ClaimSide]:
        """Both."""
        return {side: self.side(side) for side in SIDES}
