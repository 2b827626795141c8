"""Settings of the paper's two ideas, and where the released code departs from them."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field, field_validator

from raat_core.interface import BatchNormMode, departure
from raat_core.interface.l2 import L2Settings
from raat_core.interface.losses import Numerics

ReducedFor: TypeAlias = Literal["table-4", "boundary", "released"]


class RobustAlignmentSettings(L2Settings):
    """Settings of the paper's two ideas, shared by RAAT, RAAT++ and RAAT#."""

    lam: float = Field(1.0, alias="lambda", ge=0, description="Weight of the regularisers.")
    eta: float = Field(
        0.1, gt=0, lt=1, description="Radius of the reduced ball, as a fraction of epsilon."
    )
    gamma: float = Field(
        0.75, gt=0, description="beta, the weight of the interpolation, is of Beta(gamma, gamma)."
    )
    reduce_boundary: bool = Field(
        True, description="Train boundary samples at the reduced perturbation (BOUND)."
    )
    dicar: bool = Field(True, description="Add the interpolation consistency term (DICAR).")
    reduced_sample: Literal["attack", "scaled"] = departure(
        "attack", "scaled", "x'': an attack of its own in the reduced ball, or x + eta (x' - x)."
    )
    reduced_for: ReducedFor = departure(
        "boundary",
        "released",
        "Which samples are trained at x'': boundary, right when clean and wrong at x'' (Eq. 9); "
        "released, those among them that are wrong at x' as well; table-4, all that are wrong at "
        "x'', misclassified ones too.",
    )
    dicar_target: Literal["probabilities", "logits"] = departure(
        "probabilities", "logits", "What is interpolated on DICAR's right side."
    )
    temperature: float = departure(
        1.0, 0.5, "Both sides of the JS term are softmax(logits / temperature).", gt=0
    )
    fold_beta: bool = departure(False, True, "Use max(beta, 1 - beta) for beta.")
    beta_per: Literal["sample", "batch"] = departure(
        "sample", "batch", "One draw of beta for every sample, or one for the whole batch."
    )
    dicar_keeps: Literal["natural", "both-views"] = departure(
        "natural",
        "both-views",
        "DICAR counts a sample if it is classified correctly without augmentation, or if both "
        "of its augmentations are.",
    )
    dicar_mean: Literal["all", "kept"] = departure(
        "all",
        "kept",
        "Mean of the JS term over the batch, or over the kept samples, which then are the only "
        "interpolations that are forwarded.",
    )
    numerics: Numerics = departure(
        "exact", "released", "Exact logarithms, or the released code's small constants in them."
    )

    @field_validator("reduced_for", mode="before")
    @classmethod
    def _refuse_old_name(cls, value: object) -> object:
        if value == "wrong":
            raise ValueError(
                "is now called 'table-4'; allowed: table-4, boundary (the paper's text, the "
                "default), released (what 'boundary' was)"
            )
        return value


class OnlinePartitionSettings(RobustAlignmentSettings):
    """Settings of RAAT and RAAT++, where the trained model itself decides about samples."""

    partition_mode: BatchNormMode = Field(
        "eval", description="BatchNorm's mode in the forwards that decide about samples."
    )
