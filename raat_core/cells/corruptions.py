"""Settings of common corruptions (Hendrycks & Dietterich, ICLR 2019)."""

from __future__ import annotations

import importlib.util
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import Field, field_validator

from raat_core.interface.attack import AttackSettings
from raat_core.interface.operations import ImageShape
from raat_core.validation import OneLine

Corruption: TypeAlias = Literal[
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
]
FIFTEEN: tuple[Corruption, ...] = get_args(Corruption)
SEVERITIES = 5
COMPUTED = "computed"
PACKAGE, MODULE = "imagecorruptions-imaug", "imagecorruptions"
"""What computes them: its name at PyPI, and what is imported."""
SMALLEST_SIDE = 32
"""Pixels of the images that the package takes."""


class CorruptionsEvaluation(AttackSettings):
    """Corrupted images; the accuracy is the mean over corruptions and severities.

    No attack: an image that is right when corrupted counts as right, whatever it is without.
    """

    kind: Literal["corruptions"] = "corruptions"
    source: OneLine = Field(
        description="Where they are from: `computed`, or a folder below the data folder with an "
        "archive's .npy files, such as CIFAR-10-C."
    )
    names: tuple[Corruption, ...] = Field(
        FIFTEEN, min_length=1, description="Which; without, the fifteen of CIFAR-10-C."
    )
    severities: tuple[Annotated[int, Field(ge=1, le=SEVERITIES)], ...] = Field(
        tuple(range(1, SEVERITIES + 1)), min_length=1, description="How strong, from 1 to 5."
    )

    @field_validator("names", "severities")
    @classmethod
    def _check_repeats(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        if len(set(values)) < len(values):
            raise ValueError("must name each but once")
        return values

    @field_validator("source")
    @classmethod
    def _check_source(cls, source: str) -> str:
        if not source or source.startswith(("/", "~")) or ".." in source.split("/"):
            raise ValueError("must be `computed` or a folder below the data folder, without ..")
        return source

    @property
    def is_computed(self) -> bool:
        """Whether there is no archive."""
        return self.source == COMPUTED

    @property
    def accuracy_is(self) -> str:
        """See `AttackSettings.accuracy_is`."""
        return self.describe()

    def describe(self) -> str:
        """See `AttackSettings.describe`."""
        which = ", ".join(self.names) if len(self.names) < 4 else f"{len(self.names)} corruptions"
        severities = ", ".join(map(str, self.severities))
        origin = f"computed by {PACKAGE}" if self.is_computed else f"of {self.source}"
        return f"mean over {which} at severity {severities}, {origin}"

    def check(self, classes: int, image_shape: ImageShape) -> None:
        """See `AttackSettings.check`; whether an archive is there is for `Attack.files` to say."""
        if not self.is_computed:
            return
        channels, height, width = image_shape
        if channels != 3 or min(height, width) < SMALLEST_SIDE:
            raise ValueError(
                f"source = '{COMPUTED}': takes RGB images of at least {SMALLEST_SIDE}x"
                f"{SMALLEST_SIDE} pixels, not {channels}x{height}x{width}"
            )
        if importlib.util.find_spec(MODULE) is None:
            raise ValueError(
                f"source = '{COMPUTED}': needs the package {PACKAGE}, which is not installed here: "
                f"pip install {PACKAGE}"
            )
