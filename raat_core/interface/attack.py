"""What an attack on a trained model is: its settings, and what it does to one batch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

from pydantic import Field

from raat_core.interface.draws import Draws
from raat_core.interface.operations import ImageShape, Passes
from raat_core.specs.threat_model import NORM_SYMBOLS, ThreatModel
from raat_core.validation import LARGEST_COUNT, Growing, added, format_fraction

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

DrawsByName: TypeAlias = Callable[[str], Draws]
_NOT_DESCRIBED = ("kind", "samples", "batch_size", "seed", "norm", "epsilon", "keep")
"""Of the settings: what captions and labels say in words of their own, or not at all."""
SHARE_RIGHT = "share_right"
"""A detail of attacks that show the model several versions of each image: the share of those that
it classifies correctly, in [0, 1]. The accuracy is its mean, and no share of images."""


class AttackSettings(Growing):
    """Base of all attacks' settings; a subclass narrows `kind` to a Literal.

    Settings named `norm`, `epsilon` and `step_size` are the threat model's where a config does not
    give them; what an attack returns is held against `norm` and `epsilon`, if it has both.
    """

    uses_cells: ClassVar[bool] = False
    """Whether it asks for the models of other cells, which are trained before it runs."""

    kind: str = Field(description="The attack, by its registered name.")
    samples: int | None = Field(
        None,
        ge=1,
        description="Test images attacked, evenly spaced within every class; null: all of them.",
    )
    batch_size: int = Field(
        256, ge=1, le=LARGEST_COUNT, description="Images at a time; random draws depend on it."
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of the attack's draws.")
    keep: bool = added(False, "Keep the adversarial images, in a file beside the record.")

    in_label: ClassVar[tuple[str, ...]] = ()
    """Settings that `label` tells already."""

    @property
    def label(self) -> str:
        """What names of records begin with; people read `label_in`."""
        return self.kind

    def label_in(self, threat: ThreatModel, *, images: bool = True) -> str:
        """`label`, and all that is not as usual on a cell of this threat model.

        `pgd-10` in the cell's own ball; else `pgd-10 ℓ₂ ε = 128/255 ×5 restarts on 1,000`.

        Args:
            threat: the cell's.
            images: say on how many, if not on all; without, where that is said beside it.
        """
        words = [self.label, *_ball_differences(self, threat), *_setting_differences(self)]
        if images and self.samples is not None:
            words.append(f"on {self.samples:,}")
        return " ".join(words)

    def out_of_reach(self) -> str | None:
        """Why its steps cannot take an image to the surface of its ball; None if they can.

        Plans refuse such attacks. Without an override, nothing is known of steps.
        """
        return None

    @property
    def accuracy_is(self) -> str:
        """What a record's accuracy is, if it is not of images that withstand the attack."""
        return ""

    def check(self, classes: int, image_shape: ImageShape) -> None:
        """Refuse a data set that the attack makes no sense on, before any job is submitted.

        Args:
            classes: of the data set.
            image_shape: channels, height, width of its images.

        Raises:
            ValueError: names what it needs, and what there is.
        """

    def for_classes(self, classes: int) -> AttackSettings:
        """What stands for these settings on a data set of so many classes; names the record."""
        return self

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


def _ball_differences(attack: AttackSettings, threat: ThreatModel) -> list[str]:
    norm = getattr(attack, "norm", threat.norm)
    epsilon = getattr(attack, "epsilon", threat.epsilon)
    words = [] if norm == threat.norm else [str(NORM_SYMBOLS.get(norm, norm))]
    if words or epsilon != threat.epsilon:
        words.append(f"ε = {_length(epsilon)}")
    usual = threat.step_in(epsilon) if isinstance(epsilon, Fraction) else threat.step_size
    step_size = getattr(attack, "step_size", usual)
    return words if step_size == usual else [*words, f"step {_length(step_size)}"]


def _length(value: object) -> str:
    return format_fraction(value) if isinstance(value, Fraction) else f"{value}"


def _setting_differences(attack: AttackSettings) -> list[str]:
    """Other settings that are not at their defaults: `×5 restarts`, `(queries = 500, seed = 1)`."""
    words, settings, plain = [], [], attack.to_json()
    said = {*_NOT_DESCRIBED, "step_size", *attack.in_label} - {"seed"}
    for name, info in type(attack).model_fields.items():
        key = info.alias or name
        usual = None if info.is_required() else info.get_default(call_default_factory=True)
        if name in said or key not in plain or getattr(attack, name) == usual:
            continue
        if name == "restarts":
            words.append(f"×{plain[key]} restarts")
        else:
            settings.append(f"{key} = {plain[key]}")
    return [*words, f"({', '.join(settings)})"] if settings else words


@dataclass(frozen=True)
class AttackBatch:
    """One batch of test images, and what an attack may use beside the model."""

    images: Tensor
    """(B, C, H, W) in [0, 1]."""
    labels: Tensor
    """(B,) int64."""
    index: Tensor
    """(B,) int64 positions in the test set."""
    number: int
    """Of the batch, from 0."""
    draws: DrawsByName
    """Random draws by name, a function of the attack's seed and of the batch's number."""
    check_stop: Callable[[], None] = lambda: None
    """To be called now and then, between forwards; raises to stop."""
    models: Mapping[str, nn.Module] = field(default_factory=dict)
    """Those of the cells that the attack's settings ask for, by setting; in evaluation mode."""
    data_root: Path | None = None
    """Where data lies that the attack reads; without, as for data sets."""


@dataclass(frozen=True)
class Work:
    """What a part of an attack took, of all images together."""

    seconds: float
    forwards: int
    """Images that went through the model, one by one; those of gradients count, too."""
    gradients: int
    """Gradients with respect to one image."""

    def __add__(self, other: Work) -> Work:
        return Work(
            self.seconds + other.seconds,
            self.forwards + other.forwards,
            self.gradients + other.gradients,
        )


@dataclass(frozen=True)
class Outcome:
    """What an attack did to a batch; without images and classes: the images are as they were."""

    images: Tensor | None = None
    """Adversarial images (B, C, H, W) in [0, 1]."""
    classes: Tensor | None = None
    """Predicted classes (B,) int64; without, the model's of `images`."""
    details: Mapping[str, Tensor] = field(default_factory=dict)
    """What else the record keeps of every image, (B,) numbers by name; in every batch the same."""
    work: Mapping[str, Work] = field(default_factory=dict)
    """What parts of the attack took, by name; the record has their sums."""


class Attacked(Protocol):
    """All images that an attack was run on, as the record has them: NumPy arrays (N,)."""

    @property
    def label(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """True classes."""
        ...

    @property
    def prediction(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Classes predicted under the attack."""
        ...

    @property
    def clean(self) -> np.ndarray[Any, np.dtype[np.int32]] | None:
        """Classes predicted without it; None in records of older versions."""
        ...

    @property
    def details(self) -> Mapping[str, np.ndarray[Any, Any]]:
        """`Outcome.details` of all batches."""
        ...


class Attack(ABC):
    """An attack on a trained model, in evaluation mode, batch by batch.

    A subclass sets `Settings` and `run`. `version` is part of every record's identity: raise it
    when the attack computes something else. Whatever `run` returns, an image that is misclassified
    without attack is so under it, if the attack is adversarial.
    """

    Settings: ClassVar[type[AttackSettings]]
    version: ClassVar[int] = 1
    slow: ClassVar[bool] = False
    """Whether a batch takes so long that each is saved at once; it gets a job of its own, too."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Whose versions stand in the record, beside torch's."""
    is_adversarial: ClassVar[bool] = True
    """Whether it looks for errors in a ball. If not, as with corruptions, its outcome stands even
    where the image is misclassified without it, and its images may be anywhere in [0, 1]."""
    has_distances: ClassVar[bool] = False
    """Whether it has a detail `distance`: to the nearest misclassified image, infinite without."""
    work: ClassVar[Literal["pgd", "autoattack"]] = "pgd"
    """As what it keeps hardware busy; estimates of hours are made from times of that."""

    def __init__(self, settings: AttackSettings) -> None:
        self.settings = settings

    @abstractmethod
    def run(self, model: nn.Module, batch: AttackBatch) -> Tensor | Outcome:
        """One batch: adversarial images (B, C, H, W) in [0, 1], or predicted classes (B,) int64.

        Or an `Outcome`, which may say more.

        Args:
            model: in evaluation mode, its parameters frozen; logits (B, K) of images in [0, 1].
            batch: the images, their labels, and random draws.
        """

    def used_packages(self) -> tuple[str, ...]:
        """Those of `packages` that it uses with these settings."""
        return self.packages

    def files(self, root: Path | None) -> Mapping[str, Path]:
        """Files that it reads, by name; the record says their SHA-256. Needs no torch.

        Plans call it before anything is trained.

        Args:
            root: where data lies; without, as for data sets.

        Raises:
            UserError: one is missing; says where it is from.
        """
        return {}

    def flags(self, attacked: Attacked) -> list[str]:
        """What is suspicious of the outcome as a whole, a sentence each; needs no torch.

        They are kept in the record, and mark the row in tables.
        """
        return []

    def purpose(self, name: str, batch: int) -> tuple[str | int, ...]:
        """What draws of a name are for in a batch, numbered from 0: with the seed, all they are."""
        return ("attack", self.settings.kind, name, batch)

    def passes(self, classes: int, clean: float, robust: float) -> Passes:
        """What it costs for each image; estimates of hours follow it and no result does.

        Without an override: a hundred steps of PGD. The forward that says whether the image is
        classified correctly without attack is no part of it.

        Args:
            classes: of the data set.
            clean: the share of images that are classified correctly without attack, in [0, 1].
            robust: the share that is under PGD.
        """
        return Passes(forwards=1, gradients=100)
