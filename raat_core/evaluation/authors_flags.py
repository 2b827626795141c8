"""What is suspicious of a whole record of AutoAttack, or of an attack of its authors alone.

The authors' package looks at a batch, and warns of one image in it. Here all images of a record are
looked at, and both a count and a share are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raat_core.interface.attack import Attacked

LEAST_IMAGES = 3
"""A single image may be odd, and of a few hundred it is more than the share below."""
LEAST_SHARE = 0.002
"""Of all images; what the package allows Square."""


def flags_of(attacked: Attacked, names: Sequence[str]) -> list[str]:
    """A sentence for everything that the package warns of and that is so of more than a few images.

    Args:
        attacked: all images of a record; of details that it lacks nothing is said.
        names: of the attacks, in their order.
    """
    details, total = attacked.details, len(attacked.label)
    found = {name: details[name].astype(bool) for name in _SENTENCES if name in details}
    if "broken_by" in details and _is_last_resort(names):
        found["square"] = details["broken_by"] == 1 + names.index("square")
    return [
        sentence.format(f"{mask.sum()} of {total} images")
        for name, sentence in _SENTENCES.items()
        for mask in [found.get(name, np.zeros(total, bool))]
        if mask.sum() >= LEAST_IMAGES and mask.sum() > LEAST_SHARE * total
    ]


def _is_last_resort(names: Sequence[str]) -> bool:
    """Whether Square gets what attacks with gradients left, and none comes after it."""
    return len(names) > 1 and names[-1] == "square"


_SENTENCES = {
    "varies": "randomised model: the logits of {} differ when they are asked for again; the "
    "version rand of AutoAttack is for such models",
    "probabilities": "probabilities: the outputs for {} are no logits, which attacks expect",
    "zero_start": "zero gradients: APGD starts from a gradient of exactly zero on {}",
    "square": "Square, which knows no gradients, breaks {} that attacks with gradients left",
    "optimises": "optimisation at test time: the model computes gradients while it predicts {}",
}
