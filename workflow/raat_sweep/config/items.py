"""What a config may ask for: tables, figures, accuracies by class and comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from raat_core.cells.evaluations import Checkpoint
from raat_core.validation import Frozen, OneLine, of_kind, suggest
from raat_sweep.config.claims import Claim
from raat_sweep.config.grid import Grid, refuse_repeats


class _Item(Frozen):
    """What every item says of itself, and where in it names of the config stand.

    `where` is the item's own place in the config.
    """

    title: str = Field(description="Caption.")
    source: str = Field("", description="Where it comes from, for the report's caption.")

    def grids_at(self, where: str) -> list[tuple[str, Grid]]:
        """Every grid with its place in the config."""
        return []

    def metrics_at(self, where: str) -> list[tuple[str, Sequence[str]]]:
        """Every list of attacks and derived numbers with its place in the config."""
        return []

    def labels_at(self, where: str) -> list[tuple[str, Iterable[str], Mapping[str, object]]]:
        """Where it speaks of methods by label, which, and those that it may speak of."""
        return []


def _methods_of(grids: Iterable[Grid]) -> dict[str, None]:
    return dict.fromkeys(label for grid in grids for label in grid.labels)


class Table(_Item):
    """A table laid out as Table 1 of the paper."""

    kind: Literal["table"] = "table"
    grids: tuple[Grid, ...] = Field(min_length=1, description="What the rows are made of.")
    metrics: tuple[str, ...] = Field(
        min_length=1, description="Columns: names from `attacks` or `derived`."
    )
    cited: OneLine | None = Field(
        None,
        description="A CSV of published numbers (as config/published/*.csv); its rows for the data "
        "sets, architectures and balls of this table stand beside the measured ones, marked.",
    )
    ours: tuple[str, ...] = Field(
        (), description="Methods whose best is compared with the best of the others in a last row."
    )
    checkpoint: Checkpoint = Field("best", description="Which weights are reported.")

    def grids_at(self, where: str) -> list[tuple[str, Grid]]:
        """See `_Item`."""
        return [(f"{where}.grids.{i}", grid) for i, grid in enumerate(self.grids)]

    def metrics_at(self, where: str) -> list[tuple[str, Sequence[str]]]:
        """See `_Item`."""
        return [(f"{where}.metrics", self.metrics)]

    def labels_at(self, where: str) -> list[tuple[str, Iterable[str], Mapping[str, object]]]:
        """See `_Item`."""
        return [(f"{where}.ours", self.ours, _methods_of(self.grids))]

    @model_validator(mode="after")
    def _check(self) -> Table:
        refuse_repeats("metrics", self.metrics)
        return self


class Panel(Frozen):
    """A column of a figure: one row of axes per metric, lines over x."""

    title: str = Field(description="What stands above it.")
    x: str = Field(
        description="`epoch`, `method`, or the setting in `vary` that is on the x axis: also one "
        "of attacks, such as `attack.epsilon`. `distance`: robust accuracy at every epsilon, from "
        "the distances that a minimum-norm attack found, in 255ths."
    )
    x_label: str = Field(description="Label of the x axis, with its unit.")
    metrics: tuple[str, ...] = Field(
        min_length=1,
        description="Names from `attacks` or `derived`; with x: epoch, `clean` and `robust` (by "
        "what `selection` says, on the split that chooses the best checkpoint).",
    )
    grids: tuple[Grid, ...] = Field(min_length=1, description="What the lines are made of.")
    labels: dict[str, str] = Field(
        default_factory=dict, description="Other names for methods in this panel's legend."
    )

    @model_validator(mode="after")
    def _check(self) -> Panel:
        varied = {setting for grid in self.grids for setting in grid.vary}
        allowed = ["epoch", "method", "distance", *sorted(varied)]
        if self.x not in allowed:
            raise ValueError(f"x = '{self.x}'{suggest(self.x, allowed)}")
        refuse_repeats("metrics", self.metrics)
        if self.x == "epoch" and set(self.metrics) - {"clean", "robust"}:
            raise ValueError(
                f"metrics = {list(self.metrics)}: with x: epoch, allowed: clean, robust"
            )
        return self


class Figure(_Item):
    """A figure: panels side by side, a row of axes per metric."""

    kind: Literal["figure"] = "figure"
    panels: dict[str, Panel] = Field(min_length=1, description="Panels by letter.")
    checkpoint: Checkpoint = Field("best", description="Which weights are reported.")

    def grids_at(self, where: str) -> list[tuple[str, Grid]]:
        """See `_Item`."""
        return [
            (f"{where}.panels.{letter}.grids.{i}", grid)
            for letter, panel in self.panels.items()
            for i, grid in enumerate(panel.grids)
        ]

    def metrics_at(self, where: str) -> list[tuple[str, Sequence[str]]]:
        """See `_Item`; curves over epochs have names of their own."""
        return [
            (f"{where}.panels.{letter}.metrics", panel.metrics)
            for letter, panel in self.panels.items()
            if panel.x != "epoch"
        ]

    def labels_at(self, where: str) -> list[tuple[str, Iterable[str], Mapping[str, object]]]:
        """See `_Item`."""
        return [
            (f"{where}.panels.{letter}.labels", panel.labels, _methods_of(panel.grids))
            for letter, panel in self.panels.items()
        ]


class Classes(_Item):
    """The accuracy on every class, and which classes are taken for which."""

    kind: Literal["classes"] = "classes"
    grids: tuple[Grid, ...] = Field(min_length=1, description="What the rows are made of.")
    metrics: tuple[str, ...] = Field(
        min_length=1, description="Columns: names from `attacks` or `derived`."
    )
    confusion: tuple[str, ...] = Field(
        (),
        description="Attacks under which true and predicted classes are counted, among those that "
        "`metrics` are made of; without, the last one of `metrics` that is an attack.",
    )
    checkpoint: Checkpoint = Field("best", description="Which weights are reported.")

    def grids_at(self, where: str) -> list[tuple[str, Grid]]:
        """See `_Item`."""
        return [(f"{where}.grids.{i}", grid) for i, grid in enumerate(self.grids)]

    def metrics_at(self, where: str) -> list[tuple[str, Sequence[str]]]:
        """See `_Item`."""
        return [(f"{where}.metrics", self.metrics)]

    @model_validator(mode="after")
    def _check(self) -> Classes:
        refuse_repeats("metrics", self.metrics)
        refuse_repeats("confusion", self.confusion)
        return self


class Comparison(_Item):
    """Measured against published numbers, and claims with their tests."""

    kind: Literal["comparison"] = "comparison"
    published: dict[str, OneLine] = Field(
        default_factory=dict, description="Tables by name, each with its CSV of published numbers."
    )
    claims: tuple[Claim, ...] = Field((), description="What is tested.")
    test: Literal["samples", "seeds"] = Field(
        "samples",
        description="What decides whether a claim holds: the paired test over test images, or the "
        "one over seeds; where it cannot be made, the other. Both are printed.",
    )
    level: float = Field(0.05, gt=0, lt=1, description="Of significance.")

    @model_validator(mode="after")
    def _check(self) -> Comparison:
        if not self.published and not self.claims:
            raise ValueError("published, claims: one of them must have an entry")
        return self

    def metrics_at(self, where: str) -> list[tuple[str, Sequence[str]]]:
        """See `_Item`."""
        return [(f"{where}.claims.{i}.metric", [c.metric]) for i, c in enumerate(self.claims)]


Item: TypeAlias = Annotated[
    Table | Figure | Classes | Comparison,
    Field(discriminator="kind"),
    of_kind("table", "figure", "classes", "comparison"),
]
