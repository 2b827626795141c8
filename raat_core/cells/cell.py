"""A cell: one (data set, architecture, method, threat model, seed), described in full.

Every setting that can change a number is in the spec, and no other. A digest of the spec, of the
method's version and of NUMERICS_VERSION is part of the name of the cell's folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

from pydantic import ValidationError, model_validator

from raat_core.cells.catalogue import ARCHITECTURES, DATA_SETS
from raat_core.cells.checks import check_agreement
from raat_core.cells.digests import NUMERICS_VERSION, SAMPLING_VERSION, digest_of
from raat_core.cells.extra_data import check_labeller
from raat_core.cells.fields import CellFields
from raat_core.interface.needs import Checkpoint, NeededCell, needs_of
from raat_core.interface.registry import attack_class, method_class
from raat_core.specs.precision import FP32
from raat_core.validation import explain

EXTRA_LABELS = "extra_data.labels"
"""The key of the need for a cell that says the labels of extra data."""


class Need(NamedTuple):
    """A cell that another one needs, and the checkpoint that it takes."""

    cell: Cell
    checkpoint: Checkpoint


class Cell(CellFields):
    """The full description of one training; equal cells are trained once."""

    @model_validator(mode="after")
    def _check_agreement(self) -> Cell:
        check_agreement(self)
        labeller = self.needs.get(EXTRA_LABELS)  # With it, all cells that are needed.
        for setting, need in self.needs.items():
            its, mine = (DATA_SETS[cell.dataset].image_shape for cell in (need.cell, self))
            if setting != EXTRA_LABELS and its[0] != mine[0]:
                raise ValueError(
                    f"method.{setting}.dataset = '{need.cell.dataset}': its network takes images "
                    f"of {its[0]} channels; those of {self.dataset} have {mine[0]}"
                )
        if self.extra_data is not None and labeller is not None:
            check_labeller(self.extra_data.dataset, labeller.cell.dataset, self.dataset)
        return self

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
        return {
            setting: needed_cell(
                setting if setting == EXTRA_LABELS else f"method.{setting}", need, mine
            )
            for setting, need in asked.items()
        }

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits over all that can change this cell's numbers."""
        identity: dict[str, Any] = {
            "cell": self.to_json(),
            "method_version": method_class(self.method.name).version,
            "numerics_version": NUMERICS_VERSION,
        }
        identity |= {key: version for key, version in self._versions().items() if version != 1}
        if self.needs:
            identity["needs"] = {setting: need.cell.digest for setting, need in self.needs.items()}
        return digest_of(identity, 12)

    def _versions(self) -> dict[str, int]:
        """Of what else is registered; they are part of the identity where they are not 1."""
        versions = {
            "architecture_version": ARCHITECTURES[self.architecture].version,
            "dataset_version": DATA_SETS[self.dataset].version,
        }
        if self.extra_data is not None:
            versions["extra_dataset_version"] = DATA_SETS[self.extra_data.dataset].version
        attack = self.selection.attack
        if attack is not None:
            versions["selection_version"] = attack_class(attack.kind).version
        chosen_by_some = attack is not None and attack.samples is not None
        if chosen_by_some or self.selection.split == "validation":
            versions["sampling_version"] = SAMPLING_VERSION
        return versions

    @cached_property
    def name(self) -> str:
        """A readable folder name, unique by its digest: letters, digits, `.`, `_`, `-`, `+`."""
        method = self.method.name
        if self.method.variant not in ("", "paper"):
            method += f"-{self.method.variant}"
        changed = "".join(f"-{key}-{value}" for key, value in self.method.distinctive().items())
        if self.precision != FP32:
            changed += f"-{self.precision.in_names}"
        if self.extra_data is not None:
            changed += f"-extra-{self.extra_data.dataset}"
        readable = f"{self.dataset}_{self.architecture}_{self.threat_model.norm}_{method}{changed}"
        readable = re.sub(r"[^A-Za-z0-9._+-]", "-", readable)[:100]
        return f"{readable}_s{self.seed}_{self.digest}"


def needed_cell(where: str, need: NeededCell, needing: Mapping[str, Any]) -> Need:
    """The cell that is asked for.

    Args:
        where: it is asked for, for messages.
        need: what is said of it.
        needing: the spec, key by key, of the cell that needs it.

    Raises:
        ValueError: there is no such cell.
    """
    try:
        return Need(Cell.model_validate(need.spec(needing)), need.checkpoint)
    except ValidationError as error:
        (line, *_) = explain(error, where)
        raise ValueError(line) from None
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from None
