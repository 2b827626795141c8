"""What AutoAttack and its attacks refuse, before anything is trained for them."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from authors_models import attack_of, run, shorten
from torch import nn

from raat_core.cells.attacks.autoattack import AutoAttackEvaluation


@pytest.fixture(autouse=True)
def short_autoattack(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("size", [*range(1, 8), 12, 14, 16, 18, 19, 24, 28, 32])
def test_images_that_the_package_fails_on_are_refused(norm: str, size: int) -> None:
    attack = attack_of(norm, attacks=["apgd-ce", "apgd-t", "fab-t", "square"])
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * size**2, 5)).eval().requires_grad_(False)
    images = torch.rand(3, 3, size, size)
    labels = model(images).argmax(1)
    shape = (3, size, size)
    if norm == "linf" or size in (5, 6, 7, 16, 28, 32):
        attack.settings.check(5, shape)
        run(attack, model, images, labels)
        return
    for refused in (attack, attack_of(norm), attack_of(norm, kind="square")):
        with pytest.raises(ValueError, match=f"cannot start in an l2 ball on images of {size} x"):
            refused.settings.check(5, shape)
    with pytest.raises((ZeroDivisionError, RuntimeError)):
        run(attack_of(norm, attacks=["square"]), model, images, labels)
    others = attack_of(norm, attacks=["apgd-ce", "apgd-t", "fab-t"])
    others.settings.check(5, shape)
    run(others, model, images, labels)


@pytest.mark.parametrize(
    ("settings", "classes", "message"),
    [
        ({"version": "plus"}, 3, "apgd-t needs a data set of at least 4 classes, this one has 3"),
        ({"version": "rand"}, 2, "apgd-dlr needs a data set of at least 3 classes"),
        ({"attacks": ["apgd-t"]}, 3, r"as in \[apgd-ce, fab-t, square\]"),
        ({"kind": "apgd", "objective": "dlr"}, 2, "apgd-dlr needs .* objective: cross-entropy"),
    ],
)
def test_losses_that_compare_more_classes_are_refused(
    settings: dict[str, Any], classes: int, message: str
) -> None:
    attack = attack_of(**settings)
    with pytest.raises(ValueError, match=message):
        attack.settings.check(classes, (1, 8, 8))
    attack.settings.check(4, (1, 8, 8))


@pytest.mark.parametrize("classes", [2, 3])
def test_on_few_classes_standard_is_another_list(classes: int) -> None:
    settings = attack_of(samples=7).settings
    settings.check(classes, (1, 8, 8))
    found = settings.for_classes(classes)
    assert isinstance(found, AutoAttackEvaluation)
    assert found == attack_of(samples=7, attacks=["apgd-ce", "fab-t", "square"]).settings
    assert found.describe() == "AutoAttack custom (apgd-ce, fab-t, square)"
    assert found.label == "autoattack-custom"
    assert found.for_classes(classes) == found
    assert settings.for_classes(4) == settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"version": "custom"}, "version = 'custom': needs `attacks`; allowed: apgd-ce, apgd-dlr"),
        ({"version": "plus", "attacks": ["fab"]}, "version = 'plus': has attacks of its own"),
        ({"attacks": ["fab", "fab"]}, "must name each at most once"),
        ({"attacks": ["apgd"]}, "Input should be 'apgd-ce'"),
    ],
)
def test_lists_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        attack_of(**settings)
