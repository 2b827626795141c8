"""Adversarial training as a textbook has it: what this project's speed is measured against.

Plain PyTorch: images in NCHW, one forward after another, `loss.backward()` through the whole model
in the attack where the methods' own releases do so, index lists for subsets of a batch, torch's
optimiser, torchvision's transforms on PIL images in a DataLoader. The objectives are those of the
released code (`variant: released`), so that both sides do the same work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

EPSILON, STEP_SIZE, STEPS = 8 / 255, 2 / 255, 10
WHOLE = True
"""Whether attacks call `backward()` where the methods' own releases do, as advertorch does."""


class Block(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class PreActBlock(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.shortcut = None
        if stride != 1 or inputs != width:
            self.shortcut = nn.Conv2d(inputs, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(out)
        summed: Tensor = self.conv2(functional.relu(self.bn2(self.conv1(out)))) + shortcut
        return summed


class Network(nn.Module):
    """A residual network for 32x32 images."""

    def __init__(self, pre: bool, stem: int, widths: list[int], blocks: int, classes: int) -> None:
        super().__init__()
        self.pre = pre
        self.conv1 = nn.Conv2d(3, stem, 3, 1, 1, bias=False)
        layers: list[nn.Module] = []
        inputs = stem
        for stage, width in enumerate(widths):
            for index in range(blocks):
                stride = 2 if stage > 0 and index == 0 else 1
                layers.append((PreActBlock if pre else Block)(inputs, width, stride))
                inputs = width
        self.layers = nn.Sequential(*layers)
        self.bn = nn.BatchNorm2d(inputs if pre else stem)
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        if self.pre:
            out = functional.relu(self.bn(self.layers(self.conv1(x))))
        else:
            out = self.layers(functional.relu(self.bn(self.conv1(x))))
        logits: Tensor = self.linear(functional.avg_pool2d(out, out.shape[-1]).flatten(1))
        return logits


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet-18": lambda: Network(False, 64, [64, 128, 256, 512], 2, 10),
    "preact-resnet-18": lambda: Network(True, 64, [64, 128, 256, 512], 2, 10),
    "wrn-28-10": lambda: Network(True, 16, [160, 320, 640], 4, 10),
}


class Images(Dataset[tuple[object, ...]]):
    """PIL images, augmented anew for each view."""

    def __init__(self, pixels: np.ndarray, labels: list[int], views: int) -> None:
        self.pixels, self.labels, self.views = pixels, labels, views
        self.to_image = transforms.ToPILImage()
        self.augment = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[object, ...]:
        image = self.to_image(self.pixels[index])
        return *(self.augment(image) for _ in range(self.views)), self.labels[index]


def batches(dataset: Images, batch_size: int, workers: int) -> Iterator[list[Tensor]]:
    """Shuffled batches without end."""
    loader = DataLoader(
        dataset, batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    while True:
        yield from loader


def attack(
    model: nn.Module, x: Tensor, loss_of: Callable[[Tensor], Tensor], start: Tensor, whole: bool
) -> Tensor:
    """PGD in the l-infinity ball. `whole`: by `backward()`, gradients of all parameters too."""
    model.eval()
    x_adv = start.detach()
    for _ in range(STEPS):
        x_adv = x_adv.detach().requires_grad_()
        loss = loss_of(model(x_adv))
        if whole:
            model.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            gradient = x_adv.grad
        else:
            (gradient,) = torch.autograd.grad(loss, [x_adv])
        assert gradient is not None
        x_adv = x_adv.detach() + STEP_SIZE * gradient.sign()
        x_adv = torch.min(torch.max(x_adv, x - EPSILON), x + EPSILON).clamp(0, 1)
    model.train()
    return x_adv.detach()


def uniform_start(x: Tensor) -> Tensor:
    return (x + torch.empty_like(x).uniform_(-EPSILON, EPSILON)).clamp(0, 1)


def gaussian_start(x: Tensor) -> Tensor:
    return x + 0.001 * torch.randn_like(x)


def cross_entropy_attack(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return attack(
        model, x, lambda z: functional.cross_entropy(z, y, reduction="sum"),
        uniform_start(x), WHOLE,
    )  # fmt: skip


def mart_attack(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return attack(
        model, x, lambda z: functional.cross_entropy(z, y, reduction="sum"),
        gaussian_start(x), False,
    )  # fmt: skip


def pgd_at(model: nn.Module, views: list[Tensor], y: Tensor) -> Tensor:
    return functional.cross_entropy(model(cross_entropy_attack(model, views[0], y)), y)


def trades(model: nn.Module, views: list[Tensor], y: Tensor) -> Tensor:
    x = views[0]
    model.eval()
    with torch.no_grad():
        natural = functional.softmax(model(x), 1)

    def divergence(z: Tensor) -> Tensor:
        return functional.kl_div(functional.log_softmax(z, 1), natural, reduction="sum")

    x_adv = attack(model, x, divergence, gaussian_start(x), False)
    clean_loss = functional.cross_entropy(model(x), y)
    adversarial = functional.log_softmax(model(x_adv), 1)
    return clean_loss + 6 * functional.kl_div(
        adversarial, functional.softmax(model(x), 1), reduction="batchmean"
    )


def boosted(z: Tensor, y: Tensor) -> Tensor:
    p = functional.softmax(z, 1)
    top = p.argsort(1)[:, -2:]
    other = torch.where(top[:, -1] == y, top[:, -2], top[:, -1])
    return functional.cross_entropy(z, y) + functional.nll_loss(
        torch.log(1.0001 - p + 1e-12), other
    )


def weighted(z: Tensor, z_adv: Tensor, y: Tensor) -> Tensor:
    p, p_adv = functional.softmax(z, 1), functional.softmax(z_adv, 1)
    true = p.gather(1, y[:, None]).squeeze(1)
    kl = functional.kl_div(torch.log(p_adv + 1e-12), p, reduction="none").sum(1)
    return (kl * (1.0000001 - true)).mean()


def mart(model: nn.Module, views: list[Tensor], y: Tensor) -> Tensor:
    x = views[0]
    x_adv = mart_attack(model, x, y)
    z, z_adv = model(x), model(x_adv)
    return boosted(z_adv, y) + 6 * weighted(z, z_adv, y)


def jensen_shannon(first: Tensor, second: Tensor, temperature: float = 0.5) -> Tensor:
    p = functional.softmax(first / temperature, 1)
    q = functional.softmax(second / temperature, 1)
    log_m = torch.clamp((p + q) / 2, 1e-8, 1).log()
    return 0.5 * (
        functional.kl_div(log_m, p, reduction="batchmean")
        + functional.kl_div(log_m, q, reduction="batchmean")
    )


def cons_at(model: nn.Module, views: list[Tensor], y: Tensor) -> Tensor:
    x, y = torch.cat(views), y.repeat(2)
    z = model(cross_entropy_attack(model, x, y))
    first, second = z.chunk(2)
    return functional.cross_entropy(z, y) + jensen_shannon(first, second)


def predictions(model: nn.Module, x: Tensor) -> np.ndarray:
    model.eval()
    with torch.no_grad():
        found: np.ndarray = model(x).argmax(1).cpu().numpy()
    model.train()
    return found


def divide(
    model: nn.Module, x: Tensor, x_adv: Tensor, x_reduced: Tensor, y: Tensor
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of boundary samples and of the others; which are right without attack."""
    truth = y.cpu().numpy()
    clean, adversarial = predictions(model, x), predictions(model, x_adv)
    reduced = predictions(model, x_reduced)
    boundary = (clean == truth) & (adversarial != truth) & (reduced != truth)
    return np.flatnonzero(boundary), np.flatnonzero(~boundary), clean == truth


def consistency(
    model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, correct: np.ndarray
) -> Tensor:
    """DICAR on the samples of which both views are classified correctly."""
    half = len(x) // 2
    kept = np.flatnonzero(correct[:half] & correct[half:])
    if len(kept) == 0:
        return x.new_zeros(())
    weight = np.random.beta(0.75, 0.75)
    weight = max(weight, 1 - weight)
    first, second = x_adv.chunk(2)
    mixed = model(weight * first[kept] + (1 - weight) * second[kept])
    clean_first, clean_second = model(x).chunk(2)
    return jensen_shannon(mixed, weight * clean_first[kept] + (1 - weight) * clean_second[kept])


def raat(model: nn.Module, views: list[Tensor], y: Tensor) -> Tensor:
    x, y = torch.cat(views), y.repeat(2)
    x_adv = cross_entropy_attack(model, x, y)
    x_reduced = x + 0.1 * (x_adv - x)
    boundary, rest, correct = divide(model, x, x_adv, x_reduced, y)
    images = torch.cat([x_adv[rest], x_reduced[boundary]])
    loss = functional.cross_entropy(model(images), torch.cat([y[rest], y[boundary]]))
    return loss + consistency(model, x, x_adv, y, correct)


def raat_plus_plus(model: nn.Module, views: list[Tensor], y: Tensor) -> Tensor:
    x, y = torch.cat(views), y.repeat(2)
    x_adv = mart_attack(model, x, y)
    x_reduced = x + 0.1 * (x_adv - x)
    boundary, rest, _ = divide(model, x, x_adv, x_reduced, y)
    z_adv, z = model(x_adv), model(x)
    images = torch.cat([x_adv[rest], x_reduced[boundary]])
    loss = boosted(model(images), torch.cat([y[rest], y[boundary]])) + 6 * weighted(z, z_adv, y)
    correct = predictions(model, x) == y.cpu().numpy()
    return loss + consistency(model, x, x_adv, y, correct)


OBJECTIVES: dict[str, Callable[[nn.Module, list[Tensor], Tensor], Tensor]] = {
    "pgd-at": pgd_at,
    "trades": trades,
    "mart": mart,
    "cons-at": cons_at,
    "raat": raat,
    "raat++": raat_plus_plus,
}
VIEWS = {"cons-at": 2, "raat": 2, "raat++": 2}
