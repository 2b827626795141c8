"""A cell: one (data set, architecture, method, threat model, seed), described in full.

Everything that can change a number is in the spec, and its digest names the cell's folder; nothing
else is. Reading specs needs no torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import (
    BeforeValidator,
    Field,
    SerializeAsAny,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from raat_core.catalogue import ARCHITECTURES, DATA_SETS, DataSetInfo
from raat_core.methods.base import (
    BUILT_IN_METHODS,
    MethodSettings,
    method_class,
    resolve_settings,
)
from raat_core.precision import FP32, Precision
from raat_core.validation import Frozen, PixelFraction, Ratio, format_fraction, of_kind, suggest

NUMERICS_VERSION = 1
"""Raised when training or attacking changes in a way that alters results; part of every digest."""

Norm: TypeAlias = Literal["linf", "l2"]
NORM_SYMBOLS: dict[str, str] = {"linf": "ℓ∞", "l2": "ℓ₂"}
_LARGEST_EPSILON = {"linf": Fraction(1), "l2": Fraction(5)}
_SMALLEST = Fraction(1, 10**6)
"""Of an epsilon or a step: far below it, adding it to a pixel changes nothing in float32."""
LARGEST_COUNT = 1_000_000
"""Of epochs, steps, images at a time: more is a mistake in writing."""


def _check_ball(norm: Norm, epsilon: Fraction) -> None:
    largest = _LARGEST_EPSILON[norm]
    if not _SMALLEST <= epsilon < largest:
        meant = f"; did you mean {epsilon}/255?" if 1 <= epsilon < 256 else ""
        raise ValueError(
            f"epsilon = {_short(epsilon)}: must be above 0 (at least 1e-6) and below {largest} for "
            f"{norm}, pixels are in [0, 1]{meant}"
        )


def _check_step(step_size: Fraction, epsilon: Fraction) -> None:
    if not _SMALLEST <= step_size <= 2 * epsilon:
        raise ValueError(
            f"step_size = {_short(step_size)}: must be above 0 (at least 1e-6) and at most "
            f"2 epsilon = {format_fraction(2 * epsilon)}"
        )


def _short(value: Fraction) -> str:
    """As `format_fraction`, of numbers that a message can hold."""
    return format_fraction(value) if 1e-9 < abs(value) < 1e9 else f"{float(value):g}"


class ThreatModel(Frozen):
    """The ball that a model is trained and attacked in, and the steps taken in it."""

    norm: Norm = Field(description="Norm of the ball.")
    epsilon: PixelFraction = Field(description="Radius of the ball.")
    step_size: PixelFraction = Field(description="Step size of training and of PGD attacks.")
    steps: int = Field(10, ge=1, le=LARGEST_COUNT, description="Steps of the training attack.")

    @model_validator(mode="after")
    def _check(self) -> ThreatModel:
        _check_ball(self.norm, self.epsilon)
        _check_step(self.step_size, self.epsilon)
        return self


class Augmentation(Frozen):
    """Random crop and horizontal flip, drawn for every image and view."""

    crop_padding: int = Field(
        4, ge=0, le=64, description="Pixels around the image before the crop."
    )
    padding: Literal["zero", "reflect"] = Field("zero", description="What stands there.")
    flip: bool = Field(True, description="Flip horizontally with probability one half.")


class Recipe(Frozen):
    """How a model is optimised (Appendix D.1)."""

    epochs: int = Field(110, ge=1, le=LARGEST_COUNT, description="Passes over the training set.")
    batch_size: int = Field(
        128, ge=1, le=LARGEST_COUNT, description="Samples per step; the last batch is kept."
    )
    learning_rate: float = Field(0.1, gt=0, description="SGD's first learning rate.")
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD's momentum.")
    weight_decay: float = Field(5e-4, ge=0, description="L2 penalty on all parameters.")
    decay_epochs: tuple[int, ...] = Field(
        (100, 105), description="Epochs after which the learning rate is multiplied."
    )
    decay_factor: Ratio = Field(
        0.1, description="By what it is multiplied: a number, or a fraction such as 2/3."
    )
    augmentation: Augmentation = Field(default_factory=Augmentation, description="Of the views.")
    attack_batchnorm: Literal["eval", "train"] = Field(
        "eval", description="BatchNorm's mode while the training attack runs."
    )

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        epochs = self.decay_epochs
        if list(epochs) != sorted(set(epochs)) or any(epoch < 1 for epoch in epochs):
            raise ValueError(f"decay_epochs = {list(epochs)}: must be positive and ascending")
        return self

    def learning_rate_at(self, epoch: int) -> float:
        """Learning rate of the epoch counted from 0."""
        decays = sum(epoch >= milestone for milestone in self.decay_epochs)
        return self.learning_rate * self.decay_factor**decays


class Selection(Frozen):
    """How the best checkpoint is chosen: by PGD accuracy after an epoch, the first of equals."""

    split: Literal["test", "validation"] = Field(
        "test",
        description="test, as in the paper, or a part of the training set that is held out.",
    )
    validation_fraction: float = Field(
        0.1, gt=0, lt=1, description="Part held out of every class for split: validation."
    )
    steps: int = Field(10, ge=1, le=LARGEST_COUNT, description="PGD steps, in the cell's ball.")
    every: int = Field(1, ge=1, description="Epochs between evaluations; the last always is one.")
    batch_size: int = Field(256, ge=1, le=LARGEST_COUNT, description="Images attacked at a time.")

    @model_validator(mode="before")
    @classmethod
    def _forget_what_does_not_matter(cls, data: Any) -> Any:
        """Without a held out part its size is no part of a cell's identity."""
        if isinstance(data, Mapping) and data.get("split", "test") == "test":
            return {key: value for key, value in data.items() if key != "validation_fraction"}
        return data


def _known(kind: str, catalogue: dict[str, Any]) -> BeforeValidator:
    def check(value: object) -> object:
        if not isinstance(value, str) or value not in catalogue:
            raise ValueError(f"unknown {kind}{suggest(value, catalogue)}")
        return value

    return BeforeValidator(check)


_DATA_SET_SCHEMA = {"anyOf": [{"enum": list(DATA_SETS)}, {"pattern": "^.+@[0-9a-f]{12}$"}]}
DataSetName: TypeAlias = Annotated[
    str, _known("data set", DATA_SETS), WithJsonSchema({"type": "string", **_DATA_SET_SCHEMA})
]
ArchitectureName: TypeAlias = Annotated[
    str, _known("architecture", ARCHITECTURES), WithJsonSchema({"enum": list(ARCHITECTURES)})
]


FOLDER_NAME = "^[A-Za-z][A-Za-z0-9_-]*$"


def check_folder_name(name: str) -> str:
    """A name for an image folder.

    Raises:
        ValueError: it is a data set of the catalogue, or has other characters.
    """
    built_in = [known for known in DATA_SETS if "@" not in known]
    if not re.fullmatch(FOLDER_NAME, name) or "\n" in name or name in built_in:
        raise ValueError(
            f"a name must be letters, digits, - and _, a letter first, and none of "
            f"{', '.join(built_in)}"
        )
    return name


class ImageFolder(Frozen):
    """What a data set of image files is: all that a model has to know of it, and its checksum.

    Where the files lie is no part of it. The same name with other images is another data set.
    """

    name: str = Field(pattern=FOLDER_NAME, description="Its name in the config.")
    image_size: int = Field(ge=4, le=1024, description="Height and width of the RGB images.")
    classes: int = Field(ge=2, description="Number of classes.")
    train_size: int = Field(ge=1, description="Training images.")
    test_size: int = Field(ge=1, description="Test images.")
    sha256: str = Field(
        pattern="^[0-9a-f]{64}$", description="Over pixels, labels and names of classes."
    )

    @property
    def key(self) -> str:
        """`<name>@<twelve digits of the checksum>`, by which cells and the catalogue know it."""
        return f"{self.name}@{self.sha256[:12]}"

    def register(self) -> str:
        """Add it to the catalogue of this process; returns its key."""
        DATA_SETS[self.key] = DataSetInfo(
            title=self.name,
            image_shape=(3, self.image_size, self.image_size),
            classes=self.classes,
            train_size=self.train_size,
            test_size=self.test_size,
            loader="raat_core.data.image_folder:load",
        )
        return self.key


class _MethodSchema:
    """JSON schema of a method: a built-in one's settings, or whatever a plugin's may be."""

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        alternatives = []
        for name in BUILT_IN_METHODS:
            schema = method_class(name).Settings.model_json_schema(by_alias=True)
            schema["properties"]["variant"] = {"enum": ["paper", "released"]}
            alternatives.append({**schema, "required": ["name"]})
        plugin = {
            "type": "object",
            "properties": {"name": {"type": "string", "not": {"enum": list(BUILT_IN_METHODS)}}},
            "required": ["name"],
        }
        return {"anyOf": [{"type": "string"}, *alternatives, plugin]}


MethodField: TypeAlias = Annotated[
    SerializeAsAny[MethodSettings], BeforeValidator(resolve_settings), _MethodSchema()
]


class Cell(Frozen):
    """The full description of one training; equal cells are trained once."""

    dataset: DataSetName = Field(description="Data set, by name.")
    image_folder: ImageFolder | None = Field(
        None, description="What `dataset` is, if it is an image folder: `<name>@<checksum>`."
    )
    architecture: ArchitectureName = Field(description="Architecture, by name.")
    method: MethodField = Field(
        description="Method and its settings; `variant: released` sets the departures' values."
    )
    threat_model: ThreatModel = Field(description="The ball and the training attack.")
    recipe: Recipe = Field(default_factory=Recipe, description="Optimisation.")
    selection: Selection = Field(default_factory=Selection, description="The best checkpoint.")
    precision: Precision = Field(
        FP32,
        description="Arithmetic of training: fp32, tf32, bf16, or one each for {attack, training}.",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of every random draw.")

    @model_validator(mode="before")
    @classmethod
    def _register_image_folder(cls, data: Any) -> Any:
        """Before its name is looked up in the catalogue."""
        if isinstance(data, Mapping) and data.get("image_folder") is not None:
            with contextlib.suppress(ValidationError):  # It is reported with its key.
                ImageFolder.model_validate(data["image_folder"]).register()
        return data

    @model_validator(mode="after")
    def _check_image_folder(self) -> Cell:
        if self.image_folder is None and "@" in self.dataset:
            raise ValueError("image_folder: is missing, which says what this data set is")
        if self.image_folder is not None and self.dataset != self.image_folder.key:
            raise ValueError(f"dataset = '{self.dataset}': must be '{self.image_folder.key}'")
        return self

    @model_validator(mode="after")
    def _check_padding(self) -> Cell:
        augmentation = self.recipe.augmentation
        smallest = min(DATA_SETS[self.dataset].image_shape[1:])
        if augmentation.padding == "reflect" and augmentation.crop_padding >= smallest:
            raise ValueError(
                f"recipe.augmentation.crop_padding = {augmentation.crop_padding}: with padding: "
                f"reflect it must be below {smallest}, the size of an image of {self.dataset}"
            )
        return self

    @model_validator(mode="after")
    def _check_held_out(self) -> Cell:
        """Of the catalogue's data sets, whose classes are about equally large."""
        selection, info = self.selection, DATA_SETS[self.dataset]
        per_class = math.ceil(info.train_size / info.classes)
        held_out = round(selection.validation_fraction * per_class)
        is_empty = held_out in (0, per_class)
        if selection.split == "validation" and self.image_folder is None and is_empty:
            raise ValueError(
                f"selection.validation_fraction = {selection.validation_fraction}: of the "
                f"{per_class} training images of a class of {self.dataset}, at least one must be "
                f"held out and one left"
            )
        return self

    @model_validator(mode="after")
    def _check_channels(self) -> Cell:
        taken = ARCHITECTURES[self.architecture].channels
        found = DATA_SETS[self.dataset].image_shape[0]
        if taken not in (None, found):
            raise ValueError(
                f"architecture = '{self.architecture}': takes images of {taken} channels; "
                f"those of {self.dataset} have {found}"
            )
        return self

    @model_validator(mode="after")
    def _check_method(self) -> Cell:
        self.method.check_recipe(self.recipe.epochs)
        return self

    def to_json(self) -> dict[str, Any]:
        """Plain data that `Cell` validates back to an equal cell."""
        without = {"image_folder"} if self.image_folder is None else None
        return self.model_dump(mode="json", by_alias=True, exclude=without)

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits over all that can change this cell's numbers."""
        identity = {
            "cell": self.to_json(),
            "method_version": method_class(self.method.name).version,
            "numerics_version": NUMERICS_VERSION,
        }
        return _digest(identity, 12)

    @cached_property
    def name(self) -> str:
        """A readable folder name, unique by its digest: letters, digits, `.`, `_`, `-`, `+`."""
        method = self.method.name
        if self.method.variant != "paper":
            method += f"-{self.method.variant}"
        changed = "".join(f"-{key}-{value}" for key, value in self.method.distinctive().items())
        if self.precision != FP32:
            changed += f"-{self.precision.in_names}"
        readable = f"{self.dataset}_{self.architecture}_{self.threat_model.norm}_{method}{changed}"
        readable = re.sub(r"[^A-Za-z0-9._+-]", "-", readable)[:100]
        return f"{readable}_s{self.seed}_{self.digest}"


def _digest(data: object, length: int) -> str:
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:length]


class _AttackBase(Frozen):
    numerics_version: ClassVar[int] = 1
    """Raised when the attack computes something else; part of its name where it is not 1."""

    samples: int | None = Field(
        None, ge=1, description="Test images attacked, evenly spaced; null: all of them."
    )
    batch_size: int = Field(
        256, ge=1, le=LARGEST_COUNT, description="Images at a time; random draws depend on it."
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of the attack's draws.")

    def to_json(self) -> dict[str, Any]:
        """Plain data that the attack's class validates back to an equal attack."""
        return self.model_dump(mode="json", by_alias=True)

    def images(self, test_size: int) -> int:
        """How many images of a test set are attacked."""
        return test_size if self.samples is None else self.samples

    def batches(self, test_size: int) -> int:
        """In how many batches they are attacked; the last one may be smaller."""
        return math.ceil(self.images(test_size) / self.batch_size)


class CleanEvaluation(_AttackBase):
    """No attack: the accuracy on clean images."""

    kind: Literal["clean"] = "clean"

    @property
    def label(self) -> str:
        return "clean"


class PgdEvaluation(_AttackBase):
    """Projected gradient descent; `margin` is the C&W attack in the ball."""

    kind: Literal["pgd"] = "pgd"
    objective: Literal["cross-entropy", "kl", "margin"] = Field(
        "cross-entropy", description="What is maximised."
    )
    norm: Norm = Field(description="Norm of the ball.")
    epsilon: PixelFraction = Field(description="Radius of the ball.")
    step_size: PixelFraction = Field(description="Step size.")
    steps: int = Field(ge=1, le=LARGEST_COUNT, description="Number of steps.")
    restarts: int = Field(
        1, ge=1, le=LARGEST_COUNT, description="Random starts; one success counts."
    )

    @model_validator(mode="after")
    def _check(self) -> PgdEvaluation:
        _check_ball(self.norm, self.epsilon)
        _check_step(self.step_size, self.epsilon)
        return self

    @property
    def label(self) -> str:
        stem = {"cross-entropy": "pgd", "kl": "kl-pgd", "margin": "cw"}[self.objective]
        return f"{stem}-{self.steps}"


class AutoAttackEvaluation(_AttackBase):
    """AutoAttack's standard version, by its authors' package, on every batch by itself."""

    numerics_version = 2  # 1 ran each of its attacks over all images before the next one.

    kind: Literal["autoattack"] = "autoattack"
    version: Literal["standard"] = Field("standard", description="AutoAttack's version.")
    norm: Norm = Field(description="Norm of the ball.")
    epsilon: PixelFraction = Field(description="Radius of the ball.")

    @model_validator(mode="after")
    def _check(self) -> AutoAttackEvaluation:
        _check_ball(self.norm, self.epsilon)
        return self

    @property
    def label(self) -> str:
        return "autoattack"


Evaluation: TypeAlias = Annotated[
    CleanEvaluation | PgdEvaluation | AutoAttackEvaluation,
    Field(discriminator="kind"),
    of_kind("clean", "pgd", "autoattack"),
]
Checkpoint: TypeAlias = Literal["best", "last"]
CHECKPOINTS: tuple[Checkpoint, ...] = ("best", "last")


def evaluation_name(evaluation: Evaluation, checkpoint: Checkpoint) -> str:
    """Name of an attack's record within a cell's folder: readable, unique by its digest."""
    identity: dict[str, Any] = {
        "attack": evaluation.to_json(),
        "numerics_version": NUMERICS_VERSION,
    }
    if evaluation.numerics_version != 1:
        identity["attack_version"] = evaluation.numerics_version
    return f"{checkpoint}_{evaluation.label}_{_digest(identity, 8)}"


class EvaluationList(Frozen):
    """Attacks to run on one checkpoint of one cell, in one process."""

    checkpoint: Checkpoint = "best"
    attacks: tuple[Evaluation, ...] = Field(min_length=1)

    def to_json(self) -> dict[str, Any]:
        """Plain data that `EvaluationList` validates back to an equal list."""
        return self.model_dump(mode="json", by_alias=True)

    @cached_property
    def name(self) -> str:
        """`best_<digest>`: the same attacks on the same checkpoint have the same name."""
        identity: list[Any] = [self.to_json(), NUMERICS_VERSION]
        versions = [attack.numerics_version for attack in self.attacks]
        if set(versions) != {1}:
            identity.append(versions)
        return f"{self.checkpoint}_{_digest(identity, 8)}"


FEWEST_CLASSES = 4
"""Of AutoAttack: its targeted difference-of-logits-ratio loss compares the four largest logits."""


def check_attack(attack: Evaluation, dataset: str) -> None:
    """Refuse an attack that a data set of the catalogue cannot be put to.

    Raises:
        ValueError: there are fewer test images than samples, or fewer classes than it needs.
    """
    info = DATA_SETS[dataset]
    if attack.images(info.test_size) > info.test_size:
        raise ValueError(
            f"samples = {attack.samples}: must be at most {info.test_size}, the test images of "
            f"{dataset}"
        )
    if isinstance(attack, AutoAttackEvaluation) and info.classes < FEWEST_CLASSES:
        raise ValueError(
            f"kind = 'autoattack': needs a data set of at least {FEWEST_CLASSES} classes; "
            f"{dataset} has {info.classes}"
        )


def standard_attacks(threat: ThreatModel) -> tuple[Evaluation, ...]:
    """The five columns of Table 1 in a threat model's ball, on the whole test set.

    The paper does not give the steps of C&W; 30 are usual (MART's evaluation).
    """
    ball: dict[str, Any] = {"norm": threat.norm, "epsilon": threat.epsilon}
    step_size = threat.step_size
    return (
        CleanEvaluation(),
        PgdEvaluation(**ball, step_size=step_size, steps=10),
        PgdEvaluation(**ball, step_size=step_size, steps=100),
        PgdEvaluation(**ball, step_size=step_size, steps=30, objective="margin"),
        AutoAttackEvaluation(**ball),
    )


def attacks_on(
    cell: Cell, checkpoint: Checkpoint, attacks: Sequence[Evaluation] | None = None
) -> EvaluationList:
    """The attacks to run on a checkpoint of a cell; if none are given, `standard_attacks`."""
    chosen = standard_attacks(cell.threat_model) if attacks is None else tuple(attacks)
    return EvaluationList(checkpoint=checkpoint, attacks=chosen)
