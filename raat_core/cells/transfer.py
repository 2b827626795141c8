"""Transfer: adversarial images that are made on the model of another cell; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, Field, ValidationError, WithJsonSchema

from raat_core.cells.catalogue import DATA_SETS
from raat_core.cells.cell import Cell, Need, needed_cell
from raat_core.cells.evaluations import Evaluation, PgdEvaluation
from raat_core.interface.attack import AttackSettings
from raat_core.interface.needs import Checkpoint, NeededCell
from raat_core.specs.threat_model import ThreatModel
from raat_core.validation import Frozen, explain

NEXT_SEED: Literal["next-seed"] = "next-seed"
"""The same cell with a seed that is one higher."""


class SourceCell(Frozen):
    """A cell whose folder lies beside that of the cell that is attacked."""

    cell: str = Field(pattern="^[A-Za-z0-9._+-]+$", description="Its folder's name.")
    checkpoint: Checkpoint = Field("best", description="Which of its weights are attacked.")


def _read(value: object) -> object:
    """Mistakes are told once, as those of the one or of the other."""
    if isinstance(value, (SourceCell, NeededCell)) or value == NEXT_SEED:
        return value
    if not isinstance(value, Mapping):
        raise ValueError(
            f"must be `{NEXT_SEED}`, a cell {{method: ..., ...}}, or {{cell: <folder's name>}}"
        )
    return (SourceCell if "cell" in value else NeededCell).model_validate(value)


Source: TypeAlias = Annotated[
    Literal["next-seed"] | SourceCell | NeededCell,
    BeforeValidator(_read),
    WithJsonSchema({"anyOf": [{"const": NEXT_SEED}, {"type": "object"}]}),
]


class TransferEvaluation(PgdEvaluation):
    """PGD on another cell's model; its images are shown to the cell that is attacked.

    What it breaks, PGD on the model itself should break, too: where it does not, gradients are
    masked (Athalye et al., ICML 2018).
    """

    uses_cells: ClassVar[bool] = True
    in_label: ClassVar[tuple[str, ...]] = (*PgdEvaluation.in_label, "source")

    kind: Literal["transfer"] = "transfer"  # type: ignore[assignment]
    source: Source = Field(
        NEXT_SEED,
        description="On whose model: `next-seed`, the same cell with the next seed; or a cell "
        "{method: ..., ...} as in methods' settings. It is trained first.",
    )

    @property
    def label(self) -> str:
        """See `AttackSettings.label`."""
        return f"transfer-{super().label}"

    def label_in(self, threat: ThreatModel, *, images: bool = True) -> str:
        """See `AttackSettings.label_in`; with the name of the cell that images are made on."""
        return f"{super().label_in(threat, images=images)} from {self._source_in_words}"

    def describe(self) -> str:
        """See `AttackSettings.describe`."""
        return f"{super().describe()}, made on the model of {self._source_in_words}"

    @property
    def _source_in_words(self) -> str:
        of = self.source
        if isinstance(of, NeededCell):
            return of.in_names
        return of.cell if isinstance(of, SourceCell) else "the next seed's"


def sources_of(attack: AttackSettings) -> dict[str, SourceCell]:
    """The cells whose models an attack uses, by setting, where they are resolved."""
    values = {name: getattr(attack, name) for name in type(attack).model_fields}
    return {name: value for name, value in values.items() if isinstance(value, SourceCell)}


def needed_by(attack: AttackSettings, cell: Cell) -> dict[str, Need]:
    """The cells whose models an attack on a cell asks for, by setting.

    Raises:
        ValueError: one is no valid cell, takes other images, or is the attacked cell itself.
    """
    fields: Mapping[str, Any] = {key: getattr(cell, key) for key in type(cell).model_fields}
    found: dict[str, Need] = {}
    for name in type(attack).model_fields:
        value = getattr(attack, name)
        if value == NEXT_SEED:
            if not cell.trains:
                raise ValueError(f"{name} = '{NEXT_SEED}': given weights have none; name a cell")
            found[name] = Need(_next_seed(name, fields), "best")
        elif isinstance(value, NeededCell):
            found[name] = needed_cell(name, value, fields)
    for name, need in found.items():
        if need.cell.name == cell.name:
            raise ValueError(f"{name}: is the attacked cell itself")
        if _images(need.cell) != _images(cell):
            raise ValueError(
                f"{name}.dataset = '{need.cell.dataset}': its model takes other images, or says "
                f"other classes, than that of {cell.dataset}"
            )
    return found


def resolved_on(attack: AttackSettings, cell: Cell) -> Evaluation:
    """The attack with the names of the cells that it asks for.

    Raises:
        ValueError: as `needed_by`.
    """
    names = {
        setting: SourceCell(cell=need.cell.name, checkpoint=need.checkpoint)
        for setting, need in needed_by(attack, cell).items()
    }
    return attack.model_copy(update=names) if names else attack


def _next_seed(where: str, fields: Mapping[str, Any]) -> Cell:
    try:
        return Cell.model_validate({**fields, "seed": fields["seed"] + 1})
    except ValidationError as error:
        (line, *_) = explain(error, where)
        raise ValueError(line) from None


def _images(cell: Cell) -> tuple[object, ...]:
    info = DATA_SETS[cell.dataset]
    return info.image_shape, info.classes
