"""What an attack on a trained model is: its settings, and what it does to one batch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from pydantic import Field

from raat_core.interface.draws import Draws
from raat_core.interface.operations import ImageShape, Passes
from raat_core.validation import LARGEST_COUNT, Growing

if TYPE_CHECKING:
    from torch import Tensor, nn

DrawsByName: TypeAlias = Callable[[str], Draws]
_NOT_DESCRIBED = ("kind", "samples", "batch_size", "seed", "norm", "epsilon")
"""Of the settings: what captions say in words of their own, or not at all."""


class AttackSettings(Growing):
    """Base of all attacks' settings; a subclass narrows `kind` to a Literal.

    Settings named `norm`, `epsilon` and `step_size` are the threat model's where a config does not
    give them; what an attack returns is held against `norm` and `epsilon`, if it has both.
    """

    kind: str = Field(description="The attack, by its registered name.")
    samples: int | None = Field(
        None, ge=1, description="Test images attacked, evenly spaced; null: all of them."
    )
    batch_size: int = Field(
        256, ge=1, le=LARGEST_COUNT, description="Images at a time; random draws depend on it."
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of the attack's draws.")

    @property
    def label(self) -> str:
        """What it is called in names of records, logs and manifests."""
        return self.kind

    def check(self, classes: int, image_shape: ImageShape) -> None:
        """Refuse a data set that the attack makes no sense on, before any job is submitted.

        Args:
            classes: of the data set.
            image_shape: channels, height, width of its images.

        Raises:
            ValueError: names what it needs, and what there is.
        """

    def describe(self) -> str:
        """What captions say of it, beside the images and the ball; else all its settings."""
        given = self.to_json().items()
        return ", ".join(f"{key} = {value}" for key, value in given if key not in _NOT_DESCRIBED)

    def to_json(self) -> dict[str, Any]:
        """Plain data that the attack's settings validate back to equal ones."""
        return self.model_dump(mode="json", by_alias=True)

    def images(self, test_size: int) -> int:
        """How many images of a test set are attacked."""
        return test_size if self.samples is None else self.samples

    def batches(self, test_size: int) -> int:
        """In how many batches they are attacked; the last one may be smaller."""
        return math.ceil(self.images(test_size) / self.batch_size)


class Attack(ABC):
    """An attack on a trained model, in evaluation mode, batch by batch.

    A subclass sets `Settings` and `run`. `version` is part of every record's identity: raise it
    when the attack computes something else.
    """

    Settings: ClassVar[type[AttackSettings]]
    version: ClassVar[int] = 1
    slow: ClassVar[bool] = False
    """Whether a batch takes so long that each is saved at once; it gets a job of its own, too."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Whose versions stand in the record, beside torch's."""
    counts_clean_errors: ClassVar[bool] = True
    """Whether an image that is misclassified without attack is so whatever `run` returns."""
    work: ClassVar[Literal["pgd", "autoattack"]] = "pgd"
    """As what it keeps hardware busy; estimates of hours are made from times of that."""

    def __init__(self, settings: AttackSettings) -> None:
        self.settings = settings

    @abstractmethod
    def run(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        draws: DrawsByName,
        check_stop: Callable[[], None],
    ) -> Tensor:
        """One batch: adversarial images (B, C, H, W) in [0, 1], or predicted classes (B,) int64.

        Args:
            model: in evaluation mode, its parameters frozen; logits (B, K) of images in [0, 1].
            images: (B, C, H, W) in [0, 1].
            labels: (B,) int64.
            draws: random draws by name, a function of the attack's seed and of the batch's number.
            check_stop: to be called now and then, between forwards; raises to stop.
        """

    def purpose(self, name: str, batch: int) -> tuple[str | int, ...]:
        """What draws of a name are for in a batch, numbered from 0: with the seed, all they are."""
        return ("attack", self.settings.kind, name, batch)

    def passes(self, classes: int, clean: float, robust: float) -> Passes:
        """What it costs for each image; estimates of hours follow it and no result does.

        Without an override: a hundred steps of PGD.

        Args:
            classes: of the data set.
            clean: the share of images that are classified correctly without attack, in [0, 1].
            robust: the share that is under PGD.
        """
        return Passes(forwards=1, gradients=100)
