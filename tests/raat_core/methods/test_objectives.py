"""Every objective against its transcription: both variants, every departure alone, edge cases.

Then what an objective asks of a step: attacks, draws, and which images BatchNorm's statistics see.
Last the loss functions on their own.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import transcription
from fake_step import Attack, FakeStep
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transcription import Terms, attacked, is_kept, prediction, reduced, view_samples

from conftest import small_cell
from raat_core.interface import losses
from raat_core.interface.registry import BUILT_IN_METHODS, build_method, resolve_settings
from raat_core.interface.step import BatchNormMode
from raat_core.methods import Method, MethodSettings, method_class
from raat_core.methods.averaging import Averaging

CLASSES = 4
IMAGE_SHAPE = (1, 3, 3)
ETA = 0.3
THRESHOLD = 0.4
LAMBDA = 1.7
VARIANTS = ("paper", "released")
TWO_VIEWS = ("cons-at", "raat", "raat++", "raat#")
ALIGNMENT = ("raat", "raat++", "raat#")
AVERAGING = ("wa", "rebat", "raat#")
AVERAGE_FROM = 105

# -------------------------------------------------------------------------- batches and models


def smooth_model(seed: int) -> nn.Module:
    """Without BatchNorm and without kinks; its logits lie as far apart as a trained model's."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(IMAGE_SHAPE), 8),
            nn.Tanh(),
            nn.Linear(8, CLASSES),
        ).double()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=3.5)
    return model


def batchnorm_model(seed: int) -> nn.Module:
    """With statistics that every forward in training mode changes a lot."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(IMAGE_SHAPE[0], 4, 3, padding=1),
            nn.BatchNorm2d(4, momentum=0.5),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(4 * math.prod(IMAGE_SHAPE[1:]), CLASSES),
        ).double()


def random_step(model: nn.Module, seed: int, samples: int) -> FakeStep:
    """Images, perturbations of several sizes, and labels of which the model knows two in three."""
    draws = torch.Generator().manual_seed(seed)

    def near(images: Tensor, distance: float) -> Tensor:
        noise = torch.randn(images.shape, generator=draws, dtype=torch.float64)
        return (images + distance * noise).clamp(0, 1)

    natural = torch.rand((samples, *IMAGE_SHAPE), generator=draws, dtype=torch.float64)
    augmented = (near(natural, 0.15), near(natural, 0.15))
    stacked = torch.cat(augmented)
    with torch.no_grad():
        predicted = copy.deepcopy(model).eval()(natural).argmax(1)
    random = torch.randint(CLASSES, (samples,), generator=draws)
    known = torch.rand(samples, generator=draws) < 2 / 3
    return FakeStep(
        model,
        augmented,
        natural,
        predicted.where(known, random),
        {1.0: near(stacked, 0.4), ETA: near(stacked, 0.15), THRESHOLD: near(stacked, 0.2)},
        torch.rand(samples, generator=draws, dtype=torch.float64),
    )


def kinds_of_views(step: FakeStep, reduced_sample: str) -> set[tuple[bool, bool, bool]]:
    """Whether x, x' and x'' are classified correctly, for every augmentation in the batch."""
    return {
        (
            prediction(step.model, step.views[view][i]) == y,
            prediction(step.model, attacked(step, view, i)) == y,
            prediction(step.model, reduced(step, view, i, reduced_sample, ETA)) == y,
        )
        for view, i, y in view_samples(step)
    }


def kinds_of_samples(step: FakeStep) -> set[tuple[bool, bool]]:
    """Whether the natural sample, and both of its augmentations, are classified correctly."""
    return {
        (is_kept(step, i, "natural"), is_kept(step, i, "both-views"))
        for i in range(len(step.labels))
    }


NEEDED_VIEWS = {
    (True, False, False),  # boundary
    (True, True, False),  # boundary, though x' is not: for the paper alone
    (True, True, True),  # non-boundary
    (True, False, True),  # non-boundary, though x' is misclassified
    (False, False, False),  # misclassified: at x'' by the letter of Table 4
    (False, False, True),  # misclassified, but for x''
}
BOOLEANS = (False, True)


def holds_every_kind(step: FakeStep) -> bool:
    return (
        kinds_of_views(step, "attack") >= NEEDED_VIEWS
        # x'' between x and x', both of them right, is hardly ever wrong.
        and kinds_of_views(step, "scaled") >= NEEDED_VIEWS - {(True, True, False)}
        and kinds_of_samples(step) == {(a, b) for a in BOOLEANS for b in BOOLEANS}
    )


def first_step_with_every_kind() -> FakeStep:
    candidates = (random_step(smooth_model(seed), seed, samples=16) for seed in range(200))
    return next(step for step in candidates if holds_every_kind(step))


BATCH = first_step_with_every_kind()
POOL = random_step(BATCH.model, seed=0, samples=200)


def fresh(step: FakeStep) -> FakeStep:
    return step.take(torch.arange(len(step.labels)), views=len(step.views))


def step_for(name: str) -> FakeStep:
    """The batch with every kind of sample, with as many views as a method wants."""
    return BATCH.take(torch.arange(len(BATCH.labels)), views=views_of(name))


def averaging(step: FakeStep, epoch: int = AVERAGE_FROM) -> FakeStep:
    """The step once averaging has started: its model is the average now, another one is trained."""
    return replace(fresh(step), model=smooth_model(10_000), average=step.model, epoch=epoch)


def telling_step_for(name: str) -> FakeStep:
    """`step_for`, at an epoch where all of the objective counts."""
    step = step_for(name)
    return averaging(step) if name in AVERAGING else step


def views_of(name: str) -> int:
    return 2 if name in TWO_VIEWS else 1


def resolve(config: dict[str, object]) -> MethodSettings:
    """Settings with this file's lambda, eta and threshold, where the method has them."""
    keys = method_class(str(config["name"])).Settings.config_keys()
    values = {"lambda": LAMBDA, "eta": ETA, "threshold": THRESHOLD}
    return resolve_settings({**{key: values[key] for key in keys if key in values}, **config})


# --------------------------------------------------------------- objectives and transcriptions


def objective(step: FakeStep, config: dict[str, object]) -> Terms:
    return method_for(step, config).loss(step)


def method_for(step: FakeStep, config: dict[str, object]) -> Method:
    """The method, resumed with the step's average."""
    method = build_method(resolve(config), small_cell().facts())
    if step.average is not None:
        state = step.average.state_dict()
        method.load_state({name: tensor.clone() for name, tensor in state.items()})
    return method


def sum_of(terms: Terms) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def gradients(terms: Terms, model: nn.Module) -> tuple[Tensor, ...]:
    return torch.autograd.grad(sum_of(terms), list(model.parameters()))


def assert_equals_transcription(step: FakeStep, config: dict[str, object]) -> None:
    ours = objective(step, config)
    expected = transcription.OBJECTIVES[str(config["name"])](step, resolve(config))
    assert ours.keys() == expected.keys()
    for name, term in expected.items():
        assert ours[name].shape == ()
        assert math.isfinite(ours[name].item())
        assert ours[name].item() == pytest.approx(term.item(), rel=0, abs=1e-9), name
    pairs = zip(gradients(ours, step.model), gradients(expected, step.model), strict=True)
    for gradient, transcribed in pairs:
        assert gradient.isfinite().all()
        torch.testing.assert_close(gradient, transcribed, rtol=0, atol=1e-7)


def departures(name: str) -> list[str]:
    return list(method_class(name).Settings.preset("paper"))


def single_departures() -> Iterator[dict[str, object]]:
    """Each variant of each method with one departure switched to the other variant's value."""
    for name in transcription.OBJECTIVES:
        for variant, other in (VARIANTS, VARIANTS[::-1]):
            values = method_class(name).Settings.preset(other)  # type: ignore[arg-type]
            for key in departures(name):
                yield {"name": name, "variant": variant, key: values[key]}


def other_settings() -> Iterator[dict[str, object]]:
    """Ablations and settings in which paper and released code do not depart from each other."""
    for variant in VARIANTS:
        for name in ALIGNMENT:
            for dicar_on, reduce in ((False, True), (True, False), (False, False)):
                yield {
                    "name": name, "variant": variant, "dicar": dicar_on, "reduce_boundary": reduce
                }  # fmt: skip
        for name in ("raat", "raat++"):
            yield {"name": name, "variant": variant, "partition_mode": "train"}
        for name in ALIGNMENT:
            yield {"name": name, "variant": variant, "reduced_for": "table-4"}
        yield {"name": "raat#", "variant": variant, "kl_lambda": 0.7}
        yield {"name": "raat", "variant": variant, "clean_forward": "eval"}
    for boundary in ("full", "threshold", "zero"):
        for non_boundary in ("full", "threshold", "zero"):
            yield {
                "name": "boundary-study", "boundary": boundary, "non_boundary": non_boundary
            }  # fmt: skip


def readable(config: dict[str, object]) -> str:
    return "-".join(str(value) for value in config.values())


def test_every_built_in_method_is_transcribed() -> None:
    assert set(transcription.OBJECTIVES) == set(BUILT_IN_METHODS)


def test_batch_holds_every_kind_of_sample() -> None:
    assert kinds_of_views(BATCH, "attack") >= NEEDED_VIEWS
    assert kinds_of_views(BATCH, "scaled") >= NEEDED_VIEWS - {(True, True, False)}
    assert len(kinds_of_samples(BATCH)) == 4
    kinds = {
        (
            prediction(BATCH.model, BATCH.views[0][i]) == y,
            prediction(BATCH.model, attacked(BATCH, 0, i, THRESHOLD)) == y,
        )
        for i, y in enumerate(BATCH.labels.tolist())
    }
    assert kinds >= {(True, True), (True, False), (False, False)}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", transcription.OBJECTIVES)
def test_objective(name: str, variant: str) -> None:
    assert_equals_transcription(step_for(name), {"name": name, "variant": variant})


@pytest.mark.parametrize("config", list(single_departures()), ids=readable)
def test_single_departure(config: dict[str, object]) -> None:
    assert_equals_transcription(step_for(str(config["name"])), config)


@pytest.mark.parametrize("config", list(other_settings()), ids=readable)
def test_other_settings(config: dict[str, object]) -> None:
    assert_equals_transcription(step_for(str(config["name"])), config)


@pytest.mark.parametrize("epoch", [AVERAGE_FROM, AVERAGE_FROM + 1])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", AVERAGING)
def test_objective_while_averaging(name: str, variant: str, epoch: int) -> None:
    step = averaging(step_for(name), epoch)
    assert_equals_transcription(step, {"name": name, "variant": variant})


@pytest.mark.parametrize(
    "config",
    [c for c in (*single_departures(), *other_settings()) if c["name"] in AVERAGING],
    ids=readable,
)
def test_single_settings_while_averaging(config: dict[str, object]) -> None:
    assert_equals_transcription(averaging(step_for(str(config["name"]))), config)


def test_before_averaging_the_model_decides_and_teaches_nothing() -> None:
    pairs = [("wa", "pgd-at"), ("rebat", "pgd-at"), ("raat#", "raat")]
    for name, plain in pairs:
        ours, theirs = (objective(step_for(n), {"name": n}) for n in (name, plain))
        assert {key: term.item() for key, term in ours.items() if term.item() != 0} == {
            key: term.item() for key, term in theirs.items()
        }
        assert sum_of(objective(averaging(step_for(name)), {"name": name})).item() != pytest.approx(
            sum_of(theirs).item()
        )


def test_rebat_regularises_towards_the_average() -> None:
    step = averaging(step_for("rebat"))
    assert objective(step, {"name": "rebat"})["kl"].item() > 1e-3
    alike = replace(fresh(step), average=copy.deepcopy(step.model))
    assert objective(alike, {"name": "rebat"})["kl"].item() == pytest.approx(0, abs=1e-12)


def is_seen_in_the_loss(config: dict[str, object]) -> bool:
    """Some departures change attacks and forwards alone, JS's floor less than 1e-8 of the loss.

    The evaluation of the trained model changes nothing of the training. An x'' between x and x',
    both of them right, is hardly ever wrong, which is all that `boundary` asks less of it.
    """
    key = list(config)[-1]
    floor_alone = key == "numerics" and config["name"] in ("cons-at", "raat", "raat#")
    scaled = key == "reduced_for" and config["variant"] == "released"
    return not (floor_alone or scaled or key in UNSEEN)


UNSEEN = (
    *("attack_start", "l2_start", "l2_gradient", "l2_projection"),
    *("repeat_forwards", "average_mode", "separate_views", "evaluate_online"),
)
SEEN = [config for config in single_departures() if is_seen_in_the_loss(config)]


@pytest.mark.parametrize("config", SEEN, ids=readable)
def test_departure_changes_the_loss(config: dict[str, object]) -> None:
    """Else the comparisons with the transcription would not see it."""
    name, variant = str(config["name"]), config["variant"]
    step_of = step_for if "dicar_from" in config else telling_step_for
    departing = sum_of(objective(step_of(name), config))
    plain = sum_of(objective(step_of(name), {"name": name, "variant": variant}))
    assert abs(departing.item() - plain.item()) > 1e-6


@pytest.mark.parametrize("name", ALIGNMENT)
def test_readings_of_the_paper_differ(name: str) -> None:
    """Of the loss with x'' an attack of its own, which may be wrong where x' is right."""
    losses = [
        objective(telling_step_for(name), {"name": name, "reduced_for": reading})["supervised"]
        for reading in ("table-4", "boundary", "released")
    ]
    assert len({round(loss.item(), 6) for loss in losses}) == 3


@pytest.mark.parametrize("name", ALIGNMENT)
@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        ("table-4", ["reduced attack"]),
        ("boundary", ["reduced attack", "x"]),
        ("released", ["reduced attack", "x", "x'"]),
    ],
)
def test_what_the_supervised_indicator_asks_for(
    name: str, reading: str, expected: list[str]
) -> None:
    step = step_for(name)
    objective(step, {"name": name, "reduced_for": reading, "dicar": False})
    asked = [line.removeprefix("eval ") for line in story(step, images_of(step)) if "eval" in line]
    assert sorted(asked) == expected


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ALIGNMENT)
@pytest.mark.parametrize("kept", [0, 1, 8])
def test_hardly_any_kept_sample_or_all(name: str, variant: str, kept: int) -> None:
    indicator = "natural" if variant == "paper" else "both-views"
    flags = [is_kept(POOL, i, indicator) for i in range(len(POOL.labels))]
    positions = [i for i, flag in enumerate(flags) if flag][:kept]
    positions += [i for i, flag in enumerate(flags) if not flag][: 8 - kept]
    step = POOL.take(torch.tensor(positions))
    some_view_right = any(right for right, _, _ in kinds_of_views(step, "attack"))
    assert some_view_right, "not all of them are misclassified"
    if name in AVERAGING:
        step = averaging(step)
    assert_equals_transcription(step, {"name": name, "variant": variant})


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", transcription.OBJECTIVES)
def test_all_misclassified(name: str, variant: str) -> None:
    positions = [
        i
        for i, y in enumerate(POOL.labels.tolist())
        if all(prediction(POOL.model, image[i]) != y for image in (*POOL.views, POOL.natural))
    ]
    step = POOL.take(torch.tensor(positions[:8]), views=views_of(name))
    if name in AVERAGING:
        step = averaging(step)
    assert_equals_transcription(step, {"name": name, "variant": variant})


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ALIGNMENT)
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_beta_at_its_ends(name: str, variant: str, beta: float) -> None:
    step = telling_step_for(name)
    step.drawn = torch.full_like(step.drawn, beta)
    assert_equals_transcription(step, {"name": name, "variant": variant})


# ----------------------------------------------------------------------- settings and requests


SHARED_DEPARTURES = {
    "reduced_sample": ("attack", "scaled"),
    "reduced_for": ("boundary", "released"),
    "dicar_target": ("probabilities", "logits"),
    "temperature": (1.0, 0.5),
    "fold_beta": (False, True),
    "beta_per": ("sample", "batch"),
    "dicar_keeps": ("natural", "both-views"),
    "dicar_mean": ("all", "kept"),
    "numerics": ("exact", "released"),
}
GAUSSIAN = {"attack_start": ("uniform", "gaussian")}
IN_L2 = {
    "advertorch": {
        "l2_start": ("uniform", "pixel-box"),
        "l2_gradient": ("normalised", "advertorch"),
    },
    "mart": {
        "l2_gradient": ("normalised", "mart"),
        "l2_projection": ("after-clipping", "before-clipping"),
    },
    "trades": {
        "l2_gradient": ("normalised", "trades"),
        "l2_projection": ("after-clipping", "before-clipping"),
    },
    "rebat": {
        "l2_start": ("uniform", "uniform-radius"),
        "l2_gradient": ("normalised", "rebat"),
        "l2_projection": ("after-clipping", "before-clipping"),
    },
}
"""By whose code the attack is."""
SHARED_BY_AVERAGES = {
    "evaluate_online": (False, True),
    "repeat_forwards": (False, True),
    **IN_L2["rebat"],
}
ASKED_AVERAGE = {**SHARED_BY_AVERAGES, "average_mode": ("eval", "train-until-evaluated")}
DEPARTURES: dict[str, dict[str, tuple[object, object]]] = {
    "pgd-at": {**IN_L2["advertorch"]},
    "trades": {**GAUSSIAN, **IN_L2["trades"], "repeat_forwards": (False, True)},
    "mart": {**GAUSSIAN, **IN_L2["mart"], "numerics": ("exact", "released")},
    "cons-at": {
        **IN_L2["advertorch"],
        "temperature": (1.0, 0.5),
        "numerics": ("exact", "released"),
    },
    "raat": {**SHARED_DEPARTURES, **IN_L2["advertorch"]},
    "raat++": {
        **SHARED_DEPARTURES,
        **IN_L2["mart"],
        **GAUSSIAN,
        "kl_lambda": (None, 6.0),
        "repeat_forwards": (False, True),
    },
    "boundary-study": {},
    "wa": {**SHARED_BY_AVERAGES},
    "rebat": {**ASKED_AVERAGE},
    "raat#": {
        **SHARED_DEPARTURES,
        **ASKED_AVERAGE,
        "supervised_views": ("both", "first"),
        "dicar_from": ("start", "averaging"),
        "separate_views": (False, True),
    },
}


@pytest.mark.parametrize("name", transcription.OBJECTIVES)
def test_departures_of_the_variants(name: str) -> None:
    cls = method_class(name).Settings
    assert cls.preset("paper") == {key: paper for key, (paper, _) in DEPARTURES[name].items()}
    assert cls.preset("released") == {key: code for key, (_, code) in DEPARTURES[name].items()}


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("trades", 6.0),
        ("mart", 6.0),
        ("cons-at", 1.0),
        ("raat", 1.0),
        ("raat++", 1.0),
        ("rebat", 1.0),
        ("raat#", 1.0),
    ],
)
@pytest.mark.parametrize("variant", VARIANTS)
def test_default_weights(name: str, weight: float, variant: str) -> None:
    chosen: Any = resolve_settings({"name": name, "variant": variant})
    assert chosen.lam == weight
    if name.startswith("raat"):
        assert (chosen.eta, chosen.gamma) == (0.1, 0.75)
    if name in AVERAGING:
        assert (chosen.decay, chosen.average_from) == (0.999, AVERAGE_FROM)
    if name == "raat#":
        assert chosen.kl_lambda == 0


def full(start: str = "uniform", objective: str = "cross-entropy") -> tuple[str, str, float]:
    return objective, start, 1.0


@pytest.mark.parametrize(
    ("name", "paper", "released"),
    [
        ("pgd-at", [full()], [full()]),
        ("trades", [full(objective="kl")], [full("gaussian", "kl")]),
        ("mart", [full()], [full("gaussian")]),
        ("cons-at", [full()], [full()]),
        ("raat", [full(), ("cross-entropy", "uniform", ETA)], [full()]),
        ("raat++", [full(), ("cross-entropy", "uniform", ETA)], [full("gaussian")]),
        ("wa", [full()], [full()]),
        ("rebat", [full()], [full()]),
        ("raat#", [full(), ("cross-entropy", "uniform", ETA)], [full(), full()]),
    ],
)
def test_attacks(name: str, paper: list[object], released: list[object]) -> None:
    for variant, expected in (("paper", paper), ("released", released)):
        step = step_for(name)
        objective(step, {"name": name, "variant": variant})
        assert [request(attack) for attack in step.attacks] == expected


@pytest.mark.parametrize("name", [name for name in DEPARTURES if name != "boundary-study"])
def test_attacks_of_both_variants_in_an_l2_ball(name: str) -> None:
    """Every attack of a step, that on the reduced ball too."""
    usual = {"l2_start": "uniform", "l2_gradient": "normalised", "l2_projection": "after-clipping"}
    for number, variant in enumerate(VARIANTS):
        values = {key: pair[number] for key, pair in DEPARTURES[name].items() if key in usual}
        if "attack_start" in DEPARTURES[name]:
            values["l2_start"] = None
        expected = {key.removeprefix("l2_"): value for key, value in {**usual, **values}.items()}
        step = step_for(name)
        objective(step, {"name": name, "variant": variant, **ATTACKED_TWICE.get(name, {})})
        assert [vars(attack.l2) for attack in step.attacks] == [expected] * len(step.attacks)
        assert len(step.attacks) == {"raat": 2, "raat++": 2, "raat#": 2 + 1 * number}.get(name, 1)


ATTACKED_TWICE = {name: {"reduced_sample": "attack"} for name in ALIGNMENT}


def request(attack: Attack) -> tuple[str, str, float]:
    return attack.objective, attack.start, attack.radius


@pytest.mark.parametrize(
    ("non_boundary", "expected"), [("full", [THRESHOLD, 1.0]), ("zero", [THRESHOLD])]
)
def test_boundary_study_attacks_no_more_than_it_needs(
    non_boundary: str, expected: list[float]
) -> None:
    step = step_for("boundary-study")
    config = {"name": "boundary-study", "boundary": "threshold", "non_boundary": non_boundary}
    objective(step, {**config})
    assert [attack.radius for attack in step.attacks] == expected
    assert [forward.mode for forward in step.forwards] == ["eval", "eval", "train"]


@pytest.mark.parametrize("name", ALIGNMENT)
def test_draws_of_beta(name: str) -> None:
    for variant, size in (("paper", len(BATCH.labels)), ("released", 1)):
        step = step_for(name)
        objective(step, {"name": name, "variant": variant, "gamma": 0.6})
        assert step.betas == [(0.6, size)]


# ------------------------------------------------------------- what BatchNorm's statistics see


def told(images: Tensor, names: dict[str, Tensor]) -> list[str]:
    """What a batch is made of, by its contents: in evaluation mode images may share one."""
    if len(images) == 0:
        return []
    for name, known in names.items():
        if len(known) > 0 and torch.equal(images[: len(known)], known):
            return [name, *told(images[len(known) :], names)]
    return [f"{len(images)} unknown images"]


def story(step: FakeStep, names: dict[str, Tensor]) -> list[str]:
    """The forwards in their order, such as `train x'`; images are told by their contents."""
    lines = []
    for forward in step.forwards:
        found = told(forward.images, names)
        assert len(found) == 1 or forward.mode == "eval"
        whose = "average, " if forward.averaged else ""
        lines += [f"{whose}{forward.mode} {name}" for name in found]
    return lines


def replay(model: nn.Module, images: Tensor) -> None:
    """What a forward in training mode does to the statistics."""
    with torch.no_grad():
        model.train()(images)


def correct(model: nn.Module, step: FakeStep, images: Tensor) -> Tensor:
    """(2B,) bool, by a copy of the model in evaluation mode."""
    with torch.no_grad():
        logits: Tensor = copy.deepcopy(model).eval()(images)
    return logits.argmax(1) == step.stacked_views()[1]


def released_supervised(model: nn.Module, step: FakeStep) -> Tensor:
    """x'' for samples right when clean and wrong at x' and x'', else x'."""
    clean, adversarial = step.stacked_views()[0], step.adversarial[1.0]
    scaled = clean + ETA * (adversarial - clean)
    boundary = (
        correct(model, step, clean)
        & ~correct(model, step, adversarial)
        & ~correct(model, step, scaled)
    )
    return torch.where(boundary[:, None, None, None], scaled, adversarial)


def released_interpolations(model: nn.Module, step: FakeStep) -> Tensor:
    """max(beta, 1 - beta) x'_1 + (1 - ...) x'_2 of the samples right in both augmentations."""
    first_right, second_right = correct(model, step, step.stacked_views()[0]).chunk(2)
    beta = max(step.drawn[0].item(), 1 - step.drawn[0].item())
    first, second = step.adversarial[1.0].chunk(2)
    return (beta * first + (1 - beta) * second)[first_right & second_right]


def images_of(step: FakeStep) -> dict[str, Tensor]:
    clean, adversarial = step.stacked_views()[0], step.adversarial[1.0]
    return {
        "x": clean,
        "x'": adversarial,
        "reduced attack": step.adversarial[ETA],
        "x + eta (x' - x)": clean + ETA * (adversarial - clean),
        "natural": step.natural,
    }


def batchnorm_step(seed: int) -> FakeStep:
    return random_step(batchnorm_model(seed), seed, samples=12)


def statistics_matter(step: FakeStep) -> bool:
    """Whether both partitions of RAAT++ depend on when they are made within the step."""
    before, after = copy.deepcopy(step.model), copy.deepcopy(step.model)
    supervised = released_supervised(before, step)
    stale = released_interpolations(before, step)
    for images in (step.adversarial[1.0], step.stacked_views()[0]):
        replay(after, images)
    late_supervised = released_supervised(after, step)
    halfway = released_interpolations(after, step)
    replay(after, supervised)
    kept = released_interpolations(after, step)
    return (
        min(len(kept), len(stale)) > 0
        and not torch.equal(supervised, step.adversarial[1.0])
        and not torch.equal(supervised, late_supervised)
        and not any(len(other) == len(kept) for other in (stale, halfway))
    )


@pytest.fixture(scope="module")
def with_batchnorm() -> FakeStep:
    return next(s for s in map(batchnorm_step, range(2000)) if statistics_matter(s))


def run_on_copy(step: FakeStep, config: dict[str, object]) -> tuple[FakeStep, nn.Module]:
    """A step after its objective, and the model as it was before it."""
    step = fresh(step)
    before, step.model = step.model, copy.deepcopy(step.model)
    objective(step, config)
    return step, copy.deepcopy(before)


def assert_same_statistics(first: nn.Module, second: nn.Module) -> None:
    for one, other in zip(first.buffers(), second.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


EVALUATED = ["eval x", "eval x + eta (x' - x)", "eval x'"]


def test_forwards_of_released_raat(with_batchnorm: FakeStep) -> None:
    step, model = run_on_copy(with_batchnorm, {"name": "raat", "variant": "released"})
    supervised = released_supervised(model, step)
    kept = released_interpolations(model, step)
    names = {**images_of(step), "supervised": supervised, "interpolations": kept}
    lines = story(step, names)
    assert sorted(lines[:3]) == EVALUATED
    assert lines[3:] == ["train supervised", "train interpolations", "train x"]
    for images in (supervised, kept, step.stacked_views()[0]):
        replay(model, images)
    assert_same_statistics(step.model, model)


def test_forwards_of_released_raat_plus_plus(with_batchnorm: FakeStep) -> None:
    """The supervised term's partition is made first, DICAR's after the third training forward."""
    step, model = run_on_copy(with_batchnorm, {"name": "raat++", "variant": "released"})
    clean, adversarial = step.stacked_views()[0], step.adversarial[1.0]
    supervised = released_supervised(model, step)
    for images in (adversarial, clean, supervised):
        replay(model, images)
    kept = released_interpolations(model, step)
    names = {**images_of(step), "supervised": supervised, "interpolations": kept}
    lines = story(step, names)
    assert sorted(lines[:3]) == EVALUATED
    assert lines[3:] == [
        "train x'", "train x", "train supervised", "eval x", "train interpolations", "train x"
    ]  # fmt: skip
    for images in (kept, clean):
        replay(model, images)
    assert_same_statistics(step.model, model)


@pytest.mark.parametrize("name", ["raat", "raat++"])
def test_no_interpolation_is_forwarded_when_none_is_kept(
    with_batchnorm: FakeStep, name: str
) -> None:
    step = fresh(with_batchnorm)
    step.model = copy.deepcopy(step.model)
    never_predicted = CLASSES - 1
    with torch.no_grad():
        step.model.get_parameter("4.bias")[never_predicted] = -1e3
    step.labels = torch.full_like(step.labels, never_predicted)
    step, _ = run_on_copy(step, {"name": name, "variant": "released"})
    trained = [line for line in story(step, images_of(step)) if line.startswith("train")]
    assert trained == (["train x'"] if name == "raat" else ["train x'", "train x", "train x'"])


def paper_interpolations(step: FakeStep) -> Tensor:
    first, second = step.adversarial[1.0].chunk(2)
    weight = step.drawn[:, None, None, None]
    return weight * first + (1 - weight) * second


def test_paper_raat_plus_plus_forwards_every_image_once(with_batchnorm: FakeStep) -> None:
    step, _ = run_on_copy(with_batchnorm, {"name": "raat++"})
    lines = story(step, {**images_of(step), "interpolations": paper_interpolations(step)})
    trained = sorted(line for line in lines if line.startswith("train"))
    assert trained == ["train interpolations", "train reduced attack", "train x", "train x'"]


@pytest.mark.parametrize(("mode", "last"), [("train", "train x"), ("eval", "eval x")])
def test_forwards_of_paper_raat(with_batchnorm: FakeStep, mode: str, last: str) -> None:
    config: dict[str, object] = {"name": "raat", "clean_forward": mode}
    step, model = run_on_copy(with_batchnorm, config)
    clean, reduced_attack = step.stacked_views()[0], step.adversarial[ETA]
    boundary = correct(model, step, clean) & ~correct(model, step, reduced_attack)
    supervised = torch.where(boundary[:, None, None, None], reduced_attack, step.adversarial[1.0])
    interpolations = paper_interpolations(step)
    names = {**images_of(step), "supervised": supervised, "interpolations": interpolations}
    step.forwards = [forward for forward in step.forwards if forward.with_gradient]
    assert story(step, names) == ["train supervised", "train interpolations", last]


@pytest.mark.parametrize(
    ("name", "variant", "expected"),
    [
        ("pgd-at", "paper", ["x'"]),
        ("trades", "paper", ["x", "x'"]),
        ("trades", "released", ["x", "x'", "x"]),
        ("mart", "paper", ["x", "x'"]),
        ("mart", "released", ["x", "x'"]),
        ("cons-at", "paper", ["x'"]),
        ("cons-at", "released", ["x'"]),
    ],
)
def test_forwards_of_the_baselines(name: str, variant: str, expected: list[str]) -> None:
    step = step_for(name)
    objective(step, {"name": name, "variant": variant})
    assert story(step, images_of(step)) == [f"train {image}" for image in expected]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["raat", "raat++"])
def test_partition_needs_no_gradient(name: str, variant: str) -> None:
    step = step_for(name)
    objective(step, {"name": name, "variant": variant})
    assert all(forward.with_gradient == (forward.mode == "train") for forward in step.forwards)


# ------------------------------------------------------ which forwards the averaged model makes


@dataclass(frozen=True)
class Expected:
    """A step of RAAT#'s released code, replayed on copies of the model and of its average."""

    lines: list[str]
    names: dict[str, Tensor]
    model: nn.Module
    average: nn.Module


def in_batch_mode(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """(B,) bool: correct by the batch's statistics, which the model's own do not see."""
    with torch.no_grad():
        logits: Tensor = copy.deepcopy(model).train()(images)
    return logits.argmax(1) == labels


def released_raat_sharp(step: FakeStep, mode: str) -> Expected:
    """`mode`: of the forwards that decide; `batch` before there is an average."""
    model, labels = copy.deepcopy(step.model), step.labels
    average = model if step.average is None else copy.deepcopy(step.average)
    first, second = step.views
    first_attacked, second_attacked = step.adversarial[1.0].chunk(2)
    scaled = first + ETA * (first_attacked - first)
    right = []
    for images in (first, first_attacked, scaled, second):
        if mode == "eval":
            with torch.no_grad():
                right.append(average.eval()(images).argmax(1) == labels)
        else:
            right.append(in_batch_mode(average, images, labels))
        if mode == "train":
            replay(average, images)
    boundary = right[0] & ~right[1] & ~right[2]
    supervised = torch.where(boundary[:, None, None, None], scaled, first_attacked)
    beta = max(step.drawn[0].item(), 1 - step.drawn[0].item())
    mixed = (beta * first_attacked + (1 - beta) * second_attacked)[right[0] & right[3]]
    assert len(mixed) > 0
    assert boundary.any()
    trained = {
        "x'1": first_attacked, "x'2": second_attacked, "supervised": supervised,
        "interpolations": mixed, "x1": first, "x2": second,
    }  # fmt: skip
    order = ["x'1", "x'2", "supervised", "interpolations", "x1", "x2", "x'1", "x1"]
    for name in order:
        replay(model, trained[name])
    who = "" if step.average is None else "average, "
    asked = [f"{who}{mode} {name}" for name in ("x1", "x'1", "x''1", "x2")]
    lines = [f"train {name}" for name in order]
    return Expected([*lines[:2], *asked, *lines[2:]], {**trained, "x''1": scaled}, model, average)


def averaged_batchnorm_step(epoch: int) -> Iterator[FakeStep]:
    for seed in range(2000):
        step = batchnorm_step(seed)
        average = None if epoch < AVERAGE_FROM else batchnorm_model(seed + 1)
        yield replace(step, average=average, epoch=epoch, attack_batchnorm="train")


@pytest.mark.parametrize(
    ("epoch", "mode"),
    [
        (0, "batch"),
        (AVERAGE_FROM - 1, "batch"),
        (AVERAGE_FROM, "train"),
        (AVERAGE_FROM + 1, "eval"),
    ],
)
def test_forwards_of_released_raat_sharp(epoch: int, mode: str) -> None:
    """In their order, with the statistics that they leave, up to the average's own update."""
    for step in averaged_batchnorm_step(epoch):
        with contextlib.suppress(AssertionError):  # No boundary sample, or none is kept.
            expected = released_raat_sharp(step, mode)
            break
    step.model = copy.deepcopy(step.model)
    method = method_for(step, {"name": "raat#", "variant": "released"})
    assert isinstance(method, Averaging)
    method.loss(step)
    if mode == "train":
        assert_same_statistics(method.average_of(step.model), expected.average)
    method.after_step(step)
    assert story(step, expected.names) == expected.lines
    assert_same_statistics(step.model, expected.model)


@pytest.mark.parametrize("epoch", [0, AVERAGE_FROM])
def test_forwards_of_paper_raat_sharp_move_no_statistics_to_decide(epoch: int) -> None:
    step = next(averaged_batchnorm_step(epoch))
    method = method_for(step, {"name": "raat#"})
    method.loss(step)
    method.after_step(step)
    assert {f.mode for f in step.forwards if f.averaged or not f.with_gradient} == {"eval"}
    assert [f.mode for f in step.forwards if f.with_gradient] == ["train"] * 3
    assert any(f.averaged for f in step.forwards) == (epoch == AVERAGE_FROM)


@pytest.mark.parametrize("attack_batchnorm", ["eval", "train"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_forwards_of_rebat(variant: str, attack_batchnorm: BatchNormMode) -> None:
    step = averaging(step_for("rebat"))
    step.attack_batchnorm = attack_batchnorm
    method = method_for(step, {"name": "rebat", "variant": variant})
    method.loss(step)
    method.after_step(step)
    repeats = variant == "released"
    assert story(step, images_of(step)) == [
        *["train x'"] * (repeats and attack_batchnorm == "train"),
        "train x'",
        f"average, {'train' if repeats else 'eval'} x'",
        *["train x"] * repeats,
    ]


# -------------------------------------------------------------------------- the loss functions


PROPERTY = settings(max_examples=50, deadline=None, derandomize=True)


def logit_pairs(largest: float) -> st.SearchStrategy[tuple[Tensor, Tensor, Tensor]]:
    """Two sets of logits (1, K) in [-largest, largest] and a label (1,)."""
    numbers = st.floats(-largest, largest, width=32)

    def of_size(classes: int) -> st.SearchStrategy[tuple[Tensor, Tensor, Tensor]]:
        row = st.lists(numbers, min_size=classes, max_size=classes).map(
            lambda values: torch.tensor([values], dtype=torch.float64)
        )
        label = st.integers(0, classes - 1).map(lambda value: torch.tensor([value]))
        return st.tuples(row, row, label)

    return st.integers(2, 6).flatmap(of_size)


def every_loss(first: Tensor, second: Tensor, labels: Tensor, numerics: Any) -> list[Tensor]:
    log_first, log_second = first.log_softmax(1), second.log_softmax(1)
    return [
        losses.cross_entropy(first, labels),
        losses.boosted_cross_entropy(first, labels, numerics),
        losses.kl_divergence(first, second, numerics),
        losses.doubt(first, labels, numerics),
        losses.jensen_shannon(log_first, log_second, numerics),
        losses.margin(first, labels),
    ]


def assert_finite_with_gradients(
    first: Tensor, second: Tensor, labels: Tensor, numerics: str
) -> None:
    first, second = first.clone().requires_grad_(), second.clone().requires_grad_()
    for value in every_loss(first, second, labels, numerics):
        assert value.shape == (len(labels),)
        assert value.isfinite().all()
        grads = torch.autograd.grad(value.sum(), [first, second], allow_unused=True)
        assert all(grad.isfinite().all() for grad in grads if grad is not None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("numerics", ["exact", "released"])
def test_extreme_logits(numerics: str, dtype: torch.dtype) -> None:
    rows = [[1e3, -1e3, 0.0], [-1e3, 1e3, 1e3], [1e3, 1e3, 1e3], [0.0, -1e3, 0.0]]
    logits = torch.tensor(rows, dtype=dtype)
    for label in range(3):
        for shift in range(len(rows)):
            labels = torch.full((len(rows),), label)
            assert_finite_with_gradients(logits, logits.roll(shift, 0), labels, numerics)


@PROPERTY
@given(logit_pairs(1e3))
def test_losses_stay_finite(drawn: tuple[Tensor, Tensor, Tensor]) -> None:
    for numerics in ("exact", "released"):
        assert_finite_with_gradients(*drawn, numerics)
        single = (drawn[0].float(), drawn[1].float(), drawn[2])
        assert_finite_with_gradients(*single, numerics)


@PROPERTY
@given(logit_pairs(1e3))
def test_jensen_shannon_is_symmetric_and_bounded(drawn: tuple[Tensor, Tensor, Tensor]) -> None:
    p, q = (logits.log_softmax(1) for logits in drawn[:2])
    value = losses.jensen_shannon(p, q).item()
    assert value == pytest.approx(losses.jensen_shannon(q, p).item(), rel=0, abs=1e-12)
    assert -1e-12 <= value <= math.log(2) + 1e-12
    assert losses.jensen_shannon(p, p).item() == pytest.approx(0, abs=1e-12)


def test_jensen_shannon_of_disjoint_distributions() -> None:
    p, q = (torch.tensor([row]).log_softmax(1) for row in ([1e3, 0.0], [0.0, 1e3]))
    assert losses.jensen_shannon(p, q).item() == pytest.approx(math.log(2))


@PROPERTY
@given(logit_pairs(1e3))
def test_divergence_from_itself_is_zero_and_never_negative(
    drawn: tuple[Tensor, Tensor, Tensor],
) -> None:
    first, second, _ = drawn
    assert losses.kl_divergence(first, first).item() == 0
    assert losses.kl_divergence(first, second).item() >= -1e-12


@PROPERTY
@given(logit_pairs(8))
def test_losses_equal_the_naive_formulas(drawn: tuple[Tensor, Tensor, Tensor]) -> None:
    first, second, labels = drawn
    p, q = (transcription.softmax(list(logits[0])) for logits in (first, second))
    y = int(labels.item())
    for numerics in ("exact", "released"):
        naive = [
            transcription.ce(p, y),
            transcription.bce(p, y, numerics),
            transcription.kl(p, q, 1e-12 if numerics == "released" else 0.0),
            (1.0000001 if numerics == "released" else 1.0) - p[y],
            transcription.js(p, q, numerics),
        ]
        values = every_loss(first, second, labels, numerics)[:5]
        for value, expected in zip(values, naive, strict=True):
            assert value.item() == pytest.approx(expected.item(), rel=1e-9, abs=1e-9)


@PROPERTY
@given(logit_pairs(8))
def test_boosted_cross_entropy_is_the_difference_written_out(
    drawn: tuple[Tensor, Tensor, Tensor],
) -> None:
    logits, _, labels = drawn
    p = logits.softmax(1)[0].tolist()
    label = p.pop(int(labels.item()))
    expected = -math.log(label) - math.log(1 - max(p))
    assert losses.boosted_cross_entropy(logits, labels).item() == pytest.approx(expected, rel=1e-6)


@PROPERTY
@given(logit_pairs(1e3))
def test_margin_is_positive_where_another_class_wins(drawn: tuple[Tensor, Tensor, Tensor]) -> None:
    logits, _, labels = drawn
    other = losses.strongest_other_class(logits, labels)
    assert other.item() != labels.item()
    gap = (logits[0, other] - logits[0, labels]).item()
    assert losses.margin(logits, labels).item() == gap
    assert (gap > 0) == (logits[0, labels].item() < logits.max().item())


def test_released_floors_are_where_the_code_has_them() -> None:
    certain, label = torch.tensor([[60.0, 0.0, 0.0]], dtype=torch.float64), torch.tensor([1])
    other = certain.roll(1, 1)
    boosted = losses.boosted_cross_entropy(certain, label, "released")
    assert boosted.item() == pytest.approx(60 - math.log(1e-4), abs=1e-6)
    assert losses.kl_divergence(certain, other, "released").item() == pytest.approx(
        -math.log(1e-12), abs=1e-6
    )
    assert losses.doubt(certain, torch.tensor([0]), "released").item() == pytest.approx(1e-7)
    p, q = certain.log_softmax(1), torch.tensor([[60.0, 0.0, 39.0]]).double().log_softmax(1)
    floored = losses.jensen_shannon(p, q, "released").item()
    expected = transcription.js([*p[0].exp()], [*q[0].exp()], "released").item()
    assert floored == pytest.approx(expected, rel=0, abs=1e-15)
    assert floored != pytest.approx(losses.jensen_shannon(p, q).item(), rel=1e-3, abs=0)
