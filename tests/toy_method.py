"""A method that is not part of the package: label smoothing towards a running mean of outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from raat_core.interface import CellFacts, Method, MethodSettings, Step, register
from raat_core.interface.losses import cross_entropy

if TYPE_CHECKING:
    from torch import Tensor, nn


class ToySettings(MethodSettings):
    """Settings of the toy method."""

    name: Literal["toy"] = "toy"
    smoothing: float = Field(0.1, ge=0, lt=1, description="Weight of the running mean.")


@register
class Toy(Method):
    """CE(p(x'), y) - smoothing * mean_k(q_k log p_k(x')), q a running mean of p(x')."""

    Settings = ToySettings
    settings: ToySettings

    def __init__(self, settings: MethodSettings, cell: CellFacts) -> None:
        super().__init__(settings, cell)
        self.mean: Tensor | None = None

    def loss(self, step: Step) -> dict[str, Tensor]:
        (images,) = step.views
        log_p = step.forward(step.attack(images, step.labels)).log_softmax(1)
        terms = {"supervised": cross_entropy(log_p, step.labels).mean()}
        batch_mean = log_p.detach().exp().mean(0)
        self.mean = batch_mean if self.mean is None else 0.9 * self.mean + 0.1 * batch_mean
        terms["smoothing"] = -self.settings.smoothing * (log_p * self.mean).mean()
        return terms

    def after_epoch(self, epoch: int, model: nn.Module) -> None:
        if self.mean is not None:
            self.mean = self.mean.square() / self.mean.square().sum()

    def state(self) -> dict[str, Tensor]:
        return {} if self.mean is None else {"mean": self.mean}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.mean = state.get("mean")
