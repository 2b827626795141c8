"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009): 32×32 pixels, 50,000 to train and 10,000 to test.

torchvision downloads the archive, verifies every file in it by its checksum, and unpickles it.
"""

from __future__ import annotations

import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from raat_core.cells.catalogue import DATA_SETS
from raat_core.data.archives import Archive, obtain, problem_of, say_unpacked_is_used
from raat_core.data.cache import Samples, Source
from raat_core.data.dataset import DataSet, load_cached
from raat_core.errors import UserError

_CLASSES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}
_SIZES = {"cifar10": 170_498_071, "cifar100": 169_001_437}
_LARGEST_MEMBER = 200_000_000


def load_cifar10(root: Path, check_stop: Callable[[], None]) -> DataSet:
    """Images (3, 32, 32) and labels in the official order.

    Made from `root`/cifar-10-python.tar.gz, or else from the folder that it unpacks to, or else
    from a download; each is used only if its checksums are right.

    Raises:
        UserError: none of them is there and whole, and there is no network.
    """
    return load_cached("cifar10", root, lambda: _source("cifar10", root), check_stop)


def load_cifar100(root: Path, check_stop: Callable[[], None]) -> DataSet:
    """As `load_cifar10`, from `root`/cifar-100-python.tar.gz; labels are the fine ones."""
    return load_cached("cifar100", root, lambda: _source("cifar100", root), check_stop)


def _source(name: str, root: Path) -> Source:
    try:
        from torchvision import datasets
    except ImportError as error:
        raise UserError(f"data set {name}: torchvision is not installed: {error}") from None
    kind = getattr(datasets, _CLASSES[name])
    archive = Archive(
        kind.url, kind.filename, _SIZES[name], kind.tgz_md5, unpacked=kind.base_folder
    )
    problem, note = problem_of(archive, root), ""
    if problem is not None and (root / kind.base_folder).exists():
        note = _damage(kind, root)
        if not note:
            say_unpacked_is_used(name, archive, root, problem)
            return _read(name, kind, root)
    path = obtain(name, archive, root, note) if problem else root / archive.filename
    with tempfile.TemporaryDirectory(prefix="unpacked-", dir=root / "cache" / name) as unpacked:
        _unpack(name, path, kind, Path(unpacked))
        try:
            return _read(name, kind, Path(unpacked))
        except RuntimeError as error:
            raise UserError(f"data set {name}: {path} is damaged: {error}") from error


def _damage(kind: Any, root: Path) -> str:
    """What is wrong with an unpacked folder, by the checksums of its files; empty if nothing is."""
    from torchvision.datasets.utils import check_integrity

    files = [*kind.train_list, *kind.test_list, [kind.meta["filename"], kind.meta["md5"]]]
    folder = root / kind.base_folder
    bad = [file for file, md5 in files if not check_integrity(str(folder / file), md5)]
    return f"{folder} is there, but not whole: {', '.join(bad)} missing or damaged" if bad else ""


def _unpack(name: str, path: Path, kind: Any, folder: Path) -> None:
    """Write the files that torchvision reads, and no other member, below `folder`."""
    names = [file for file, _ in (*kind.train_list, *kind.test_list)] + [kind.meta["filename"]]
    wanted = {f"{kind.base_folder}/{file}": folder / kind.base_folder / file for file in names}
    (folder / kind.base_folder).mkdir()
    try:
        with tarfile.open(path, "r:gz") as tar:
            for member in tar:
                target = wanted.get(member.name)
                file = tar.extractfile(member) if member.isreg() else None
                if target and file and member.size <= _LARGEST_MEMBER:
                    target.write_bytes(file.read())
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise UserError(f"data set {name}: cannot unpack {path}: {error}") from error


def _read(name: str, kind: Any, folder: Path) -> Source:
    """By torchvision's class, which raises RuntimeError if a checksum is not the right one."""
    train, test = kind(str(folder), train=True), kind(str(folder), train=False)
    return Source(
        classes=tuple(train.classes),
        image_shape=DATA_SETS[name].image_shape,
        train=Samples(train.targets, _channels_first(train.data)),
        test=Samples(test.targets, _channels_first(test.data)),
    )


def _channels_first(images: np.ndarray) -> Iterator[np.ndarray]:
    return (image.transpose(2, 0, 1) for image in images)
