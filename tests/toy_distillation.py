"""A method that is not part of the package: it learns what a trained cell's model says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from raat_core.interface import Method, MethodSettings, NeededCell, Step, register

if TYPE_CHECKING:
    from torch import Tensor, nn


class DistillationSettings(MethodSettings):
    """Settings of the distillation."""

    name: Literal["distillation"] = "distillation"
    teacher: NeededCell = Field(description="Whose outputs on natural images are learnt.")
    begin: NeededCell | None = Field(None, description="Whose weights the training starts from.")


@register
class Distillation(Method):
    """CE(p(x'), q(x)), q the teacher's probabilities."""

    Settings = DistillationSettings
    settings: DistillationSettings

    def start(self, model: nn.Module) -> None:
        if self.settings.begin is not None:
            model.load_state_dict(self.needed["begin"].state_dict())

    def loss(self, step: Step) -> dict[str, Tensor]:
        (images,) = step.views
        wanted = step.logits(images, model=self.needed["teacher"]).softmax(1)
        log_p = step.forward(step.attack(images, step.labels)).log_softmax(1)
        return {"distillation": -(wanted * log_p).sum(1).mean()}
