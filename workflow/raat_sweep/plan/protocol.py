"""How an item's numbers were made, in sentences for captions."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from raat_core.cells.catalogue import DATA_SETS
from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import Evaluation
from raat_core.interface.registry import attack_class
from raat_core.methods.given import GivenSettings
from raat_core.specs.averaging import Ema
from raat_core.specs.optimiser import Sgd
from raat_core.specs.recipe import Recipe
from raat_core.specs.schedule import Steps
from raat_core.specs.threat_model import NORM_SYMBOLS, ThreatModel
from raat_core.validation import format_fraction
from raat_sweep.plan.items import PlannedAttack, PlannedItem
from raat_sweep.plan.plan import Plan
from raat_sweep.plan.selections import best_in_full


def protocol_of(plan: Plan, name: str) -> list[str]:
    """Seeds, balls, training, attacks and checkpoints of an item, a sentence each."""
    item, titles = plan.items[name], plan.config.titles
    cells, attacks = item.cells, [_attack(each, titles[each.name]) for each in item.attacks]
    trained = [cell for cell in cells if cell.trains]
    return [
        *([_seeds(trained)] if trained else []),
        "Balls: " + _join(map(_ball, cells)) + ".",
        *(["Training: " + _join(map(_training, trained)) + "."] if trained else []),
        *_given(item),
        *([f"Attacks: {_join(attacks)}."] if attacks else []),
        _selection(plan, name),
    ]


def other_balls(plan: Plan, name: str) -> str:
    """A sentence on an item's attacks that are in another ball than the cells'; else empty.

    `Half in ℓ∞, ε = 4/255`; not on those whose rows or axis say it.
    """
    titles = plan.config.titles
    found = [
        f"{titles[each.name]} {ball}"
        for each in plan.items[name].attacks
        if not each.changes and (ball := _own_ball(each.settings, each.threat))
    ]
    return f"Attacks in balls of their own: {_join(found)}" if found else ""


def meanings(plan: Plan, name: str, metrics: Iterable[str]) -> str:
    """A sentence on the numbers of an item that are no robust accuracies; else empty.

    `mCA is the mean over 15 corruptions at severity 1, 2, 3, 4, 5, of CIFAR-10-C`.

    Args:
        plan: the config's.
        name: of the item.
        metrics: that it shows.
    """
    titles = plan.config.titles
    found = [
        f"{titles[each.name]} is the {each.settings.accuracy_is}"
        for each in plan.items[name].attacks
        if not attack_class(each.settings.kind).is_adversarial
    ]
    found += [
        f"{titles[metric]} is the median over test images of the distance to the nearest "
        f"misclassified image, in 255ths of the pixel range"
        for metric, entry in plan.config.derived_among(metrics).items()
        if entry.is_distance
    ]
    return _join(found)


def _join(parts: Iterable[str]) -> str:
    """What differs, each once."""
    return "; ".join(dict.fromkeys(parts))


def _seeds(cells: list[Cell]) -> str:
    seeds = sorted({cell.seed for cell in cells})
    return f"n = {len(seeds)} seeds ({', '.join(map(str, seeds))})."


def _given(item: PlannedItem) -> list[str]:
    """Which weights were trained elsewhere, and how many files of each model."""
    files: dict[str, dict[str, None]] = {}
    for part in item.parts:
        for point in part.points:
            settings = point.cell.method
            if isinstance(settings, GivenSettings):
                files.setdefault(point.label, {})[settings.sha256[:12]] = None
    models = (
        f"{label} (n = {len(some)}, sha256 {', '.join(some)})" for label, some in files.items()
    )
    return [f"Weights trained elsewhere: {'; '.join(models)}."] if files else []


def _ball(cell: Cell) -> str:
    threat = cell.threat_model
    ball = f"{NORM_SYMBOLS[threat.norm]}, ε = {format_fraction(threat.epsilon)}"
    if not cell.trains:
        return ball
    return f"{ball}, training attack of {threat.steps} steps of {format_fraction(threat.step_size)}"


def _training(cell: Cell) -> str:
    recipe = cell.recipe
    parts = [
        f"{recipe.epochs} epochs",
        f"batches of {recipe.batch_size}",
        f"learning rate {recipe.learning_rate:g}",
        _schedule(recipe),
        *_more_of(recipe),
    ]
    return f"{', '.join(parts)}, {cell.precision}{_extra_data(cell)}"


def _extra_data(cell: Cell) -> str:
    extra = cell.extra_data
    if extra is None:
        return ""
    labels = f"by {extra.labeller.in_names}" if extra.labeller else "given"
    title = DATA_SETS[extra.dataset].title
    return f", of every batch {extra.share:.3g} extra data ({title}, labels {labels})"


def _schedule(recipe: Recipe) -> str:
    schedule = recipe.schedule
    if schedule is not None and not isinstance(schedule, Steps):
        warmup = getattr(schedule, "warmup_epochs", 0)
        after = f" after {warmup} epochs of warm-up" if warmup else ""
        return f"schedule {schedule.kind}{after}"
    decays = ", ".join(map(str, recipe.decay_epochs)) or "never"
    warmup = "" if schedule is None else f" after {schedule.warmup_epochs} epochs of warm-up"
    return f"times {recipe.decay_factor:.3g} after epochs {decays}{warmup}"


def _more_of(recipe: Recipe) -> list[str]:
    """What a recipe says beyond the paper's kind."""
    more = []
    if recipe.optimiser != Sgd():
        nesterov = isinstance(recipe.optimiser, Sgd) and recipe.optimiser.nesterov
        more.append("SGD with Nesterov's momentum" if nesterov else "AdamW")
    if recipe.label_smoothing > 0:
        more.append(f"label smoothing {recipe.label_smoothing:g}")
    if recipe.gradient_clipping is not None:
        more.append(f"gradients clipped at {recipe.gradient_clipping:g}")
    if recipe.drop_last:
        more.append("without the last, ragged batch")
    if recipe.patience is not None:
        more.append(f"stopped after {recipe.patience} epochs without a better checkpoint")
    if recipe.averaging is not None:
        decay = f" (decay {recipe.averaging.decay:g})" if isinstance(recipe.averaging, Ema) else ""
        reported = "" if recipe.averaging.report == "average" else ", the trained model reported"
        begins = recipe.averaging.from_epoch + 1
        more.append(f"{recipe.averaging.kind.upper()}{decay} from epoch {begins} on{reported}")
    if recipe.perturbation is not None:
        begins = recipe.perturbation.from_epoch + 1
        more.append(f"AWP (gamma {recipe.perturbation.gamma:g}) from epoch {begins} on")
    return more


def _attack(planned: PlannedAttack, title: str) -> str:
    attack, threat = planned.settings, planned.threat
    changes = ", ".join(f"{key} = {value}" for key, value in planned.changes)
    images = "all test images" if attack.samples is None else f"{attack.samples} test images"
    parts = filter(None, [attack.describe(), _own_ball(attack, threat), images])
    return f"{title}{f' ({changes})' if changes else ''}: {', '.join(parts)}"


def _own_ball(attack: Evaluation, threat: ThreatModel) -> str:
    """What an attack's ball is, if it is not the threat model's."""
    norm, epsilon = (getattr(attack, key, getattr(threat, key)) for key in ("norm", "epsilon"))
    if (norm, epsilon) == (threat.norm, threat.epsilon):
        return ""
    size = format_fraction(epsilon) if isinstance(epsilon, Fraction) else f"{epsilon:g}"
    return f"in {NORM_SYMBOLS.get(norm, norm)}, ε = {size}"


def _selection(plan: Plan, name: str) -> str:
    item = plan.items[name]
    return f"Checkpoint: {_join(item.checkpoints)}; {best_in_full(item)}."
