"""Models that were trained elsewhere, which a config has by name."""

from __future__ import annotations

from pydantic import Field

from raat_core.cells.given import GivenModel
from raat_core.validation import OneLine
from raat_sweep.config.data_sets import DataSetName


class ModelEntry(GivenModel):
    """A file of weights and its network, as a row beside methods."""

    dataset: DataSetName | None = Field(
        None, description="What it was trained on: other data sets of a grid leave it out."
    )
    architecture_title: OneLine | None = Field(
        None, description="What tables call its architecture, in place of the architecture's title."
    )

    @property
    def only_on(self) -> str | None:
        """The data set that it is for; None: any whose classes and images it takes."""
        if self.dataset is None and self.robustbench is not None:
            return self.robustbench.dataset
        return self.dataset
