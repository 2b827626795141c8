"""Table 4 and the released code's departures from it, transcribed: one sample after the other.

Scalars and Python loops only, and no code shared with what it checks: of `raat_core` it sees the
settings alone. A sample's logits must not depend on the batch, so its models have no BatchNorm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from fake_step import FakeStep
from torch import Tensor, nn

Vector: TypeAlias = list[Tensor]
"""Scalars, such as one probability per class."""
Terms: TypeAlias = dict[str, Tensor]


def total(values: Vector) -> Tensor:
    result = torch.zeros((), dtype=torch.float64)
    for value in values:
        result = result + value
    return result


def mean(values: Vector) -> Tensor:
    return total(values) / len(values)


def softmax(logits: Vector) -> Vector:
    exponentials = [logit.exp() for logit in logits]
    return [exponential / total(exponentials) for exponential in exponentials]


def probabilities(model: nn.Module, image: Tensor, temperature: float = 1.0) -> Vector:
    return softmax([logit / temperature for logit in model(image[None])[0]])


def deciding(step: FakeStep) -> nn.Module:
    """By whose predictions samples are told apart: the average's, once there is one."""
    return step.model if step.average is None else step.average


def prediction(model: nn.Module, image: Tensor) -> int:
    with torch.no_grad():
        logits: list[float] = model(image[None])[0].tolist()
    return logits.index(max(logits))


# ------------------------------------------------------------------------ losses of one sample


def ce(p: Vector, y: int) -> Tensor:
    return -p[y].log()


def bce(p: Vector, y: int, numerics: str) -> Tensor:
    other = max((k for k in range(len(p)) if k != y), key=lambda k: p[k].item())
    if numerics == "released":
        return ce(p, y) - (1.0001 - p[other] + 1e-12).log()
    # The sum over the rest is 1 - p[other] without the difference's loss of digits.
    return ce(p, y) - total([p[k] for k in range(len(p)) if k != other]).log()


def kl(p: Vector, q: Vector, floor: float = 0.0) -> Tensor:
    return total([a * (a.log() - (b + floor).log()) for a, b in zip(p, q, strict=True)])


def js(p: Vector, q: Vector, numerics: str) -> Tensor:
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    if numerics == "released":
        middle = [m if m.item() > 1e-8 else torch.full_like(m, 1e-8) for m in middle]
    return kl(p, middle) / 2 + kl(q, middle) / 2


def weighted_kl(clean: Vector, adversarial: Vector, y: int, numerics: str) -> Tensor:
    if numerics == "released":
        return kl(clean, adversarial, 1e-12) * (1.0000001 - clean[y])
    return kl(clean, adversarial) * (1 - clean[y])


# ------------------------------------------------------------------------- samples of one batch


def view_samples(step: FakeStep) -> Iterator[tuple[int, int, int]]:
    """(view, sample, label) of every augmentation of every sample."""
    for view in range(len(step.views)):
        for i, label in enumerate(step.labels.tolist()):
            yield view, i, label


def attacked(step: FakeStep, view: int, i: int, radius: float = 1.0) -> Tensor:
    return step.adversarial[radius][view * len(step.labels) + i]


def reduced(step: FakeStep, view: int, i: int, how: str, eta: float) -> Tensor:
    if how == "attack":
        return attacked(step, view, i, eta)
    clean = step.views[view][i]
    return clean + eta * (attacked(step, view, i) - clean)


def is_kept(step: FakeStep, i: int, indicator: str) -> bool:
    """1[h(x) = y], of the natural sample or of both of its augmentations."""
    looked_at = [step.natural[i]] if indicator == "natural" else [view[i] for view in step.views]
    label = step.labels[i].item()
    return all(prediction(deciding(step), image) == label for image in looked_at)


def takes_reduced(step: FakeStep, view: int, i: int, chosen: Any) -> bool:
    """Whether the supervised term sees this augmentation at x''."""
    model, label = deciding(step), step.labels[i].item()
    if not chosen.reduce_boundary:
        return False
    at_reduced = reduced(step, view, i, chosen.reduced_sample, chosen.eta)
    if prediction(model, at_reduced) == label:
        return False
    if chosen.reduced_for == "table-4":
        return True
    if prediction(model, step.views[view][i]) != label:  # misclassified
        return False
    return chosen.reduced_for == "boundary" or prediction(model, attacked(step, view, i)) != label


# ------------------------------------------------------------------------------ the objectives


def pgd_at(step: FakeStep, chosen: Any) -> Terms:
    return {"supervised": mean(on_attacked(step, ce))}


def on_attacked(step: FakeStep, loss: Callable[[Vector, int], Tensor]) -> Vector:
    return [
        loss(probabilities(step.model, attacked(step, view, i)), y)
        for view, i, y in view_samples(step)
    ]


def trades(step: FakeStep, chosen: Any) -> Terms:
    supervised, divergences = [], []
    for view, i, y in view_samples(step):
        clean = probabilities(step.model, step.views[view][i])
        supervised.append(ce(clean, y))
        divergences.append(kl(clean, probabilities(step.model, attacked(step, view, i))))
    return {"supervised": mean(supervised), "kl": chosen.lam * mean(divergences)}


def mart(step: FakeStep, chosen: Any) -> Terms:
    boosted = on_attacked(step, lambda p, y: bce(p, y, chosen.numerics))
    return {"supervised": mean(boosted), "kl": chosen.lam * mean(weighted_kls(step, chosen))}


def weighted_kls(step: FakeStep, chosen: Any) -> Vector:
    values = []
    for view, i, y in view_samples(step):
        clean = probabilities(step.model, step.views[view][i])
        adversarial = probabilities(step.model, attacked(step, view, i))
        values.append(weighted_kl(clean, adversarial, y, chosen.numerics))
    return values


def cons_at(step: FakeStep, chosen: Any) -> Terms:
    consistency = []
    for i in range(len(step.labels)):
        first = probabilities(step.model, attacked(step, 0, i), chosen.temperature)
        second = probabilities(step.model, attacked(step, 1, i), chosen.temperature)
        consistency.append(js(first, second, chosen.numerics))
    return {
        "supervised": mean(on_attacked(step, ce)),
        "consistency": chosen.lam * mean(consistency),
    }


def raat(step: FakeStep, chosen: Any) -> Terms:
    terms = {"supervised": mean(on_attacked_or_reduced(step, chosen, ce))}
    if chosen.dicar:
        terms["dicar"] = chosen.lam * dicar(step, chosen)
    return terms


def raat_plus_plus(step: FakeStep, chosen: Any) -> Terms:
    boosted = on_attacked_or_reduced(step, chosen, lambda p, y: bce(p, y, chosen.numerics))
    weight = chosen.lam if chosen.kl_lambda is None else chosen.kl_lambda
    terms = {"supervised": mean(boosted), "kl": weight * mean(weighted_kls(step, chosen))}
    if chosen.dicar:
        terms["dicar"] = chosen.lam * dicar(step, chosen)
    return terms


def weight_averaging(step: FakeStep, chosen: Any) -> Terms:
    return pgd_at(step, chosen)


def rebat(step: FakeStep, chosen: Any) -> Terms:
    return {**pgd_at(step, chosen), "kl": chosen.lam * mean_kl_from_average(step, views=1)}


def raat_sharp(step: FakeStep, chosen: Any) -> Terms:
    views = 1 if chosen.supervised_views == "first" else 2
    terms = {"supervised": mean(on_attacked_or_reduced(step, chosen, ce, views))}
    if chosen.dicar:
        counts = chosen.dicar_from == "start" or step.average is not None
        terms["dicar"] = chosen.lam * dicar(step, chosen) if counts else mean_of_nothing()
    if chosen.kl_lambda > 0:
        terms["kl"] = chosen.kl_lambda * mean_kl_from_average(step, views)
    return terms


def mean_of_nothing() -> Tensor:
    return torch.zeros((), dtype=torch.float64)


def mean_kl_from_average(step: FakeStep, views: int) -> Tensor:
    """KL(p_average(x') || p(x')), the average held fixed."""
    if step.average is None:
        return mean_of_nothing()
    values = []
    for view, i, _ in view_samples(step):
        if view < views:
            image = attacked(step, view, i)
            fixed = [p.detach() for p in probabilities(step.average, image)]
            values.append(kl(fixed, probabilities(step.model, image)))
    return mean(values)


def on_attacked_or_reduced(
    step: FakeStep, chosen: Any, loss: Callable[[Vector, int], Tensor], views: int = 2
) -> Vector:
    values = []
    for view, i, y in view_samples(step):
        if view >= views:
            continue
        image = attacked(step, view, i)
        if takes_reduced(step, view, i, chosen):
            image = reduced(step, view, i, chosen.reduced_sample, chosen.eta)
        values.append(loss(probabilities(step.model, image), y))
    return values


def dicar(step: FakeStep, chosen: Any) -> Tensor:
    samples = range(len(step.labels))
    kept = [dicar_of(step, i, chosen) for i in samples if is_kept(step, i, chosen.dicar_keeps)]
    count = len(kept) if chosen.dicar_mean == "kept" else len(samples)
    return total(kept) / max(count, 1)


def dicar_of(step: FakeStep, i: int, chosen: Any) -> Tensor:
    beta = step.drawn[i if chosen.beta_per == "sample" else 0]
    if chosen.fold_beta and beta < 0.5:
        beta = 1 - beta
    interpolation = beta * attacked(step, 0, i) + (1 - beta) * attacked(step, 1, i)
    left = probabilities(step.model, interpolation, chosen.temperature)
    first, second = (step.model(view[i][None])[0] / chosen.temperature for view in step.views)
    if chosen.dicar_target == "probabilities":
        pairs = zip(softmax(list(first)), softmax(list(second)), strict=True)
        right = [beta * p + (1 - beta) * q for p, q in pairs]
    else:
        right = softmax(list(beta * first + (1 - beta) * second))
    return js(left, right, chosen.numerics)


def boundary_study(step: FakeStep, chosen: Any) -> Terms:
    values = []
    for view, i, y in view_samples(step):
        clean, threshold = step.views[view][i], attacked(step, view, i, chosen.threshold)
        at = {"full": attacked(step, view, i), "threshold": threshold, "zero": clean}
        if prediction(step.model, clean) != y:
            image = clean
        elif prediction(step.model, threshold) != y:
            image = at[chosen.boundary]
        else:
            image = at[chosen.non_boundary]
        values.append(ce(probabilities(step.model, image), y))
    return {"supervised": mean(values)}


OBJECTIVES: dict[str, Callable[[FakeStep, Any], Terms]] = {
    "pgd-at": pgd_at,
    "trades": trades,
    "mart": mart,
    "cons-at": cons_at,
    "raat": raat,
    "raat++": raat_plus_plus,
    "boundary-study": boundary_study,
    "wa": weight_averaging,
    "rebat": rebat,
    "raat#": raat_sharp,
}
