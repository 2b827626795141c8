"""What lies in an image folder: classes, their files, and what is left out.

Nothing is opened here. Names are taken as they are on the disk.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from raat_core.data.decoding import File
from raat_core.errors import UserError
from raat_core.validation import one_line

SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
_SYSTEM_FOLDERS = frozenset(
    ("__macosx", "#recycle", "#snapshot", "$recycle.bin", "lost+found", "system volume information")
)
"""Of macOS, Synology, Windows and Linux; besides those that begin with a dot or an @."""
_SYSTEM_FILES = frozenset(("desktop.ini", "ehthumbs.db", "icon\r", "thumbs.db"))
"""Of Windows and macOS; besides those that begin with a dot."""
_MOST_NAMED = 10
Split: TypeAlias = Literal["train", "test"]
SPLITS: tuple[Split, Split] = ("train", "test")


@dataclass
class Layout:
    """The classes of an image folder and the files of each split, in the order of the labels."""

    classes: tuple[str, ...]
    files: dict[Split, list[File]]
    notes: list[str]
    """What was left out, a sentence each."""


@dataclass
class _LeftOut:
    """What is no image by its name or place."""

    endings: Counter[str] = field(default_factory=Counter)
    folders: list[Path] = field(default_factory=list)
    loose: Counter[Path] = field(default_factory=Counter)

    def notes(self) -> list[str]:
        notes = []
        if self.endings:
            counts = sorted(self.endings.items(), key=lambda entry: (-entry[1], entry[0]))
            kinds = _named([f"{ending} ({count:,})" for ending, count in counts])
            notes.append(f"files left out by their ending: {self.endings.total():,}: {kinds}")
        if self.folders:
            names = _named([str(folder) for folder in self.folders], 3)
            notes.append(f"hidden or system folders left out: {len(self.folders):,}: {names}")
        notes += [
            f"files left out of {split} itself, in no class: {count:,}"
            for split, count in self.loose.items()
        ]
        return notes


def is_hidden_folder(name: str) -> bool:
    """Whether a folder is hidden, or holds what a system made (thumbnails, deleted files)."""
    return name.startswith((".", "@")) or name.casefold() in _SYSTEM_FOLDERS


def is_hidden_file(name: str) -> bool:
    """Whether a file is hidden, or a system's own."""
    return name.startswith(".") or name.casefold() in _SYSTEM_FILES


def read_layout(where: str, path: Path) -> Layout:
    """Classes sorted by name; their images, in folders below them too, by folder and name.

    Args:
        where: the data set, for messages.
        path: the folder: train/<class>/..., test/<class>/...

    Raises:
        UserError: train or test is missing; classes are in one of them only, have no image, or have
            one name in two Unicode forms; there are fewer than two; a link leads nowhere or back.
    """
    left_out = _LeftOut()
    classes = {split: _classes(where, path, split, left_out) for split in SPLITS}
    _require_same(where, path, classes)
    names = classes["train"]
    if len(names) < 2:
        raise UserError(f"{where}: {path}/train: {len(names)} classes; at least 2 are needed")
    files: dict[Split, list[File]] = {split: [] for split in SPLITS}
    empty: list[str] = []
    for split in SPLITS:
        for label, name in enumerate(names):
            found = _images(path / split / name, left_out)
            files[split] += [(str(file), label) for file in found]
            empty += [] if found else [str(path / split / name)]
    notes = left_out.notes() + _alike(names)
    if empty:
        held = f" ({notes[0]})" if left_out.endings else ""
        verb = "has" if len(empty) == 1 else "have"
        raise UserError(
            f"{where}: {_named(empty)} {verb} no image, of which names end in "
            f"{', '.join(sorted(SUFFIXES))}{held}"
        )
    return Layout(tuple(names), files, notes)


def walk(path: Path, above: tuple[Path, ...] = ()) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Every folder at and below one, sorted, links followed, with names of its files and folders.

    Hidden folders are among the names, and are not entered.

    Raises:
        UserError: a link leads nowhere, or back to a folder above it, or a folder cannot be read.
    """
    real = path.resolve()
    if real in above:
        raise UserError(f"{path}: leads back to {real}, which it is in: remove the link")
    try:
        with os.scandir(path) as entries:
            found = {entry.name: _is_folder(entry) for entry in entries}
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    folders = sorted(name for name, is_folder in found.items() if is_folder)
    yield path, sorted(found.keys() - set(folders)), folders
    for name in folders:
        if not is_hidden_folder(name):
            yield from walk(path / name, (*above, real))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    hidden = is_hidden_file(entry.name) or is_hidden_folder(entry.name)
    if entry.is_symlink() and not hidden and not Path(entry.path).exists():
        raise UserError(f"{entry.path}: is a link that leads nowhere: remove it")
    try:
        return entry.is_dir()
    except OSError:  # A hidden link to itself.
        return False


def _classes(where: str, path: Path, split: Split, left_out: _LeftOut) -> list[str]:
    folder = path / split
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: _is_folder(entry) for entry in entries}
    except OSError as error:
        there = _named([repr(name) for name in sorted(_names_in(path))]) or "nothing"
        raise UserError(
            f"{where}: {path}: cannot read {folder}: {error.strerror}; the layout is "
            f"train/<class>/..., test/<class>/..., and in the folder there is {there}"
        ) from error
    hidden = sorted(
        name for name, is_folder in found.items() if is_folder and is_hidden_folder(name)
    )
    left_out.folders += [folder / name for name in hidden]
    loose = sum(not is_folder and not is_hidden_file(name) for name, is_folder in found.items())
    if loose:
        left_out.loose[folder] = loose
    names = sorted(name for name, is_folder in found.items() if is_folder and name not in hidden)
    _require_readable(where, folder, names)
    return names


def _names_in(path: Path) -> list[str]:
    try:
        return [entry.name for entry in path.iterdir()]
    except OSError:
        return []


def _require_readable(where: str, folder: Path, names: Sequence[str]) -> None:
    """Refuse classes whose names are no text, or the same text twice."""
    first: dict[str, str] = {}
    for name in names:
        if one_line(name) != name or os.fsencode(name).decode(errors="replace") != name:
            raise UserError(
                f"{where}: {folder}: the class {name!a} has a name with control characters, or not "
                f"in UTF-8: rename it"
            )
        other = first.setdefault(_composed(name), name)
        if other != name:
            raise UserError(
                f"{where}: {folder}: the classes {other!a} and {name!a} have one name in "
                f"two Unicode forms: put them together"
            )


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _require_same(where: str, path: Path, classes: dict[Split, list[str]]) -> None:
    """Refuse classes that one split has and the other has not."""
    said = []
    for split, other in zip(reversed(SPLITS), SPLITS, strict=True):
        missing = [name for name in classes[other] if name not in classes[split]]
        if missing:
            near = _near(missing, classes[split])
            kind = "class" if len(missing) == 1 else "classes"
            listed = _named([repr(name) for name in missing])
            said.append(f"{path / split} has no {kind} {listed}, which {other} has{near}")
    if said:
        raise UserError(f"{where}: {'; '.join(said)}")


def _near(missing: Sequence[str], names: Sequence[str]) -> str:
    """A name that differs from one of the missing only in what is easily overlooked."""
    for name in missing:
        for other in names:
            if _composed(name) == _composed(other):
                return f" ({name!a}; {other!a} is the same in another Unicode form)"
            if _composed(name).casefold() == _composed(other).casefold():
                return f" ({other!r} differs only in case)"
            if name.strip() == other.strip():
                return f" ({other!r} differs only in spaces)"
    return ""


def _alike(names: Sequence[str]) -> list[str]:
    """Classes that are different by upper and lower case alone: letters may well be."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_composed(name).casefold(), []).append(name)
    pairs = [" and ".join(map(repr, group)) for group in groups.values() if len(group) > 1]
    return [f"classes that differ only in case: {_named(pairs)}"] if pairs else []


def _images(folder: Path, left_out: _LeftOut) -> list[Path]:
    """All below a class's folder, sorted by their folder, then by name, as torchvision does."""
    found = []
    for parent, files, folders in sorted(walk(folder), key=lambda entry: str(entry[0])):
        left_out.folders += [parent / name for name in folders if is_hidden_folder(name)]
        for name in files:
            ending = Path(name).suffix.lower()
            if is_hidden_file(name):
                continue
            if ending in SUFFIXES:
                found.append(parent / name)
            else:
                left_out.endings[ending or "no ending"] += 1
    return found


def _named(names: Sequence[str], most: int = _MOST_NAMED) -> str:
    """`a, b, c and 4 more`."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest:,} more" if rest > 0 else "")
