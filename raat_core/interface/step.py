"""What a method may ask of a training step: the batch, the model, the attack, the random draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor, nn


Start: TypeAlias = Literal["uniform", "gaussian"]
AttackObjective: TypeAlias = Literal["cross-entropy", "kl", "margin"]
BatchNormMode: TypeAlias = Literal["eval", "train"]
LogitsMode: TypeAlias = BatchNormMode | Literal["batch"]
"""batch: by the batch's own statistics, as in train mode, but the running ones stay as they are."""


class Step(Protocol):
    """One batch and what may be done with it: all that a method's objective gets to see.

    Images are float tensors (B, C, H, W) in [0, 1]; random draws depend on the cell's seed, the
    epoch, the step and a name alone, so that a resumed run repeats them.
    """

    @property
    def model(self) -> nn.Module:
        """The model, for methods that average, perturb or copy weights.

        Its parameters and buffers may be changed at any time, its modules not be exchanged.
        """
        ...

    @property
    def epoch(self) -> int:
        """The epoch, counted from 0."""
        ...

    @property
    def number(self) -> int:
        """The step within the epoch, counted from 0."""
        ...

    @property
    def views(self) -> tuple[Tensor, ...]:
        """`Method.views` independent augmentations of the batch, each (B, C, H, W)."""
        ...

    @property
    def natural(self) -> Tensor:
        """The same images without augmentation, (B, C, H, W)."""
        ...

    @property
    def labels(self) -> Tensor:
        """(B,) int64."""
        ...

    @property
    def indices(self) -> Tensor:
        """(B,) int64 positions in the training set, for methods that remember samples."""
        ...

    @property
    def attack_batchnorm(self) -> BatchNormMode:
        """BatchNorm's mode while `attack` runs; in train mode its statistics see every step."""
        ...

    def stacked_views(self) -> tuple[Tensor, Tensor]:
        """All views below one another and their labels: (V*B, C, H, W) and (V*B,)."""
        ...

    def forward(self, images: Tensor, batchnorm: BatchNormMode = "train") -> Tensor:
        """Logits (N, K) with gradients; in train mode BatchNorm's statistics see `images`."""
        ...

    def forward_repeatably(self, images: Tensor) -> tuple[Tensor, Callable[[], Tensor]]:
        """`forward(images)`, and a function that returns what it would give once more.

        For objectives whose released code forwards a batch twice in a step: with the same weights
        the logits are the same, and only BatchNorm's statistics move again, as of the moment of
        that second call. In between weights must not be changed, nor tensors be exchanged.
        """
        ...

    def logits(
        self, images: Tensor, batchnorm: LogitsMode = "eval", model: nn.Module | None = None
    ) -> Tensor:
        """Logits (N, K) without gradients, of the trained model or of another one.

        In train mode BatchNorm's statistics see `images`; else nothing of the model changes.
        """
        ...

    def attack(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        objective: AttackObjective = "cross-entropy",
        start: Start = "uniform",
        radius: float = 1.0,
        name: str = "attack",
    ) -> Tensor:
        """Adversarial images (N, C, H, W) in the cell's ball, detached.

        `radius` scales the ball and the step size. Two attacks in one step need two names, or
        they start from the same noise.
        """
        ...

    def beta(self, concentration: float, size: int, *, name: str = "beta") -> Tensor:
        """`size` draws of Beta(concentration, concentration), shape (size,)."""
        ...


def forward_twice(step: Step, images: Tensor, repeat: bool) -> tuple[Tensor, Callable[[], Tensor]]:
    """Logits (N, K) of a training forward, and a function for where they are asked for again.

    That function forwards once more if `repeat`, as released code does, or gives the same logits.
    """
    if repeat:
        return step.forward_repeatably(images)
    logits = step.forward(images)
    return logits, lambda: logits
