"""The optimiser of a recipe, with torch.optim's semantics."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from raat_core.validation import KIND_IN_A_WORD, Frozen, of_kind

Share: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


class Sgd(Frozen):
    """`torch.optim.SGD`; momentum and weight decay are the recipe's."""

    kind: Literal["sgd"] = "sgd"
    nesterov: bool = Field(False, description="Nesterov's momentum.")


class AdamW(Frozen):
    """`torch.optim.AdamW`; the weight decay, which is decoupled, is the recipe's."""

    kind: Literal["adamw"] = "adamw"
    betas: tuple[Share, Share] = Field(
        (0.9, 0.999), description="What the means of gradients and of their squares keep."
    )
    eps: float = Field(1e-8, gt=0, description="Added to the root of the mean square.")


Optimiser: TypeAlias = Annotated[
    Sgd | AdamW, Field(discriminator="kind"), of_kind("sgd", "adamw"), KIND_IN_A_WORD
]
"""Written as one word where the settings are the usual ones: `optimiser: adamw`."""
