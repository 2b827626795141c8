"""The image files of a data set, decoded in their order: bad ones named, odd ones counted."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from raat_core.data.cache import Samples
from raat_core.data.images import Oddity, Picture
from raat_core.errors import UserError

MOST_NAMED = 20
"""Bad images that one message names."""
_CHECK_EVERY = 100
_ODD: dict[Oddity, str] = {
    "transparent": "transparent pixels: {:,}; the colours behind are taken",
    "turned": "an EXIF orientation: {:,}; it is not applied",
    "paged": "several frames or pages: {:,}; the first is taken",
}
File: TypeAlias = tuple[str, int]
"""Its name, and its label."""


@dataclass
class _Twin:
    """A picture of the split that is decoded first."""

    file: str
    label: int
    times: int = 0
    other: str = ""
    """The file with the same pixels in the other split."""
    is_of_another_class: bool = False


class Decoding:
    """Decodes the files of two splits.

    Nothing that is bad stops it at once: the rest is looked at, too, so that one run names all.
    """

    def __init__(
        self,
        where: str,
        decode: Callable[[str], Picture],
        check_stop: Callable[[], None] = lambda: None,
    ) -> None:
        """With what it is to decode.

        Args:
            where: the data set and its place, for messages.
            decode: a file's name to its image; raises UserError, which names it.
            check_stop: called now and then while only mistakes are looked for.
        """
        self._where, self._decode, self._check_stop = where, decode, check_stop
        self._waiting: dict[str, Sequence[File]] = {}
        self._bad: list[str] = []
        self._odd: Counter[Oddity] = Counter()
        self._count = self._grey = 0
        self._twins: dict[bytes, _Twin] = {}

    def samples(self, split: str, files: Sequence[File]) -> Samples:
        """A split to be written; its images raise UserError after the last, if any is bad."""
        self._waiting[split] = files
        return Samples([label for _, label in files], self._images(split))

    @property
    def notes(self) -> list[str]:
        """What was found, a sentence each; once both splits were decoded."""
        notes = [
            f"images with {_ODD[odd].format(count)}" for odd, count in sorted(self._odd.items())
        ]
        found = [twin for twin in self._twins.values() if twin.other]
        if found:
            # The test images are decoded first: they stand first in a cache's file.
            elsewhere = sum(twin.times for twin in found if twin.is_of_another_class)
            notes.append(
                f"test images that are training images as well: "
                f"{sum(twin.times for twin in found):,}, of another class {elsewhere:,} "
                f"({found[0].file} is {found[0].other})"
            )
        return notes

    @property
    def is_grey(self) -> bool:
        """Whether no image has colours."""
        return self._grey == self._count > 0

    def _images(self, split: str) -> Iterator[np.ndarray]:
        files, is_first = self._waiting.pop(split), not self._twins
        for name, label in files:
            picture = self._decoded(name)
            if picture is not None and not self._bad:
                self._remember(picture, name, label, is_first)
                yield picture.pixels
        if self._bad:
            for name, _ in (file for other in self._waiting.values() for file in other):
                self._decoded(name)
            raise UserError(self._all_bad())

    def _decoded(self, name: str) -> Picture | None:
        self._count += 1
        if self._bad and self._count % _CHECK_EVERY == 0:
            self._check_stop()
        try:
            return self._decode(name)
        except UserError as error:
            self._bad.append(str(error))
            return None

    def _remember(self, picture: Picture, name: str, label: int, is_first: bool) -> None:
        self._odd.update(picture.odd)
        self._grey += picture.is_grey
        key = hashlib.blake2b(picture.pixels.data, digest_size=16).digest()
        if is_first:
            self._twins.setdefault(key, _Twin(name, label)).times += 1
        elif key in self._twins:
            twin = self._twins[key]
            twin.other = twin.other or name
            twin.is_of_another_class |= label != twin.label

    def _all_bad(self) -> str:
        count = len(self._bad)
        if count == 1:
            return self._bad[0]
        lines = [f"{self._where}: {count:,} images cannot be used:", *self._bad[:MOST_NAMED]]
        if count > MOST_NAMED:
            lines.append(f"and {count - MOST_NAMED:,} more")
        return "\n".join(lines)
