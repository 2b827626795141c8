"""What a method may ask of a training step: the batch, the model, the attack, the random draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from raat_core.interface.draws import Draws
from raat_core.interface.l2 import PLAIN_L2, L2Details

if TYPE_CHECKING:
    from torch import Tensor, nn


Start: TypeAlias = Literal["uniform", "gaussian", "clean"]
"""uniform in the epsilon-ball, 0.001 N(0, 1) as in TRADES' code, or the images themselves."""
AttackObjective: TypeAlias = Literal["cross-entropy", "kl", "margin"]
BatchNormMode: TypeAlias = Literal["eval", "train"]
LogitsMode: TypeAlias = BatchNormMode | Literal["batch"]
"""batch: by the batch's own statistics, as in train mode, but the running ones stay as they are."""


@dataclass(frozen=True)
class Iterate:
    """Where an attack stands before one of its steps."""

    number: int
    """0 is the start; what comes out of the last step is none."""
    images: Tensor
    """(N, C, H, W)."""
    logits: Tensor
    """(N, K), without gradients."""


OnIterate: TypeAlias = Callable[[Iterate], "Tensor | None"]
"""Is shown every iterate; returns None, or (N,) bool: the samples that stay where they are now."""


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
    def overall(self) -> int:
        """The step within the whole training, counted from 0; below `CellFacts.steps`."""
        ...

    @property
    def learning_rate(self) -> float:
        """Of this step."""
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
        """(B,) int64 positions in the training set, for methods that remember samples.

        Those of extra data follow: they are from `CellFacts.train_size` on.
        """
        ...

    @property
    def extra(self) -> Tensor:
        """(B,) bool: which samples are of the recipe's extra data; they stand last in the batch."""
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
        objective: AttackObjective | Callable[[Tensor], Tensor] = "cross-entropy",
        start: Start | Tensor = "uniform",
        radius: float | Tensor = 1.0,
        steps: int | None = None,
        step_size: float | None = None,
        in_ball: bool = True,
        l2: L2Details = PLAIN_L2,
        on_iterate: OnIterate | None = None,
        model: nn.Module | None = None,
        name: str = "attack",
    ) -> Tensor:
        """Adversarial images (N, C, H, W) in the cell's epsilon-ball and in [0, 1], detached.

        Args:
            images: (N, C, H, W) in [0, 1].
            labels: (N,) int64, or probabilities (N, K) for cross-entropy.
            objective: what is maximised: a name, or a function of logits (N, K) that returns a
                value per sample, (N,).
            start: a name, or the images (N, C, H, W) to start from, which are projected first.
            radius: scales the epsilon-ball and the steps; a number, or (N,) for each sample.
            steps: how many; without, the threat model's.
            step_size: in pixels, for radius 1; without, the threat model's.
            in_ball: project into the epsilon-ball; without, steps are clipped to [0, 1] alone.
            l2: how it starts and steps in an l2 ball; `L2Settings.l2` for settings that say so.
            on_iterate: is shown every iterate, and may stop samples.
            model: another model than the trained one; it is attacked in evaluation mode.
            name: of the random draws. Two attacks in one step need two names, or they start from
                the same noise.

        Raises:
            UserError: an unknown name, or a function that returns something else.
        """
        ...

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N,): the supervised loss of each sample, under the recipe's label smoothing.

        Args:
            logits: (N, K).
            labels: (N,) int64, or probabilities (N, K).
        """
        ...

    def draws(self, name: str) -> Draws:
        """Random draws: a function of the cell's seed, the epoch, the step and `name`."""
        ...


def forward_twice(step: Step, images: Tensor, repeat: bool) -> tuple[Tensor, Callable[[], Tensor]]:
    """Logits (N, K) of a training forward, and a function for where they are asked for again.

    That function forwards once more if `repeat`, as released code does, or gives the same logits.
    """
    if repeat:
        return step.forward_repeatably(images)
    logits = step.forward(images)
    return logits, lambda: logits
