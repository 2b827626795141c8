"""AutoAttack and its attacks alone: verdicts, breaking attacks and warnings of their package."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from authors_models import Small, Times, attack_of, run, shorten, some
from pyautoattack import AutoAttack
from torch import Tensor, nn
from torch.nn import functional

from raat_core.attacks.autoattack import SILENT, package_seed
from raat_core.cells.attacks.autoattack import VERSIONS, AutoAttackEvaluation
from raat_core.data.dataset import Split
from raat_core.evaluation.authors_flags import flags_of
from raat_core.evaluation.records import Record
from raat_core.interface.attack import Attack

LONG = {"linf": "Linf", "l2": "L2"}


@pytest.fixture(autouse=True)
def short_autoattack(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


def flags(attack: Attack, model: nn.Module, images: Tensor, labels: Tensor) -> list[str]:
    """Of a record of these images."""
    outcome = run(attack, model, images, labels)
    assert outcome.classes is not None
    details = {name: values.int().numpy() for name, values in outcome.details.items()}
    classes = outcome.classes.int().numpy()
    index = np.arange(len(classes), dtype=np.int32)
    record = Record(index, labels.int().numpy(), classes, {}, None, details)
    return attack.flags(record)


def by_package(
    attack: Attack, model: nn.Module, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """What its authors' own evaluation returns."""
    settings = attack.settings
    assert isinstance(settings, AutoAttackEvaluation)
    classes = model(images).shape[1]
    settings = settings.for_classes(classes)
    package = AutoAttack(
        model,
        norm=LONG[settings.norm],
        eps=float(settings.epsilon),
        seed=package_seed(settings.seed),
        version=settings.version,
        attacks=list(settings.attacks) or None,
    )
    package.apgd_targeted.n_target_classes = package.fab.n_target_classes = min(9, classes - 1)
    found: tuple[Tensor, Tensor] = package.run_standard_evaluation(
        images, labels, batch_size=len(images)
    )
    return found


CASES = [
    (classes, version)
    for classes, versions in {
        10: (
            {},
            {"version": "plus"},
            {"version": "rand"},
            {"attacks": ["apgd-ce", "fab", "square"]},
        ),
        4: ({}, {"version": "plus"}, {"attacks": ["square", "fab-t", "fab", "apgd-dlr"]}),
        3: ({}, {"version": "rand"}),
        2: ({}, {"attacks": ["apgd-ce", "fab", "square"]}),
    }.items()
    for version in versions
]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("classes", "version"), CASES, ids=str)
def test_verdicts_and_breaking_attacks_are_the_package_s(
    classes: int, version: dict[str, Any], norm: str, caplog: pytest.LogCaptureFixture
) -> None:
    model, images, labels = some(classes, scale=300.0)
    attack = attack_of(norm, **version)
    outcome = run(attack, model, images, labels)
    with caplog.at_level(logging.DEBUG, "auto-attack"), torch.random.fork_rng():
        adversarial, predictions = by_package(attack, model, images, labels)
    assert outcome.classes is not None
    assert outcome.images is not None
    assert torch.equal(outcome.classes, predictions)
    assert torch.equal(outcome.images, adversarial)
    broken_by = outcome.details["broken_by"]
    assert torch.equal(broken_by == 0, predictions == labels)
    assert torch.equal(broken_by == -1, model(images).argmax(1) != labels)
    printed = re.findall(r"robust accuracy after \S+ ([0-9.]+)%", caplog.text)
    left = [(broken_by == 0) | (broken_by > number) for number in range(1, len(printed) + 1)]
    assert [f"{100 * each.double().mean():.2f}" for each in left] == printed
    if version == {}:
        assert len(set(broken_by[broken_by > 0].tolist())) > 1


def test_the_authors_lists_are_theirs() -> None:
    for version, names in VERSIONS.items():
        package = AutoAttack(nn.Identity(), version=version, seed=0)
        assert tuple(package.attacks_to_run) == names


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_attack_alone_is_that_of_a_list_of_one(norm: str) -> None:
    model, images, labels = some(5)
    for alone, name in (
        ({"kind": "square", "queries": 40}, "square"),
        ({"kind": "apgd", "restarts": 5}, "apgd-ce"),
        ({"kind": "apgd", "objective": "dlr", "restarts": 5}, "apgd-dlr"),
        ({"kind": "apgd", "objective": "dlr-targeted"}, "apgd-t"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(AutoAttack, "_set_version", lambda *_: None)
            found = run(attack_of(norm, **alone), model, images, labels)
            whole = run(long_autoattack(norm, name), model, images, labels)
        assert found.images is not None
        assert whole.images is not None
        assert torch.equal(found.images, whole.images), name
        assert list(found.work) == ["probe", name]
        assert set(found.details["broken_by"].tolist()) == {-1, 0, 1}


def long_autoattack(norm: str, name: str) -> Attack:
    """Of one attack, with as many steps as alone; Square with as few queries."""
    attack = attack_of(norm, attacks=[name])
    attacks = attack.attacks  # type: ignore[attr-defined]

    def lengthened(model: Any, classes: int, device: torch.device) -> Any:
        found = attacks(model, classes, device)
        for each in found.values():
            if hasattr(each._attack, "n_iter"):
                each._attack.n_iter = 100
        return found

    attack.attacks = lengthened  # type: ignore[attr-defined]
    return attack


class Quantised(Times):
    def forward(self, images: Tensor) -> Tensor:
        return self.model((images * 8).round() / 8)  # type: ignore[no-any-return]


class Noisy(Times):
    def forward(self, images: Tensor) -> Tensor:
        return self.model(images + 0.02 * torch.randn(images.shape))  # type: ignore[no-any-return]


class Softmax(Times):
    def forward(self, images: Tensor) -> Tensor:
        return self.model(images).softmax(1)  # type: ignore[no-any-return]


class Purifying(Times):
    """Moves an image towards a surer decision before it takes it."""

    def forward(self, images: Tensor) -> Tensor:
        with torch.enable_grad():
            moved = images.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.model(moved).amax(1).sum(), moved)
        return self.model(images + 0.001 * gradient.sign())  # type: ignore[no-any-return]


class Steps(Times):
    """Logits without slope: only who asks for values finds a way."""

    def forward(self, images: Tensor) -> Tensor:
        return (8 * self.model(images)).round().detach() + 0 * images.sum()  # type: ignore[no-any-return]


PRINTED = {
    "randomised model": "randomized defense",
    "probabilities": "probability distribution",
    "zero gradients": "zero gradient",
    "Square": "Square Attack has decreased",
    "optimisation at test time": "dynamic defense",
}
"""Beginnings of flags, and what the package says."""


@pytest.fixture
def _forgetful() -> Iterator[None]:
    """The package counts calls of all models in one place, and never anew."""
    from pyautoattack import checks

    yield
    for name in checks.funcs:
        checks.funcs[name] = 0


@pytest.mark.usefixtures("_forgetful")
@pytest.mark.parametrize(
    ("wrapped", "expected"),
    [
        (Times, set()),
        (Quantised, {"zero gradients", "Square"}),
        (Steps, {"zero gradients", "Square"}),
        (Noisy, {"randomised model"}),
        (Softmax, {"probabilities"}),
        (Purifying, {"optimisation at test time"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_flags_are_the_package_s_warnings(
    wrapped: type[Times],
    expected: set[str],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    model, images, labels = some(5, count=40)
    model = wrapped(model).eval()
    attack = attack_of(epsilon="1/10" if wrapped is Steps else "1/50")
    SILENT.disabled = False  # As where others configure logging.
    before = sys.getprofile()
    found = {flag.split(":")[0].split(",")[0] for flag in flags(attack, model, images, labels)}
    assert sys.getprofile() is before
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""
    assert found == expected
    with torch.random.fork_rng():
        by_package(attack, model, images, labels)
    printed = {name for name, text in PRINTED.items() if text in caplog.text}
    # Of a random model, it may meet one image with this or that.
    assert printed >= expected if wrapped is Noisy else printed == expected


def details_of(total: int, **counts: int) -> Record:
    """A record of images of which the first so many have a detail."""
    marked = {name: (np.arange(total) < count) for name, count in counts.items()}
    details = {name: mask.astype(np.int32) for name, mask in marked.items()}
    if "broken_by" in details:
        details["broken_by"] *= 4
    zeros = np.zeros(total, np.int32)
    return Record(zeros, zeros, zeros, {}, None, details)


@pytest.mark.parametrize(
    "name", ["varies", "probabilities", "zero_start", "broken_by", "optimises"]
)
def test_a_flag_needs_a_count_and_a_share(name: str) -> None:
    standard = VERSIONS["standard"]
    for total, least in ((40, 3), (256, 3), (1000, 3), (1500, 4), (10_000, 21)):
        assert flags_of(details_of(total, **{name: least - 1}), standard) == []
        (flag,) = flags_of(details_of(total, **{name: least}), standard)
        assert f"{least} of {total} images" in flag
    assert flags_of(details_of(40), standard) == []


def test_square_before_attacks_with_gradients_raises_no_flag() -> None:
    """Of `plus`: what it breaks, APGD-T might have broken; nor alone."""
    assert flags_of(details_of(40, broken_by=30), VERSIONS["plus"]) == []
    record = details_of(40, broken_by=30)
    record.details["broken_by"][:] //= 4
    assert flags_of(record, ["square"]) == []


def test_under_rand_a_random_model_is_no_surprise_and_comes_out_the_same_again() -> None:
    model, images, labels = some(5)
    attack = attack_of(version="rand")
    noisy = Noisy(model).eval()
    assert flags(attack, noisy, images, labels) == []
    once, again = (run(attack, noisy, images, labels) for _ in range(2))
    assert once.classes is not None
    assert again.classes is not None
    assert torch.equal(once.classes, again.classes)
    assert once.work["apgd-ce"].gradients == again.work["apgd-ce"].gradients
    assert once.work["apgd-ce"].gradients % 20 == 0


def test_work_is_what_a_model_sees() -> None:
    model, images, labels = some(5)
    seen: list[int] = []
    model.register_forward_hook(lambda module, given, logits: seen.append(len(logits)))
    outcome = run(attack_of(), model, images, labels)
    assert list(outcome.work) == ["probe", *VERSIONS["standard"]]
    assert sum(each.forwards for each in outcome.work.values()) == sum(seen)
    assert outcome.work["probe"].forwards == 5 * len(images)
    standing = int((model(images).argmax(1) == labels).sum())
    assert outcome.work["apgd-ce"].gradients == 5 * standing
    assert outcome.work["square"].gradients == outcome.work["probe"].gradients == 0
    assert all(each.seconds >= 0 for each in outcome.work.values())


def test_nothing_left_is_no_work() -> None:
    model, images, _ = some(5)
    wrong = (model(images).argmax(1) + 1) % 5
    outcome = run(attack_of(), model, images, wrong)
    assert outcome.images is not None
    assert torch.equal(outcome.images, images)
    assert set(outcome.details["broken_by"].tolist()) == {-1}
    assert {name: each.forwards for name, each in outcome.work.items() if each.forwards} == {
        "probe": 5 * len(images)
    }


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_global_generator_is_left_as_it_was(norm: str) -> None:
    model, images, labels = some(5, count=2)
    before = torch.random.get_rng_state()
    once = run(attack_of(norm), model, images, labels)
    assert torch.equal(torch.random.get_rng_state(), before)
    again = run(attack_of(norm), model, images, labels)
    assert once.images is not None
    assert again.images is not None
    assert torch.equal(once.images, again.images)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_images_are_taken_as_batches_lay_them_out(norm: str) -> None:
    """RGB batches are in channels_last."""
    pixels = torch.randint(0, 256, (4, 3, 6, 6), generator=torch.Generator().manual_seed(0))
    split = Split(pixels.to(torch.uint8), torch.zeros(4, dtype=torch.int64), 255)
    images, _ = split.batch(torch.arange(4))
    assert not images.is_contiguous()
    model = Small(4, channels=3, size=6).eval().requires_grad_(False)
    labels = model(images).argmax(1)
    outcome = run(attack_of(norm, epsilon="1/2"), model, images, labels)
    assert outcome.images is not None
    assert outcome.classes is not None
    assert torch.equal(model(outcome.images).argmax(1), outcome.classes)
    assert (outcome.classes != labels).any()


def test_losses_of_saturated_models_are_no_zero_gradient_of_the_dlr_loss() -> None:
    """The package looks at the DLR loss alone; PGD's record says so of the cross-entropy."""
    model, images, labels = some(5, count=40)
    saturated = Times(model, 1e6).eval()
    logits = saturated(images)
    assert (functional.cross_entropy(logits, labels, reduction="none") == 0).any()
    assert flags(attack_of(), saturated, images, labels) == []
    (flag,) = flags(attack_of(kind="apgd"), saturated, images, labels)
    assert flag.startswith("zero gradients: ")
