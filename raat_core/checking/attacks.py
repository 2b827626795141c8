"""Checks of an attack, on a model that was trained for a second."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from raat_core import api
from raat_core.attacks.pgd import Pgd
from raat_core.cells.catalogue import DATA_SETS
from raat_core.cells.cell import Cell
from raat_core.checking.attributes import attributes_of, changed_values, held_by_modules
from raat_core.checking.draws import GENERATORS, Draws, seed_generators, undisturbed
from raat_core.checking.findings import Report
from raat_core.checking.places import Code
from raat_core.checking.registered import (
    Extension,
    describe_settings,
    missing_settings,
    refusal,
)
from raat_core.checking.tiny import NORMS, ball, few_digits
from raat_core.checking.watch import counted_flop
from raat_core.cost.flop import operations
from raat_core.data.dataset import Split
from raat_core.evaluation.accuracy import classes_of, percent_correct, pgd_batches, predict
from raat_core.evaluation.batch import Samples, run_attack
from raat_core.evaluation.outcomes import require_classes_of
from raat_core.interface.attack import Attack, AttackSettings
from raat_core.interface.registry import attack_class, build_attack

_OF_THREAT_MODEL = ("norm", "epsilon", "step_size")
_BATCH, _BATCH_OF_SLOW, _BATCHES = 24, 4, 3
MISJUDGED = 0.25
"""By what part declared operations may differ from those counted on so few images."""


@lru_cache(maxsize=1)
def _trained() -> nn.Module:
    """A model of digits that classifies most of them rightly, in evaluation mode."""
    spec = {
        "dataset": "digits",
        "architecture": "resnet-mini",
        "method": "pgd-at",
        "threat_model": {**ball("linf"), "epsilon": 0.1, "step_size": 0.1, "steps": 1},
        "recipe": {
            "epochs": 3,
            "batch_size": 32,
            "decay_epochs": [2],
            "augmentation": {"crop_padding": 0, "flip": False},
        },
        "selection": {"steps": 1, "every": 3},
    }
    with tempfile.TemporaryDirectory(prefix="raat-check-") as folder:
        place = Path(folder) / "cell"
        data = few_digits(480, 24)
        trained = api.train(Cell.model_validate(spec), place, device="cpu", data=data)
        return api.load(trained, "last", "cpu")


def check_attack(extension: Extension, given: Mapping[str, Any]) -> Report:
    """Try an attack on a few images.

    Args:
        extension: the attack.
        given: settings by config key, where they are not the defaults.
    """
    report, settings = extension.report(), attack_class(extension.name).Settings
    describe_settings(settings, report, _OF_THREAT_MODEL, "the threat model's")
    chosen, refused = _settings(extension.name, given, report)
    if chosen:
        report.facts.extend(f"refuses {norm}: {why}" for norm, why in refused.items())
    elif refused:
        report.needs(
            "refuses", f"its settings refuse: {'; '.join(dict.fromkeys(refused.values()))}"
        )
    with undisturbed():
        for norm, attack in chosen.items():
            try:
                _Check(extension, norm, attack, _trained(), report).run()
            except Exception as error:  # Whatever an attack's own code raises.
                report.wrong("fails", f"{norm}: {Code(extension.files).explain(error)}")
                break
    return report


def _settings(
    kind: str, given: Mapping[str, Any], report: Report
) -> tuple[dict[str, AttackSettings], dict[str, str]]:
    """By norm the settings of an attack in a threat model for digits, or why there are none."""
    settings = attack_class(kind).Settings
    keys = settings.config_keys()
    own = [key for key in _OF_THREAT_MODEL if key in keys and key not in given]
    missing = [key for key in missing_settings(settings, given) if key not in own]
    for key in missing:
        report.needs("settings", f"setting '{key}' has no default: --set {key}=...")
    chosen: dict[str, AttackSettings] = {}
    refused: dict[str, str] = {}
    for norm in NORMS if not missing else ():
        threat = {key: ball(norm)[key] for key in own}
        batch = _BATCH_OF_SLOW if attack_class(kind).slow else _BATCH
        sizes = {"samples": batch * _BATCHES - batch // 2, "batch_size": batch}
        try:
            made = settings.model_validate({"kind": kind, **sizes, **threat, **given})
            made.check(DATA_SETS["digits"].classes, DATA_SETS["digits"].image_shape)
        except ValueError as error:
            refused[norm] = refusal(error)
            continue
        if made not in chosen.values():
            chosen[norm] = made
    return chosen, refused


@dataclass
class _Check:
    """One attack with its settings."""

    extension: Extension
    norm: str
    settings: AttackSettings
    model: nn.Module
    report: Report

    def __post_init__(self) -> None:
        digits = few_digits(480, self.settings.images(_BATCH * _BATCHES))
        self.test: Split = digits.test
        positions = torch.arange(len(self.test))
        self.batches = list(torch.split(positions, self.settings.batch_size))

    def run(self) -> None:
        """All that is checked; raises what the attack raises."""
        weights = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        shared = held_by_modules(self.extension.modules)
        draws = Draws(Code(self.extension.files))
        outcomes: list[Tensor] = []
        flop = 0
        for number in self._numbers():
            seed_generators("batch", number)
            with draws:
                flop += counted_flop(lambda number=number: outcomes.append(self._outcome(number)))  # type: ignore[misc]
        self._tell_of_draws(draws)
        moved = attributes_of(changed_values(shared, held_by_modules(self.extension.modules)))
        is_repeatable = self._check_order(outcomes, moved)
        for name, tensor in self.model.state_dict().items():
            if not torch.equal(tensor, weights[name]):
                self.report.wrong("model", f"it changes the model that it attacks ({name})")
                return
        self._check_strength(outcomes)
        self._check_passes(flop)
        if is_repeatable:
            self.report.passed.append(
                f"in {self.norm} the same in any order of batches; {self._accuracies}"
            )

    def _numbers(self) -> range:
        return range(len(self.batches))

    def _outcome(self, number: int) -> Tensor:
        """What it returns for a batch, found to be allowed."""
        images, labels = self.test.batch(self.batches[number])
        attack = build_attack(self.settings)
        samples = Samples(images, labels, self.batches[number], number)
        found = run_attack(attack, self.model, samples)
        if found.classes is not None:
            require_classes_of(self.settings, found.classes, DATA_SETS["digits"].classes)
            return found.classes
        return images if found.images is None else found.images

    def _classes(self, found: Tensor) -> Tensor:
        return classes_of(self.model, found) if found.dim() > 1 else found

    def _tell_of_draws(self, draws: Draws) -> None:
        for generator, at in draws.found:
            where = "somewhere" if at is None else str(at)
            if generator == "torch":
                self.report.hint(
                    "draws",
                    f"{where}: draws from {GENERATORS['torch']}, which is set for every batch; "
                    f"draws(name) says what they are for",
                )
            else:
                self.report.wrong(
                    "draws",
                    f"{where}: draws from {GENERATORS[generator]}: a record is not the same again; "
                    f"draws(name) gives the same again",
                )

    def _check_order(self, outcomes: list[Tensor], shared: list[str]) -> bool:
        """Every batch again, the last one first, as where several jobs share them."""
        where = f" ({', '.join(shared)} of the module or class changed)" if shared else ""
        for number in reversed(self._numbers()):
            seed_generators("batch", number)
            if not torch.equal(self._outcome(number), outcomes[number]):
                self.report.wrong(
                    "order",
                    f"batch {number + 1} of {len(self.batches)} comes out differently when it is "
                    f"attacked again, in another order{where}: its outcome may depend on the "
                    f"model, the batch and draws(name) alone",
                )
                return False
        return True

    def _check_strength(self, outcomes: list[Tensor]) -> None:
        predictions = torch.cat([self._classes(found) for found in outcomes])
        clean = predict(self.model, self.test, _BATCH)
        before = percent_correct(clean, self.test.labels)
        after = percent_correct(predictions, self.test.labels)
        self._clean, self._accuracies = before / 100, f"clean {before:.0f}%, attacked {after:.0f}%"
        text = f"in {self.norm} {after:.0f}% are right under it and {before:.0f}% without"
        if after > before or (after == before and self._eases(outcomes)):
            self.report.wrong(
                "strength", f"{text}: it helps the model; is the sign of its objective right?"
            )
        elif after == before:
            self.report.hint("strength", f"{text}: it breaks none of the {len(clean)} images")

    def _eases(self, outcomes: list[Tensor]) -> bool:
        """Whether the cross-entropy of the images that it returns is clearly below clean ones'."""
        images, labels = self.test.batch(torch.cat(self.batches))
        if outcomes[0].dim() == 1:
            return False
        with torch.no_grad():
            losses = [
                functional.cross_entropy(self.model(each), labels).item()
                for each in (images, torch.cat(outcomes))
            ]
        return losses[1] < 0.9 * losses[0]

    def _check_passes(self, flop: int) -> None:
        """Declared operations against counted ones; what PGD leaves is not known ahead."""
        info, attack = DATA_SETS["digits"], build_attack(self.settings)
        model = operations("resnet-mini", info.image_shape, info.classes)
        robust = self._robust()
        shares = [(self._clean, share) for share in (0.0, robust, self._clean)]
        told = [attack.passes(info.classes, *share).flop(model) for share in shares]
        counted = flop / len(self.test)
        nearest = min(max(counted, min(told)), max(told))
        ratio = nearest / counted - 1 if counted else 0.0
        self.report.facts.append(
            f"operations in {self.norm}: {counted / 1e6:.3g} MFLOP an image counted, "
            f"{nearest / 1e6:.3g} by passes ({ratio:+.0%})"
        )
        if abs(ratio) <= MISJUDGED or any(each.fault == "passes" for each in self.report.findings):
            return
        text = (
            f"passes is {ratio:+.0%} off what was counted, which is that of "
            f"{counted / model.forward:.3g} forwards an image"
        )
        if type(attack).passes is Attack.passes:
            self.report.hint("passes", f"{text}; without it hours are estimated from an assumption")
        else:
            self.report.wrong("passes", text)

    def _robust(self) -> float:
        """The share of images that withstand PGD-10."""
        threat = ball(self.norm)
        pgd = Pgd(self.norm, threat["epsilon"], threat["epsilon"] / 4, 10)  # type: ignore[arg-type]
        found = predict(self.model, self.test, _BATCH, pgd_batches(self.model, pgd, 0, "check"))
        return percent_correct(found, self.test.labels) / 100
