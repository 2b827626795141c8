"""Constraint relaxation, FastAT Benchmark's proxy of AutoAttack (arXiv 2604.22853), in linf.

As the authors' code has it (fzjcdt/FastAT_Benchmark, attacks/attacks/cr_attack.py). One thing
differs: there, a round ends for all classes once no image is left for one of them; here every class
has its turn, and noise is drawn for the whole batch, so that an image's outcome does not depend on
the others'.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raat_core.interface.attack import DrawsByName, Work
from raat_core.interface.losses import cross_entropy, margin

SMALLEST_SCALE = 0.05
"""By how much of epsilon the ball is still relaxed in late cycles."""
NEAR = 0.05
"""A margin that makes an image worth another round."""


@dataclass(frozen=True)
class Found:
    """What became of a batch."""

    images: Tensor
    """(B, C, H, W) in the ball; of images that stand, where PGD left them."""
    classes: Tensor
    """(B,) int64 predicted there."""
    work: dict[str, Work]
    """Of PGD and of the relaxed attacks."""


@dataclass(frozen=True)
class ConstraintRelaxation:
    """Short PGD, then targeted attacks whose ball is widened, restored and left in cycles.

    Of each cycle, the first third of the steps is in a ball of radius (1 + scale) epsilon, the
    others in the ball itself; two thirds through, the perturbation is cut to (1 - scale) epsilon
    and noise of scale epsilon is added. Steps are scale epsilon long, and scale halves with every
    cycle, from 1/2 to 0.05. Images that a cycle leaves with a margin above scale are given up.
    """

    epsilon: float
    iterations: int = 150
    cycle: int = 30
    targets: int = 3
    rounds: int = 5

    def run(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        draws: DrawsByName,
        check_stop: Callable[[], None] = lambda: None,
    ) -> Found:
        """Attack a batch.

        Args:
            model: in evaluation mode, logits of images in [0, 1].
            images: (B, C, H, W) in [0, 1].
            labels: (B,) int64.
            draws: random draws by name.
            check_stop: called before every step; may raise to stop.
        """
        started = time.monotonic()
        search = _Search(self, model, images, labels, draws, check_stop)
        search.descend()
        middle = time.monotonic()
        first = search.work(middle - started)
        search.relax()
        both = search.work(time.monotonic() - started)
        rest = Work(
            both.seconds - first.seconds,
            both.forwards - first.forwards,
            both.gradients - first.gradients,
        )
        return Found(search.adversarial, search.classes, {"pgd": first, "relaxed": rest})

    def scale(self, iteration: int) -> float:
        """Of the cycle that an iteration is in."""
        return float(max(0.5 ** (iteration // self.cycle + 1), SMALLEST_SCALE))


class _Search:
    """One batch under attack; an image is attacked until it is broken, in place."""

    def __init__(
        self,
        attack: ConstraintRelaxation,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        draws: DrawsByName,
        check_stop: Callable[[], None],
    ) -> None:
        self.attack, self.model, self.images, self.labels = attack, model, images, labels
        self.draws, self.check_stop = draws, check_stop
        self.epsilon = attack.epsilon
        self.adversarial = self._in_ball(images + self._noise("pgd"), images)
        self.standing = torch.ones_like(labels, dtype=torch.bool)
        """(B,) which are not broken yet."""
        self.forwards = self.gradients = 0

    def work(self, seconds: float) -> Work:
        """Since the beginning."""
        return Work(seconds, self.forwards, self.gradients)

    def descend(self) -> None:
        """A few steps of PGD; leaves where images are, and which classes are likeliest there."""
        logits = self._logits(self.adversarial)
        active = (~(margin(logits, self.labels) >= 0)).nonzero().flatten()
        for number in range(self.attack.cycle // 3):
            current, labels = self.adversarial[active], self.labels[active]
            logits, gradient = self._ascent(current, labels)
            # As in the authors' code, where one step alone is shorter.
            length = 0.25 if number == self.attack.cycle // 6 else 0.5
            moved = current + length * self.epsilon * gradient.sign()
            stands = ~(margin(logits, labels) > 0)
            active = active[stands]
            self.adversarial[active] = self._in_ball(moved[stands], self.images[active])
        logits = self._logits(self.adversarial)
        self.classes = logits.argmax(1)
        self.standing = ~(margin(logits, self.labels) > 0)
        others = logits.scatter(1, self.labels[:, None], -torch.inf)
        self.likeliest = others.argsort(dim=1, descending=True)[:, : logits.shape[1] - 1]

    def relax(self) -> None:
        """All rounds; from the second on, of images that came near the class in the one before."""
        targets = range(min(self.attack.targets, self.likeliest.shape[1]))
        near = [torch.ones_like(self.standing) for _ in targets]
        for number in range(self.attack.rounds):
            near = [
                self._towards(self.likeliest[:, target], near[target], f"{number}/{target}")
                for target in targets
            ]

    def _towards(self, targets: Tensor, chosen: Tensor, name: str) -> Tensor:
        """Attack towards a class each (B,), where images are chosen; returns which came near."""
        attack, third = self.attack, self.attack.cycle // 3
        near = torch.zeros_like(chosen)
        active = (chosen & self.standing).nonzero().flatten()
        if not len(active):
            return near
        current = (self.images + self._noise(f"start {name}")).clamp(0, 1)[active]
        for number in range(attack.iterations):
            place, scale, clean = number % attack.cycle, attack.scale(number), self.images[active]
            if place == 2 * third:
                noise = scale * self._noise(f"noise {name}/{number}")[active]
                current = (self._in_ball(current, clean, 1 - scale) + noise).clamp(0, 1)
            goal, labels = targets[active], self.labels[active]
            logits, gradient = self._ascent(current, labels, goal)
            moved = current + scale * self.epsilon * gradient.sign()
            moved = self._in_ball(moved, clean, 1 + scale if place < third else 1.0)
            if place > third:
                lead = _at(logits, labels) - _at(logits, goal)
                stays = ~(lead < 0)
                self._break(active[~stays], current[~stays], logits[~stays])
                # What is far from the class after two thirds of a cycle is given up.
                if place == 2 * third - 1:
                    stays = stays & (lead <= scale)
            else:
                inside = self._in_ball(moved, clean)
                logits = self._logits(inside)
                lead = -margin(logits, labels)
                stays = ~(lead < 0)
                self._break(active[~stays], inside[~stays], logits[~stays])
            near[active[lead < NEAR]] = True
            active, current = active[stays], moved[stays]
            if not len(active):
                break
        return near

    def _break(self, which: Tensor, images: Tensor, logits: Tensor) -> None:
        self.adversarial[which] = images
        self.classes[which] = logits.argmax(1)
        self.standing[which] = False

    def _logits(self, images: Tensor) -> Tensor:
        self.check_stop()
        self.forwards += len(images)
        with torch.no_grad():
            logits: Tensor = self.model(images)
        return logits

    def _ascent(
        self, images: Tensor, labels: Tensor, goal: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits (B, K), and the gradient (B, C, H, W) of what leads away from the labels.

        The cross-entropy, or with a class each to go to, its logit less the label's.
        """
        self.check_stop()
        self.forwards += len(images)
        self.gradients += len(images)
        images = images.detach().requires_grad_()
        with torch.enable_grad():
            logits = self.model(images)
            if goal is None:
                values = cross_entropy(logits, labels)
            else:
                values = _at(logits, goal) - _at(logits, labels)
            (gradient,) = torch.autograd.grad(values.sum(), images)
        return logits.detach(), gradient

    def _noise(self, name: str) -> Tensor:
        """Uniform in the ball, for the whole batch, so that images do not depend on each other."""
        return self.draws(name).uniform(*self.images.shape, low=-self.epsilon, high=self.epsilon)

    def _in_ball(self, moved: Tensor, clean: Tensor, part: float = 1.0) -> Tensor:
        """The nearest images at most `part` of epsilon from clean ones, and in [0, 1]."""
        radius = part * self.epsilon
        return (clean + (moved - clean).clamp(-radius, radius)).clamp(0, 1)


def _at(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None]).squeeze(1)
