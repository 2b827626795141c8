"""Loss terms of the objectives, one value per sample.

Every function takes logits or log-probabilities of shape (B, K) and returns shape (B,), so that a
method decides itself which samples count and over how many the mean goes. Only methods of tensors
are used: this module, and with it every method's file, can be read without importing torch.

`numerics`: "exact" is the formula, computed in log space; "released" adds the small constants with
which the released code keeps its logarithms finite.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, TypeAlias

from raat_core.validation import require_one_of

if TYPE_CHECKING:
    from torch import Tensor

Numerics: TypeAlias = Literal["exact", "released"]


def _is_released(numerics: Numerics) -> bool:
    require_one_of("numerics", numerics, Numerics)
    return numerics == "released"


def _at(values: Tensor, classes: Tensor) -> Tensor:
    return values.gather(1, classes.unsqueeze(1)).squeeze(1)


def strongest_other_class(logits: Tensor, labels: Tensor) -> Tensor:
    """Argmax over k != y of the logits: (B, K), (B,) -> (B,) int64."""
    return logits.detach().scatter(1, labels.unsqueeze(1), -math.inf).argmax(1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """CE(p, y) = -log p_y, or -sum_k y_k log p_k.

    Args:
        logits: (B, K).
        labels: classes (B,) int64, or probabilities (B, K).
    """
    log_p = logits.log_softmax(1)
    if labels.is_floating_point():
        return -(labels * log_p).sum(1)
    return -_at(log_p, labels)


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """(1 - smoothing) CE(p, y) + smoothing mean_k(-log p_k), as torch's `label_smoothing`.

    With smoothing 0 it is `cross_entropy`; arguments as there.
    """
    supervised = cross_entropy(logits, labels)
    if smoothing == 0:
        return supervised
    return (1 - smoothing) * supervised - smoothing * logits.log_softmax(1).mean(1)


def boosted_cross_entropy(logits: Tensor, labels: Tensor, numerics: Numerics = "exact") -> Tensor:
    """BCE(p, y) = -log p_y - log(1 - max_{k != y} p_k), MART's supervised term (Table 4).

    "released": the second logarithm is log(1.0001 - p_k + 1e-12).
    """
    other = strongest_other_class(logits, labels)
    log_p = logits.log_softmax(1)
    if _is_released(numerics):
        log_not_other = (1.0001 - _at(log_p, other).exp() + 1e-12).log()
    else:
        log_not_other = log_p.scatter(1, other.unsqueeze(1), -math.inf).logsumexp(1)
    return -_at(log_p, labels) - log_not_other


def kl_divergence(reference: Tensor, logits: Tensor, numerics: Numerics = "exact") -> Tensor:
    """KL(p_reference || p) of two sets of logits; gradients flow into both.

    "released": log(p + 1e-12) stands for log p.
    """
    log_reference, log_p = reference.log_softmax(1), logits.log_softmax(1)
    if _is_released(numerics):
        log_p = (log_p.exp() + 1e-12).log()
    return (log_reference.exp() * (log_reference - log_p)).sum(1)


def doubt(logits: Tensor, labels: Tensor, numerics: Numerics = "exact") -> Tensor:
    """1 - p_y, the weight of MART's KL term ("released": 1.0000001 - p_y)."""
    one = 1.0000001 if _is_released(numerics) else 1.0
    return one - _at(logits.softmax(1), labels)


def jensen_shannon(log_p: Tensor, log_q: Tensor, numerics: Numerics = "exact") -> Tensor:
    """JS(p || q) = KL(p || m)/2 + KL(q || m)/2, m = (p + q)/2, from log-probabilities (Eq. 16).

    "released": the logarithm of m is taken of max(m, 1e-8).
    """
    if _is_released(numerics):
        log_m = (0.5 * (log_p.exp() + log_q.exp())).clamp(min=1e-8).log()
    else:
        log_m = log_p.logaddexp(log_q) - math.log(2.0)
    left = (log_p.exp() * (log_p - log_m)).sum(1)
    right = (log_q.exp() * (log_q - log_m)).sum(1)
    return 0.5 * (left + right)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """max_{k != y} z_k - z_y: the C&W margin; positive where the sample is misclassified."""
    other = logits.scatter(1, labels.unsqueeze(1), -math.inf).amax(1)
    return other - _at(logits, labels)
