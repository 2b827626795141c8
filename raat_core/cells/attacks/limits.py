"""What the package of AutoAttack's authors asks of a data set."""

from __future__ import annotations

from raat_core.interface.operations import ImageShape
from raat_core.specs.threat_model import Norm

FEWEST_CLASSES = {"apgd-dlr": 3, "apgd-t": 4}
"""The difference-of-logits-ratio loss compares the three largest logits, the targeted one four."""

MOST_TARGETS = 9
"""Other classes that targeted attacks try."""


def targets_of(classes: int) -> int:
    """How many classes an image is attacked towards, of so many that the model has."""
    return min(MOST_TARGETS, classes - 1)


def check_classes(name: str, classes: int, advice: str) -> None:
    """Refuse a loss on fewer classes than it compares.

    Raises:
        ValueError: says how many it needs, and the advice.
    """
    least = FEWEST_CLASSES.get(name, 2)
    if classes < least:
        raise ValueError(
            f"{name} needs a data set of at least {least} classes, this one has {classes}; {advice}"
        )


def check_square(norm: Norm, image_shape: ImageShape, advice: str) -> None:
    """Refuse images that Square cannot start on.

    In an l2 ball it covers the image with tiles whose side is a fifth of its height, from the rest
    of that division on; the package fails where there is no tile or the last one does not fit.

    Raises:
        ValueError: says which images, and the advice.
    """
    _, height, width = image_shape
    if norm == "linf" or all(_tiles_fit(height, side) for side in (height, width)):
        return
    raise ValueError(
        f"Square, by its authors' package, cannot start in an l2 ball on images of {height} x "
        f"{width} pixels: it fails below 5 pixels and on sides of 12, 14, 18, 19 and 24; {advice}"
    )


def _tiles_fit(height: int, side: int) -> bool:
    tile = height // 5
    offset = (height - 5 * tile) // 2
    # Tiles of one pixel that lie outside are empty, and ignored.
    return tile == 1 or (tile > 1 and offset + side // tile * tile <= side)
